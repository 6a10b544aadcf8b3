"""GET endpoints for strangers - routing, raw blocks - as ASGI applications beside the RPC's.

What is asked is answered by a generator (``Serve``) that runs in a worker thread and yields first a ``Head``, then
bytes; None only says that it is still at work, so that it can be left.  Here: methods, bounds, threads apart from the
RPC's, clients that leave.  Off unless the configuration turns them on (``app``); ``Guard`` stands before them too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

import trio
from starlette.types import Receive, Scope, Send

from shoal.messages.errors import BadInput, LocalError, NotFound, Unavailable
from shoal.messages.limits import HTTP_BODY_STALL_S, PUBLIC_BODY_BYTES, PUBLIC_REQUESTS_MAX
from shoal.runtime.http import errors
from shoal.runtime.http.arguments import shown
from shoal.runtime.http.endpoint import CONNECTION
from shoal.runtime.http.offers import Offers
from shoal.runtime.http.plain import TEXT, send_plain
from shoal.runtime.http.pull import Puller

RETRY_S: Final = 5  # seconds after which a client that was turned away may try again


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    method: str
    rest: str  # of the path, behind the endpoint's own part
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Head:
    """How an answer begins.  ``length``: bytes of its body, where that is known."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None


Serve = Callable[[Asked, Offers], Iterator[Head | bytes | memoryview | None]]


class Gate:
    """What all public endpoints share: their threads, and how many requests are under way."""

    def __init__(self) -> None:
        self.limiter = trio.CapacityLimiter(PUBLIC_REQUESTS_MAX.value)
        self.running = 0

    @property
    def full(self) -> bool:
        """Whether one more must be turned away.  Threads of clients that left count until they are done."""
        return self.running >= PUBLIC_REQUESTS_MAX.value or self.limiter.available_tokens < 1


class PublicEndpoint:
    """One path and what is below it."""

    def __init__(self, prefix: str, serve: Serve, offers: Offers, gate: Gate, methods: tuple[str, ...]) -> None:
        """``prefix`` ends in a slash; GET and HEAD are among ``methods``."""
        self._prefix, self._serve, self._offers, self._gate = prefix, serve, offers, gate
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in self._methods:
            allow = ", ".join(self._methods).encode()
            await send_plain(receive, send, 501, b"not implemented\n", (b"allow", allow))
            return
        if self._gate.full:
            retry = (b"retry-after", b"%d" % RETRY_S)
            await send_plain(receive, send, 429, b"too many requests are under way\n", retry)
            return
        self._gate.running += 1
        try:
            await self._run(scope, receive, send)
        finally:
            self._gate.running -= 1

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), encoding="utf-8", errors="replace"))
        body = await _body(receive) if scope["method"] == "PUT" else b""
        if body is None:
            await send_plain(receive, send, 413, b"a body of at most %d bytes\n" % PUBLIC_BODY_BYTES.value)
            return
        asked = Asked(scope["method"], scope["path"].removeprefix(self._prefix), query, headers, body)
        answer = _Answer(asked, scope.get("state", {}).get(CONNECTION), receive, send)
        await answer.run(Puller(lambda: self._serve(asked, self._offers), self._gate.limiter, 1, _weight))


class _Answer:
    """One request being answered."""

    def __init__(self, asked: Asked, connection: object, receive: Receive, send: Send) -> None:
        self._asked, self._connection, self._receive, self._send = asked, connection, receive, send
        self._head: Head | None = None
        self._started = False
        self._finishing = False

    async def run(self, puller: Puller[Head | bytes | memoryview | None]) -> None:
        """Answer; returns early, with nothing more sent, when the client has gone."""
        failed: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hear, nursery.cancel_scope)
            try:
                await self._answer(puller)
            except Exception as fault:
                errors.note(fault, shown(self._asked.rest))
                failed = fault
                self._finishing = True
            finally:
                await puller.close()
            if failed is None:
                self._finishing = True
                await self._send({"type": "http.response.body", "body": b""})
            nursery.cancel_scope.cancel()
        if failed is not None:
            await self._fail(failed)

    async def _hear(self, whole: trio.CancelScope) -> None:
        """Wait for the client to go.  hypercorn says so at an orderly end too: see ``endpoint``."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._finishing:
            whole.cancel()

    async def _answer(self, puller: Puller[Head | bytes | memoryview | None]) -> None:
        while (batch := await puller.pull()) is not None:
            if puller.fault is not None and not self._started:
                raise puller.fault
            pieces = []
            for item in batch:
                if isinstance(item, Head):
                    self._head = item
                elif item:
                    pieces.append(item)
            if self._head is not None and not self._started:
                await self._start(self._head)
            if pieces and self._asked.method != "HEAD":
                await self._send({"type": "http.response.body", "body": b"".join(pieces), "more_body": True})

    async def _start(self, head: Head) -> None:
        self._started = True
        headers = {"content-type": TEXT, **head.headers}
        if head.length is not None:
            headers["content-length"] = str(head.length)
        fields = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": head.status, "headers": fields})

    async def _fail(self, fault: Exception) -> None:
        """Say what went wrong; once the answer has begun, break the connection off, which nobody takes for its end."""
        if self._started:
            abort = getattr(self._connection, "abort", None)
            if abort is not None:
                abort(reset=False)
            return
        retry = [(b"retry-after", b"%d" % RETRY_S)] if isinstance(fault, Unavailable) else []
        await send_plain(self._receive, self._send, _status(fault), errors.message_of(fault).encode() + b"\n", *retry)


def _status(fault: Exception) -> int:
    """The HTTP status for a fault."""
    if isinstance(fault, BadInput):
        return 400
    if isinstance(fault, NotFound):
        return 404
    return 503 if isinstance(fault, LocalError) else 500


async def _body(receive: Receive) -> bytes | None:
    """A short body; None for a longer one, or one that does not come."""
    whole = bytearray()
    more = True
    with trio.move_on_after(HTTP_BODY_STALL_S.value):
        while more and len(whole) <= PUBLIC_BODY_BYTES.value:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            whole += message.get("body", b"")
            more = bool(message.get("more_body", False))
    return bytes(whole) if not more and len(whole) <= PUBLIC_BODY_BYTES.value else None


def _weight(item: Head | bytes | memoryview | None) -> int:
    """A head goes with what follows it; anything else is sent as soon as it is there."""
    return 0 if isinstance(item, Head) else 1
