"""Streams for a user's own protocols: bytes in and out, deadlines, and a fence around the user's code.

A read is done by a task of its own, so that one which times out loses nothing: the bytes wait for the next read.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from libp2p.network.stream.net_stream import NetStream

from shoal.actors.transport.network import StreamHandler
from shoal.messages.errors import RemoteError, Unavailable
from shoal.runtime.network.connections import Connections, Link
from shoal.runtime.network.opening import broken, drop, open_stream, read_some
from shoal.runtime.network.state import State
from shoal.runtime.network.streams import READ_BYTES
from shoal.runtime.network.wire import write_all

log = logging.getLogger(__name__)


class LiveUserStream:
    """One stream in a user's hands; see ``actors.transport.network.UserStream`` for the contract."""

    def __init__(self, state: State, link: Link, stream: NetStream) -> None:
        self.protocol = str(stream.get_protocol())
        self.peer = link.row.peer
        self._state = state
        self._link = link
        self._stream = stream
        self._buffer = b""
        self._reading: trio.Event | None = None  # set when the read under way is over
        self._ended = False
        self._fault = ""
        self._scope: trio.CancelScope | None = None  # of the read under way
        self._parted = False

    async def read(self, n: int = 65536, timeout: float | None = None) -> bytes:
        """1 to ``n`` bytes, or b"" at the end.  Raises RemoteError on reset or timeout; a timeout loses nothing."""
        if n < 1:
            return b""
        await self._within(timeout, self._fill, "nothing came")
        data, self._buffer = self._buffer[:n], self._buffer[n:]
        return data

    async def read_exactly(self, n: int, timeout: float | None = None) -> bytes:
        """Exactly ``n`` bytes.  Raises RemoteError when the stream ends before, or in time they are not there."""
        parts: list[bytes] = []

        async def gather() -> None:
            missing = n
            while missing:
                await self._fill()
                if not self._buffer:
                    raise RemoteError(f"the stream ended {missing} bytes before the {n} asked for", "cut")
                parts.append(self._buffer[:missing])
                self._buffer = self._buffer[missing:]
                missing -= len(parts[-1])

        try:
            await self._within(timeout, gather, f"{n} bytes did not come")
        except RemoteError:
            self._buffer = b"".join(parts) + self._buffer
            raise
        return b"".join(parts)

    async def _fill(self) -> None:
        """Return with something in the buffer, or at the end of the stream."""
        while not self._buffer and not self._ended:
            if self._fault:
                raise RemoteError(self._fault, "reset")
            if self._reading is None:
                self._reading = trio.Event()
                self._state.spawn(self._read_once, self._reading)
            await self._reading.wait()

    async def _read_once(self, done: trio.Event) -> None:
        try:
            with trio.CancelScope() as self._scope:
                data = await read_some(self._stream, READ_BYTES)
                self._buffer += data
                self._ended = not data
            if self._scope.cancelled_caught:
                self._fault = self._fault or "the stream was closed"
        except RemoteError as fault:
            self._fault = str(fault)
        finally:
            self._reading = None
            done.set()

    def _stop_reading(self) -> None:
        """A reset of ours does not wake a reader of ours, so it is cancelled."""
        if self._scope is not None:
            self._scope.cancel()

    async def write(self, data: bytes, timeout: float | None = None) -> None:
        """All of ``data``.  Raises RemoteError when the stream breaks or, after which it is reset, on timeout."""
        try:
            await self._within(timeout, lambda: self._write(data), f"{len(data)} bytes were not taken")
        except BaseException:
            # Part of the data may be out; the stream is of no use to either side.
            await self.reset()
            raise

    async def _write(self, data: bytes) -> None:
        try:
            await write_all(self._stream, data)
        except Exception as fault:
            raise RemoteError(f"writing failed: {broken(fault)}", "reset") from None

    async def _within(self, timeout: float | None, work: Callable[[], Awaitable[None]], what: str) -> None:
        with trio.move_on_after(float("inf") if timeout is None else timeout) as scope:
            await work()
        if scope.cancelled_caught:
            raise RemoteError(f"{what} within {timeout:g} s", "timeout")

    async def close_write(self) -> None:
        """No more writes from us; reading goes on."""
        try:
            await self._stream.close_write()
        except Exception as fault:
            raise RemoteError(f"closing failed: {broken(fault)}", "reset") from None

    async def close(self) -> None:
        """Both directions closed, in order; what is written arrives.  Safe to call again."""
        if self._parted:
            return
        self._parted = True
        self._stop_reading()
        self._ended = True
        try:
            await self._stream.close_write()
        except Exception as fault:  # the peer reset it, or the connection went: it is closed
            log.debug("closing a user's stream: %r", fault)
            await drop(self._stream)
            return
        self._state.spawn(self._part)

    async def _part(self) -> None:
        """Give the peer a moment to end its half, so that the multiplexer forgets the stream."""
        with trio.move_on_after(self._state.config.linger_s):
            try:
                while await read_some(self._stream, READ_BYTES):
                    pass
                await self._stream.close()
                return
            except Exception as fault:
                log.debug("parting with a user's stream: %r", fault)
        await drop(self._stream)

    async def reset(self) -> None:
        """Both directions dropped at once.  Safe to call again."""
        if self._parted:
            return
        self._parted = True
        self._fault = self._fault or "the stream was reset"
        self._stop_reading()
        await drop(self._stream)


