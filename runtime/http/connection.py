"""One accepted connection, with the patience that hypercorn does not have.

hypercorn writes to a client without a time limit and shielded from cancellation: one client that stops reading would
hold a task for ever, and a stop of the server too.  So each connection's stream is wrapped: a write that makes no
progress ends it, and the server can break any connection off.  Not HTTP: that is hypercorn's.
"""

from __future__ import annotations

import socket
import struct

import trio

from shoal.messages.limits import HTTP_WRITE_STALL_S

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class BoundedStream:
    """A ``trio.SocketStream`` whose writes have a clock.  What hypercorn's TCPServer uses of one, and ``abort``."""

    def __init__(self, stream: trio.SocketStream, stall_s: float = HTTP_WRITE_STALL_S.value) -> None:
        self._stream = stream
        self._stall_s = stall_s
        self._sending = trio.Lock()
        self.socket = stream.socket

    async def send_all(self, data: bytes) -> None:
        """Send all of it.  Raises trio.BrokenResourceError when the client takes nothing for too long."""
        rest = memoryview(data)
        async with self._sending:  # a socket takes parts: two senders at one time would mix theirs
            with trio.CancelScope() as patience:
                while rest:
                    patience.deadline = trio.current_time() + self._stall_s
                    try:
                        sent = await self.socket.send(rest)
                    except OSError as fault:
                        raise trio.BrokenResourceError(f"the client is gone: {fault}") from fault
                    rest = rest[sent:]
        if patience.cancelled_caught:
            self.abort()
            raise trio.BrokenResourceError("the client takes nothing")

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """The next bytes; empty at the end."""
        return await self._stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        """Say that no more will be sent."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close."""
        await self._stream.aclose()

    def abort(self, *, reset: bool = True) -> None:
        """Close at once, and wake every user.  Without ``reset``, what has been written still arrives."""
        if self.socket.fileno() != -1:
            if reset:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.socket.close()
