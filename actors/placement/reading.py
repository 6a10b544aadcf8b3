"""Finds blocks in the tiers: in memory what is there by choice, then on disk, then in the cold tier.

One block is read once however many ask for it at the same time: later askers wait for the read that is under way.
The cold tier is asked only when it is known to hold something, or when that is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from shoal.actors.base import Context
from shoal.actors.placement.choice import belongs_in_memory
from shoal.actors.placement.epochs import Epochs
from shoal.actors.placement.hot import HotSet, Moves
from shoal.actors.placement.tiercalls import TierCalls
from shoal.actors.placement.uses import Uses
from shoal.messages import keeping, tiers
from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.replies import Failed

MEMORY, DISK, COLD = "memory", "disk", "cold"
EVICTED_AT_ONCE: Final = 4096  # CIDs of one message to memory: a smaller policy may evict a hundred thousand

Found = Callable[[tuple[Block, ...]], None]
Absent = Callable[[tuple[CID, ...], Failed | None], None]


class Reading:
    """``found`` is called with what there is, in parts; ``absent`` exactly once, at the end, even with nothing."""

    def __init__(self, ctx: Context, calls: TierCalls, hot: HotSet, uses: Uses) -> None:
        self.ctx = ctx
        self.calls = calls
        self.hot = hot
        self.uses = uses
        self.epochs = Epochs()
        self.cold_used = True  # until the keeper says no: asking for nothing only takes time
        self._flights: dict[tuple[str, bytes], list[_Reader]] = {}  # reads under way, and who else waits for them

    def find(self, cids: tuple[CID, ...], deadline: float, found: Found, absent: Absent) -> None:
        """Look for ``cids``, which are distinct and none of them an identity CID."""
        reader = _Reader(self, cids, deadline, found, absent)
        hot = tuple(cid for cid in cids if self.hot.holds(cid))
        if not hot:
            reader.go_on(0, cids)
            return
        rest = tuple(cid for cid in cids if not self.hot.holds(cid))

        def from_memory(reply: Message) -> None:
            missing = hot
            if isinstance(reply, tiers.TierBlocks):
                missing = reply.missing
                self.hot.lost(missing)
                self.used(reply.blocks, "", put=False)
                if reply.blocks:
                    found(reply.blocks)
            reader.go_on(0, missing + rest)

        self.ctx.request(tiers.TierGet(hot), from_memory, to=MEMORY, deadline=deadline)

    def when_quiet(self, call: Callable[[], None]) -> None:
        """Make ``call`` once all reads under way have ended; by a timer, since the last of them may be a peer's, and
        what is done then is not done for it."""
        self.epochs.after_all(lambda: self.ctx.after(0.0, call))

    def places(self) -> tuple[str, ...]:
        """The durable tiers to ask, in this order."""
        return (DISK, COLD) if self.cold_used else (DISK,)

    def read(self, tier: str, cids: tuple[CID, ...], reader: _Reader) -> None:
        """Have ``reader`` get ``cids``, one for each multihash: with a read that is under way, or by one of its own."""
        flights = self._flights
        asked = tuple(cid for cid in cids if not self._join(flights.get((tier, cid.multihash)), reader))
        if asked:
            self._ask(tier, asked, reader)

    def _join(self, waiting: list[_Reader] | None, reader: _Reader) -> bool:
        if waiting is None:
            return False
        waiting.append(reader)
        return True

    def _ask(self, tier: str, cids: tuple[CID, ...], reader: _Reader) -> None:
        """Read from ``tier`` for ``reader``, and for whoever joins meanwhile."""
        for cid in cids:
            self._flights[tier, cid.multihash] = [reader]

        def answered(reply: Message) -> None:
            if isinstance(reply, tiers.TierBlocks):
                self.used(reply.blocks, tier, put=False)
                self._land(tier, reply.blocks, reply.missing, None)
            elif isinstance(reply, Failed):
                self._land(tier, (), cids, reply)
            else:
                self._land(
                    tier, (), cids, Failed("TierGet", "Unavailable", f"the {tier} tier did not take the request")
                )

        self.calls.call(tier, tiers.TierGet(cids), reader.deadline, answered)

    def arrived(self, blocks: Iterable[Block]) -> None:
        """These have just been stored, maybe in the disk tier behind the back of who asks the cold one by now."""
        coming = [block for block in blocks if (COLD, block.cid.multihash) in self._flights]
        if coming:
            self._land(COLD, coming, (), None)

    def _land(self, tier: str, read: Iterable[Block], missing: Iterable[CID], failure: Failed | None) -> None:
        """Give every reader what came of what it waits for, each once."""
        given: dict[_Reader, tuple[list[Block], list[CID]]] = {}
        again: dict[_Reader, list[CID]] = {}  # who only waited for another's read, which failed at that one's deadline
        for block in read:
            for reader in self._flights.pop((tier, block.cid.multihash), ()):
                given.setdefault(reader, ([], []))[0].append(block)
        for cid in missing:
            for number, reader in enumerate(self._flights.pop((tier, cid.multihash), ())):
                if failure is not None and number:
                    again.setdefault(reader, []).append(cid)
                else:
                    given.setdefault(reader, ([], []))[1].append(cid)
        for reader, cids in again.items():
            self.read(tier, tuple(cids), reader)
        for reader, (blocks, absent) in given.items():
            reader.landed(tier, blocks, absent, failure)

    def sizes(self, cids: tuple[CID, ...], deadline: float, known: Callable[[tuple[int, ...] | Message], None]) -> None:
        """The sizes of ``cids`` in their order, -1 for absent, from the indexes alone; or the reply that failed."""
        token = self.epochs.enter()
        sizes = dict.fromkeys(cids, -1)

        def end(result: tuple[int, ...] | Message) -> None:
            self.epochs.leave(token)
            known(result)

        def ask(places: tuple[str, ...], left: tuple[CID, ...]) -> None:
            def answered(reply: Message) -> None:
                if not isinstance(reply, tiers.TierSizes):
                    end(reply)
                    return
                sizes.update(zip(left, reply.sizes, strict=True))
                rest = tuple(cid for cid in left if sizes[cid] < 0)
                if rest and places[1:]:
                    ask(places[1:], rest)
                else:
                    end(tuple(sizes[cid] for cid in cids))

            self.calls.call(places[0], tiers.TierHas(left), deadline, answered)

        ask(self.places(), tuple(sizes))

    # --- what a use does ---------------------------------------------------------------------------

    def used(self, blocks: tuple[Block, ...], tier: str, *, put: bool) -> None:
        """Note these uses, and move what they make worth it: copies into memory, others out to make room."""
        if not blocks:
            return
        self.uses.note(blocks, tier, put=put)
        self._carry_out(self.hot.all_used(self._fitting(blocks), self.ctx.now()))

    def warm(self, blocks: tuple[Block, ...]) -> None:
        """Have memory hold copies of these by order of a user."""
        self._carry_out(self.hot.all_brought(self._fitting(blocks), self.ctx.now()))

    def cool(self, size: int) -> keeping.MemoryCooled:
        """Have memory let go of at least ``size`` bytes of copies, as far as it has them."""
        leaving, freed = self.hot.shed(size, self.ctx.now())
        self.evict(leaving)
        return keeping.MemoryCooled(len(leaving), freed)

    def _fitting(self, blocks: tuple[Block, ...]) -> list[Block]:
        policy = self.ctx.policy
        return [block for block in blocks if belongs_in_memory(len(block), policy)]

    def _carry_out(self, moves: Moves) -> None:
        self.evict(moves.evict)
        if moves.put:
            self.ctx.send(tiers.TierPut(moves.put), to=MEMORY)

    def evict(self, cids: tuple[CID, ...]) -> None:
        """Have memory let go of these."""
        for at in range(0, len(cids), EVICTED_AT_ONCE):
            self.ctx.send(tiers.TierEvict(cids[at : at + EVICTED_AT_ONCE]))


class _Reader:
    """One call of ``find``: what it still waits for, tier after tier.  It asks by one name of each multihash."""

    __slots__ = ("_absent", "_failure", "_found", "_left", "_missing", "_names", "_reading", "_token", "deadline")

    def __init__(self, reading: Reading, cids: tuple[CID, ...], deadline: float, found: Found, absent: Absent) -> None:
        self.deadline = deadline
        self._reading = reading
        self._found = found
        self._absent = absent
        self._token = reading.epochs.enter()
        self._left = 0  # CIDs of the tier that is being asked which have not come back
        self._missing: list[CID] = []  # of that tier
        self._failure: Failed | None = None
        self._names: dict[bytes, list[CID]] = {}
        for cid in cids:
            self._names.setdefault(cid.multihash, []).append(cid)

    def go_on(self, place: int, cids: Iterable[CID]) -> None:
        """Ask the durable tier at ``place`` for these."""
        reading = self._reading
        places = reading.places()
        distinct = {cid.multihash: cid for cid in cids}
        if not distinct or place >= len(places):
            reading.epochs.leave(self._token)
            self._absent(tuple(name for multihash in distinct for name in self._names[multihash]), self._failure)
            return
        self._left, self._missing = len(distinct), []
        reading.read(places[place], tuple(distinct.values()), self)

    def landed(self, tier: str, blocks: list[Block], missing: list[CID], failure: Failed | None) -> None:
        """What a read brought of what this reader waits for; it is handed on under the names that were asked for."""
        self._left -= len(blocks) + len(missing)
        self._missing += missing
        self._failure = failure or self._failure
        if blocks:
            self._found(tuple(named for block in blocks for named in self._named(block)))
        if self._left == 0:
            self.go_on(1 if tier == DISK else 2, self._missing)

    def _named(self, block: Block) -> Iterable[Block]:
        for cid in self._names[block.cid.multihash]:
            yield block if cid == block.cid else Block(cid, block.data)
