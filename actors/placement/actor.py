"""The placement actor: finds asked-for blocks in the tiers or has them fetched, and puts new ones where they belong.

The content path (DESIGN 4): memory for what is used again and again (``hot``), then disk, then a want.  A block that
arrives is stored first and handed out after, so what an asker has seen survives a crash; only who asked to read it
``early`` gets it while it is being stored.  A tier, the wantlist or
bitswap may die and come back at any time: tier requests are repeated until their deadline, wants are sent again when
the wantlist is new.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import ClassVar, Final

from shoal.actors.base import Actor, Context, handles
from shoal.actors.placement.gets import Get, Gets
from shoal.actors.placement.hot import HotSet
from shoal.actors.placement.reading import COLD, DISK, MEMORY, Reading
from shoal.actors.placement.storing import Storing
from shoal.actors.placement.tiercalls import TierCalls
from shoal.actors.placement.uses import Uses
from shoal.messages import blocks, keeping, lifecycle, tiers, wants
from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.cid import CID, IDENTITY
from shoal.messages.envelope import Envelope
from shoal.messages.replies import Done, Failed, Overloaded, Refused

SWEEP_S: Final = 1.0  # seconds between looks for overdue requests, while there are requests
OVERDUE_GRACE_S: Final = 1.0  # seconds that the wantlist has to say first, with its better text, why a want failed


class PlacementActor(Actor):
    """The one door to the blocks of this node."""

    NAME: ClassVar[str] = "placement"

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.gets = Gets()
        self.calls = TierCalls(ctx)
        self.reading = Reading(ctx, self.calls, HotSet(ctx.policy.memory_bytes), Uses(ctx))
        self.storing = Storing(ctx, self.calls, self.reading, self.gets)
        self.sweeping = False

    def on_start(self) -> None:
        self.reading.uses.begin()

    # --- asking ------------------------------------------------------------------------------------

    @handles(blocks.GetBlocks)
    def on_get(self, message: blocks.GetBlocks, envelope: Envelope) -> None:
        cids = tuple(dict.fromkeys(message.cids))
        self.gets.add(envelope, cids, message.session or envelope.id, message.fetch, message.early)
        self._sweep_later()
        inline = [Block(cid, cid.digest) for cid in cids if cid.hash_code == IDENTITY]
        self._hand_out(envelope.id, inline)
        rest = tuple(cid for cid in cids if cid.hash_code != IDENTITY)

        def found(here: tuple[Block, ...]) -> None:
            self._hand_out(envelope.id, here)

        def absent(missing: tuple[CID, ...], failure: Failed | None) -> None:
            self._not_here(envelope.id, missing, failure)

        self.reading.find(rest, envelope.deadline, found, absent)

    def _not_here(self, request: int, missing: tuple[CID, ...], failure: Failed | None) -> None:
        get = self.gets.open.get(request)
        if get is None or not missing:
            return
        if not get.fetch:
            reason = failure.reason if failure else "not in the local store, and fetching was not asked for"
            self._miss(request, missing, reason, failure.error if failure else "NotFound")
            return
        waited = self.gets.want(request, missing)
        # By a timer: the read may have been made for a peer, who may not cause us to fetch.
        self.ctx.after(0.0, lambda: self._want(get, [cid for cid in waited if cid in get.remaining]))

    def _want(self, get: Get, cids: list[CID]) -> None:
        """Have ``cids`` fetched; they come as BlocksFetched.  The wantlist only says that it has taken the wants."""
        if not cids:
            return
        request = get.envelope.id

        def answered(reply: Message) -> None:
            # A wantlist that died gets the wants again when it is back (on_actor_restarted).
            if isinstance(reply, Refused):
                self._miss(request, cids, reply.reason, "Unavailable")
            elif isinstance(reply, Overloaded):
                self._miss(request, cids, "too much is wanted already", "Unavailable")

        envelope = get.envelope
        self.ctx.request(
            wants.Want(tuple(cids), get.session),
            answered,
            deadline=envelope.deadline,
            priority=envelope.priority,
        )

    @handles(blocks.CancelGet)
    def on_cancel(self, message: blocks.CancelGet, _: Envelope) -> None:
        self._close(message.request)

    @handles(wants.WantsFailed)
    def on_wants_failed(self, message: wants.WantsFailed, _: Envelope) -> None:
        for failed in message.wants:
            for request in self.gets.waiting_for(failed.cid, failed.session):
                self._miss(request, (failed.cid,), failed.tried, "DeadlineExceeded")

    # --- handing in --------------------------------------------------------------------------------

    @handles(blocks.PutBlocks)
    def on_put(self, message: blocks.PutBlocks, envelope: Envelope) -> None:
        def stored(reply: Message) -> None:
            if isinstance(reply, tiers.TierStored):
                size = sum(len(block) for block in message.blocks)
                self.ctx.reply(envelope, blocks.BlocksStored(len(message.blocks), size))
                self._available(message.blocks)
            else:
                self.ctx.reply(envelope, reply)

        self.storing.put(message.blocks, envelope.priority, envelope.deadline, stored)

    @handles(blocks.BlocksFetched)
    def on_fetched(self, message: blocks.BlocksFetched, envelope: Envelope) -> None:
        """Blocks from a peer: stored, then handed to whoever waits.  The deadline is that of the last who waits.

        They are stored also when nobody waits: after a restart of this actor the askers may not have asked again yet,
        while the wantlist and bitswap still wait to hear that the block is in the store.
        """
        waiting = [number for block in message.blocks for number in self.gets.waiting_for(block.cid)]
        deadline = max((self.gets.open[number].envelope.deadline for number in waiting), default=math.inf)
        priority = max((self.gets.open[number].envelope.priority for number in waiting), default=envelope.priority)
        if not waiting:
            self.ctx.count("fetched_for_nobody")
        early = self._hand_out_early(message.blocks)

        def stored(reply: Message) -> None:
            if isinstance(reply, tiers.TierStored):
                self._available(message.blocks)
                return
            reason = getattr(reply, "reason", "the disk tier is overloaded")
            error = reply.error if isinstance(reply, Failed) else "Unavailable"
            for block in message.blocks:
                self._give_up(block.cid, reason, error, early.get(block.cid, ()))

        self.storing.put(message.blocks, priority, deadline, stored, copy=True)

    def _hand_out_early(self, fetched: tuple[Block, ...]) -> dict[CID, set[int]]:
        """Give these to who may have them before they are durable; the sessions of each block that was given."""
        takers: dict[int, list[Block]] = {}
        sessions: dict[CID, set[int]] = {}
        for block in fetched:
            for number in self.gets.waiting_for(block.cid):
                get = self.gets.open[number]
                if get.early:
                    takers.setdefault(number, []).append(block)
                    sessions.setdefault(block.cid, set()).add(get.session)
        for number, found in takers.items():
            self._hand_out(number, found)
        return sessions

    def _give_up(self, cid: CID, reason: str, error: str, early: Iterable[int]) -> None:
        """Nobody gets this block, and it is not to be fetched again and again for requests that have been answered.

        ``early``: the sessions of those that were answered before it could not be stored.
        """
        waiting = self.gets.waiting_for(cid)
        sessions = sorted({self.gets.open[number].session for number in waiting}.union(early))
        for number in waiting:
            self._miss(number, (cid,), reason, error)
        for session in sessions:
            self.ctx.send(wants.CancelWants((cid,), session))

    def _available(self, stored: tuple[Block, ...]) -> None:
        """Durable now: hand out to the askers, and tell those who serve and want."""
        takers: dict[int, list[Block]] = {}
        for block in stored:
            for number in self.gets.waiting_for(block.cid):
                takers.setdefault(number, []).append(block)
        for number, found in takers.items():
            self._hand_out(number, found)
        entries = tuple(blocks.AvailableBlock(block.cid, len(block)) for block in stored)
        self.ctx.send(blocks.BlocksAvailable(entries))

    # --- for peers, and about the store ------------------------------------------------------------

    @handles(blocks.HasBlocks)
    def on_has(self, message: blocks.HasBlocks, envelope: Envelope) -> None:
        asked = tuple(cid for cid in message.cids if cid.hash_code != IDENTITY)

        def known(result: tuple[int, ...] | Message) -> None:
            if not isinstance(result, tuple):
                self.ctx.reply(envelope, result)
                return
            found = iter(result)
            sizes = [len(cid.digest) if cid.hash_code == IDENTITY else next(found) for cid in message.cids]
            self.ctx.reply(envelope, blocks.BlockSizes(tuple(sizes)))

        self.reading.sizes(asked, envelope.deadline, known)

    @handles(blocks.ServeBlocks)
    def on_serve(self, message: blocks.ServeBlocks, envelope: Envelope) -> None:
        gathered = [Block(cid, cid.digest) for cid in message.cids if cid.hash_code == IDENTITY]
        asked = tuple(cid for cid in message.cids if cid.hash_code != IDENTITY)

        def absent(missing: tuple[CID, ...], _: Failed | None) -> None:
            self.ctx.reply(envelope, blocks.BlocksServed(message.peer, tuple(gathered), missing))

        self.reading.find(asked, envelope.deadline, gathered.extend, absent)

    @handles(blocks.DeleteBlocks)
    def on_delete(self, message: blocks.DeleteBlocks, envelope: Envelope) -> None:
        self.storing.delete(message.cids, envelope.deadline, lambda reply: self.ctx.reply(envelope, reply))

    @handles(keeping.DropBlocks)
    def on_drop(self, message: keeping.DropBlocks, envelope: Envelope) -> None:
        self.storing.drop(message, envelope)

    @handles(keeping.TellUses)
    def on_tell_uses(self, _: keeping.TellUses, envelope: Envelope) -> None:
        self.reading.uses.when_told(lambda: self.ctx.reply(envelope, Done()))

    @handles(keeping.WarmBlocks)
    def on_warm(self, message: keeping.WarmBlocks, envelope: Envelope) -> None:
        cids = tuple(cid for cid in dict.fromkeys(message.cids) if cid.hash_code != IDENTITY)

        def looked(_: tuple[CID, ...], failure: Failed | None) -> None:
            self.ctx.reply(envelope, failure or Done())

        self.reading.find(cids, envelope.deadline, self.reading.warm, looked)

    @handles(keeping.CoolMemory)
    def on_cool(self, message: keeping.CoolMemory, envelope: Envelope) -> None:
        self.ctx.reply(envelope, self.reading.cool(message.size))

    @handles(keeping.TiersChanged)
    def on_tiers_changed(self, message: keeping.TiersChanged, envelope: Envelope) -> None:
        self.storing.changed(message)
        self.ctx.reply(envelope, Done())

    @handles(blocks.RepoStat)
    def on_repo_stat(self, _: blocks.RepoStat, envelope: Envelope) -> None:
        figures: dict[str, blocks.TierStat] = {}
        names = (MEMORY, DISK, COLD)

        def gather(name: str) -> Callable[[Message], None]:
            def answered(reply: Message) -> None:
                down = blocks.TierStat(name, 0, 0, 0, 0, 0, "not answering")
                figures[name] = reply if isinstance(reply, blocks.TierStat) else down
                if len(figures) == len(names):
                    self.ctx.reply(envelope, blocks.RepoStats(tuple(figures[one] for one in names)))

            return answered

        for name in names:
            self.ctx.request(tiers.TierStatus(), gather(name), to=name)

    # --- others come back --------------------------------------------------------------------------

    @handles(lifecycle.ActorRestarted)
    def on_actor_restarted(self, message: lifecycle.ActorRestarted, _: Envelope) -> None:
        if message.name == "wantlist":
            for number, get in list(self.gets.open.items()):
                self._want(get, [cid for cid in sorted(get.remaining) if number in self.gets.wanted.get(cid, ())])
        elif message.name in (MEMORY, DISK, COLD):
            self.calls.repeat(message.name)
            if message.name == MEMORY:
                self.reading.hot.empty()

    @handles(lifecycle.PolicyChanged)
    def on_policy_changed(self, message: lifecycle.PolicyChanged, _: Envelope) -> None:
        self.reading.evict(self.reading.hot.resize(message.policy.memory_bytes, self.ctx.now()))

    # --- within ------------------------------------------------------------------------------------

    def _hand_out(self, request: int, found: Iterable[Block]) -> None:
        """Give the asker what it still waits for, and the end when that was the last."""
        get = None
        given: list[Block] = []
        for block in found:
            row = self.gets.answered(request, block.cid)
            if row is not None:
                get = row
                given.append(block)
        if get is None:
            get = self.gets.open.get(request)
        elif given:
            self.ctx.reply(get.envelope, blocks.BlocksFound(tuple(given)))
        self._end_if_done(get)

    def _miss(self, request: int, cids: Iterable[CID], reason: str, error: str) -> None:
        """Note that these will not come, and end the request when nothing else is open."""
        get = self.gets.open.get(request)
        for cid in list(cids):
            row = self.gets.answered(request, cid)
            if row is not None:
                row.missing.append(blocks.MissingBlock(cid, reason, error))
        self._end_if_done(get)

    def _end_if_done(self, get: Get | None) -> None:
        if get is not None and not get.remaining and get.envelope.id in self.gets.open:
            self.gets.close(get.envelope.id)
            self.ctx.reply(get.envelope, blocks.BlocksEnd(tuple(get.missing)))

    def _close(self, request: int) -> None:
        get, orphans = self.gets.close(request)
        if get is not None and orphans:
            self.ctx.send(wants.CancelWants(tuple(orphans), get.session))

    def _sweep_later(self) -> None:
        if not self.sweeping and self.gets.open:
            self.sweeping = True
            self.ctx.after(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """End what is overdue although nobody said so: no request outlives its deadline for long."""
        self.sweeping = False
        for number in self.gets.overdue(self.ctx.now() - OVERDUE_GRACE_S):
            get = self.gets.open[number]
            self._miss(number, get.remaining.copy(), "nothing answered by the deadline", "DeadlineExceeded")
        self._sweep_later()