class UserProtocols:
    """Runs users' handlers, on streams of theirs and of their peers'."""

    def __init__(self, state: State, connections: Connections) -> None:
        self._state = state
        self._connections = connections

    def fenced(self, handler: StreamHandler) -> Callable[[Link, NetStream], Awaitable[None]]:
        """``handler`` for inbound streams: a raise in it is logged and resets its own stream, nothing else."""

        async def serve(link: Link, stream: NetStream) -> None:
            wrapped = LiveUserStream(self._state, link, stream)
            try:
                await handler(wrapped)
            except BaseException as fault:  # a user's SystemExit too: it must not end every connection of the node
                cancelled, own = _parted(fault)
                if own is not None:
                    log.error("the handler of %s failed", wrapped.protocol, exc_info=own)
                self._state.spawn(wrapped.reset)
                if cancelled is not None:
                    raise cancelled from None
            else:
                await wrapped.close()

        return serve

    async def run(self, peer: str, protocol: str, handler: StreamHandler, timeout_s: float) -> Any:
        """Open a stream and give the result of ``handler``; ``timeout_s`` is for the opening.

        Raises Unavailable when the peer is not connected, RemoteError when it does not take the stream or goes away
        meanwhile, and whatever ``handler`` raises.
        """
        link = self._connections.best(peer)
        if link is None:
            raise Unavailable(f"not connected to {peer}", "connect to it first")
        with link.scope():
            stream = await self._open(link, protocol, timeout_s)
            wrapped = LiveUserStream(self._state, link, stream)
            try:
                result = await handler(wrapped)
            except BaseException:
                self._state.spawn(wrapped.reset)
                raise
            else:
                await wrapped.close()
                return result
            finally:
                link.slots.release()
        raise RemoteError(f"the connection to {peer} ended", "connection")

    async def _open(self, link: Link, protocol: str, timeout_s: float) -> NetStream:
        acquired = False
        try:
            with trio.move_on_after(timeout_s):
                await link.slots.acquire()
                acquired = True
                return await open_stream(self._state, link, [protocol])
            raise RemoteError(f"no stream within {timeout_s:g} s", "timeout")
        except BaseException:
            if acquired:
                link.slots.release()
            raise


def _parted(fault: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """What of ``fault`` is trio's cancelling, which must go on its way, and what is the handler's own."""
    if isinstance(fault, BaseExceptionGroup):
        return fault.split(trio.Cancelled)
    return (fault, None) if isinstance(fault, trio.Cancelled) else (None, fault)
