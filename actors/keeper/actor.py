"""The keeper: what stays, where, and whether it is sound.  Owns the catalogue (use, pins, marks) on its own thread.

Placement tells it in batches what was put and read; what it decides it does by messages to the tiers and to placement,
in small steps, so that nothing waits for it.  ``moving`` takes blocks up and down, ``collecting`` deletes what nobody
keeps, ``patrol`` lists and scrubs, ``levels`` says what a tier's fill and the blocks' heat call for.

Looks at the tiers' fill are made when something was put, moved or changed since the last, not by the clock alone: an
idle node does nothing here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Final

from shoal.actors.base import Context, handles
from shoal.actors.keeper import levels
from shoal.actors.keeper.collecting import DURABLE, Collection, Collector
from shoal.actors.keeper.holds import Holds
from shoal.actors.keeper.levels import Level
from shoal.actors.keeper.moving import STEP_TIMEOUT_S, Mover
from shoal.actors.keeper.orders import Orders
from shoal.actors.keeper.patrol import Patrol
from shoal.actors.keeper.pins import PinsActor
from shoal.messages import keeping, lifecycle, tiers
from shoal.messages.base import Message
from shoal.messages.blocks import AvailableBlock, TierStat
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.errors import LocalError, Unavailable
from shoal.messages.replies import Done
from shoal.storage.catalog.catalog import Catalog
from shoal.storage.catalog.ranking import HEAT_EDGES
from shoal.storage.catalog.rows import Usage, Use
from shoal.storage.catalog.scrubs import ScrubState, read_scrub, write_scrub

DISK, COLD = DURABLE
LOOK_S: Final = 1.0  # seconds from a change to a look at how full the tiers are
RETRY_S: Final = 30.0  # seconds after a move or collection that failed before the next
FRUITLESS_MIN_S: Final = 5.0  # seconds before the next collection when one failed or all but little is kept: at least,
FRUITLESS_TIMES: Final = 5  # so many times as long as it took, since marking costs,
FRUITLESS_MAX_S: Final = 600.0  # and at most
CHOSEN_MAX: Final = 1024  # blocks of one run of moves; the next look chooses anew
ROUND_S: Final = 6 * 3600.0  # seconds between rounds that only list: what they mend is rare


class KeeperActor(PinsActor):
    """Heat, pins, moves, garbage and scrubbing."""

    NAME: ClassVar[str] = "keeper"

    def __init__(self, ctx: Context, catalog: Catalog, holds: Holds) -> None:
        super().__init__(ctx, catalog, holds)
        self.mover = Mover(ctx, catalog, self._moved, self._run_ended)
        self.collector = Collector(ctx, catalog, holds, lambda: self.mover.busy)
        self.orders = Orders(ctx, catalog, self.mover, self.collector, self._use_cold, self._collected, self._look_soon)
        self.patrol = Patrol(ctx, catalog, self._cold_seen, self._save_scrub)
        self.cold_used = self.pressed = False
        self.moved_up = self.moved_down = self.moved_bytes = self.collected = self.collected_bytes = 0
        self._told = False  # placement knows how it stands with the cold tier
        self._collect_after = -math.inf  # the node's clock: a collection found too little to delete
        self._due = False  # a look is to come
        self._not_before = -math.inf  # the node's clock: after a failure
        self._move_failed = False  # the last one: the next look tries to make room instead

    def on_start(self) -> None:
        self.catalog.open()
        state = read_scrub(self.catalog.folder)
        if state is None:  # a new folder: the first scrub is due one period from now
            state = ScrubState(self.ctx.wall(), self.ctx.wall())
            self._save_scrub(state)
        self.patrol.resume(state)
        self.ctx.after(LOOK_S, self._rounds)
        self._look_soon()

    def on_stop(self) -> None:
        self.catalog.close()

    # --- use ---------------------------------------------------------------------------------------

    @handles(keeping.BlocksUsed)
    def on_used(self, message: keeping.BlocksUsed, envelope: Envelope) -> None:
        if not message.uses:  # placement has lost some: see actors.placement.uses
            self.holds.distrust()
            self.collector.give_up("what was put meanwhile is not all known")
            self.ctx.reply(envelope, Done())
            return
        try:
            self.catalog.note([Use(use.cid, use.size, use.tier, use.put, use.reads, use.at) for use in message.uses])
        except LocalError as fault:
            self._fail(envelope, fault)
            return
        self.ctx.reply(envelope, Done())
        if any(use.put or use.tier == COLD for use in message.uses):
            self._look_soon()

    def held(self, roots: tuple[CID, ...]) -> None:
        self.collector.held(roots)

    # --- garbage and scrubbing ---------------------------------------------------------------------

    @handles(keeping.CollectGarbage)
    def on_collect(self, message: keeping.CollectGarbage, envelope: Envelope) -> None:
        def removed(gone: tuple[AvailableBlock, ...]) -> None:
            self._collected(gone)
            self.ctx.reply(envelope, keeping.GcRemoved(gone))

        def ended(result: keeping.GcEnd | LocalError) -> None:
            if isinstance(result, LocalError):
                self._fail(envelope, result)
            else:
                self.ctx.reply(envelope, result)
            self._look_soon()  # meanwhile nothing was moved

        try:
            self.mover.cut_short()
            self.collector.start(Collection(message.dry_run, self.ctx.wall(), removed, ended))
        except LocalError as fault:
            self._fail(envelope, fault)

    @handles(keeping.Scrub)
    def on_scrub(self, _: keeping.Scrub, envelope: Envelope) -> None:
        self.patrol.start(scrub=True)
        self.ctx.reply(envelope, self.patrol.status())

    @handles(keeping.AskScrub)
    def on_ask_scrub(self, _: keeping.AskScrub, envelope: Envelope) -> None:
        self.ctx.reply(envelope, self.patrol.status())

    def _rounds(self) -> None:
        """A round at the start, later ones now and then; with a scrub when the last was cut short or is long ago."""
        every = self.ctx.policy.scrub_every_s
        last = self.patrol.last_scrub
        due = last is None or not last.ended or self.ctx.wall() - last.began >= every
        self.patrol.start(scrub=every > 0 and due)
        self.ctx.after(min(ROUND_S, every) if every > 0 else ROUND_S, self._rounds)

    def _save_scrub(self, state: ScrubState) -> None:
        try:
            write_scrub(self.catalog.folder, state)
        except LocalError as fault:
            self.ctx.log.warning("how far the scrub has come could not be noted: %s", fault)

    # --- what users order --------------------------------------------------------------------------

    @handles(keeping.AskPlaces)
    def on_ask_places(self, message: keeping.AskPlaces, envelope: Envelope) -> None:
        self.orders.places(message, envelope)

    @handles(keeping.MoveBlocks)
    def on_move_blocks(self, message: keeping.MoveBlocks, envelope: Envelope) -> None:
        self.orders.move(message, envelope)

    @handles(keeping.ForgetBlocks)
    def on_forget_blocks(self, message: keeping.ForgetBlocks, envelope: Envelope) -> None:
        self.orders.forget(message, envelope)

    @handles(keeping.EvictBlocks)
    def on_evict_blocks(self, message: keeping.EvictBlocks, envelope: Envelope) -> None:
        self.orders.evict(message, envelope)

    def _use_cold(self) -> keeping.TiersChanged:
        """Something is to come into the cold tier: what placement has to know before."""
        self.cold_used = True
        return keeping.TiersChanged(True, self.pressed)

    # --- figures -----------------------------------------------------------------------------------

    @handles(keeping.KeeperStat)
    def on_stat(self, _: keeping.KeeperStat, envelope: Envelope) -> None:
        try:
            totals = self.catalog.totals(self.ctx.wall())
            pins = self.catalog.pin_count()
        except LocalError as fault:
            self._fail(envelope, fault)
            return
        rows = tuple(keeping.TierHeat(tier, one.blocks, one.bytes, one.heats) for tier, one in sorted(totals.items()))
        self.ctx.reply(
            envelope,
            keeping.KeeperStats(
                tiers=rows,
                edges=tuple(HEAT_EDGES),
                pins=pins,
                holds=len(self.holds.open),
                moved_up=self.moved_up,
                moved_down=self.moved_down,
                moved_bytes=self.moved_bytes,
                collected=self.collected,
                collected_bytes=self.collected_bytes,
                gc=self.collector.state,
                scrub=self.patrol.status(),
            ),
        )

    # --- moves -------------------------------------------------------------------------------------

    @handles(lifecycle.PolicyChanged)
    def on_policy_changed(self, _: lifecycle.PolicyChanged, __: Envelope) -> None:
        self._look_soon()

    @handles(lifecycle.ActorRestarted)
    def on_actor_restarted(self, message: lifecycle.ActorRestarted, _: Envelope) -> None:
        if message.name == "placement":
            self._told = False
            self._look_soon()

    def _look_soon(self) -> None:
        if not self._due:
            self._due = True
            self.ctx.after(max(LOOK_S, self._not_before - self.ctx.now()), self._look)

    def _look(self) -> None:
        """Ask the durable tiers how full they are, and do what that calls for."""
        self._due = False
        found: dict[str, TierStat] = {}

        def answered(tier: str, reply: Message) -> None:
            if not isinstance(reply, TierStat):
                self._look_soon()
                return
            found[tier] = reply
            if len(found) == len(DURABLE):
                disk, cold = found[DISK], found[COLD]
                # A tier in trouble may not be able to count its blocks, and a block may have no bytes.
                holds_some = cold.blocks > 0 or cold.state != "ok"
                self._act(Level(disk.size, disk.capacity), Level(cold.size, cold.capacity), holds_some)

        for tier in DURABLE:
            self.ctx.request(tiers.TierStatus(), partial(answered, tier), to=tier, timeout_s=STEP_TIMEOUT_S)

    def _act(self, disk: Level, cold: Level, cold_used: bool) -> None:
        policy = self.ctx.policy
        pressed = policy.use_cold_tier and disk.above_low(policy) > 0
        if pressed != self.pressed or (cold_used and not self.cold_used) or not self._told:
            self.pressed, self.cold_used = pressed, self.cold_used or cold_used
            self._tell_placement(lambda: None)
        if self.mover.busy or self.collector.run is not None:
            return  # their end is a reason to look again
        failed, self._move_failed = self._move_failed, False
        try:
            if failed:  # maybe for want of room
                self._make_room(disk, cold)
            if self.collector.run is None and not self._move(disk, cold):
                self._make_room(disk, cold)
        except LocalError as fault:
            self.ctx.log.warning("the keeper could not choose what to move: %s", fault)

    def _move(self, disk: Level, cold: Level) -> bool:
        """Start a run of moves if one is called for; whether one was.  Raises LocalError."""
        policy, now = self.ctx.policy, self.ctx.wall()
        if not policy.use_cold_tier:
            return False
        # Down first when the disk tier is too full: it may have no room for what is to come up.
        may_rise = self.cold_used and not disk.is_high(policy)
        hottest = self.catalog.hottest(COLD, now, CHOSEN_MAX, policy.promotion_heat) if may_rise else []
        coldest = self.catalog.coldest(DISK, now, CHOSEN_MAX) if hottest or disk.above_low(policy) else []
        if hottest:
            rising = levels.promotions(disk, hottest, coldest, policy, now)
            if rising:
                self.mover.start(rising, COLD, DISK)
                return True
        falling = list(levels.demotions(disk, cold, coldest, policy, now))
        if falling:
            # Placement has to know before anything can be found there only.
            self.cold_used = True
            self._tell_placement(lambda: self._demote(falling))
            return True
        return False

    def _demote(self, falling: list[Usage]) -> None:
        if self.collector.run is None:  # else its end is a reason to look again
            self.mover.start(falling, DISK, COLD)

    def _make_room(self, disk: Level, cold: Level) -> None:
        """Collect, coldest first, down to the low watermark, what nobody keeps.  Raises LocalError."""
        policy = self.ctx.policy
        needed = {DISK: disk, COLD: cold}
        high = {tier: level.above_low(policy) for tier, level in needed.items() if level.is_high(policy)}
        if not high or not policy.collect_garbage or self.ctx.now() < self._collect_after:
            return

        def ended(result: keeping.GcEnd | LocalError) -> None:
            if isinstance(result, LocalError):
                self.ctx.log.warning("no garbage collected: %s", result)
            pause = 0.0
            if isinstance(result, Unavailable):
                pause = RETRY_S
            elif isinstance(result, LocalError) or result.size < sum(high.values()):
                # What is in use, held by a request or not told to us yet may be garbage in a moment, so the pause is
                # only as long as what the marking cost calls for.
                cost = FRUITLESS_TIMES * (self.ctx.now() - began)
                pause = min(max(FRUITLESS_MIN_S, cost), FRUITLESS_MAX_S)
            if pause:
                self._collect_after = self.ctx.now() + pause
                self.ctx.after(pause, self._look_soon)
            self._look_soon()

        began = self.ctx.now()
        self.collector.start(Collection(False, self.ctx.wall(), self._collected, ended, needed=dict(high)))

    def _tell_placement(self, then: Callable[[], None]) -> None:
        """Have placement know how it stands with the cold tier; ``then`` when it does."""

        def told(reply: Message) -> None:
            if isinstance(reply, Done):
                self._told = True
                then()
            else:
                self._told = False
                self._look_soon()

        self.ctx.request(keeping.TiersChanged(self.cold_used, self.pressed), told, timeout_s=STEP_TIMEOUT_S)

    def _cold_seen(self) -> None:
        if not self.cold_used:
            self.cold_used = True
            self._tell_placement(lambda: None)

    def _moved(self, tier: str, count: int, size: int) -> None:
        up = tier == DISK
        self.moved_up += count if up else 0
        self.moved_down += 0 if up else count
        self.moved_bytes += size
        self.ctx.count("blocks_promoted" if up else "blocks_demoted", count)
        self.ctx.count("bytes_moved", size)

    def _collected(self, gone: tuple[AvailableBlock, ...]) -> None:
        size = sum(block.size for block in gone)
        self.collected += len(gone)
        self.collected_bytes += size
        self.ctx.count("blocks_collected", len(gone))
        self.ctx.count("bytes_collected", size)

    def _run_ended(self, reason: str) -> None:
        if reason:
            self.ctx.log.warning("moving blocks between the tiers stopped: %s", reason)
            self._not_before = self.ctx.now() + RETRY_S
            self._move_failed = True
        self._look_soon()
