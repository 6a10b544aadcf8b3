"""The actors that ask HTTP servers, each with a client of its own.

On sockets the client lives in the actor's own trio nursery; in the simulation it is given.  Nothing of either is
imported unless the user named a server.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from shoal.actors.base import Actor, Context
from shoal.runtime.supervisor.specs import ChildSpec, TrioParts

if TYPE_CHECKING:
    import trio

    from shoal.actors.web.client import HttpClient

Make = Callable[[Context, "HttpClient"], Actor]
MakeClient = Callable[[Context], "HttpClient"]


def web_specs(
    delegated: tuple[str, ...], gateways: tuple[str, ...], client: MakeClient | None = None
) -> list[ChildSpec]:
    """``delegated``: URLs of routing servers; ``gateways``: of trustless gateways.  No actor without a URL.

    ``client``: makes their HTTP clients; None: they stand on sockets.
    """

    def delegated_actor(ctx: Context, http: HttpClient) -> Actor:
        from shoal.actors.discovery.delegated.actor import DelegatedActor

        return DelegatedActor(ctx, http, delegated)

    def gateways_actor(ctx: Context, http: HttpClient) -> Actor:
        from shoal.actors.gateways.actor import GatewaysActor

        return GatewaysActor(ctx, http, gateways)

    specs = [_spec("delegated", delegated_actor, client)] if delegated else []
    return [*specs, _spec("gateways", gateways_actor, client)] if gateways else specs


def _spec(name: str, make: Make, client: MakeClient | None) -> ChildSpec:
    if client is not None:
        return ChildSpec(name, lambda ctx: make(ctx, client(ctx)))

    def on_trio(ctx: Context, nursery: trio.Nursery) -> TrioParts:
        from shoal.runtime.network.http_client import TrioHttpClient

        http = TrioHttpClient(nursery)
        return TrioParts(make(ctx, http), closing=http.close)

    return ChildSpec(name, trio_factory=on_trio)
