"""What is here of a DAG, and what is missing of it: a walk that never goes to the network.

For questions about pins.  Not for reading content (``fetch``): the order is no reader's, a block that is missing is
told and passed over, and of raw leaves only the index is asked.  Begin at ``walk``.

Memory: the CIDs seen, at most WALK_SEEN_MAX, and those still to be visited, at most WALK_SLOTS_MAX.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from shoal.messages import blocks
from shoal.messages.block import Block
from shoal.messages.cid import CID, IDENTITY, RAW
from shoal.messages.errors import BadInput, RemoteError, Unavailable
from shoal.messages.limits import WALK_SEEN_MAX, WALK_SLOTS_MAX
from shoal.runtime.asking import ASK_TIMEOUT_S, RESTART_S, RETRY_S, ask_patiently
from shoal.runtime.edge import Edge
from shoal.storage.ipld.dag import links_of
from shoal.storage.ipld.faults import UnknownCodec

READ_BLOCKS: Final = 16  # inner blocks read at one time: 32 MiB at most
SIZED_BLOCKS: Final = 1024  # raw leaves looked up at one time
READ_TIMEOUT_S: Final = 60.0  # seconds for one such read on a slow disk


@dataclass(frozen=True, slots=True)
class Visit:
    """One CID of the DAG.  ``fault`` says why nothing below it is known; empty when all is well."""

    cid: CID
    fault: str = ""


class LocalDag:
    """Walks DAGs in the node's own store.  CIDs seen in one walk are passed over in the next, while remembered."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._seen: set[bytes] = set()

    def walk(self, root: CID) -> Iterator[Visit]:
        """Every CID of the DAG at ``root``, itself first, each once.

        Raises BadInput for a DAG with more than WALK_SEEN_MAX inner nodes or WALK_SLOTS_MAX open places.
        """
        inner: list[CID] = []
        leaves: list[CID] = []
        self._note([root], inner, leaves)
        while inner or leaves:
            if len(leaves) >= SIZED_BLOCKS or not inner:
                batch, leaves = leaves[:SIZED_BLOCKS], leaves[SIZED_BLOCKS:]
                yield from self._look_up(batch)
                continue
            # The newest first: what is open then grows with the depth, not with the breadth.
            batch, inner = inner[-READ_BLOCKS:], inner[:-READ_BLOCKS]
            found, faults = self._read(batch)
            for cid in batch:
                block = found.get(cid)
                fault = faults.get(cid, "") if block is None else self._follow(block, inner, leaves)
                yield Visit(cid, fault)

    def _follow(self, block: Block, inner: list[CID], leaves: list[CID]) -> str:
        """Note what ``block`` links to.  Why that cannot be done, or nothing."""
        try:
            children = [cid for cid, _ in links_of(block)]
        except UnknownCodec:
            return ""  # without links that anybody here could follow
        except RemoteError as fault:
            return f"malformed: {fault}"
        self._note(children, inner, leaves)
        return ""

    def _note(self, cids: list[CID], inner: list[CID], leaves: list[CID]) -> None:
        for cid in cids:
            if cid.raw in self._seen:
                continue
            if len(self._seen) < WALK_SEEN_MAX.value:
                self._seen.add(cid.raw)
            elif cid.codec != RAW:
                raise BadInput(f"DAGs of more than {WALK_SEEN_MAX.value} nodes", "ask about fewer pins at a time")
            (leaves if cid.codec == RAW else inner).append(cid)
        if len(inner) + len(leaves) > WALK_SLOTS_MAX.value:
            raise BadInput(f"a DAG with more than {WALK_SLOTS_MAX.value} open places", "pin its parts one by one")

    def _look_up(self, leaves: Sequence[CID]) -> Iterator[Visit]:
        sizes = ask_patiently(self._edge, blocks.BlockSizes, blocks.HasBlocks(tuple(leaves)), ASK_TIMEOUT_S).sizes
        for cid, size in zip(leaves, sizes, strict=True):
            yield Visit(cid, "" if size >= 0 else "not here")

    def _read(self, cids: Sequence[CID]) -> tuple[dict[CID, Block], dict[CID, str]]:
        """What is here of these, and why the others are not; asked again while placement is being restarted."""
        found = {cid: Block(cid, cid.digest) for cid in cids if cid.hash_code == IDENTITY}
        patience = self._edge.now() + RESTART_S
        while True:
            wanted = tuple(cid for cid in cids if cid not in found)
            try:
                return found, self._gather(wanted, found)
            except Unavailable:
                if self._edge.now() >= patience:
                    raise
            self._edge.pause(RETRY_S)

    def _gather(self, wanted: tuple[CID, ...], found: dict[CID, Block]) -> dict[CID, str]:
        faults: dict[CID, str] = {}
        if not wanted:
            return faults
        with self._edge.stream(blocks.GetBlocks(wanted, fetch=False), READ_TIMEOUT_S) as replies:
            while (reply := replies.next()) is not None:
                if isinstance(reply, blocks.BlocksFound):
                    found.update((block.cid, block) for block in reply.blocks)
                elif isinstance(reply, blocks.BlocksEnd):
                    faults.update((missing.cid, missing.reason) for missing in reply.missing)
        return faults
