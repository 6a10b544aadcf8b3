"""One yamux stream as py-libp2p wants it, and with what it does not ask for: reads and writes without copies.

A reader waits for bytes, a writer for the peer's window, both by event.  Cancelling either is safe for the connection;
a write that is cancelled may have sent part of its data, and leaves the stream of no use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import trio
from libp2p.abc import IMuxedStream
from libp2p.stream_muxer.exceptions import MuxedStreamClosed, MuxedStreamEOF, MuxedStreamReset

from shoal.runtime.network.wire_stack.yamux.buffers import Piece, Rope
from shoal.runtime.network.wire_stack.yamux.halves import StreamState

if TYPE_CHECKING:
    from shoal.runtime.network.wire_stack.yamux.muxer import YamuxConnection

READ_ALL: Final = 16 * 1024 * 1024  # bytes; "all that has come" of a read without a size: a window's worth


class YamuxStream(IMuxedStream):
    """A stream of a ``YamuxConnection``."""

    def __init__(self, connection: YamuxConnection, state: StreamState) -> None:
        self.muxed_conn = connection
        self.state = state
        self.stream_id = state.id
        self.is_initiator = state.outbound
        self._connection = connection
        self._writing = trio.Lock()
        self._waiting = trio.lowlevel.ParkingLot()
        state.changed = self._wake

    def _wake(self) -> None:
        self._waiting.unpark_all()

    # --- reading -----------------------------------------------------------------------------------

    async def read_pieces(self, most: int) -> list[memoryview]:
        """Up to ``most`` bytes that have come, in read-only views; at least one.

        The views keep what they point into alive, at most four times their size.  Raises MuxedStreamEOF at the end,
        MuxedStreamReset when the stream is broken.
        """
        state = self.state
        if state.buffer.size:
            await trio.lowlevel.checkpoint()
        while not state.buffer.size:
            if state.broken:
                raise MuxedStreamReset(state.broken)
            if state.peer_finished:
                raise MuxedStreamEOF("the peer has ended the stream")
            self._connection.introduce(state)
            await self._waiting.park()
        return self._connection.take(state, most)

    async def read(self, n: int | None = None) -> bytes:
        """1 to ``n`` bytes, or all that have come.  Raises as ``read_pieces``."""
        if n == 0:
            return b""
        pieces = await self.read_pieces(READ_ALL if n is None or n < 0 else n)
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)

    # --- writing -----------------------------------------------------------------------------------

    async def write_pieces(self, pieces: Sequence[Piece]) -> None:
        """All of ``pieces``, with no copy of them before encryption; waits for the peer's window as long as it takes.

        Raises MuxedStreamClosed after ``close_write``, MuxedStreamReset when the stream is broken.
        """
        rope = Rope(pieces)
        async with self._writing:
            while True:
                self._check_writable()
                if not rope.size:
                    return
                if self.state.send.room:
                    await self._connection.send(self.state, rope)
                else:
                    await self._waiting.park()

    async def write(self, data: bytes) -> None:
        """All of ``data``, of any buffer type."""
        await self.write_pieces([data])

    def _check_writable(self) -> None:
        if self.state.broken:
            raise MuxedStreamReset(self.state.broken)
        if self.state.finished:
            raise MuxedStreamClosed("the stream was closed for writing")

    # --- ending ------------------------------------------------------------------------------------

    async def close_write(self) -> None:
        """End our half, behind what was written; reading goes on.  Safe to call again."""
        async with self._writing:
            self._connection.finish(self.state)

    async def close(self) -> None:
        """yamux ends halves: the same as ``close_write``."""
        await self.close_write()

    async def reset(self) -> None:
        """Drop both halves; readers and writers, ours too, wake up.  Safe to call again."""
        self._connection.reset(self.state, "reset by us")
        await trio.lowlevel.checkpoint()

    def is_closed(self) -> bool:
        """Whether nothing more can come or go."""
        return self.state.over

    def set_deadline(self, ttl: int) -> None:
        """trio's cancel scopes are the deadlines here."""
        raise NotImplementedError("use a cancel scope")

    def get_remote_address(self) -> tuple[str, int] | None:
        return self._connection.get_remote_address()

    async def __aenter__(self) -> YamuxStream:
        return self
