"""Garbage collection by mark and sweep, in small steps between which everything else goes on.

Marked: all that is pinned, then all that a request holds.  Swept: what is unmarked and has not been used since the
collection began, or since the oldest request that is still open did.  What is put meanwhile is marked by the
catalogue; what is read or put between a page's choice and its deletion is kept by placement (``DropBlocks``).

A block of a pinned DAG that is not here hides what is below it: then nothing is swept, and the reason says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from shoal.actors.base import Context
from shoal.actors.keeper.holds import Holds
from shoal.actors.keeper.moving import STEP_TIMEOUT_S, why
from shoal.messages import keeping, tiers
from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.blocks import AvailableBlock
from shoal.messages.cid import CID, IDENTITY
from shoal.messages.errors import LocalError, NotFound, RemoteError, Unavailable
from shoal.messages.limits import CATALOG_BATCH_MAX
from shoal.storage.catalog.catalog import Catalog
from shoal.storage.catalog.rows import Usage
from shoal.storage.ipld.dag import links_of

DURABLE: Final = ("disk", "cold")  # the tiers that blocks live in, the first one asked first
EXPAND_BLOCKS: Final = 16  # read at one time to find their links; 32 MiB at most
SWEEP_BLOCKS: Final = 256  # deleted at one time: one transaction of some 50 ms
STEP_S: Final = 0.005  # seconds between steps, in which other messages are served
FRUITLESS_MAX: Final = 8  # pages of which nothing could be deleted, after which a sweep ends: it is all in use
FRUITLESS_MORE: Final = 32  # blocks beyond what is needed that each such page adds to the next
FRUITLESS_S: Final = 0.5  # seconds after such a page: within them all we hear of most uses, and pass those blocks over


@dataclass(slots=True)
class Collection:
    """One run.  ``needed``: bytes after which it is enough, by tier; without it everything unmarked goes."""

    dry: bool
    began: float  # wall clock
    removed: Callable[[tuple[AvailableBlock, ...]], None]
    ended: Callable[[keeping.GcEnd | LocalError], None]
    needed: dict[str, int] | None = None
    tiers: list[str] = field(default_factory=lambda: list(DURABLE))
    held: bool = False  # the pins have been expanded, the holds are next
    fruitless: int = 0
    blocks: int = 0
    size: int = 0


class Collector:
    """At most one collection at a time.  ``state`` says what it does, or how the last one ended."""

    def __init__(self, ctx: Context, catalog: Catalog, holds: Holds, moving: Callable[[], bool]) -> None:
        """``moving``: whether blocks are on their way between the tiers.  A sweep waits for the end of that, since a
        block that is deleted while a copy is made comes back with the copy."""
        self.ctx = ctx
        self.moving = moving
        self.catalog = catalog
        self.holds = holds
        self.state = "idle"
        self.run: Collection | None = None

    def start(self, run: Collection) -> None:
        """Begin.  Raises Unavailable while one runs, or what the catalogue raises."""
        if self.run is not None:
            raise Unavailable("a garbage collection is under way", "wait for its end")
        self.catalog.begin_marking(run.began)
        self.run, self.state = run, "marking"
        self._guarded(self._mark_pins, run)

    def held(self, roots: tuple[CID, ...]) -> None:
        """A request holds ``roots`` from now on: what is below them is marked before anything more goes."""
        if self.run is not None and self.run.held and roots:
            self._guarded(lambda: self._mark_below(roots), self.run)

    def give_up(self, reason: str) -> None:
        """End what runs, if anything does: it may be about to delete what is needed."""
        if self.run is not None:
            self._end(Unavailable(f"the collection was given up: {reason}", "collect again"))

    # --- marking -----------------------------------------------------------------------------------

    def _mark_pins(self) -> None:
        after: CID | None = None
        while page := self.catalog.pins(after, CATALOG_BATCH_MAX.value):
            self.catalog.mark([pin.cid for pin in page if not pin.recursive], expand=False)
            self._mark_below([pin.cid for pin in page if pin.recursive])
            after = page[-1].cid
        self._soon(self._expand)

    def _expand(self) -> None:
        """Read what is marked and not yet followed, here or there."""
        run = self._current()
        cids = tuple(self.catalog.frontier(EXPAND_BLOCKS))
        if not cids and not run.held:
            run.held = True
            self._mark_below(self.holds.roots())
            cids = tuple(self.catalog.frontier(EXPAND_BLOCKS))
        if cids:
            # The first tier once more: a block that has just come up was in neither when each was asked.
            self._read(cids, cids, [*DURABLE, DURABLE[0]])
        else:
            self._sweep_or_tell()

    def _read(self, asked: tuple[CID, ...], cids: tuple[CID, ...], places: list[str]) -> None:
        if not places:
            self._absent(asked, cids)
            return

        def read(reply: Message) -> None:
            if not isinstance(reply, tiers.TierBlocks):
                raise Unavailable(f"marking stopped: {why(reply)}", "see the tier's state, and try again")
            self._follow(reply.blocks)
            if reply.missing:
                self._read(asked, reply.missing, places[1:])
            else:
                self._followed(asked)

        self._ask(tiers.TierGet(cids), places[0], read)

    def _absent(self, asked: tuple[CID, ...], missing: tuple[CID, ...]) -> None:
        if not self._current().held:
            raise NotFound(
                f"{missing[0]} is part of what is pinned and not here, so that what is below it is not known",
                "fetch it (shoal pin add of its root does), or unpin its root",
            )
        self._followed(asked)  # a request that is still fetching this has nothing below it yet but what is new

    def _follow(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            self._mark_below(cid for cid, _ in _links(block))

    def _followed(self, cids: tuple[CID, ...]) -> None:
        self.catalog.expanded(cids)
        self._soon(self._expand)

    def _mark_below(self, cids: Iterable[CID]) -> None:
        """Mark these to be followed; identity CIDs are looked through at once, their bytes are in them."""
        wanted: list[CID] = []
        todo = list(cids)
        while todo:
            cid = todo.pop()
            if cid.hash_code == IDENTITY:
                todo.extend(child for child, _ in _links(Block(cid, cid.digest)))
            else:
                wanted.append(cid)
        for start in range(0, len(wanted), CATALOG_BATCH_MAX.value):
            self.catalog.mark(wanted[start : start + CATALOG_BATCH_MAX.value], expand=True)

    # --- sweeping ----------------------------------------------------------------------------------

    def _sweep_or_tell(self) -> None:
        run = self._current()
        if run.dry:
            totals = self.catalog.marked_totals(before=self._before(run))
            self._end(keeping.GcEnd(totals.going_blocks, totals.going_bytes, totals.kept_blocks))
            return
        self.state = "sweeping"
        self._soon(self._sweep)

    def _before(self, run: Collection) -> float:
        return min(run.began, self.holds.since(run.began))

    def _sweep(self) -> None:
        run = self._current()
        if self.catalog.frontier(1):  # pinned or held since: marked to the last leaf before anything more goes
            self._expand()
            return
        if self.moving():
            self._soon(self._sweep, FRUITLESS_S)
            return
        if run.needed is not None:
            run.tiers = [tier for tier in run.tiers if run.needed.get(tier, 0) > 0]
        if not run.tiers:
            totals = self.catalog.marked_totals()
            self._end(keeping.GcEnd(run.blocks, run.size, totals.kept_blocks))
            return
        page = self.catalog.unmarked(run.tiers[0], self._before(run), SWEEP_BLOCKS, self.ctx.wall())
        if run.needed is not None:
            page = enough(page, run.needed[run.tiers[0]], FRUITLESS_MORE * run.fruitless)
        if not page or run.fruitless >= FRUITLESS_MAX:
            run.tiers, run.fruitless = run.tiers[1:], 0
            self._soon(self._sweep)
            return
        sizes = {usage.cid.multihash: usage.size for usage in page}
        cids = tuple(usage.cid for usage in page)

        def dropped(reply: Message) -> None:
            if not isinstance(reply, keeping.BlocksDropped):
                raise Unavailable(f"sweeping stopped: {why(reply)}", "see the tiers' states, and try again")
            kept = {cid.multihash for cid in reply.kept}
            gone = [cid for cid in cids if cid.multihash not in kept]
            self._note_gone(run, tuple(AvailableBlock(cid, sizes[cid.multihash]) for cid in gone))
            self._soon(self._sweep, STEP_S if gone else FRUITLESS_S)

        self._ask(keeping.DropBlocks(cids), "placement", dropped)

    def _note_gone(self, run: Collection, gone: tuple[AvailableBlock, ...]) -> None:
        run.fruitless = 0 if gone else run.fruitless + 1
        if not gone:
            return
        self.catalog.forget([block.cid for block in gone])
        size = sum(block.size for block in gone)
        run.blocks += len(gone)
        run.size += size
        if run.needed is not None:
            run.needed[run.tiers[0]] -= size
        run.removed(gone)

    # --- steps -------------------------------------------------------------------------------------

    def _current(self) -> Collection:
        run = self.run
        assert run is not None, "a step belongs to a run"
        if self.catalog.marking is None:
            raise Unavailable("the marks were lost", "collect again")
        return run

    def _soon(self, step: Callable[[], None], seconds: float = STEP_S) -> None:
        run = self.run
        self.ctx.after(seconds, lambda: self._guarded(step, run))

    def _ask(self, message: Message, to: str, answered: Callable[[Message], None]) -> None:
        run = self.run
        self.ctx.request(
            message, lambda reply: self._guarded(lambda: answered(reply), run), to=to, timeout_s=STEP_TIMEOUT_S
        )

    def _guarded(self, step: Callable[[], None], run: Collection | None) -> None:
        """One step of ``run``, if that has not ended; a fault ends it, never the actor."""
        if run is None or run is not self.run:
            return
        try:
            step()
        except LocalError as fault:
            self._end(fault)

    def _end(self, result: keeping.GcEnd | LocalError) -> None:
        run, self.run = self.run, None
        self.state = result.message if isinstance(result, LocalError) else "idle"
        self.catalog.end_marking()
        if run is not None:
            run.ended(result)


def enough(page: list[Usage], size: int, more: int) -> list[Usage]:
    """The first of ``page`` that hold ``size`` bytes together, and ``more`` blocks behind them."""
    for count, usage in enumerate(page, 1):
        size -= usage.size
        if size <= 0:
            return page[: count + more]
    return page


def _links(block: Block) -> Iterable[tuple[CID, int | None]]:
    """A block's links; none for a codec that we cannot read or a block that its maker got wrong: it has no children
    that we could have followed when we fetched it."""
    try:
        return links_of(block)
    except (LocalError, RemoteError):
        return ()
