"""The catalogue against plain dicts: any order of notes, moves, listings, pins, marks, reopenings and crashes.

A crash is the files as they are on the disk, the logs not folded in and the marks still there, opened by somebody new.
"""

import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shoal.messages.cid import CID, DAG_PB, IDENTITY
from shoal.messages.errors import BadInput, NotFound, Unavailable
from shoal.storage.catalog.catalog import Catalog
from shoal.storage.catalog.rows import Listed, Pin, Span, Usage, Use
from shoal.tests.storage.catalog.catalog_model import Model
from shoal.tests.storage.disk.samples import FAST_FOLDER

RAWS = [CID.of(bytes([number])) for number in range(6)]
TREES = [CID.of(bytes([number]), DAG_PB) for number in range(3)]  # the same bytes under another codec
OLD = [CID.of(bytes([number]), DAG_PB, 0) for number in range(3)]  # and another name
INLINE = CID(1, DAG_PB, IDENTITY, b"inline")
ALL = [*RAWS, *TREES, *OLD, INLINE]
MULTIHASHES = sorted({cid.multihash for cid in RAWS})

cids = st.sampled_from(ALL)
batches = st.lists(cids, max_size=5)
sizes = st.sampled_from([0, 1, 1000, 262_144])
tiers = st.sampled_from(["disk", "cold"])
places = st.sampled_from(["", "disk", "cold"])
lags = st.sampled_from([0.0, 5.0, 5000.0, -5.0, -5000.0])  # how long ago what is told was, a clock error among them
limits = st.integers(0, 4)
heats = st.sampled_from([-math.inf, 0.0, 0.5, 1.0, 2.0, 100.0, math.inf])
names = st.sampled_from(["", "a", "ab", "Ω\0b"])


class CatalogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=FAST_FOLDER))
        self.model = Model()
        self.now = 1e9
        self.crashes = 0

    @initialize()
    def start(self) -> None:
        self.catalog = self.open_at(self.folder / "0")

    def open_at(self, place: Path) -> Catalog:
        catalog = Catalog(place)
        catalog.open()
        self.place = place
        self.model.marks = None
        return catalog

    # --- usage -------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1.0, 60.0, 3600.0, 86400.0, 40 * 86400.0, -7200.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(uses=st.lists(st.tuples(cids, sizes, places, st.booleans(), st.integers(0, 3), lags), max_size=5))
    def note(self, uses: list[tuple[CID, int, str, bool, int, float]]) -> None:
        batch = [
            Use(cid, size, tier, put or not reads, reads, self.now - lag) for cid, size, tier, put, reads, lag in uses
        ]
        self.catalog.note(batch)
        for use in batch:
            self.model.note(use)

    @rule(batch=batches, tier=places)
    def moved(self, batch: list[CID], tier: str) -> None:
        here = {cid.multihash for cid in batch} & self.model.rows.keys()
        assert self.catalog.moved(batch, tier, self.now) == len(here)
        for multihash in here:
            self.model.rows[multihash].tier = tier
            self.model.rows[multihash].placed = self.now if tier else None

    @rule(batch=batches, importance=st.sampled_from([0, 7, 255]))
    def weigh(self, batch: list[CID], importance: int) -> None:
        here = {cid.multihash for cid in batch} & self.model.rows.keys()
        assert self.catalog.weigh(batch, importance) == len(here)
        for multihash in here:
            self.model.rows[multihash].importance = importance

    @rule(batch=batches)
    def forget(self, batch: list[CID]) -> None:
        here = {cid.multihash for cid in batch} & self.model.rows.keys()
        assert self.catalog.forget(batch) == len(here)
        for multihash in here:
            del self.model.rows[multihash]

    @rule(tier=tiers, entries=st.lists(st.builds(Listed, cids, sizes), max_size=6), lag=lags)
    def list_some(self, tier: str, entries: list[Listed], lag: float) -> None:
        at = self.now - lag
        done = self.catalog.listed(tier, entries, at)
        assert (done.added, done.corrected) == self.model.listed(tier, entries, at)
        assert (done.dropped, done.complete) == (0, True)

    @rule(
        tier=tiers,
        entries=st.lists(st.builds(Listed, cids, sizes), max_size=6),
        lag=lags,
        low=st.integers(-1, 5),
        high=st.integers(-1, 5),
    )
    def list_a_span(self, tier: str, entries: list[Listed], lag: float, low: int, high: int) -> None:
        at = self.now - lag
        after = None if low < 0 else MULTIHASHES[low]
        through = None if high < 0 else MULTIHASHES[high]
        done = self.catalog.listed(tier, entries, at, Span(after, through))
        assert (done.added, done.corrected) == self.model.listed(tier, entries, at)
        assert done.dropped == self.model.unlisted(tier, after or b"", through, entries, at)
        assert done.complete

    @rule(ago=lags, limit=limits)
    def prune(self, ago: float, limit: int) -> None:
        stray = [row for row in self.model.of_tier("") if row.last < self.now - ago]
        count = self.catalog.prune(self.now - ago, limit)
        assert count == min(limit, len(stray))
        gone = [row for row in stray if self.catalog.usage([row.cid]) == [None]]
        assert len(gone) == count
        latest = max((row.last for row in gone), default=-math.inf)
        assert all(row.last >= latest for row in stray if row not in gone)
        for row in gone:
            del self.model.rows[row.cid.multihash]

    @rule(tier=places, limit=limits, below=heats, above=heats)
    def rank(self, tier: str, limit: int, below: float, above: float) -> None:
        cold = self.catalog.coldest(tier, self.now, limit, below)
        assert cold == self.model.coldest(tier, self.now, limit, below)
        hot = self.catalog.hottest(tier, self.now, limit, above)
        assert hot == self.model.hottest(tier, self.now, limit, above)

    @rule()
    def totals(self) -> None:
        found = self.catalog.totals(self.now)
        assert found.keys() == {row.tier for row in self.model.rows.values()}
        for tier, total in found.items():
            rows = self.model.of_tier(tier)
            assert (total.blocks, total.bytes) == (len(rows), sum(row.size for row in rows))
            assert total.heats == self.model.histogram(tier, self.now)

    # --- pins --------------------------------------------------------------------------------------

    @rule(cid=cids, recursive=st.booleans(), name=names)
    def pin(self, cid: CID, recursive: bool, name: str) -> None:
        key = (cid.multihash, cid.codec)
        old = self.model.pins.get(key)
        if old is not None and old.recursive and not recursive:
            with pytest.raises(BadInput, match="already pinned recursively"):
                self.catalog.pin(cid, recursive, name, self.now)
            return
        at = old.at if old is not None and old.recursive == recursive else self.now
        new = Pin(cid, recursive, name or (old.name if old else ""), at)
        assert self.catalog.pin(cid, recursive, name, self.now) == new
        self.model.pins[key] = new
        if self.model.marks is not None:
            self.model.mark(cid, recursive)

    @rule(cid=cids, recursive=st.sampled_from([None, True, False]))
    def unpin(self, cid: CID, recursive: bool | None) -> None:
        old = self.model.pins.get((cid.multihash, cid.codec))
        if old is None:
            with pytest.raises(NotFound, match=r"^not pinned or pinned indirectly$"):
                self.catalog.unpin(cid, recursive)
        elif old.recursive and recursive is False:
            with pytest.raises(BadInput, match="is pinned recursively"):
                self.catalog.unpin(cid, recursive)
        else:
            assert self.catalog.unpin(cid, recursive) == old
            del self.model.pins[(cid.multihash, cid.codec)]

    @rule(page=st.integers(1, 4), kind=st.sampled_from(["all", "direct", "recursive"]), name=names)
    def list_pins(self, page: int, kind: Any, name: str) -> None:
        seen: list[Pin] = []
        while found := self.catalog.pins(seen[-1].cid if seen else None, page, kind, name):
            assert len(found) <= page
            seen.extend(found)
        pins = [pin for _, pin in sorted(self.model.pins.items())]
        assert seen == [pin for pin in pins if kind in ("all", pin.kind) and name in pin.name]

    # --- marks -------------------------------------------------------------------------------------

    def is_marking(self) -> bool:
        return self.model.marks is not None

    @rule()
    def begin_marking(self) -> None:
        if self.is_marking():
            with pytest.raises(Unavailable, match="under way"):
                self.catalog.begin_marking(self.now)
        else:
            assert self.catalog.begin_marking(self.now).began == self.now
            self.model.marks = {}

    @rule()
    def end_marking(self) -> None:
        self.catalog.end_marking()
        self.model.marks = None

    @rule(batch=batches, expand=st.booleans())
    def mark(self, batch: list[CID], expand: bool) -> None:
        if not self.is_marking():
            with pytest.raises(Unavailable, match="no marking"):
                self.catalog.mark(batch, expand)
        else:
            assert self.catalog.mark(batch, expand) == [cid for cid in batch if self.model.mark(cid, expand)]

    @precondition(is_marking)
    @rule(limit=limits, expand=st.booleans())
    def frontier(self, limit: int, expand: bool) -> None:
        assert self.model.marks is not None
        found = self.catalog.frontier(limit)
        waiting = {key for key, state in self.model.marks.items() if state == "to expand"}
        assert len(found) == min(limit, len(waiting))
        assert {(cid.multihash, cid.codec) for cid in found} <= waiting
        if expand:
            self.catalog.expanded(found)
            for cid in found:
                self.model.marks[(cid.multihash, cid.codec)] = "expanded"

    @precondition(is_marking)
    @rule(tier=tiers, before=st.sampled_from([1e9, 2e9, math.inf]), limit=limits)
    def sweep(self, tier: str, before: float, limit: int) -> None:
        may_go = self.model.may_go(tier, before)
        page = self.catalog.unmarked(tier, before, limit, self.now)
        assert all(row in may_go for row in page)
        assert len({row.cid for row in page}) == len(page) <= limit
        assert bool(page) == bool(may_go and limit), "an empty page is the end"
        total = self.catalog.marked_totals(tier, before)
        kept = [row for row in self.model.of_tier(tier) if row not in may_go]
        assert (total.going_blocks, total.going_bytes) == (len(may_go), sum(row.size for row in may_go))
        assert (total.kept_blocks, total.kept_bytes) == (len(kept), sum(row.size for row in kept))
        assert self.model.marks is not None
        assert total.to_expand == list(self.model.marks.values()).count("to expand")

    # --- ends --------------------------------------------------------------------------------------

    @rule()
    def reopen(self) -> None:
        self.catalog.close()
        self.catalog = self.open_at(self.place)

    @rule()
    def crash(self) -> None:
        self.crashes += 1
        copy = self.folder / str(self.crashes)
        shutil.copytree(self.place, copy, ignore=shutil.ignore_patterns("*-shm"))
        left_behind = self.catalog
        self.catalog = self.open_at(copy)
        left_behind.close()

    @invariant()
    def they_agree(self) -> None:
        if not hasattr(self, "catalog"):
            return
        expected: list[Usage | None] = [self.model.usage(cid.multihash) for cid in ALL]
        assert self.catalog.usage(ALL) == expected
        assert self.catalog.pin_count() == len(self.model.pins)
        for cid, pin in zip(ALL, self.catalog.pinned(ALL), strict=True):
            own = self.model.pins.get((cid.multihash, cid.codec))
            others = [pin for key, pin in self.model.pins.items() if key[0] == cid.multihash]
            assert pin == own if own else pin in others if others else pin is None
        if self.model.marks is not None:
            assert self.catalog.is_marked(ALL) == [self.model.is_marked(cid.multihash) for cid in ALL]
        assert (self.catalog.marking is not None) == self.is_marking()
        assert self.catalog.rebuilt == 0

    def teardown(self) -> None:
        if hasattr(self, "catalog"):
            self.catalog.close()
        shutil.rmtree(self.folder)


TestCatalogMachine: Any = CatalogMachine.TestCase
TestCatalogMachine.settings = settings(stateful_step_count=30)
