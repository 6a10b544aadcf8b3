"""Puts blocks where they belong, and deletes them so that no reader and no newcomer is hurt.

A tier that is full is no reason to refuse a block that the other durable tier would take.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from shoal.actors.base import Context
from shoal.actors.placement.choice import goes_to_disk
from shoal.actors.placement.gets import Gets
from shoal.actors.placement.reading import COLD, DISK, MEMORY, Reading
from shoal.actors.placement.tiercalls import TierCalls
from shoal.messages import keeping, tiers
from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.replies import Done, Failed

Answered = Callable[[Message], None]


class Storing:
    """Blocks in and out of the tiers."""

    def __init__(self, ctx: Context, calls: TierCalls, reading: Reading, gets: Gets) -> None:
        self.ctx = ctx
        self.calls = calls
        self.reading = reading
        self.gets = gets
        self.pressed = False  # the disk tier is above its low watermark
        self._dropping: dict[bytes, CID] = {}  # copies about to be deleted from one of the durable tiers
        self._deleting: Counter[bytes] = Counter()  # a tier has been told to forget these and has not answered
        self._waiting: list[tuple[frozenset[bytes], Callable[[], None]]] = []  # puts of some of them
        self._cold_put = False  # we have put something into the cold tier, which the keeper may not have seen

    # --- in ----------------------------------------------------------------------------------------

    def put(
        self, blocks: tuple[Block, ...], priority: int, deadline: float, done: Answered, *, copy: bool = False
    ) -> None:
        """Store all of ``blocks`` durably; ``done`` hears TierStored for all of them, or the first thing that failed.

        With ``copy`` memory may take one.
        """
        uses = self.reading.uses
        uses.coming(blocks)
        self._stop_dropping(block.cid for block in blocks)
        # A deletion that outlasts a tier's restart is repeated, and would otherwise come after a put that came later.
        names = frozenset(block.cid.multihash for block in blocks)
        if names.isdisjoint(self._deleting):
            self._put_all(blocks, priority, deadline, done, copy=copy)
        else:
            self._waiting.append((names, lambda: self._put_all(blocks, priority, deadline, done, copy=copy)))

    def _put_all(
        self, blocks: tuple[Block, ...], priority: int, deadline: float, done: Answered, *, copy: bool
    ) -> None:
        policy, uses = self.ctx.policy, self.reading.uses
        homes: dict[str, list[Block]] = {DISK: [], COLD: []}
        for block in blocks:
            homes[DISK if goes_to_disk(len(block), priority, self.pressed, policy) else COLD].append(block)
        shares = [(tier, tuple(share)) for tier, share in homes.items() if share] or [(DISK, blocks)]
        replies: list[Message] = []

        def stored(tier: str, share: tuple[Block, ...], reply: Message) -> None:
            uses.came(share)
            if isinstance(reply, tiers.TierStored):
                self._stored(share, tier, copy)
            replies.append(reply)
            if len(replies) == len(shares):
                done(next((one for one in replies if not isinstance(one, tiers.TierStored)), replies[0]))

        for tier, share in shares:
            self._put(tier, share, deadline, stored)

    def _put(
        self,
        tier: str,
        blocks: tuple[Block, ...],
        deadline: float,
        stored: Callable[[str, tuple[Block, ...], Message], None],
    ) -> None:
        """Put into ``tier``, and into the other one when it has no room."""
        other = COLD if tier == DISK else DISK

        def answered(reply: Message) -> None:
            full = isinstance(reply, Failed) and reply.error == "StorageFull"
            if not full or not self.ctx.policy.use_cold_tier:
                stored(tier, blocks, reply)
                return
            self.ctx.count("puts_to_the_other_tier")
            if other == COLD:
                self._use_cold()
            self.calls.call(
                other,
                tiers.TierPut(blocks),
                deadline,
                lambda second: stored(other, blocks, second if isinstance(second, tiers.TierStored) else reply),
            )

        if tier == COLD:
            self._use_cold()
        self.calls.call(tier, tiers.TierPut(blocks), deadline, answered)

    def _use_cold(self) -> None:
        """From before a block is there nobody may look past the cold tier."""
        self.reading.cold_used = self._cold_put = True

    def changed(self, message: keeping.TiersChanged) -> None:
        """What the keeper has seen of the tiers."""
        self.reading.cold_used = message.cold_used or self._cold_put
        self.pressed = message.pressed

    def _stored(self, blocks: tuple[Block, ...], tier: str, copy: bool) -> None:
        self.reading.arrived(blocks)
        if copy:
            self.reading.used(blocks, tier, put=True)
        else:
            self.reading.uses.note(blocks, tier, put=True)

    # --- out ---------------------------------------------------------------------------------------

    def drop(self, message: keeping.DropBlocks, envelope: Envelope) -> None:
        """Carry out what the keeper decided: one copy, or for good what is not in use."""
        if message.tier == MEMORY:
            self._forget_copies(message.cids)
            self._told(envelope, Done())
            return
        if message.tier:
            self._drop_copies(message, envelope)
            return
        kept = tuple(cid for cid in message.cids if self._in_use(cid))
        names = {cid.multihash for cid in kept}
        gone = tuple(cid for cid in message.cids if cid.multihash not in names)
        self.delete(gone, envelope.deadline, lambda reply: self._told(envelope, reply, kept))

    def _drop_copies(self, message: keeping.DropBlocks, envelope: Envelope) -> None:
        """Delete from one tier what the other durable one has, once no reader may be between the two.

        What is put, deleted or also dropped from the other tier meanwhile stays: the copy that was counted on may
        have gone, or be about to.
        """
        mine = {cid.multihash: cid for cid in message.cids if cid.multihash not in self._dropping}
        self._dropping.update(mine)
        other = COLD if message.tier == DISK else DISK

        def end(reply: Message) -> None:
            gone = {cid.multihash for cid in still()}
            for name in gone:
                del self._dropping[name]
            kept = tuple(cid for cid in message.cids if cid.multihash not in gone)
            self._told(envelope, reply, kept)

        def still() -> tuple[CID, ...]:
            return tuple(cid for name, cid in mine.items() if self._dropping.get(name) is cid)

        def known(asked: tuple[CID, ...], reply: Message) -> None:
            if not isinstance(reply, tiers.TierSizes):
                end(reply)
                return
            safe = {cid.multihash for cid, size in zip(asked, reply.sizes, strict=True) if size >= 0}
            for cid in still():
                if cid.multihash not in safe or cid.multihash in self._deleting:
                    del self._dropping[cid.multihash]
            if cids := still():
                self._forget(message.tier, cids, envelope.deadline, end)
            else:
                end(Done())

        def quiet() -> None:
            if asked := still():
                self.calls.call(other, tiers.TierHas(asked), envelope.deadline, lambda reply: known(asked, reply))
            else:
                end(Done())

        self.reading.when_quiet(quiet)

    def _stop_dropping(self, cids: Iterable[CID]) -> None:
        """These were put or deleted: which copies there are is no longer what a drop under way takes it to be."""
        if self._dropping:
            for cid in cids:
                self._dropping.pop(cid.multihash, None)

    def delete(self, cids: Sequence[CID], deadline: float, done: Answered) -> None:
        """Forget ``cids`` in every tier; ``done`` hears Done, or the first thing that failed."""
        cids = tuple(cids)
        if not cids:
            done(Done())
            return
        self._stop_dropping(cids)
        self._forget_copies(cids)
        if self.reading.epochs.inside:
            self.reading.when_quiet(lambda: self._forget_copies(cids))  # a reader may have brought one back
        places = self.reading.places()
        replies: list[Message] = []

        def deleted(reply: Message) -> None:
            replies.append(reply)
            if len(replies) == len(places):
                done(next((one for one in replies if not isinstance(one, Done)), replies[0]))

        for tier in places:
            self._forget(tier, cids, deadline, deleted)

    def _forget(self, tier: str, cids: tuple[CID, ...], deadline: float, answered: Answered) -> None:
        """Have a durable tier delete these; puts of them wait meanwhile."""
        names = [cid.multihash for cid in cids]
        self._deleting.update(names)

        def forgotten(reply: Message) -> None:
            self._deleting -= Counter(names)
            ready = [put for named, put in self._waiting if named.isdisjoint(self._deleting)]
            self._waiting = [entry for entry in self._waiting if not entry[0].isdisjoint(self._deleting)]
            answered(reply)
            for put in ready:
                put()

        self.calls.call(tier, tiers.TierDelete(cids), deadline, forgotten)

    def _forget_copies(self, cids: tuple[CID, ...]) -> None:
        self.reading.hot.forget(cids)
        self.ctx.send(tiers.TierDelete(cids), to=MEMORY)

    def _in_use(self, cid: CID) -> bool:
        return self.reading.uses.busy(cid) or bool(self.gets.wanted.get(cid))

    def _told(self, envelope: Envelope, reply: Message, kept: tuple[CID, ...] = ()) -> None:
        self.ctx.reply(envelope, keeping.BlocksDropped(kept) if isinstance(reply, Done) else reply)
