"""Ping: both sides of ``/ipfs/ping/1.0.0``.

Source: libp2p ping spec.  32 random bytes out, the same bytes back.  py-libp2p's own counts whole milliseconds.
"""

import os
from typing import Final

import trio
from libp2p.network.stream.net_stream import NetStream

from shoal.messages.errors import RemoteError
from shoal.messages.limits import PING_STREAMS_PER_CONNECTION
from shoal.runtime.network.connections import Connections, Link
from shoal.runtime.network.opening import broken, drop, open_stream, read_some
from shoal.runtime.network.state import State

PROTOCOL: Final = "/ipfs/ping/1.0.0"
PAYLOAD_BYTES: Final = 32
IDLE_S: Final = 60.0  # between two pings of one stream; go-libp2p closes after this as well


class Pings:
    """Asks and answers.  Asking takes no slot: a connection full of streams can still be probed."""

    def __init__(self, state: State, connections: Connections) -> None:
        self._state = state
        self._connections = connections
        self._answering: dict[int, int] = {}

    async def ping(self, ticket: int, peer: str, timeout_s: float) -> None:
        """Ends in ``pong`` or ``ping_failed``."""
        link = self._connections.best(peer)
        if link is None:
            self._state.events.ping_failed(ticket, f"not connected to {peer}")
            return
        reason = "the connection ended"
        rtt_s = None
        with link.scope(), trio.move_on_after(timeout_s) as deadline:
            try:
                rtt_s = await self.measure(link)
            except RemoteError as fault:
                reason = str(fault)
        if rtt_s is not None:
            self._state.events.pong(ticket, rtt_s)
            return
        if deadline.cancelled_caught:
            reason = f"no answer within {timeout_s:g} s"
        self._state.events.ping_failed(ticket, reason)

    async def measure(self, link: Link) -> float:
        """Seconds from the payload's leaving to its return, on a stream of its own.  Raises RemoteError."""
        stream = await open_stream(self._state, link, [PROTOCOL])
        try:
            payload = os.urandom(PAYLOAD_BYTES)
            start = trio.current_time()
            await _write(stream, payload)
            if await _read(stream) != payload:
                raise RemoteError("the peer answered a ping with other bytes", "ping")
            return trio.current_time() - start
        finally:
            self._state.spawn(drop, stream)

    async def answer(self, link: Link, stream: NetStream) -> None:
        """Echo until the peer ends the stream or is idle."""
        open_now = self._answering.get(link.row.id, 0)
        if open_now >= PING_STREAMS_PER_CONNECTION.value:
            raise RemoteError("too many ping streams", "ping")
        self._answering[link.row.id] = open_now + 1
        try:
            while True:
                with trio.move_on_after(IDLE_S) as idle:
                    payload = await _read(stream)
                if idle.cancelled_caught or not payload:
                    break
                await _write(stream, payload)
            await stream.close()
        except RemoteError:
            await drop(stream)
        finally:
            self._answering[link.row.id] -= 1
            if not self._answering[link.row.id]:
                del self._answering[link.row.id]


async def _read(stream: NetStream) -> bytes:
    """One payload, b"" when the stream ends before it."""
    data = b""
    while len(data) < PAYLOAD_BYTES:
        more = await read_some(stream, PAYLOAD_BYTES - len(data))
        if not more:
            return b""
        data += more
    return data


async def _write(stream: NetStream, payload: bytes) -> None:
    try:
        await stream.write(payload)
    except Exception as fault:
        raise RemoteError(broken(fault), "reset") from None
