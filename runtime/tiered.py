"""TieredCacheManager: blocks in memory, on disk and in the cold tier, as a plain Python object.

    with TieredCacheManager({"memory_cache_size": "100MB", "local_cache_path": "cache"}) as cache:
        cid = cache.put(b"some bytes")            durable when it returns
        assert cache.get(cid) == b"some bytes"

By itself it runs the storage actors of a node, without a network, in its own folder (``tiered_machine``): it starts at
its first use, and heat moves blocks between the tiers in the background.  Given to a node (``Node(config,
tiers=cache)``) it lends the node its folder and sizes, and its calls go to that node's actors; it ends with the node.

A block is at most BLOCK_BYTES_MAX; larger content is a file, which a node adds (``Node.api.add``).  Nothing here goes
to the network.  Calls are thread-safe, end by themselves, and raise LocalErrors: BadInput for what cannot be, NotFound,
StorageFull, StorageFault, Unavailable or DeadlineExceeded.

Not here: what the keys of the configuration mean (``tiered_settings``) and where blocks belong (``actors.keeper``,
``actors.placement``).  Begin at ``TieredCacheManager.put``.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

from shoal.messages import blocks, keeping
from shoal.messages.block import Block
from shoal.messages.cid import CID, IDENTITY
from shoal.messages.errors import BadInput, NotFound, StorageFull
from shoal.messages.limits import BLOCK_BYTES_MAX
from shoal.messages.replies import Done
from shoal.runtime.asking import ASK_TIMEOUT_S, ask_patiently
from shoal.runtime.fetch import BlockList, Fetch
from shoal.runtime.tiered_access import Access, Tiers
from shoal.runtime.tiered_figures import shown
from shoal.runtime.tiered_settings import TierSettings
from shoal.storage.memory import cost_of

TIERS: Final = ("memory", "disk", "cold")  # the fastest first
STORE_TIMEOUT_S: Final = 60.0  # seconds for one block to become durable on a slow disk
READ_TIMEOUT_S: Final = 60.0  # seconds for one block to be read from a slow disk or an object store
MOVE_TIMEOUT_S: Final = 120.0  # seconds for a move, which waits for a collection to end
STORE_TRIES: Final = 3  # of a put that finds no room: others may take what was made for it

AnyCid = str | CID


class TieredCacheManager:
    """See the module.  A context manager that closes itself; also closed in order when the interpreter ends."""

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        """Check ``config``; nothing is opened yet.  Keys, each with a default:

        memory_cache_size    bytes of memory for copies of what is used again and again (100 MiB)
        local_cache_size     bytes of the disk tier (1 GiB); what it has no room for goes on to the cold tier
        cold_cache_size      bytes of the cold tier (0: bounded by its volume alone); beyond it, what nothing keeps goes
        local_cache_path     the folder of it all (~/.shoal-cache)
        max_item_size        bytes of the largest block that memory takes a copy of
        promotion_threshold  heat from which a block comes up from the cold tier (4)
        demotion_threshold   heat below which it goes down when the disk tier fills up (0.5)

        Sizes are ints or text such as "100MB" (10^6) or "100MiB" (2^20).  Raises BadConfig.
        """
        self.settings = TierSettings.of(config)
        self._access = Access(self.settings)
        self._deciding = threading.Lock()  # whether a block is pinned does not change between a look and a deletion

    # --- content -----------------------------------------------------------------------------------

    def put(self, data: bytes | bytearray | memoryview, *, cid: AnyCid | None = None) -> str:
        """Store a block, durably: once this returns it survives kill -9 and power loss.  Its CID.

        ``cid``: the one it must have; without one it gets the CIDv1 of raw bytes and sha2-256.  Raises BadInput when
        the two do not belong together, StorageFull when no tier has room and nothing may make way.
        """
        block = _block(data, cid)
        if block.cid.hash_code != IDENTITY:
            with self._access.use() as tiers:
                _store(tiers, block)
        return str(block.cid)

    def get(self, cid: AnyCid) -> bytes | None:
        """A block's bytes, from the fastest tier that has it; None when none has.  It counts as a use."""
        with self._access.use() as tiers:
            try:
                (block,) = Fetch(tiers.edge, BlockList([_cid(cid)]), timeout_s=READ_TIMEOUT_S, fetch=False)
            except NotFound:
                return None
            return bytes(block.data)

    def exists(self, cid: AnyCid) -> bool:
        """Whether some tier has the block.  It does not count as a use."""
        with self._access.use() as tiers:
            return ask_patiently(tiers.edge, blocks.BlockSizes, blocks.HasBlocks((_cid(cid),))).sizes[0] >= 0

    def delete(self, cid: AnyCid) -> bool:
        """Forget the block in every tier; whether it was here.  Raises BadInput for one that a pin keeps."""
        wanted = _cid(cid)
        with self._access.use() as tiers, self._deciding:
            if not self._place(tiers, wanted).tiers:
                return False
            root = tiers.pinned_by(wanted)
            if root is not None:
                raise BadInput(f"{wanted} is kept by the pin of {root}", "unpin that first")
            tiers.delete(wanted, MOVE_TIMEOUT_S)
            return True

    # --- tiers -------------------------------------------------------------------------------------

    def tiers_of(self, cid: AnyCid) -> tuple[str, ...]:
        """The tiers that hold the block, the fastest first: its home is disk or cold, memory may have a copy."""
        with self._access.use() as tiers:
            return self._place(tiers, _cid(cid)).tiers

    def promote(self, cid: AnyCid, tier: str | None = None) -> str:
        """Bring the block up to ``tier``, memory or disk (None: the next faster one); the fastest that it is in then.

        Memory takes a copy if the block is small enough for it, and may let go of it again for what is used more.
        Raises NotFound, BadInput for a tier that is none, StorageFull.
        """
        return self._move(_cid(cid), tier, up=True)

    def demote(self, cid: AnyCid, tier: str | None = None) -> str:
        """Bring the block down to ``tier``, disk or cold (None: the next slower one); the fastest that it is in then.

        A block that is used goes up again by its heat.  Raises NotFound, BadInput, StorageFull.
        """
        return self._move(_cid(cid), tier, up=False)

    def evict(self, what: AnyCid | int) -> int:
        """Make room; the bytes that were freed, in memory and in the durable tiers together, as ``stats`` counts them.

        An int is a number of bytes: copies in memory go first, those worth least before others, then whole blocks,
        the coldest first, but none that is pinned or in use; it may be less than asked, or a block more.  A CID is one
        block: its copy in memory goes, and itself unless it is pinned.
        """
        if isinstance(what, int):
            return self._make_room(what)
        cid = _cid(what)
        with self._access.use() as tiers, self._deciding:
            place = self._place(tiers, cid)
            freed = 0
            if TIERS[0] in place.tiers:
                after = tiers.move(cid, TIERS[1], up=False, timeout_s=MOVE_TIMEOUT_S)
                freed += cost_of(place.size) * (TIERS[0] not in after.tiers)
            if place.tiers and tiers.pinned_by(cid) is None:
                tiers.delete(cid, MOVE_TIMEOUT_S)
                freed += place.size
            return freed

    # --- pins --------------------------------------------------------------------------------------

    def pin(self, cid: AnyCid) -> None:
        """Keep the block, durably, whatever has to go.  Raises NotFound.  A pinned block may still change its tier."""
        wanted = _cid(cid)
        with self._access.use() as tiers, self._deciding, tiers.holding.storing(wanted):
            if not self._place(tiers, wanted).tiers and wanted.hash_code != IDENTITY:
                raise _not_here(wanted)
            if tiers.own_pin(wanted) is None:
                ask_patiently(tiers.edge, Done, keeping.AddPin(wanted, recursive=False))

    def unpin(self, cid: AnyCid) -> bool:
        """End the block's own pin, of whatever kind; whether there was one."""
        with self._access.use() as tiers, self._deciding:
            pin = tiers.own_pin(_cid(cid))
            if pin is None:
                return False
            ask_patiently(tiers.edge, Done, keeping.RemovePin(pin.cid))
            return True

    # --- figures -----------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """How full the tiers are and how they are used.  Counters are since the start.

        tiers        memory, disk and cold, each: blocks, bytes, capacity (0: unbounded), hits, misses, hit_ratio,
                     state, and heats: how many of its blocks are in each bucket of heat (none for memory's copies)
        heat_edges   the upper ends of those buckets; uses count in them a few seconds later
        hits, misses, hit_ratio   of reads, whatever tier had the block
        moves        up, down, bytes: homes changed, by heat and by order
        collected    blocks and bytes that went because nothing kept them
        pins         how many
        """
        with self._access.use() as tiers:
            return shown(tiers.figures())

    # --- its life ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Wait for the calls under way, end the actors and let go of the folder.  Twice is once.

        Of a manager that a node uses: only its own calls end.
        """
        self._access.close()

    @property
    def access(self) -> Access:
        """For the node that is given this."""
        return self._access

    def __enter__(self) -> Self:
        with self._access.use():
            return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- within ------------------------------------------------------------------------------------

    def _place(self, tiers: Tiers, cid: CID) -> keeping.BlockPlaces:
        return ask_patiently(tiers.edge, keeping.PlacesFound, keeping.AskPlaces((cid,)), ASK_TIMEOUT_S).places[0]

    def _move(self, cid: CID, tier: str | None, *, up: bool) -> str:
        ends = TIERS[:2] if up else TIERS[1:]
        if tier is not None and tier not in ends:
            raise BadInput(f"nothing is {'promoted' if up else 'demoted'} to {tier!r}", f"use one of {', '.join(ends)}")
        with self._access.use() as tiers:
            place = self._place(tiers, cid)
            if not place.tiers:
                raise _not_here(cid)
            at = TIERS.index(place.tiers[0])
            target = tier or TIERS[max(0, at - 1) if up else min(at + 1, len(TIERS) - 1)]
            after = tiers.move(cid, target, up=up, timeout_s=MOVE_TIMEOUT_S)
            if not after.tiers:  # deleted meanwhile
                raise _not_here(cid)
            return after.tiers[0]

    def _make_room(self, size: int) -> int:
        if isinstance(size, bool) or size < 0:
            raise BadInput(f"room of {size} bytes", "give a number of bytes, or a CID")
        with self._access.use() as tiers:
            return tiers.evict(size, copies=True)


def _store(tiers: Tiers, block: Block) -> None:
    """Have a block stored, and where there is no room, other blocks make way for it."""
    for left in reversed(range(STORE_TRIES)):
        try:
            ask_patiently(tiers.edge, blocks.BlocksStored, blocks.PutBlocks((block,)), STORE_TIMEOUT_S)
            return
        except StorageFull:
            if not left or not tiers.make_room(len(block)):
                raise


def _cid(cid: AnyCid) -> CID:
    if isinstance(cid, CID):
        return cid
    if not isinstance(cid, str):
        raise BadInput(f"a {type(cid).__name__} is no CID", "give the text that put returned")
    return CID.parse(cid)


def _block(data: bytes | bytearray | memoryview, cid: AnyCid | None) -> Block:
    """A checked block of its own bytes.  Raises BadInput."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise BadInput(f"a {type(data).__name__} is no block", "give bytes; encode text first")
    own = bytes(data)
    if len(own) > BLOCK_BYTES_MAX.value:
        raise BadInput(
            f"a block of {len(own)} bytes, at most {BLOCK_BYTES_MAX.value}",
            "put it in parts, or add it as a file to a node that has these tiers",
        )
    if cid is None:
        return Block(CID.of(own), own)
    named = _cid(cid)
    if not named.matches(own):
        raise BadInput(
            f"these {len(own)} bytes are not what {named} names",
            f"leave the CID out, and they get {CID.of(own)}",
        )
    return Block(named, own)


def _not_here(cid: CID) -> NotFound:
    if cid.hash_code == IDENTITY:
        return NotFound(f"{cid} carries its bytes in its name and is in no tier")
    return NotFound(f"{cid} is in no tier", "put it first")
