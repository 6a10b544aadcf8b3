"""shoal's own calls, which look inside the node: actors, routes, trace, role, crash, failure; and the probes.

Under /api/v0/shoal/, POST as all else; /healthz, /readyz and /metrics are GET, for what watches the node, and answer
even when the API has all the requests that it can run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import trio
from starlette.types import Receive, Scope, Send

from shoal.messages.errors import BadInput, NotFound
from shoal.messages.limits import HTTP_PROBES_MAX
from shoal.runtime.http import errors, shapes
from shoal.runtime.http.arguments import shown
from shoal.runtime.http.backend import Backend
from shoal.runtime.http.call import Call
from shoal.runtime.http.plain import send_plain
from shoal.runtime.http.pull import in_thread

PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
Probe = Callable[[Backend], tuple[int, str, bytes]]


def actors(call: Call) -> dict[str, Any]:
    """Every actor and its mailbox."""
    return shapes.actors(call.backend.actors())


def routes(call: Call) -> dict[str, str]:
    """The table of routes."""
    return {"Routes": call.backend.routes()}


def trace(call: Call) -> dict[str, Any]:
    """What the flight recorder holds of one request."""
    text = call.arguments.one("id")
    if not text.isascii() or not text.isdecimal() or len(text) > 20:
        raise BadInput(f"{shown(text)} is not a trace id", "give the number that a log line has after trace=")
    return {"Trace": int(text), "Events": call.backend.trace(int(text))}


def role(call: Call) -> dict[str, Any]:
    """The policy in force; with an argument, under that role from now on."""
    wanted = call.arguments.at_most_one("role")
    policy = call.backend.change_role(wanted) if wanted else call.backend.policy()
    return {"Role": policy.role, "Policy": msgspec.to_builtins(policy)}


def crash(call: Call) -> dict[str, str]:
    """Make an actor fail, as a drill."""
    name = call.arguments.one("actor")
    call.backend.crash_actor(name)
    return {"Crashed": name}


def failure(call: Call) -> dict[str, str]:
    """Why a transfer broke off: ``arg`` is its X-Shoal-Request header."""
    text = call.edge.failures.find(call.arguments.one("request"))
    if not text:
        raise NotFound("nothing is known of that request", "the node's log may have it")
    return {"Message": text}


def healthz(backend: Backend) -> tuple[int, str, bytes]:
    """200 when the process is alive."""
    return 200, errors.JSON, msgspec.json.encode(backend.health())


def readyz(backend: Backend) -> tuple[int, str, bytes]:
    """200 when the node can serve, else 503."""
    ready, why = backend.ready()
    return 200 if ready else 503, errors.JSON, msgspec.json.encode(why)


def metrics(backend: Backend) -> tuple[int, str, bytes]:
    """Prometheus text."""
    return 200, PROMETHEUS, backend.metrics()


class ProbeEndpoint:
    """A probe, as an ASGI application with threads apart from the commands'."""

    def __init__(self, probe: Probe, backend: Backend, limiter: trio.CapacityLimiter) -> None:
        self._probe, self._backend, self._limiter = probe, backend, limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await send_plain(receive, send, 405, b"405 - Method Not Allowed\n", (b"allow", b"GET, HEAD"))
            return
        if self._limiter.available_tokens < 1:
            await send_plain(receive, send, 503, b"too many probes\n", (b"retry-after", b"1"))
            return
        try:
            status, media_type, body = await in_thread(self._limiter, self._probe, self._backend)
        except Exception as error:
            errors.note(error, scope["path"])
            status, media_type, body = 503, errors.JSON, errors.body_of(error)
        await send_plain(receive, send, status, body, media_type=media_type)


def probe_limiter() -> trio.CapacityLimiter:
    """The probes' threads."""
    return trio.CapacityLimiter(HTTP_PROBES_MAX.value)
