"""Catalog: what is known about blocks beside their bytes, in SQLite files of one folder.

Not the blocks, no policy, no actor, not thread-safe.  The actor that owns it opens it in its own thread.  Begin at
``note``, ``coldest``, ``pin`` and ``begin_marking``.

* Usage (soft state): where each block is and how it is used.  It may lag behind the tiers, whose own indexes are the
  authority; ``listed`` brings it in line.  A damaged or lost file is begun anew and counted (``rebuilt``): the owner
  then lists its tiers again.  Work that was noted since the last checkpoint may be lost in a power cut.
* Pins (hard state): durable when a call returns; damage is a StorageFault that says what to do, and nothing is
  opened.  Pins that are gone while the usage is there are damage too.
* Marks: one mark and sweep at a time, on disk, forgotten when the process ends.  It is safe beside everything else:
  what is pinned or put while it lasts is marked by ``pin`` and ``note`` themselves.

Blocks are known by their multihash, pins and marks by multihash and codec (see ``pins`` and ``marks``).  Times are
seconds of the wall clock.  A batch of more than CATALOG_BATCH_MAX raises BadInput, and so does a time that is not a
finite number; an answer lists no more than that either.  Every method may raise StorageFault or StorageFull.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from shoal.messages.cid import CID
from shoal.messages.errors import BadInput, LocalError, StorageFault, StorageFull, Unavailable
from shoal.messages.limits import CATALOG_BATCH_MAX, CATALOG_STRAYS_MAX
from shoal.storage.catalog import marks, ranking, usage
from shoal.storage.catalog.files import UsageFile
from shoal.storage.catalog.pins import PinBook
from shoal.storage.catalog.rows import (
    IMPORTANCE_MAX,
    NOWHERE,
    Listed,
    MarkedTotals,
    Marking,
    Pin,
    PinKind,
    Reconciled,
    Span,
    TierTotals,
    Usage,
    Use,
    check_batch,
    check_tier,
    check_time,
    page_size,
)
from shoal.storage.repo import sync_folder

Result = TypeVar("Result")

PINS_FILE: Final = "pins.sqlite"
USAGE_FILE: Final = "usage.sqlite"
MARKS_FILE: Final = "marks.sqlite"


class Catalog:
    """Usage, pins and marks of one node.  See the module for what each of them promises."""

    def __init__(self, folder: Path) -> None:
        """Say where; nothing is opened yet.  The folder is made when it is missing."""
        self._folder = folder
        self._pins = PinBook(folder / PINS_FILE)
        self._usage = UsageFile(folder / USAGE_FILE, folder / MARKS_FILE)
        self._strays = 0  # at least as many as there are rows of no tier
        self._marking: Marking | None = None
        self._markings = 0
        self._sweep: marks.Sweep | None = None

    @property
    def folder(self) -> Path:
        """Where it all is."""
        return self._folder

    def open(self) -> None:
        """Open, or make, the files in the calling thread; an unfinished marking is discarded.

        Raises BadConfig for a file of a newer shoal or of another program, StorageFault for damaged or missing pins.
        """
        self._make_folder()
        # The pins are made first: usage without them says that they were taken away.
        self._pins.open(may_make=not (self._folder / USAGE_FILE).exists())
        try:
            self._usage.open()
            self._strays = self._usage.run("count usage", usage.count_strays, write=False)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Fold the logs into the files and let go of them; a marking ends.  May be called twice."""
        self._marking = self._sweep = None
        self._usage.close()
        self._pins.close()

    @property
    def rebuilt(self) -> int:
        """How often this object has found the usage damaged and begun it anew; list the tiers when it grows."""
        return self._usage.rebuilt

    # --- usage -------------------------------------------------------------------------------------

    def note(self, uses: Sequence[Use]) -> None:
        """Add what was put or read.  Of blocks of no known tier at most CATALOG_STRAYS_MAX are remembered."""
        check_batch(uses)
        put = [use.cid for use in uses if use.put]

        def work(conn: sqlite3.Connection) -> None:
            usage.note(conn, uses)
            if self._usage.marking and put:
                marks.mark(conn, put, expand=False)

        try:
            self._usage.run("note the use of blocks", work, write=True)
        except LocalError:
            self.end_marking()  # a sweep that has not heard of a put could delete what was put
            raise
        self._add_strays(sum(use.tier == NOWHERE for use in uses))

    def usage(self, cids: Sequence[CID]) -> list[Usage | None]:
        """What is known of each CID's block, in their order; None for nothing."""
        check_batch(cids)
        return self._usage.run("read usage", lambda conn: usage.find(conn, cids), write=False)

    def moved(self, cids: Sequence[CID], tier: str, at: float) -> int:
        """Say that these blocks are in ``tier`` as of ``at`` (NOWHERE: in none); how many of them have a row."""
        check_batch(cids)
        check_tier(tier)
        check_time(at)
        count = self._usage.run("note a move", lambda conn: usage.moved(conn, cids, tier, at), write=True)
        self._add_strays(count if tier == NOWHERE else 0)
        return count

    def weigh(self, cids: Sequence[CID], importance: int) -> int:
        """Set the level of importance, 0 to IMPORTANCE_MAX, of these blocks; how many of them have a row."""
        check_batch(cids)
        if not 0 <= importance <= IMPORTANCE_MAX:
            raise BadInput(f"an importance of {importance}", f"give a level from 0 to {IMPORTANCE_MAX}")
        return self._usage.run("weigh blocks", lambda conn: usage.weigh(conn, cids, importance), write=True)

    def forget(self, cids: Sequence[CID]) -> int:
        """Drop all that is known of these blocks but their pins; how many had a row."""
        check_batch(cids)
        return self._usage.run("forget blocks", lambda conn: usage.forget(conn, cids), write=True)

    def listed(self, tier: str, entries: Sequence[Listed], at: float, span: Span | None = None) -> Reconciled:
        """Bring the usage in line with a page of a tier's own listing that was asked for at ``at``.

        Blocks without a row get one, as if put at ``at``; size and tier of the others are corrected, their uses stay.
        ``span`` says that ``entries`` are all that the tier has there: what else is said to be in it becomes a row of
        no tier, for ``prune`` to drop (another tier may yet list it).  What was noted or moved after ``at`` stands.
        """
        check_batch(entries)
        check_time(at)
        check_tier(tier)
        if tier == NOWHERE:
            raise BadInput("a listing of no tier", "name the tier that listed these blocks")
        done = self._usage.run(
            "take in a listing", lambda conn: usage.listed(conn, tier, entries, at, span), write=True
        )
        self._add_strays(done.dropped)
        return done

    def prune(self, before: float, limit: int = CATALOG_BATCH_MAX.value) -> int:
        """Drop up to ``limit`` rows of no tier that were last used before ``before``; how many."""
        size = page_size(limit)
        before = _bound(before)
        return self._usage.run("prune usage", lambda conn: usage.prune(conn, before, size), write=True)

    # --- ranking -----------------------------------------------------------------------------------

    def coldest(self, tier: str, now: float, limit: int, below: float = math.inf) -> list[Usage]:
        """Up to ``limit`` blocks of ``tier`` with a heat below ``below``, the coldest first."""
        check_time(now)
        size = page_size(limit)
        below = _bound(below)
        return self._usage.run(
            "find cold blocks", lambda conn: ranking.coldest(conn, tier, now, size, below), write=False
        )

    def hottest(self, tier: str, now: float, limit: int, above: float = -math.inf) -> list[Usage]:
        """Up to ``limit`` blocks of ``tier`` with a heat above ``above``, the hottest first."""
        check_time(now)
        size = page_size(limit)
        above = _bound(above)
        return self._usage.run(
            "find hot blocks", lambda conn: ranking.hottest(conn, tier, now, size, above), write=False
        )

    def totals(self, now: float) -> dict[str, TierTotals]:
        """Blocks, bytes and spread of heat (``ranking.HEAT_EDGES``) of every tier that has rows; a scan of them all."""
        check_time(now)
        return self._usage.run("count usage", lambda conn: ranking.totals(conn, now), write=False)

    # --- pins --------------------------------------------------------------------------------------

    def pin(self, cid: CID, recursive: bool, name: str, now: float) -> Pin:
        """Pin ``cid`` durably; the pin as it stands.  See ``pins.PinBook.pin`` for a CID that has one.

        Raises BadInput for a name above PIN_NAME_BYTES_MAX or a direct pin of what is pinned recursively.
        """
        try:
            pin = self._pins.pin(cid, recursive, name, now)
        except (StorageFault, StorageFull):
            self.end_marking()  # should it have been written all the same, a sweep must not have taken what it keeps
            raise
        if self._marking is not None:
            self._mark_pinned(pin)
        return pin

    def unpin(self, cid: CID, recursive: bool | None = None) -> Pin:
        """End the pin of ``cid`` durably; what it was.  ``recursive=False`` ends a direct pin only.

        Raises NotFound when ``cid`` has no pin of its own, BadInput for the wrong kind.
        """
        return self._pins.unpin(cid, recursive)

    def pins(self, after: CID | None, limit: int, kind: PinKind = "all", name: str = "") -> Sequence[Pin]:
        """A page of pins, ordered by multihash and codec, from the root behind ``after`` on; empty at the end.

        ``name`` is any part of a name.
        """
        return self._pins.list(after, limit, kind, name)

    def pinned(self, cids: Sequence[CID]) -> Sequence[Pin | None]:
        """The pin that each CID's bytes have as a root, of whatever codec; None where they have none."""
        return self._pins.pinned(cids)

    def pin_count(self) -> int:
        """How many pins there are, in constant time."""
        return self._pins.count()

    # --- marks -------------------------------------------------------------------------------------

    @property
    def marking(self) -> Marking | None:
        """The marking under way; None also when its marks were lost to damage."""
        return self._marking if self._usage.marking else None

    def begin_marking(self, now: float) -> Marking:
        """Begin with no marks; the owner then marks the pinned roots.  Raises Unavailable while one is under way."""
        check_time(now)
        if self.marking is not None:
            raise Unavailable(f"a marking is under way since {self.marking.began}", "end it first")
        self._pins.settle()
        self._usage.add_marks()
        self._markings += 1
        self._marking, self._sweep = Marking(self._markings, now), None
        return self._marking

    def end_marking(self) -> None:
        """Forget all marks; nothing when there is no marking."""
        self._marking = self._sweep = None
        self._usage.drop_marks()

    def mark(self, cids: Sequence[CID], expand: bool) -> list[CID]:
        """Mark ``cids``, with ``expand`` also for the frontier (raw leaves never are on it); those new to the marks.

        Like every method here Unavailable without a marking, or when damage has cost its marks.
        """
        check_batch(cids)
        return self._marked("mark blocks", lambda conn: marks.mark(conn, cids, expand), write=True)

    def frontier(self, limit: int) -> list[CID]:
        """Up to ``limit`` marked CIDs, as CIDv1, that are to be expanded; the same again until ``expanded``."""
        size = page_size(limit)
        return self._marked("read the frontier", lambda conn: marks.frontier(conn, size), write=False)

    def expanded(self, cids: Sequence[CID]) -> None:
        """Say that the links of ``cids`` have been marked."""
        check_batch(cids)
        self._marked("mark blocks", lambda conn: marks.expanded(conn, cids), write=True)

    def is_marked(self, cids: Sequence[CID]) -> list[bool]:
        """Whether each CID's bytes are to be kept."""
        check_batch(cids)
        return self._marked("look marks up", lambda conn: marks.are_marked(conn, cids), write=False)

    def unmarked(self, tier: str, before: float, limit: int, now: float) -> list[Usage]:
        """Up to ``limit`` blocks of ``tier`` without a mark and last used before ``before``, the coldest first.

        Call it when the frontier is empty, delete, ``forget``, call again; an empty page is the end.  The order is
        that of the scan which found them (see ``marks.Sweep``).
        """
        check_time(now)
        before = _bound(before)
        if self._sweep is None or (self._sweep.tier, self._sweep.before) != (tier, before):
            self._sweep = marks.Sweep(tier, before)
        return self._sweep.page(self._usage, page_size(limit), now)

    def marked_totals(self, tier: str = NOWHERE, before: float = math.inf) -> MarkedTotals:
        """What a sweep of ``tier`` (NOWHERE: of every tier) would keep and delete now; a scan of its rows."""
        before = _bound(before)
        return self._marked("count marks", lambda conn: marks.totals(conn, tier, before), write=False)

    # --- inside ------------------------------------------------------------------------------------

    def _marked(self, doing: str, work: Callable[[sqlite3.Connection], Result], *, write: bool) -> Result:
        return self._usage.run(doing, work, write=write, marks=True)

    def _mark_pinned(self, pin: Pin) -> None:
        """Mark what was pinned in the middle of a marking; where that fails, no sweep may rely on the marks."""
        try:
            self.mark([pin.cid], expand=pin.recursive)
        except LocalError:
            self.end_marking()

    def _add_strays(self, count: int) -> None:
        """Note that there may be ``count`` more rows of no tier; above the bound they are counted, the oldest go."""
        self._strays += count
        if self._strays > CATALOG_STRAYS_MAX.value:
            self._strays = self._usage.run("drop strays", usage.drop_strays, write=True)

    def _make_folder(self) -> None:
        try:
            if not self._folder.is_dir():
                self._folder.mkdir(parents=True)
                sync_folder(self._folder.parent)
        except OSError as fault:
            raise StorageFault(
                f"cannot make the folder {self._folder}: {fault}",
                "check that the node's user may write there, and the disk",
            ) from fault


def _bound(value: float) -> float:
    """``value``, which may be infinite.  Raises BadInput for NaN, which is above and below nothing."""
    if math.isnan(value):
        raise BadInput("a bound that is no number", "give a number, or infinity for none")
    return float(value)
