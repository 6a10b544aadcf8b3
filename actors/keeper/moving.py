"""Moves blocks from one tier to another so that they are never in none: read, store, verify, record, then drop.

The drop goes through placement, which waits for every read that began before (``messages.keeping.DropBlocks``): a
reader that looked in one tier before the copy came, and in the other after the drop, would find the block in neither.
Cut short at any point, a block is in its old tier, in its new one, or in both; ``patrol`` drops the second copy.

One run at a time, in batches, at a limited rate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from shoal.actors.base import Context
from shoal.actors.keeper.bucket import Bucket
from shoal.messages import keeping, tiers
from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.errors import LocalError
from shoal.messages.limits import MIB
from shoal.messages.replies import Failed
from shoal.storage.catalog.catalog import Catalog
from shoal.storage.catalog.rows import Usage

BATCH_BYTES: Final = 2 * MIB  # of one copy: some 10 ms on each tier's thread, which serves in between
BATCH_BLOCKS: Final = 32
STEP_TIMEOUT_S: Final = 60.0  # seconds for a tier to answer one step


class Mover:
    """``moved`` is told of every batch: the tier it went to, blocks, bytes.  ``ended`` of the end of a run, and why."""

    def __init__(
        self,
        ctx: Context,
        catalog: Catalog,
        moved: Callable[[str, int, int], None],
        ended: Callable[[str], None],
    ) -> None:
        self.ctx = ctx
        self.catalog = catalog
        self.busy = False
        self.error = ""  # why the last run ended, as the name of an error; empty when nothing failed
        self._moved = moved
        self._ended = self._told = ended
        self._bucket = Bucket()
        self._batches: deque[list[CID]] = deque()
        self._source = self._target = ""

    def start(
        self, blocks: Sequence[Usage], source: str, target: str, ended: Callable[[str], None] | None = None
    ) -> None:
        """Move these; nothing when there are none or a run is under way.  ``ended`` hears of its end instead."""
        if self.busy or not blocks:
            return
        self.busy, self.error = True, ""
        self._told = ended or self._ended
        self._source, self._target = source, target
        self._batches = deque(batches(blocks))
        self._next()

    def cut_short(self) -> None:
        """Move nothing after the batch under way."""
        self._batches.clear()

    def pause(self) -> None:
        """Move nothing until ``resume``.  Only while not busy; counts as busy."""
        assert not self.busy, "a run has blocks in hand"
        self.busy = True

    def resume(self) -> None:
        """Runs may start again."""
        self.busy = False

    def _next(self) -> None:
        if not self._batches:
            self._end("")
            return
        cids = tuple(self._batches.popleft())

        def read(reply: Message) -> None:
            if not isinstance(reply, tiers.TierBlocks):
                self._fail(reply)
                return
            self._attempt(lambda: self.catalog.moved(reply.missing, "", self.ctx.wall()) if reply.missing else None)
            if self.busy:
                self._store(reply.blocks)

        self._ask(tiers.TierGet(cids), self._source, read)

    def _store(self, blocks: tuple[Block, ...]) -> None:
        if not blocks:
            self._next()
            return

        def stored(reply: Message) -> None:
            if isinstance(reply, tiers.TierStored):
                self._verify(blocks)
            else:
                self._fail(reply)

        self._ask(tiers.TierPut(blocks), self._target, stored)

    def _verify(self, blocks: tuple[Block, ...]) -> None:
        """Read the copies back: the only other copy is about to go."""

        def verified(reply: Message) -> None:
            if not isinstance(reply, tiers.TierScrubbed):
                self._fail(reply)
                return
            bad = {cid.multihash for cid in reply.damaged}
            sound = [block for block in blocks if block.cid.multihash not in bad]
            if reply.sound < len({block.cid.multihash for block in sound}):
                self._end(f"the {self._target} tier does not hold what it has just stored")
                return
            self._record(sound)

        self._ask(tiers.TierScrub(tuple(block.cid for block in blocks)), self._target, verified)

    def _record(self, blocks: list[Block]) -> None:
        cids = tuple(block.cid for block in blocks)
        self._attempt(lambda: self.catalog.moved(cids, self._target, self.ctx.wall()))
        if not self.busy:
            return
        size = sum(len(block) for block in blocks)

        def dropped(reply: Message) -> None:
            if not isinstance(reply, keeping.BlocksDropped):
                self._fail(reply)
                return
            self._moved(self._target, len(blocks), size)
            wait = self._bucket.spend(size, self.ctx.policy.move_bytes_per_s, self.ctx.now())
            self.ctx.after(wait, self._next)

        self._ask(keeping.DropBlocks(cids, self._source), "placement", dropped)

    def _ask(self, message: Message, to: str, answered: Callable[[Message], None]) -> None:
        self.ctx.request(message, answered, to=to, timeout_s=STEP_TIMEOUT_S)

    def _attempt(self, call: Callable[[], object]) -> None:
        try:
            call()
        except LocalError as fault:
            self._end(fault.message, type(fault).__name__)

    def _fail(self, reply: Message) -> None:
        self._end(why(reply), reply.error if isinstance(reply, Failed) else "Unavailable")

    def _end(self, reason: str, error: str = "StorageFault") -> None:
        self.busy = False
        self._batches.clear()
        if reason:
            self.error = error
            self.ctx.count("moves_given_up")
        self._told(reason)


def batches(blocks: Sequence[Usage]) -> list[list[CID]]:
    """``blocks`` in runs of at most BATCH_BLOCKS and BATCH_BYTES, or one block over."""
    made: list[list[CID]] = []
    size = 0
    for usage in blocks:
        if not made or len(made[-1]) >= BATCH_BLOCKS or size + usage.size > BATCH_BYTES:
            made.append([])
            size = 0
        made[-1].append(usage.cid)
        size += usage.size
    return made


def why(reply: Message) -> str:
    """What a reply that is not the one hoped for says."""
    return reply.reason if isinstance(reply, Failed) else f"answered with {type(reply).__name__}"
