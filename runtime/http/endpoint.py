"""One RPC command as an ASGI endpoint: its body in, its work in a thread, its answer out.

Not the commands themselves (``content``, ``network``, ``inside``), and not their table (``app``).  A command is a
plain blocking function of a ``Call`` (``call``); what this module adds around it:

* the body is handed over as it comes (``handover``), and a client that has gone ends the command;
* an error before the first byte of the answer is a JSON error with its status;
* an error later cannot change the status any more, so the connection is broken off, which no HTTP client can take
  for the end of the answer (Kubo ends it in order, with a trailer that most clients never look at).  Why is kept
  for a while under the id in the X-Shoal-Request header: POST /api/v0/shoal/failure?arg=ID.  A stream of JSON lines
  says it in its last line too.

Lines are held back while the body is still arriving, unless the client asked for progress: many clients send all
before they read, and an early answer would stop both sides.  It also leaves room for an honest status.
"""

from __future__ import annotations

import math
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
import trio
from starlette.types import Receive, Scope, Send

from shoal.messages.errors import BadInput, DeadlineExceeded, LocalError, Unavailable
from shoal.messages.limits import (
    HTTP_BODY_STALL_S,
    HTTP_DRAIN_S,
    HTTP_HELD_BYTES,
    HTTP_PULL_BYTES,
)
from shoal.runtime.http import errors
from shoal.runtime.http.arguments import Arguments
from shoal.runtime.http.call import Call, Command, Edge, Form
from shoal.runtime.http.handover import BodyPipe
from shoal.runtime.http.plain import send_plain
from shoal.runtime.http.pull import Puller, in_thread

REQUEST_ID: Final = b"x-shoal-request"
CONNECTION: Final = "connection"
"""In the request's ``state``: the connection's stream, whose ``abort`` breaks it off."""


EXPLAIN_S: Final = 1.5  # beyond the client's timeout: the node's own "this was tried" says more than "too late"


def _line(value: Any) -> bytes:
    return msgspec.json.encode(value) + b"\n"


class Endpoint:
    """A command, as the ASGI application that the router calls."""

    def __init__(self, command: Command, edge: Edge) -> None:
        self._command = command
        self._edge = edge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        edge = self._edge
        if scope["method"] != "POST":
            await send_plain(receive, send, 405, b"405 - Method Not Allowed\n", (b"allow", b"POST"))
            return
        if edge.full:
            busy = errors.body_of(LocalError("too many requests are running", "try again in a moment"))
            await send_plain(receive, send, 503, busy, (b"retry-after", b"1"), media_type=errors.JSON)
            return
        edge.running += 1
        edge.served += 1
        try:
            await _Exchange(self._command, edge, str(edge.served), scope, receive, send).run()
        finally:
            edge.running -= 1


