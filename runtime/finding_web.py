"""The actors that ask HTTP servers, each with a client of its own in its own trio nursery.

Nothing of them is imported unless the user named a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shoal.actors.base import Context
from shoal.runtime.supervisor.specs import ChildSpec, TrioParts

if TYPE_CHECKING:
    import trio


def web_specs(delegated: tuple[str, ...], gateways: tuple[str, ...]) -> list[ChildSpec]:
    """``delegated``: URLs of routing servers; ``gateways``: of trustless gateways.  No actor without a URL."""
    specs = []
    if delegated:
        specs.append(ChildSpec("delegated", trio_factory=lambda ctx, nursery: _delegated(ctx, nursery, delegated)))
    if gateways:
        specs.append(ChildSpec("gateways", trio_factory=lambda ctx, nursery: _gateways(ctx, nursery, gateways)))
    return specs


def _delegated(ctx: Context, nursery: trio.Nursery, urls: tuple[str, ...]) -> TrioParts:
    from shoal.actors.discovery.delegated.actor import DelegatedActor
    from shoal.runtime.network.http_client import TrioHttpClient

    client = TrioHttpClient(nursery)
    return TrioParts(DelegatedActor(ctx, client, urls), closing=client.close)


def _gateways(ctx: Context, nursery: trio.Nursery, urls: tuple[str, ...]) -> TrioParts:
    from shoal.actors.gateways.actor import GatewaysActor
    from shoal.runtime.network.http_client import TrioHttpClient

    client = TrioHttpClient(nursery)
    return TrioParts(GatewaysActor(ctx, client, urls), closing=client.close)
