"""What users order of the tiers by name: where blocks are, moving them, making room.

The keeper's own moves follow heat; these do not ask for it.  They are carried out by the same mover and the same
collector, so all that holds for those holds here: a block is never in no tier, and what a pin or a hold keeps stays.
An order first waits until the keeper knows of every use so far, then for what else is under way: a run of the keeper's
own is cut short for it, an order or a collection goes on to its end.  An order that waits past its deadline ends.

Not here: which block is where by heat (``levels``), and where blocks are now (``places``).  Begin at ``Orders.move``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from shoal.actors.base import Context
from shoal.actors.keeper.collecting import Collection, Collector
from shoal.actors.keeper.moving import STEP_TIMEOUT_S, Mover, why
from shoal.actors.keeper.patrol import Patrol
from shoal.actors.keeper.places import COLD, DISK, MEMORY, TIERS, Places, Plan, find, plan
from shoal.messages import blocks, keeping
from shoal.messages.base import Message
from shoal.messages.blocks import AvailableBlock
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.errors import LocalError
from shoal.messages.limits import MOVED_AT_ONCE_MAX, ORDERS_MAX
from shoal.messages.replies import Done, Failed
from shoal.storage.catalog.catalog import Catalog
from shoal.storage.catalog.rows import Usage

WAIT_S: Final = 0.02  # seconds between looks whether an order may begin; a batch of a move takes some 20 ms

Step = Callable[[], None]


class Orders:
    """At most ORDERS_MAX at a time.

    ``cold_used`` gives what placement has to know before a block may be in the cold tier only; ``collected`` hears of
    blocks that went, and ``look`` of the end of an order that may have changed how full the tiers are.
    """

    def __init__(
        self,
        ctx: Context,
        catalog: Catalog,
        mover: Mover,
        collector: Collector,
        cold_used: Callable[[], keeping.TiersChanged],
        collected: Callable[[tuple[AvailableBlock, ...]], None],
        look: Callable[[], None],
    ) -> None:
        self.ctx = ctx
        self.catalog = catalog
        self.mover = mover
        self.collector = collector
        self.open = 0  # orders under way or waiting
        self.moving = False  # what keeps the mover busy is an order's
        self.lister = Patrol(ctx, catalog, lambda: None, lambda _: None)
        self.all_listed = False  # every block of the durable tiers has had a row since we began
        self.cold_used = cold_used
        self.collected = collected
        self.look = look

    # --- places ------------------------------------------------------------------------------------

    def places(self, message: keeping.AskPlaces, envelope: Envelope) -> None:
        """Answer where the blocks are."""
        if self._is_too_long(message.cids, envelope):
            return

        def found(places: Places) -> None:
            self.ctx.reply(envelope, _answer(message.cids, places))

        find(self.ctx, message.cids, found, lambda reply: self.ctx.reply(envelope, _failed(envelope.kind, reply)))

    # --- moves -------------------------------------------------------------------------------------

    def move(self, message: keeping.MoveBlocks, envelope: Envelope) -> None:
        """Bring blocks to a tier and answer where they are then."""
        if message.tier not in TIERS or (message.tier, message.up) in ((COLD, True), (MEMORY, False)):
            way = "up" if message.up else "down"
            self._refuse(envelope, "BadInput", f"nothing moves {way} to {message.tier[:40]!r}")
        elif message.tier == COLD and not self.ctx.policy.use_cold_tier:
            reason = f"a {self.ctx.policy.role} keeps nothing in the cold tier"
            self._refuse(envelope, "BadInput", reason)
        elif not self._is_too_long(message.cids, envelope) and (order := self._begin(envelope)):

            def told() -> None:
                order.find(message.cids, found)

            def found(places: Places) -> None:
                order.carry_out(plan(places, message.tier, message.up), places, ended)

            def ended() -> None:
                order.find(message.cids, lambda places: order.end(_answer(message.cids, places)))

            order.tell_uses(told)

    # --- room --------------------------------------------------------------------------------------

    def forget(self, message: keeping.ForgetBlocks, envelope: Envelope) -> None:
        """Delete blocks while nothing moves."""
        if not self._is_too_long(message.cids, envelope) and (order := self._begin(envelope)):
            order.tell_uses(lambda: order.delete(message.cids))

    def evict(self, message: keeping.EvictBlocks, envelope: Envelope) -> None:
        """Make room: copies first, then the coldest blocks that nothing keeps, those of the cold tier before others."""
        order = self._begin(envelope)
        if order is None:
            return

        def cooled(reply: Message) -> None:
            copies = reply.size if isinstance(reply, keeping.MemoryCooled) else 0
            if copies >= message.size:
                order.end(keeping.BlocksEvicted(copies, 0, 0))
            else:
                order.collect(message.size - copies, copies)

        size = max(0, message.size) if message.copies else 0
        order.tell_uses(lambda: self.ask(keeping.CoolMemory(size), "placement", cooled))

    # --- within ------------------------------------------------------------------------------------

    def _begin(self, envelope: Envelope) -> Order | None:
        if self.open >= ORDERS_MAX.value:
            self._refuse(envelope, "Unavailable", f"{self.open} orders wait already; try again in a moment")
            return None
        self.open += 1
        return Order(self, envelope)

    def _is_too_long(self, cids: Sequence[CID], envelope: Envelope) -> bool:
        too_long = len(cids) > MOVED_AT_ONCE_MAX.value
        if too_long:
            self._refuse(envelope, "BadInput", f"{len(cids)} blocks; name at most {MOVED_AT_ONCE_MAX.value} at a time")
        return too_long

    def _refuse(self, envelope: Envelope, error: str, reason: str) -> None:
        self.ctx.reply(envelope, Failed(envelope.kind, error, reason))

    def ask(self, message: Message, to: str, answered: Callable[[Message], None]) -> None:
        self.ctx.request(message, answered, to=to, timeout_s=STEP_TIMEOUT_S)


class Order:
    """One order from its begin to its one answer."""

    def __init__(self, orders: Orders, envelope: Envelope) -> None:
        self.orders = orders
        self.ctx = orders.ctx
        self.envelope = envelope

    def end(self, answer: Message) -> None:
        """Answer."""
        self.orders.open -= 1
        self.ctx.reply(self.envelope, answer)

    def fail(self, error: str, reason: str) -> None:
        """Answer that it could not be done."""
        self.end(Failed(self.envelope.kind, error, reason))

    def tell_uses(self, then: Step) -> None:
        """Go on once we know of every use so far, so that what was just put has a row; also when that takes long."""
        self.orders.ask(keeping.TellUses(), "placement", lambda _: then())

    def find(self, cids: Sequence[CID], then: Callable[[Places], None]) -> None:
        """Go on with where the blocks are."""
        find(self.ctx, cids, then, lambda reply: self.end(_failed(self.envelope.kind, reply)))

    # --- moves -------------------------------------------------------------------------------------

    def carry_out(self, what: Plan, places: Places, then: Step) -> None:
        """Copies out of memory, homes from tier to tier, copies into memory; then go on."""
        steps: list[Callable[[Step], None]] = []
        if what.cool:
            steps.append(lambda go_on: self._tell_placement(keeping.DropBlocks(what.cool, MEMORY), go_on))
        if what.move and what.source == DISK:
            steps.append(lambda go_on: self._tell_placement(self.orders.cold_used(), go_on))
        if what.move:
            # A move asks for names and sizes only.
            moved = [Usage(cid, places[cid].size, what.source, 1, 0.0, 0.0, 0) for cid in what.move]
            steps.append(lambda go_on: self._move(moved, what.source, go_on))
        if what.warm:
            steps.append(lambda go_on: self._tell_placement(keeping.WarmBlocks(what.warm), go_on))

        def next_step() -> None:
            if steps:
                steps.pop(0)(next_step)
            else:
                then()

        next_step()

    def _tell_placement(self, message: Message, then: Step) -> None:
        def answered(reply: Message) -> None:
            if isinstance(reply, Done | keeping.BlocksDropped):
                then()
            else:
                self.end(_failed(self.envelope.kind, reply))

        self.orders.ask(message, "placement", answered)

    def _move(self, moved: Sequence[Usage], source: str, then: Step) -> None:
        orders = self.orders
        target = COLD if source == DISK else DISK

        def ended(reason: str) -> None:
            orders.moving = False
            orders.look()
            if reason:
                self.fail(orders.mover.error, f"moving to the {target} tier stopped: {reason}")
            else:
                then()

        def start() -> None:
            orders.moving = True
            orders.mover.start(moved, source, target, ended)

        self._when_free(start)

    def _when_free(self, then: Step, *, beside_collections: bool = False) -> None:
        """Go on once nothing is being moved, nor collected; the keeper's own moves end for it."""
        orders = self.orders
        if not orders.mover.busy and (beside_collections or orders.collector.run is None):
            then()
            return
        if self.ctx.now() >= self.envelope.deadline:
            self.fail("DeadlineExceeded", "the tiers were busy until the deadline: see what the collector does")
            return
        if orders.mover.busy and not orders.moving:
            orders.mover.cut_short()
        self.ctx.after(WAIT_S, lambda: self._when_free(then, beside_collections=beside_collections))

    # --- room --------------------------------------------------------------------------------------

    def delete(self, cids: tuple[CID, ...]) -> None:
        """Delete these as soon as no move has them in hand."""
        orders = self.orders

        def start() -> None:
            orders.mover.pause()
            orders.moving = True
            orders.ask(blocks.DeleteBlocks(cids), "placement", deleted)

        def deleted(reply: Message) -> None:
            orders.moving = False
            orders.mover.resume()
            orders.look()
            if isinstance(reply, Done):
                self._forget(cids)
            self.end(reply if isinstance(reply, Done) else _failed(self.envelope.kind, reply))

        self._when_free(start, beside_collections=True)

    def _forget(self, cids: tuple[CID, ...]) -> None:
        try:
            self.orders.catalog.forget(cids)
        except LocalError as fault:  # the tiers are listed now and then, which mends it
            self.ctx.log.warning("the catalogue could not forget what was deleted: %s", fault)

    def collect(self, size: int, copies: int) -> None:
        """Delete ``size`` bytes of what nothing keeps, after ``copies`` bytes that memory has let go of.

        What was put shortly before a stop or a crash may have no row: too little is found, so the tiers are listed.
        """
        orders = self.orders
        gone = keeping.GcEnd(0, 0, 0)

        def ended(result: keeping.GcEnd | LocalError) -> None:
            nonlocal gone
            orders.look()
            if isinstance(result, LocalError):
                self.fail(type(result).__name__, str(result))
                return
            gone = keeping.GcEnd(gone.blocks + result.blocks, gone.size + result.size, result.kept)
            if gone.size < size and not orders.all_listed:
                self._list(lambda: self._collect(size - gone.size, ended))
            else:
                self.end(keeping.BlocksEvicted(copies, gone.blocks, gone.size))

        self._collect(size, ended)

    def _collect(self, size: int, ended: Callable[[keeping.GcEnd | LocalError], None]) -> None:
        """One collection of ``size`` bytes of both tiers, the cold one first, once nothing else is under way."""
        orders = self.orders

        def start() -> None:
            needed = {COLD: size, DISK: size}

            def removed(gone: tuple[AvailableBlock, ...]) -> None:
                orders.collected(gone)
                needed.update(dict.fromkeys(needed, size - run.size))  # what went from one need not go from the other

            run = Collection(False, self.ctx.wall(), removed, ended, needed=needed, tiers=[COLD, DISK])
            try:
                orders.collector.start(run)
            except LocalError as fault:
                self.fail(type(fault).__name__, str(fault))

        self._when_free(start)

    def _list(self, then: Step) -> None:
        """Go on when both tiers have been listed, or at the deadline."""
        orders = self.orders
        if orders.lister.round is None:
            orders.lister.start(scrub=False)

        def look() -> None:
            orders.all_listed = orders.all_listed or orders.lister.round is None
            if orders.all_listed or self.ctx.now() >= self.envelope.deadline:
                then()
            else:
                self.ctx.after(WAIT_S, look)

        look()


def _answer(cids: Sequence[CID], places: Places) -> keeping.PlacesFound:
    return keeping.PlacesFound(tuple(places[cid] for cid in cids))


def _failed(kind: str, reply: Message) -> Failed:
    return reply if isinstance(reply, Failed) else Failed(kind, "Unavailable", why(reply))
