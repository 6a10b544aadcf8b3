"""A block: a CID and the bytes it names, carried by reference and never changed.

``Buffer`` is any other run of bytes that travels beside a message's header by reference (a frame, parts of a
frame).  Both hold a read-only memoryview, so two actors may hold the same one.
"""

from __future__ import annotations

from shoal.messages.cid import CID
from shoal.messages.errors import RemoteError
from shoal.messages.limits import BLOCK_BYTES_MAX


def read_only(data: bytes | memoryview) -> memoryview:
    """A read-only view of ``data``, which its owner must not change from now on."""
    view = data if isinstance(data, memoryview) else memoryview(data)
    return view if view.readonly else view.toreadonly()


class Buffer:
    """Bytes that ride beside a header by reference."""

    __slots__ = ("data",)

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = read_only(data)

    def __len__(self) -> int:
        return len(self.data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Buffer) and self.data == other.data

    def __hash__(self) -> int:
        return hash(bytes(self.data))

    def __repr__(self) -> str:
        return f"Buffer({len(self.data)} bytes)"


class Block:
    """A CID and its bytes.  ``checked`` makes one from bytes that nobody vouches for yet."""

    __slots__ = ("cid", "data")

    def __init__(self, cid: CID, data: bytes | memoryview) -> None:
        self.cid = cid
        self.data = read_only(data)

    @classmethod
    def checked(cls, cid: CID, data: bytes | memoryview) -> Block:
        """The block, once its bytes hash to its CID.  Raises RemoteError when they do not."""
        if len(data) > BLOCK_BYTES_MAX.value:
            raise RemoteError(f"block of {len(data)} bytes, at most {BLOCK_BYTES_MAX.value}", "block-size")
        if not cid.matches(data):
            raise RemoteError(f"bytes do not hash to {cid}", "block-hash")
        return cls(cid, data)

    def __len__(self) -> int:
        return len(self.data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Block) and self.cid == other.cid and self.data == other.data

    def __hash__(self) -> int:
        return hash(self.cid)

    def __repr__(self) -> str:
        return f"Block({self.cid}, {len(self.data)} bytes)"
