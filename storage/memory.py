"""MemoryStore: a cache of blocks that never holds more than its bytes.

No I/O and no clock: what was used last is known from the order of use alone.  Not durable, not thread-safe; the
memory tier's actor owns one.  Begin at ``put``.

Which blocks deserve the room is decided elsewhere (``actors.placement.hot``), which also says what has to leave.  The
store makes room by itself only where that has gone astray, and then from what was used longest ago: a block that
nobody knows to be here is not asked for, and goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from shoal.messages.block import Block
from shoal.messages.cid import CID, IDENTITY
from shoal.messages.errors import BadInput
from shoal.messages.limits import MEMORY_ENTRY_BYTES


@dataclass(frozen=True, slots=True)
class MemoryStats:
    """``bytes`` is what counts against ``capacity_bytes``: block data and MEMORY_ENTRY_BYTES for each block."""

    blocks: int
    bytes: int
    capacity_bytes: int
    hits: int
    misses: int
    evicted: int


def cost_of(size: int) -> int:
    """What a block of ``size`` bytes takes of the capacity, in bytes."""
    return size + MEMORY_ENTRY_BYTES.value


class MemoryStore:
    """Blocks by multihash, so that a CIDv0 and a CIDv1 of the same bytes share one entry.

    An identity CID carries its bytes: it is always here and takes no room.
    """

    def __init__(self, capacity_bytes: int, on_evict: Callable[[Block], None] | None = None) -> None:
        """A cache of ``capacity_bytes``.

        ``on_evict`` is given each block that another one or a smaller capacity pushes out, but none that is deleted.
        It must not call the store.
        """
        self._check_capacity(capacity_bytes)
        self._capacity = capacity_bytes
        self._on_evict = on_evict
        self._blocks: OrderedDict[bytes, Block] = OrderedDict()  # by multihash, the one used longest ago first
        self._bytes = 0
        self._hits = self._misses = self._evicted = 0

    def put(self, block: Block) -> bool:
        """Keep ``block``, pushing out others as needed; a block already here counts as used again.

        False when it is bigger than the whole capacity: then nothing has changed.
        """
        key = block.cid.multihash
        if block.cid.hash_code == IDENTITY or self._use(key) is not None:
            return True
        cost = cost_of(len(block))
        if cost > self._capacity:
            return False
        self._make_room(self._capacity - cost)
        self._blocks[key] = Block(block.cid, _compact(block.data))
        self._bytes += cost
        return True

    def get(self, cid: CID) -> Block | None:
        """The block, which counts as used; or None."""
        if cid.hash_code == IDENTITY:
            return Block(cid, cid.digest)
        block = self._use(cid.multihash)
        if block is None:
            self._misses += 1
            return None
        self._hits += 1
        return Block(cid, block.data)

    def size(self, cid: CID) -> int | None:
        """The block's size in bytes, or None where absent.  Does not count as a use."""
        if cid.hash_code == IDENTITY:
            return len(cid.digest)
        block = self._blocks.get(cid.multihash)
        return None if block is None else len(block)

    def __contains__(self, cid: CID) -> bool:
        return self.size(cid) is not None

    def delete(self, cid: CID) -> bool:
        """Forget the block; whether it was here."""
        block = self._blocks.pop(cid.multihash, None)
        if block is None:
            return False
        self._bytes -= cost_of(len(block))
        return True

    def set_capacity(self, capacity_bytes: int) -> None:
        """Change the capacity, pushing out what no longer fits."""
        self._check_capacity(capacity_bytes)
        self._capacity = capacity_bytes
        self._make_room(capacity_bytes)

    def stats(self) -> MemoryStats:
        """Counts and bytes as of now."""
        return MemoryStats(
            blocks=len(self._blocks),
            bytes=self._bytes,
            capacity_bytes=self._capacity,
            hits=self._hits,
            misses=self._misses,
            evicted=self._evicted,
        )

    def _use(self, key: bytes) -> Block | None:
        """The block, as the one used last."""
        block = self._blocks.get(key)
        if block is not None:
            self._blocks.move_to_end(key)
        return block

    def _make_room(self, bytes_max: int) -> None:
        """Push out blocks until at most ``bytes_max`` are taken."""
        while self._bytes > bytes_max:
            _, block = self._blocks.popitem(last=False)
            self._bytes -= cost_of(len(block))
            self._evicted += 1
            if self._on_evict is not None:
                self._on_evict(block)

    @staticmethod
    def _check_capacity(capacity_bytes: int) -> None:
        if capacity_bytes < 0:
            raise BadInput(f"a memory capacity of {capacity_bytes} bytes", "give 0 (no memory tier) or more")


def _compact(data: memoryview) -> memoryview:
    """``data``, copied when it is a slice of something bigger, which it would keep alive uncounted."""
    whole = data.obj
    return data if isinstance(whole, bytes) and len(whole) == data.nbytes else memoryview(bytes(data))
