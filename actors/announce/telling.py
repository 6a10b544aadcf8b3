"""Telling what is due: takes batches from the backlog, looks whether their content is here, hands them to the ways.

Part of the announce actor, on its thread; ``lane`` is the state of one batch, ``schedule`` says when.  Three lanes: the
DHT's backlog, what the user has just asked to have in the DHT, which does not wait behind a long batch, and pubsub.

Rows are marked as told only when the way says so, and stay due for all else: a dead dht or pubsub costs time alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from shoal.actors.announce import choosing, schedule
from shoal.actors.announce.lane import Lane
from shoal.actors.base import Context
from shoal.messages import blocks, dht, pubsub
from shoal.messages.announcing import OVER_DHT, OVER_PUBSUB
from shoal.messages.base import Message
from shoal.messages.cid import CID
from shoal.messages.errors import LocalError
from shoal.messages.limits import ANNOUNCEMENT_CIDS_MAX
from shoal.messages.replies import Failed
from shoal.storage.announcements.rows import Due, Origin
from shoal.storage.announcements.store import Announcements

DHT_BATCH: Final = 4096  # CIDs of one request: with 100,000 due, some eight to each region of a DHT of 10,000 peers
FRESH_BATCH: Final = 256  # CIDs of one request of the lane for what the user just announced
FRESH_MAX: Final = 4096  # CIDs that wait for that lane; more take their turn in the backlog
PUBSUB_BATCH: Final = ANNOUNCEMENT_CIDS_MAX.value  # CIDs of one announcement: 9 KiB on every link of the mesh
PROVIDE_TIMEOUT_S: Final = 1800.0  # seconds for one batch over the DHT, of which a lookup takes one to ten
LATE_S: Final = 1.0  # seconds before that at which what is left counts as not tried, rather than as refused
PUBLISH_TIMEOUT_S: Final = 30.0  # seconds for one announcement to be signed and sent
LOOK_HERE_TIMEOUT_S: Final = 30.0  # seconds for the store to say what of a batch it holds
LOOK_EVERY_S: Final = 600.0  # seconds between looks at the clock when nothing is due: it may have been set
SOON_S: Final = 0.05  # seconds after a change, so that what comes together is told together


class Telling:
    """``told`` counts rows since start.  ``changed`` is called when rows have been told or put off."""

    def __init__(self, ctx: Context, store: Announcements, changed: Callable[[], None]) -> None:
        self.ctx = ctx
        self.store = store
        self.told = 0
        self._changed = changed
        self._phase = ctx.random.random()
        self._bulk, self._fresh, self._gossip = (Lane(ctx.random) for _ in range(3))
        self._lanes = ((self._fresh, OVER_DHT), (self._bulk, OVER_DHT), (self._gossip, OVER_PUBSUB))
        self._urgent: OrderedDict[bytes, CID] = OrderedDict()
        self._wake = ctx.after(0.0, self._look)
        self._wake_at = ctx.now()

    # --- from the actor ----------------------------------------------------------------------------

    def look_soon(self) -> None:
        """Something may be due."""
        self._look_in(SOON_S)

    def urgent(self, cids: Iterable[CID]) -> None:
        """The user waits for these to be in the DHT."""
        for cid in cids:
            if len(self._urgent) < FRESH_MAX:
                self._urgent[cid.multihash] = cid
        self.look_soon()

    def withdrawn(self, cids: Iterable[CID]) -> None:
        """These are not urgent any more."""
        for cid in cids:
            self._urgent.pop(cid.multihash, None)

    def recovered(self, way: str) -> None:
        """The actor behind ``way`` is new: do not wait out a pause that the old one has earned."""
        for lane, of in self._lanes:
            if of == way:
                lane.recovered()
        self.look_soon()

    # --- looking -----------------------------------------------------------------------------------

    def _look_in(self, seconds: float) -> None:
        at = self.ctx.now() + seconds
        if at < self._wake_at:
            self._wake.cancel()
            self._wake, self._wake_at = self.ctx.after(seconds, self._look), at

    def _look(self) -> None:
        """Begin what may begin, and come back when the next may."""
        now = self.ctx.now()
        self._wake_at = now + LOOK_EVERY_S
        self._wake = self.ctx.after(LOOK_EVERY_S, self._look)
        for lane, way in self._lanes:
            if lane.busy or not choosing.may_tell(self.ctx.policy, way):
                continue
            if not lane.ready(now):
                self._look_in(lane.not_before - now)
                continue
            try:
                rows = self._take(lane, way)
            except LocalError as fault:
                self._store_failed(lane, fault)
                continue
            if rows:
                self._begin(lane, way, rows)

    def _take(self, lane: Lane, way: str) -> list[Due]:
        """What this lane should tell now.  Raises StorageFault."""
        wall = self.ctx.wall()
        if lane is self._fresh:
            cids = [self._urgent.popitem(last=False)[1] for _ in range(min(FRESH_BATCH, len(self._urgent)))]
            return [Due(cid, wall, 0, Origin.EXPLICIT, ()) for cid in cids if cid not in self._bulk]
        soonest = self.store.next_due(way)
        if soonest is None:
            return []
        if soonest > wall:
            self._look_in(min(soonest - wall, LOOK_EVERY_S))
            return []
        limit = DHT_BATCH if way == OVER_DHT else PUBSUB_BATCH
        rows = self.store.due(way, wall + schedule.TOGETHER_S[way], limit)
        rows = [row for row in rows if row.due <= wall or not row.failures]
        if way == OVER_DHT:
            rows = [row for row in rows if row.cid not in self._fresh]
            self.withdrawn(row.cid for row in rows)  # they go this way, then
            return rows
        return [row for row in rows if row.metadata == rows[0].metadata]  # they go as one announcement

    # --- one batch ---------------------------------------------------------------------------------

    def _begin(self, lane: Lane, way: str, rows: Sequence[Due]) -> None:
        lane.begin(rows)
        cids = tuple(row.cid for row in rows)

        def answered(reply: Message) -> None:
            if not isinstance(reply, blocks.BlockSizes):
                self._end(lane, way, answered=False)
                return
            gone = [cid for cid, size in zip(cids, reply.sizes, strict=True) if size < 0]
            here = tuple(cid for cid, size in zip(cids, reply.sizes, strict=True) if size >= 0)
            if gone:
                self._absent(lane, way, gone)
            if not here:
                self._end(lane, way, answered=True)
            elif way == OVER_DHT:
                self._provide(lane, here)
            else:
                self._publish(lane, here, rows[0])

        self.ctx.request(blocks.HasBlocks(cids), answered, timeout_s=LOOK_HERE_TIMEOUT_S)

    def _absent(self, lane: Lane, way: str, gone: Sequence[CID]) -> None:
        """An announcement of what is not here would be a lie."""
        wall = self.ctx.wall()
        lane.drop(gone)
        self.ctx.count("absent", len(gone))
        try:
            self.store.absent(way, [(cid, schedule.later(cid, wall)) for cid in gone])
        except LocalError as fault:
            self._store_failed(lane, fault)

    def _provide(self, lane: Lane, cids: tuple[CID, ...]) -> None:
        end = self.ctx.now() + PROVIDE_TIMEOUT_S - LATE_S

        def answered(reply: Message) -> None:
            if isinstance(reply, dht.ProvideProgress):
                self._mark(lane, OVER_DHT, reply.done)
                return
            tried = _is_refusal(reply)
            if isinstance(reply, dht.Provided):
                tried = reply.messages > 0 or reply.records > 0 or not reply.failed
                if reply.reason:
                    self.ctx.log.info("%d CIDs were not provided: %s", len(reply.failed), reply.reason)
            self._end(lane, OVER_DHT, answered=tried, late=self.ctx.now() >= end)

        self.ctx.request(dht.ProvideCids(cids), answered, timeout_s=PROVIDE_TIMEOUT_S)

    def _publish(self, lane: Lane, cids: tuple[CID, ...], row: Due) -> None:
        def answered(reply: Message) -> None:
            heard = isinstance(reply, pubsub.Published) and reply.peers > 0
            if heard:
                self._mark(lane, OVER_PUBSUB, cids)
            self._end(lane, OVER_PUBSUB, answered=heard or _is_refusal(reply))

        message = pubsub.AnnounceByPubsub(pubsub.HAVE, cids, schedule.PUBSUB_TTL_S, row.metadata)
        self.ctx.request(message, answered, timeout_s=PUBLISH_TIMEOUT_S)

    def _mark(self, lane: Lane, way: str, cids: Sequence[CID]) -> None:
        """These have been told."""
        wall = self.ctx.wall()
        done = lane.told(cids)
        try:
            self.told += self.store.told(
                way, [(cid, schedule.again(cid, way, wall, self._phase)) for cid in done], wall
            )
        except LocalError as fault:  # told once more than needed, then
            self._store_failed(lane, fault)
        self.ctx.count("told", len(done))
        self._changed()

    def _end(self, lane: Lane, way: str, *, answered: bool, late: bool = False) -> None:
        """A batch is over.

        What a way tried and nobody took is put off.  What it did not try - it is away, it knows nobody, or the time
        was over - keeps its turn.
        """
        left = lane.end(self.ctx.now(), answered=answered)
        if answered and left and not late:
            wall = self.ctx.wall()
            self.ctx.count("failed", len(left))
            try:
                self.store.failed(way, [(row.cid, schedule.retry(row.cid, way, wall, row.failures)) for row in left])
            except LocalError as fault:
                self._store_failed(lane, fault)
        self._changed()
        self.look_soon()

    def _store_failed(self, lane: Lane, fault: LocalError) -> None:
        """The disk does not do it: a pause, since nothing can be noted as told."""
        self.ctx.log.warning("the backlog of announcements: %s", fault)
        lane.stumbled(self.ctx.now())
        self._look_in(max(0.0, lane.not_before - self.ctx.now()))


def _is_refusal(reply: Message) -> bool:
    """Whether these rows will not do, however often they are tried: they must not keep others from their turn."""
    return isinstance(reply, Failed) and reply.error == "BadInput"
