"""The table of the API: which path runs which command, and what its answer is.  Begin here.

Paths, methods, field names and status codes are Kubo's (docs.ipfs.tech/reference/kubo/rpc); /api/v0/shoal/ is ours.
Every command is POST only: a web page cannot make a browser send one without naming its origin (``guard``).
"""

from __future__ import annotations

from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from shoal.runtime.config import Config, split_address
from shoal.runtime.http import content, errors, finding, inside, keeping, network, pubsub
from shoal.runtime.http.backend import Backend
from shoal.runtime.http.call import Command, Edge, Form
from shoal.runtime.http.endpoint import Endpoint
from shoal.runtime.http.guard import Guard, is_loopback
from shoal.runtime.http.inside import ProbeEndpoint, probe_limiter
from shoal.runtime.http.plain import send_plain

ROOT: Final = "/api/v0/"
TEXT: Final = "text/plain"

COMMANDS: Final = (
    Command("id", network.identity),
    Command("version", network.version),
    Command("shutdown", network.shutdown),
    Command("add", content.add, Form.LINES),
    Command("cat", content.cat, Form.BYTES, TEXT),
    Command("get", content.get, Form.BYTES, "application/x-tar"),
    Command("ls", content.ls),
    Command("block/get", content.block_get, Form.WHOLE, "application/vnd.ipld.raw"),
    Command("block/put", content.block_put),
    Command("block/stat", content.block_stat),
    Command("block/rm", keeping.block_rm, Form.LINES),
    Command("dag/import", content.dag_import, Form.LINES),
    Command("dag/export", content.dag_export, Form.BYTES, "application/vnd.ipld.car"),
    Command("pin/add", keeping.pin_add, Form.LINES),
    Command("pin/rm", keeping.pin_rm),
    Command("pin/ls", keeping.pin_ls, Form.BYTES, errors.JSON),
    Command("pin/update", keeping.pin_update, Form.LINES),
    Command("pin/verify", keeping.pin_verify, Form.LINES),
    Command("swarm/connect", network.connect),
    Command("swarm/disconnect", network.disconnect),
    Command("swarm/peers", network.peers),
    Command("bitswap/stat", network.bitswap_stat),
    Command("bitswap/wantlist", network.bitswap_wantlist),
    Command("repo/stat", network.repo_stat),
    Command("repo/gc", keeping.repo_gc, Form.LINES),
    Command("ping", network.ping, Form.LINES),
    Command("routing/findprovs", finding.findprovs, Form.LINES),
    Command("routing/findpeer", finding.findpeer, Form.LINES),
    Command("routing/provide", finding.provide, Form.LINES),
    Command("routing/get", finding.get, Form.LINES),
    Command("routing/put", finding.put, Form.LINES),
    Command("dht/findprovs", finding.findprovs, Form.LINES),
    Command("dht/findpeer", finding.findpeer, Form.LINES),
    Command("dht/provide", finding.provide, Form.LINES),
    Command("dht/get", finding.get, Form.LINES),
    Command("dht/put", finding.put, Form.LINES),
    Command("dht/query", finding.query, Form.LINES),
    Command("pubsub/ls", pubsub.ls),
    Command("pubsub/peers", pubsub.peers),
    Command("pubsub/pub", pubsub.pub),
    Command("pubsub/sub", pubsub.sub, Form.BYTES, errors.JSON),
    Command("shoal/find", finding.find, Form.LINES),
    Command("shoal/book", finding.book),
    Command("shoal/routing", finding.routing),
    Command("shoal/dht-stat", finding.dht_stat),
    Command("shoal/announce", finding.announce),
    Command("shoal/withdraw", finding.withdraw),
    Command("shoal/announcements", finding.announcements),
    Command("shoal/tiers", keeping.tiers),
    Command("shoal/scrub", keeping.scrub),
    Command("shoal/usage", keeping.usage),
    Command("shoal/actors", inside.actors),
    Command("shoal/routes", inside.routes),
    Command("shoal/trace", inside.trace),
    Command("shoal/role", inside.role),
    Command("shoal/crash", inside.crash),
    Command("shoal/failure", inside.failure),
)
PROBES: Final = {"/healthz": inside.healthz, "/readyz": inside.readyz, "/metrics": inside.metrics}


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """What no row names."""
    if scope["type"] == "http":
        await send_plain(receive, send, 404, b"404 page not found\n")


def _public_routes(config: Config, backend: Backend) -> list[Route]:
    """What strangers may ask, as far as the user lets them."""
    if not (config.routing_server or config.gateway_server):
        return []
    from shoal.runtime.http import public, routing_v1, trustless

    rows: list[tuple[str, public.Serve, tuple[str, ...]]] = []
    if config.routing_server:
        rows += [
            ("/routing/v1/providers/", routing_v1.providers, ("GET", "HEAD")),
            ("/routing/v1/peers/", routing_v1.peers, ("GET", "HEAD")),
            ("/routing/v1/ipns/", routing_v1.ipns, ("GET", "HEAD", "PUT")),
        ]
    if config.gateway_server:
        rows.append(("/ipfs/", trustless.block, ("GET", "HEAD")))
    gate = public.Gate()
    return [
        Route(prefix + "{rest:path}", public.PublicEndpoint(prefix, serve, backend.offers, gate, methods))
        for prefix, serve, methods in rows
    ]


def make_app(config: Config, backend: Backend) -> ASGIApp:
    """The application.  To be called inside trio."""
    edge = Edge(backend, config.timeouts.request_s, config.repo)
    routes = [Route(ROOT + command.path, Endpoint(command, edge)) for command in COMMANDS]
    limiter = probe_limiter()
    routes += [Route(path, ProbeEndpoint(probe, backend, limiter)) for path, probe in PROBES.items()]
    routes += _public_routes(config, backend)
    app: ASGIApp = Router(routes, redirect_slashes=False, default=not_found)
    if config.api_origins:
        app = CORSMiddleware(
            app, config.api_origins, ("POST", "GET"), expose_headers=("X-Stream-Output", "X-Chunked-Output")
        )
    loopback = is_loopback(split_address(config.api)[0])
    return Guard(app, loopback=loopback, origins=config.api_origins, hosts=config.api_hosts)
