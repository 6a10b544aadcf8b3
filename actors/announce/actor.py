"""The announce actor: keeps a durable backlog of what this node has, and has it told over the DHT and pubsub.

It knows neither protocol: it hands batches to the actors ``dht`` and ``pubsub`` and marks what they say was told.
``telling`` takes what is due, ``following`` keeps the backlog in line with pins and tiers, ``choosing`` is the policy,
``schedule`` the times; the rows are in ``storage.announcements``.

An announcement is accepted when it is on disk, so that it outlives everything; what is due when the node starts is
told then.  A role that announces nothing puts it all to rest, and forgets nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from shoal.actors.announce import choosing, schedule
from shoal.actors.announce.following import AGAIN_S, Following
from shoal.actors.announce.telling import Telling
from shoal.actors.base import Actor, Context, handles
from shoal.messages import announcing, blocks, keeping, lifecycle
from shoal.messages.announcing import OVER_DHT, OVER_PUBSUB
from shoal.messages.base import Message
from shoal.messages.cid import CID, IDENTITY
from shoal.messages.envelope import Envelope
from shoal.messages.errors import BadInput, LocalError, NotFound
from shoal.messages.limits import ANNOUNCED_AT_ONCE_MAX, BACKLOG_BATCH_MAX
from shoal.messages.replies import Done, Failed
from shoal.storage.announcements.rows import Origin, check_metadata, check_ways
from shoal.storage.announcements.store import Announcements

WAY_ACTORS: Final = {"dht": OVER_DHT, "pubsub": OVER_PUBSUB}
SHOWN_MAX: Final = 1000  # rows in one answer about the backlog
FIGURES_S: Final = 10.0  # seconds between two looks at the totals for the gauges
STORE_TIMEOUT_S: Final = 30.0  # seconds for placement and the keeper to answer
MISSING_SHOWN: Final = 3  # CIDs that an error names


class AnnounceActor(Actor):
    """The backlog of one node."""

    NAME: ClassVar[str] = "announce"

    def __init__(self, ctx: Context, store: Announcements) -> None:
        super().__init__(ctx)
        self.store = store
        self._figures_due = False

    def on_start(self) -> None:
        self.store.open()
        if self.store.rebuilt:
            self.ctx.log.error("the backlog of announcements was damaged and begun anew: %s", self.store.why_rebuilt)
        self.telling = Telling(self.ctx, self.store, self._changed)
        self.following = Following(self.ctx, self.store, lambda: choosing.chosen(self.ctx.policy), self._followed)
        self._hourly()
        self._changed()

    def on_stop(self) -> None:
        self.store.close()

    # --- what the user says ------------------------------------------------------------------------

    @handles(announcing.AnnounceContent)
    def on_announce(self, message: announcing.AnnounceContent, envelope: Envelope) -> None:
        def answered(reply: Message) -> None:
            if not isinstance(reply, blocks.BlockSizes):
                self.ctx.reply(envelope, reply)
                return
            missing = [cid for cid, size in zip(cids, reply.sizes, strict=True) if size < 0]
            try:
                if missing:
                    raise _not_here(missing)
                self._announce(cids, message, envelope)
            except LocalError as fault:
                self._fail(envelope, fault)

        cids = tuple({cid.multihash: cid for cid in message.cids}.values())
        try:
            _check_count(message.cids)
            check_ways(message.ways)
            check_metadata(message.metadata)
        except LocalError as fault:
            self._fail(envelope, fault)
            return
        self.ctx.request(blocks.HasBlocks(cids), answered, timeout_s=STORE_TIMEOUT_S)

    def _announce(self, cids: tuple[CID, ...], message: announcing.AnnounceContent, envelope: Envelope) -> None:
        """Raises LocalError."""
        wall = self.ctx.wall()
        origin = Origin.ONCE if message.once else Origin.EXPLICIT
        items = [(cid, schedule.first(cid, wall)) for cid in cids]
        self.store.add(items, message.ways, origin, message.metadata)
        backlog = sum(one.rows for one in self.store.totals().values())
        self.ctx.reply(envelope, announcing.Announced(len(cids), backlog))
        if OVER_DHT in message.ways:
            self.telling.urgent(cids)
        self.telling.look_soon()
        self._changed()

    @handles(announcing.WithdrawContent)
    def on_withdraw(self, message: announcing.WithdrawContent, envelope: Envelope) -> None:
        try:
            _check_count(message.cids)
            if not self.store.withdraw(message.cids):
                raise NotFound("none of these is announced", "see: shoal announcements")
        except LocalError as fault:
            self._fail(envelope, fault)
            return
        self.telling.withdrawn(message.cids)
        self.ctx.reply(envelope, Done())
        self._changed()

    @handles(announcing.AskBacklog)
    def on_ask_backlog(self, message: announcing.AskBacklog, envelope: Envelope) -> None:
        wall = self.ctx.wall()
        try:
            shown = self.store.page(max(0, min(message.limit, SHOWN_MAX)))
            totals = self.store.totals().values()
            late = self.store.late(wall)
        except LocalError as fault:
            self._fail(envelope, fault)
            return
        rows = tuple(
            announcing.BacklogRow(
                row.cid, row.way, row.due - wall, math.inf if row.told is None else wall - row.told, row.failures
            )
            for row in shown
        )
        policy = self.ctx.policy
        self.ctx.reply(
            envelope,
            announcing.Backlog(
                rows=rows,
                total=sum(one.rows for one in totals),
                never_told=sum(one.never_told for one in totals),
                late=late,
                told=self.telling.told,
                policy=policy.announce if policy.announce_content else choosing.NONE,
            ),
        )

    # --- what policy says --------------------------------------------------------------------------

    @handles(announcing.RootAdded)
    def on_root_added(self, message: announcing.RootAdded, _: Envelope) -> None:
        choice = choosing.chosen(self.ctx.policy)
        if choice is not None and choosing.KEPT[choice] & Origin.ROOT:
            self._add_followed([message.cid], Origin.ROOT)

    @handles(announcing.PinsChanged)
    def on_pins_changed(self, message: announcing.PinsChanged, _: Envelope) -> None:
        choice = choosing.chosen(self.ctx.policy)
        if choice is None or choice not in choosing.PIN_KINDS or not message.cids:
            return
        asked = message.cids[: BACKLOG_BATCH_MAX.value]

        def answered(reply: Message) -> None:
            if not isinstance(reply, keeping.PinsListed):
                self.following.start([Origin.PINNED])  # later, and all of it
                return
            wanted = {pin.cid.multihash for pin in reply.pins if choosing.is_followed_pin(choice, pin.recursive)}
            ended = [cid for cid in asked if cid.multihash not in wanted]
            self._add_followed([cid for cid in asked if cid.multihash in wanted], Origin.PINNED)
            self._try("an unpinned root", lambda: self.store.release(ended, Origin.PINNED))
            self._changed()

        self.ctx.request(keeping.FindPins(asked), answered, timeout_s=STORE_TIMEOUT_S)

    @handles(lifecycle.PolicyChanged)
    def on_policy_changed(self, _: lifecycle.PolicyChanged, __: Envelope) -> None:
        self.ctx.after(0.0, self._follow)  # not within the deadline of who changed it
        self.telling.look_soon()

    @handles(lifecycle.ActorRestarted)
    def on_actor_restarted(self, message: lifecycle.ActorRestarted, _: Envelope) -> None:
        if message.name in WAY_ACTORS:
            self.telling.recovered(WAY_ACTORS[message.name])

    def _add_followed(self, cids: Sequence[CID], origin: Origin) -> None:
        """Roots: the new ones are told at once, like what the user announces."""
        if not cids:
            return
        wall = self.ctx.wall()
        items = [(cid, schedule.first(cid, wall)) for cid in cids if cid.hash_code != IDENTITY]
        if self._try("a new root", lambda: self.store.add(items, choosing.WAYS_OF[origin], origin)):
            self.telling.urgent(cid for cid, _ in items)
        self._changed()

    def _follow(self) -> None:
        """Read every listing that policy follows, and drop what it does not announce any more."""
        choice = choosing.chosen(self.ctx.policy)
        if choice is not None:
            self.following.refused = 0
            self.following.start([*choosing.unwanted(choice), *choosing.followed(choice)])

    def _followed(self, added: int, dropped: int) -> None:
        self.ctx.count("rows_followed", added)
        self.ctx.count("rows_dropped", dropped)
        if added:
            self.telling.look_soon()
        self._changed()

    # --- time and figures --------------------------------------------------------------------------

    def _hourly(self) -> None:
        self._mend()
        self._follow()
        self.ctx.after(AGAIN_S, self._hourly)

    def _mend(self) -> None:
        """After the wall clock was set back nothing may wait for a time that is far away."""
        wall = self.ctx.wall()
        most = BACKLOG_BATCH_MAX.value
        try:
            if self.store.mend(wall, wall + schedule.HORIZON_S, most) >= most:
                self.ctx.after(0.0, self._mend)
        except LocalError as fault:
            self.ctx.log.warning("due times of announcements could not be set right: %s", fault)

    def _changed(self) -> None:
        """The figures are not what they were: show them in a while, at most once every FIGURES_S."""
        if not self._figures_due:
            self._figures_due = True
            self.ctx.after(FIGURES_S, self._show)

    def _show(self) -> None:
        self._figures_due = False
        try:
            totals = self.store.totals().values()
            self.ctx.gauge("backlog", sum(one.rows for one in totals))
            self.ctx.gauge("never_told", sum(one.never_told for one in totals))
            self.ctx.gauge("late", self.store.late(self.ctx.wall()))
            self.ctx.gauge("refused", self.following.refused)
        except LocalError as fault:
            self.ctx.log.warning("the backlog of announcements could not be counted: %s", fault)

    def _try(self, what: str, change: Callable[[], int]) -> int:
        """Make a change that nobody waits for; how many it changed."""
        try:
            return change()
        except LocalError as fault:
            self.ctx.log.warning("%s is not announced: %s", what, fault)
            self.ctx.count("refused")
            return 0

    def _fail(self, envelope: Envelope, fault: LocalError) -> None:
        self.ctx.reply(envelope, Failed(envelope.kind, type(fault).__name__, str(fault)))


def _check_count(cids: Sequence[CID]) -> None:
    if not 1 <= len(cids) <= ANNOUNCED_AT_ONCE_MAX.value:
        raise BadInput(f"{len(cids)} CIDs at one time", f"give 1 to {ANNOUNCED_AT_ONCE_MAX.value}")


def _not_here(missing: Sequence[CID]) -> NotFound:
    """As Kubo says it, core/commands/routing.go."""
    names = ", ".join(map(str, missing[:MISSING_SHOWN])) + (", ..." if len(missing) > MISSING_SHOWN else "")
    return NotFound(f"block {names} not found locally, cannot provide", "add it, or fetch it, and announce it then")
