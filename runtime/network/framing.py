"""Cutting a byte stream into varint-prefixed frames: a pure core with no I/O and no clock.

Source: multiformats/unsigned-varint prefixes, as in bitswap, kad and circuit relay.  Whatever the bytes and
however they are cut, ``FrameDecoder`` gives frames or raises RemoteError, nothing else.  It holds only what
has arrived: an announced length allocates nothing.
"""

from typing import Final

from shoal.messages import varint
from shoal.messages.errors import RemoteError

Piece = bytes | memoryview

# Pieces smaller than this are joined before they are written: a copy is cheaper than a record of its own.
JOIN_BELOW: Final = 16 * 1024  # bytes


class FrameDecoder:
    """Feed it what was read, take whole frames out.  Empty frames are allowed and skipped."""

    def __init__(self, frame_max: int) -> None:
        self._frame_max = frame_max
        self._head: Piece = b""  # the piece being cut
        self._at = 0  # where in it the next frame starts, when no frame is under way
        self._prefix = b""  # a length that is cut short
        self._parts: list[bytearray | memoryview] = []  # the body so far
        self._length = 0  # bytes of the frame under way
        self._missing = 0  # bytes of its body still to come

    @property
    def partial(self) -> bool:
        """Whether the stream stands inside a frame, so that its end here would cut one."""
        return bool(self._prefix) or self._missing > 0

    @property
    def announced(self) -> int:
        """Length of the frame under way, 0 when there is none or its length is not yet whole."""
        return self._length if self._missing else 0

    @property
    def held(self) -> int:
        """Bytes kept of the frame under way."""
        return self._length - self._missing if self._missing else 0

    def feed(self, data: Piece) -> None:
        """Add bytes, which must not change any more.  All whole frames must have been taken before."""
        if self._at != len(self._head):
            raise ValueError("whole frames are left to take")
        self._head, self._at = data, 0

    def next_frame(self) -> bytes | None:
        """The next whole frame, or None when more bytes are needed.

        Raises RemoteError when a length is malformed or above the bound; the decoder is of no use after that.
        """
        while True:
            if self._missing:
                return self._take_body()
            if not self._read_length():
                return None

    def _take_body(self) -> bytes | None:
        taken = memoryview(self._head)[self._at : self._at + self._missing]
        self._at += len(taken)
        self._missing -= len(taken)
        if not self._missing and not self._parts:
            return bytes(taken)
        self._keep(taken)
        if self._missing:
            return None
        body = b"".join(self._parts)
        self._parts = []
        return body

    def _keep(self, piece: memoryview) -> None:
        """Small pieces are gathered: kept one by one, a drip of single bytes would cost 250 times its size."""
        if len(piece) >= JOIN_BELOW:
            self._parts.append(piece)
        elif self._parts and isinstance(self._parts[-1], bytearray):
            self._parts[-1] += piece
        elif piece:
            self._parts.append(bytearray(piece))

    def _read_length(self) -> bool:
        """Begin the next frame that is not empty; False when its length is not yet whole."""
        if not self._prefix:
            self._skip_empty()
        if self._at == len(self._head):
            return False
        room = varint.MAX_BYTES - len(self._prefix)
        window = self._prefix + self._head[self._at : self._at + room]
        if len(window) < varint.MAX_BYTES and not any(byte < 0x80 for byte in window):
            self._prefix, self._at = window, len(self._head)
            return False
        length, end = varint.decode(window)
        if length > self._frame_max:
            raise RemoteError(f"a frame of {length} bytes, at most {self._frame_max}", "frame-size")
        self._at += end - len(self._prefix)
        self._prefix, self._length, self._missing = b"", length, length
        return True

    def _skip_empty(self) -> None:
        """Step over a run of empty frames at once: a flood of them must not hold the loop."""
        if self._at < len(self._head) and self._head[self._at] == 0:
            rest = bytes(self._head[self._at :]).lstrip(b"\0")
            self._at = len(self._head) - len(rest)


def encode(parts: list[Piece]) -> list[Piece]:
    """One frame made of ``parts``, as pieces to write: length first, small neighbours joined, large ones not copied."""
    size = sum(map(len, parts))
    out: list[Piece] = []
    small = bytearray(varint.encode(size))
    for part in parts:
        if len(part) < JOIN_BELOW:
            small += part
            if len(small) < JOIN_BELOW:
                continue
            part = b""
        if small:
            out.append(bytes(small))
            small.clear()
        if part:
            out.append(part)
    if small:
        out.append(bytes(small))
    return out
