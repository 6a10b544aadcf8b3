"""Every block of a DAG once, depth first: what a CAR holds.  dag-pb, dag-cbor and raw; UnixFS does not matter.

The order is that of first visits from the root, whatever the order in which blocks arrive.  Identity blocks
are looked through and left out: their bytes are in their CID.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_CBOR, DAG_PB, IDENTITY, RAW
from shoal.messages.errors import BadInput
from shoal.messages.limits import WALK_SEEN_MAX
from shoal.storage.ipld import dagcbor, dagpb
from shoal.storage.ipld.faults import UnknownCodec
from shoal.storage.ipld.walk import Slot, Walk, claimed_hole, item_slot


def links_of(block: Block) -> Iterable[tuple[CID, int | None]]:
    """Each link of ``block`` with the Tsize claimed for it, if any.  Raises UnknownCodec, RemoteError."""
    codec = block.cid.codec
    if codec == RAW:
        return []
    if codec == DAG_PB:
        return [(link.cid, link.tsize) for link in dagpb.decode(block.data).links]
    if codec == DAG_CBOR:
        return [(cid, None) for cid in dagcbor.links(dagcbor.decode(block.data))]
    raise UnknownCodec(f"cannot follow links of codec 0x{codec:x} in {block.cid}", "export only its own block")


class DagWalker(Walk[Block]):
    """The blocks of the DAG at ``root``, each once, while it remembers them.

    WALK_SEEN_MAX CIDs are remembered.  Past that, a raw leaf that occurs again is repeated, which a CAR
    permits; a DAG with more inner nodes than that raises BadInput, since following shared ones anew could
    take for ever.
    """

    def __init__(self, root: CID, window_bytes: int = 8 << 20) -> None:
        super().__init__(window_bytes)
        self._seen: set[bytes] = set()
        slot: Slot[Block] = Slot(root, None, 0)
        slot.inner = True
        self._start(slot)

    def _expand(self, _context: Any, block: Block) -> list[Slot[Block]]:
        below = [claimed_hole(child, tsize, None) for child, tsize in links_of(block)]
        return [item_slot(block, max(len(block.data), 1)), *below]

    def _skips(self, cid: CID) -> bool:
        return cid.raw in self._seen

    def _drops(self, item: Block) -> bool:
        raw = item.cid.raw
        if raw in self._seen:
            return True
        if len(self._seen) < WALK_SEEN_MAX.value:
            self._seen.add(raw)
        elif item.cid.codec != RAW:
            raise BadInput(f"a DAG of more than {WALK_SEEN_MAX.value} nodes", "export its parts one by one")
        return item.cid.hash_code == IDENTITY
