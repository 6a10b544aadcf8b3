"""CAR archives: blocks in a file.  Reads v1 and v2 as a stream, writes v1 as a stream.

No file is opened and no index is read: a v2's index lies behind its data and is passed over.  Begin with
``CarDecoder``.  Source: ipld.io/specs/transport/car (carv1, carv2).  Every block is hash-checked; anything
malformed, cut short or padded is a RemoteError.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from shoal.messages import varint
from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.errors import RemoteError
from shoal.messages.limits import BLOCK_BYTES_MAX, CAR_HEADER_MAX, CID_BYTES_MAX
from shoal.storage.ipld import dagcbor

# A v2 begins with a v1-like header that says {"version": 2}, then 40 bytes: characteristics (16, here unused),
# data offset, data size and index offset, each an unsigned 64-bit little-endian number.
PRAGMA_V2: Final = bytes.fromhex("0aa16776657273696f6e02")
_HEADER_V2: Final = struct.Struct("<16xQQQ")
_DATA_OFFSET_MIN: Final = len(PRAGMA_V2) + _HEADER_V2.size

SECTION_BYTES_MAX: Final = CID_BYTES_MAX.value + BLOCK_BYTES_MAX.value


@dataclass(frozen=True, slots=True)
class CarHeader:
    """What a CAR says of itself: version 1 or 2, and its roots, which may be none."""

    version: int
    roots: tuple[CID, ...]


class _State(Enum):
    PRAGMA = auto()
    HEADER_V2 = auto()
    GAP = auto()  # padding in front of a v2's data
    HEADER = auto()
    SECTIONS = auto()
    INDEX = auto()  # whatever follows a v2's data


class CarDecoder:
    """Feed it an archive's bytes in any pieces; ``finish`` tells whether it was whole.

    Holds at most one section, or header, beside what is fed at once.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._state = _State.PRAGMA
        self._version = 1
        self._skip = 0  # bytes of gap still to pass over
        self._left: int | None = None  # bytes of a v2's data not yet consumed; None in a v1

    def feed(self, data: bytes | memoryview) -> list[CarHeader | Block]:
        """Take the next bytes.  Returns what they completed: the header first, once, then blocks.

        Raises RemoteError; the decoder is then of no further use.
        """
        out: list[CarHeader | Block] = []
        if self._state is _State.INDEX:
            return out
        self._buffer += data
        at = 0
        while True:
            before, at = (self._state, at), self._step(at, out)
            if before == (self._state, at):
                break
        del self._buffer[:at]
        return out

    def finish(self) -> None:
        """Say that no more comes.  Raises RemoteError unless the archive ended where it may."""
        whole = self._state is _State.INDEX or (
            self._state is _State.SECTIONS and self._left is None and not self._buffer
        )
        if not whole:
            raise RemoteError("CAR is cut short", "car")

    def _step(self, at: int, out: list[CarHeader | Block]) -> int:
        """Consume one thing at ``at``, if it is all there.  Returns the offset behind it."""
        buffer = self._buffer
        if self._state is _State.PRAGMA:
            if bytes(buffer[: len(PRAGMA_V2)]) == PRAGMA_V2:
                self._state, self._version = _State.HEADER_V2, 2
                return at + len(PRAGMA_V2)
            if not PRAGMA_V2.startswith(buffer):
                self._state = _State.HEADER
        elif self._state is _State.HEADER_V2:
            if len(buffer) - at >= _HEADER_V2.size:
                return self._read_header_v2(at)
        elif self._state is _State.GAP:
            step = min(self._skip, len(buffer) - at)
            self._skip -= step
            if not self._skip:
                self._state = _State.HEADER
            return at + step
        elif self._state is _State.HEADER:
            return self._read_header(at, out)
        elif self._state is _State.SECTIONS:
            if self._left == 0:
                self._state = _State.INDEX
                return len(buffer)
            return self._read_section(at, out)
        return at

    def _read_header_v2(self, at: int) -> int:
        offset, size, index = _HEADER_V2.unpack_from(self._buffer, at)
        if offset < _DATA_OFFSET_MIN or size == 0 or (index and index < offset + size):
            raise RemoteError("CARv2 header with offsets that overlap or no data", "car")
        self._skip, self._left = offset - _DATA_OFFSET_MIN, size
        self._state = _State.GAP
        return at + _HEADER_V2.size

    def _frame(self, at: int, limit: int, what: str) -> tuple[int, int] | None:
        """Start and end of the length-prefixed frame at ``at``; None while it is not all there."""
        head = bytes(self._buffer[at : at + varint.MAX_BYTES])
        if len(head) < varint.MAX_BYTES and all(byte >= 0x80 for byte in head):
            return None  # the length itself is not all there
        length, used = varint.decode(head)
        if not 0 < length <= limit:
            raise RemoteError(f"CAR {what} of {length} bytes, at most {limit}, at least 1", "car")
        end = at + used + length
        if self._left is not None:
            if used + length > self._left:
                raise RemoteError(f"CAR {what} that reaches past the end of the data", "car")
            if end <= len(self._buffer):
                self._left -= used + length
        return (at + used, end) if end <= len(self._buffer) else None

    def _read_header(self, at: int, out: list[CarHeader | Block]) -> int:
        frame = self._frame(at, CAR_HEADER_MAX.value, "header")
        if frame is None:
            return at
        value = dagcbor.decode(bytes(self._buffer[frame[0] : frame[1]]))
        roots = value.get("roots") if isinstance(value, dict) else None
        if not isinstance(roots, list) or not all(isinstance(root, CID) for root in roots):
            raise RemoteError("CAR header without a list of roots", "car")
        version = value.get("version")
        if type(version) is not int or version != 1:  # neither True nor 1.0
            raise RemoteError("CAR header of a version other than 1", "car")
        out.append(CarHeader(self._version, tuple(roots)))
        self._state = _State.SECTIONS
        return frame[1]

    def _read_section(self, at: int, out: list[CarHeader | Block]) -> int:
        frame = self._frame(at, SECTION_BYTES_MAX, "section")
        if frame is None:
            return at
        section = bytes(self._buffer[frame[0] : frame[1]])
        cid, start = CID.read(section, 0)
        out.append(Block.checked(cid, memoryview(section)[start:]))
        return frame[1]


def encode_header(roots: list[CID]) -> bytes:
    """The header of a v1 archive."""
    body = dagcbor.encode({"roots": roots, "version": 1})
    return varint.encode(len(body)) + body


def section_head(block: Block) -> bytes:
    """What stands in front of a block's bytes in an archive, for writers that pass those by reference."""
    return varint.encode(len(block.cid.raw) + len(block)) + block.cid.raw


def encode_section(block: Block) -> bytes:
    """A block as one section of an archive."""
    return section_head(block) + block.data