class _Exchange:
    """One request and its answer."""

    def __init__(self, command: Command, edge: Edge, request: str, scope: Scope, receive: Receive, send: Send) -> None:
        self._command, self._edge, self._request = command, edge, request
        self._receive, self._send = receive, send
        self._chunked = scope["http_version"] != "1.0"
        self._connection = scope.get("state", {}).get(CONNECTION)
        self._pipe = BodyPipe()
        self._body_done = trio.Event()
        self._started = False
        self._finishing = False
        query = scope["query_string"].decode("latin-1")
        headers = dict(scope["headers"])
        arguments = Arguments(parse_qsl(query, keep_blank_values=True, encoding="utf-8", errors="replace"))
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        self._call = Call(edge, arguments, content_type, self._pipe.chunks())

    async def run(self) -> None:
        """Answer the request; returns early, with nothing more sent, when the client has gone."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._take_body, nursery.cancel_scope)
            try:
                await self._answer()
            finally:
                self._pipe.fail(Unavailable("the request has ended"))
                nursery.cancel_scope.cancel()

    async def _take_body(self, whole: trio.CancelScope) -> None:
        """Hand the body over, then wait for the client to go, which ends the exchange."""
        stalled = False
        while True:
            patience = math.inf if stalled or self._body_done.is_set() else HTTP_BODY_STALL_S.value
            with trio.move_on_after(patience) as stall:
                message = await self._receive()
            if stall.cancelled_caught:
                stalled = True
                self._pipe.fail(BadInput(f"no byte of the body came for {patience} s", "send it again"))
                continue
            if message["type"] == "http.disconnect":
                self._pipe.fail(Unavailable("the client has gone"))
                if not self._finishing:
                    whole.cancel()
                return
            if data := message.get("body"):
                await self._pipe.put(data)
            if not message.get("more_body", False):
                self._pipe.end()
                self._body_done.set()

    async def _answer(self) -> None:
        try:
            limit_s = self._call.arguments.timeout()
            with trio.move_on_after(limit_s + EXPLAIN_S if limit_s else math.inf) as limit:
                await (self._whole() if self._command.form is Form.WHOLE else self._stream())
            if limit.cancelled_caught:
                raise DeadlineExceeded(f"{self._command.path} took longer than the {limit_s:g} s that it was given")
        except Exception as error:
            errors.note(error, self._command.path)
            await self._fail(error)

    async def _whole(self) -> None:
        value = await in_thread(self._edge.limiter, self._command.run, self._call)
        body, headers = (value, [(b"x-stream-output", b"1")]) if isinstance(value, bytes) else (_line(value), [])
        await self._start(200, [(b"content-length", b"%d" % len(body)), *headers])
        await self._finish(body)

    async def _stream(self) -> None:
        lines = self._command.form is Form.LINES
        early = not lines or self._call.arguments.flag("progress")
        puller: Puller[Any] = Puller(
            lambda: self._command.run(self._call), self._edge.limiter, HTTP_PULL_BYTES.value, _weight
        )
        held: list[bytes] = []
        held_size = 0
        try:
            while (batch := await puller.pull()) is not None:
                if puller.fault is not None and not self._started:
                    raise puller.fault  # nothing is sent yet: an honest status is worth more than a few bytes
                # None of a command says only that it is still at work.
                pieces = [_line(item) for item in batch if item is not None] if lines else batch
                held += pieces
                held_size += sum(len(piece) for piece in pieces)
                if not held:
                    continue
                if self._started or early or self._body_done.is_set() or held_size > HTTP_HELD_BYTES.value:
                    await self._send_piece(b"".join(held) if len(held) > 1 else held[0])
                    held, held_size = [], 0
            await self._send_piece(b"".join(held))
            await self._finish(b"")
        finally:
            await puller.close()

    async def _send_piece(self, data: bytes | memoryview) -> None:
        if not self._started:
            kind = b"x-chunked-output" if self._command.form is Form.LINES else b"x-stream-output"
            await self._start(200, [(kind, b"1"), (REQUEST_ID, self._request.encode())])
        if data:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._started = True
        headers.append((b"content-type", (self._command.media_type if status == 200 else errors.JSON).encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _fail(self, error: Exception) -> None:
        body = errors.body_of(error)
        self._pipe.discard()
        if self._started:
            self._edge.failures.keep(self._request, errors.message_of(error))
            if self._command.form is Form.LINES:
                await self._send({"type": "http.response.body", "body": body, "more_body": True})
            await self._break_off()
            return
        await self._start(errors.status_of(error), [(b"content-length", b"%d" % len(body))])
        await self._finish(body)

    async def _finish(self, body: bytes) -> None:
        """Send the last of the answer, but hear the client out for a while before the end: a server that closes on
        one who still sends resets the connection, and with it the answer.

        At the end hypercorn reports the client as gone, whether it is or not, while it makes the connection ready for
        the next request: that must not be cancelled.
        """
        self._pipe.discard()
        if body:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
        with trio.move_on_after(HTTP_DRAIN_S.value):
            await self._body_done.wait()
        self._finishing = True
        await self._send({"type": "http.response.body", "body": b""})

    async def _break_off(self) -> None:
        """End the connection without the last chunk, and stay until that has been noticed: see ``plain``.

        An HTTP/1.0 client knows no chunks; it can only tell the end from the break by a reset.
        """
        if self._connection is not None:
            self._connection.abort(reset=not self._chunked)
            with trio.move_on_after(HTTP_DRAIN_S.value):
                await trio.sleep_forever()  # ended by ``_take_body``


def _weight(item: Any) -> int:
    """Bytes of an item, nearly."""
    return len(item) if isinstance(item, bytes | memoryview) else 256
