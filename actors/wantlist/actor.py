"""The wantlist's actor: every want of this node, and the demand of its peers.

Placement says what is wanted and by when; bitswap is told to seek it, and told again when it is new.  At the deadline
placement hears what was tried.  Peers' demand is kept for whoever wants to know what is popular.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final, TypeVar

from shoal.actors.base import Actor, Context, handles
from shoal.actors.wantlist.demand import Demand
from shoal.actors.wantlist.ours import OurWants
from shoal.messages import blocks, lifecycle, wants
from shoal.messages.cid import CID
from shoal.messages.envelope import PRIORITY_HIGH, PRIORITY_LOW, Envelope
from shoal.messages.limits import WANTS_LISTED_MAX
from shoal.messages.replies import Done, Overloaded

T = TypeVar("T")

EXPIRE_EVERY_S: Final = 0.25  # seconds between looks for wants past their deadline, while there are wants
BATCH: Final = 512  # CIDs in one message: however many wants there are, what is said of them fits an envelope


class WantlistActor(Actor):
    """Ours and theirs."""

    NAME: ClassVar[str] = "wantlist"

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.ours = OurWants()
        self.demand = Demand()
        self.ticking = False

    # --- our own wants -----------------------------------------------------------------------------

    @handles(wants.Want)
    def on_want(self, message: wants.Want, envelope: Envelope) -> None:
        if not self.ours.has_room(len(message.cids)):
            self.ctx.reply(envelope, Overloaded(envelope.kind, self.NAME))
            return
        self.ours.want(message.cids, message.session, envelope.priority, envelope.deadline)
        self.ctx.reply(envelope, Done())
        # Those that are not new too: after a restart of this actor, bitswap may have been told of them before it heard
        # of the restart, at which it forgets everything; placement then tells all of them again.
        self._seek(list(message.cids), message.session, envelope.priority, envelope.deadline)
        self._tick_later()

    @handles(wants.CancelWants)
    def on_cancel(self, message: wants.CancelWants, _: Envelope) -> None:
        dropped = self.ours.cancel(message.cids, message.session)
        self._stop_seeking(dropped, message.session)
        self._measure()

    @handles(blocks.BlocksAvailable)
    def on_available(self, message: blocks.BlocksAvailable, _: Envelope) -> None:
        here = [entry.cid for entry in message.blocks]
        self.ours.arrived(here)
        self.demand.arrived(here)
        self._measure()

    @handles(wants.SeekProgress)
    def on_progress(self, message: wants.SeekProgress, envelope: Envelope) -> None:
        self.ours.note_tried(message.session, message.tried, envelope.sender)

    # --- peers' ------------------------------------------------------------------------------------

    @handles(wants.PeerDemand)
    def on_demand(self, message: wants.PeerDemand, _: Envelope) -> None:
        self.demand.ended(message.peer, message.ended)
        refused = self.demand.wanted(message.peer, ((want.cid, want.priority) for want in message.wanted))
        if refused:
            self.ctx.count("demand_refused", refused)
        self._measure()

    @handles(wants.PeerDemandGone)
    def on_demand_gone(self, message: wants.PeerDemandGone, _: Envelope) -> None:
        self.demand.gone(message.peer)
        self._measure()

    @handles(wants.ListWants)
    def on_list(self, message: wants.ListWants, envelope: Envelope) -> None:
        if message.peer:
            rows = [wants.WantEntry(cid, prio, 1, False) for cid, prio in self.demand.of_peer(message.peer).items()]
        else:
            rows = self._all()
        rows.sort(key=lambda row: (-row.priority, -row.requesters, row.cid))
        self.ctx.reply(envelope, wants.WantsListed(tuple(rows[: WANTS_LISTED_MAX.value])))

    def _all(self) -> list[wants.WantEntry]:
        ours, theirs = self.ours.priorities(), self.demand.popular()
        rows: list[wants.WantEntry] = []
        for cid in ours.keys() | theirs.keys():
            urgency, requesters = theirs.get(cid, (None, 0))
            mine = cid in ours
            priorities = [one for one in (urgency, ours.get(cid)) if one is not None]
            rows.append(wants.WantEntry(cid, max(priorities), requesters + mine, mine))
        return rows

    # --- others come back --------------------------------------------------------------------------

    @handles(lifecycle.ActorRestarted)
    def on_actor_restarted(self, message: lifecycle.ActorRestarted, _: Envelope) -> None:
        """A new exchange is told everything.  A new placement is asked the same again: its wants stay."""
        if message.name == "bitswap":
            self.demand.clear()
        if message.name in ("bitswap", "gateways"):
            for (session, priority, deadline), cids in self.ours.by_session().items():
                self._seek(cids, session, priority, deadline, to=message.name)

    # --- within ------------------------------------------------------------------------------------

    def _seek(self, cids: list[CID], session: int, priority: int, deadline: float, to: str = "") -> None:
        clamped = min(max(priority, PRIORITY_LOW), PRIORITY_HIGH)
        for batch in batches(cids):
            self.ctx.send(wants.SeekBlocks(batch, session, clamped, deadline), to=to)
        self._measure()

    def _stop_seeking(self, cids: list[CID], session: int) -> None:
        for batch in batches(cids):
            self.ctx.send(wants.StopSeeking(batch, session))

    def _measure(self) -> None:
        self.ctx.gauge("wants", len(self.ours))
        self.ctx.gauge("demand", len(self.demand))

    def _tick_later(self) -> None:
        if not self.ticking and len(self.ours):
            self.ticking = True
            self.ctx.after(EXPIRE_EVERY_S, self._tick)

    def _tick(self) -> None:
        self.ticking = False
        late = self.ours.expire(self.ctx.now())
        if late:
            self.ctx.count("wants_expired", len(late))
            for batch in batches(late):
                failed = tuple(wants.FailedWant(cid, session, tried) for cid, session, tried in batch)
                self.ctx.send(wants.WantsFailed(failed))
            ended: dict[int, list[CID]] = {}
            for cid, session, _ in late:
                ended.setdefault(session, []).append(cid)
            for session, cids in ended.items():
                self._stop_seeking(cids, session)
            self._measure()
        self._tick_later()


def batches(whole: list[T]) -> Iterator[tuple[T, ...]]:
    """``whole`` in runs of at most BATCH."""
    for start in range(0, len(whole), BATCH):
        yield tuple(whole[start : start + BATCH])
