"""Mark and sweep over a real DAG; what is pinned or put meanwhile; codecs; ends of a marking."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.cid import CID, DAG_CBOR, DAG_PB, IDENTITY, RAW
from shoal.messages.errors import BadInput, Unavailable
from shoal.messages.limits import CATALOG_BATCH_MAX, Limit
from shoal.storage.catalog import marks
from shoal.storage.catalog.catalog import Catalog
from shoal.storage.catalog.rows import MarkedTotals, Use

NOW = 1.8e9
LATER = NOW + 3600


def cid_of(number: int, codec: int = RAW) -> CID:
    return CID.of(number.to_bytes(8, "big"), codec)


def put(cid: CID, at: float = NOW, tier: str = "disk") -> Use:
    return Use(cid, 100, tier, True, 0, at)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog(tmp_path)
    catalog.open()
    yield catalog
    assert catalog.rebuilt == 0
    catalog.close()


def swept(catalog: Catalog, tier: str = "disk", before: float = LATER, limit: int = 3) -> list[CID]:
    """Delete all that may go, in pages; which those were."""
    gone: list[CID] = []
    while page := catalog.unmarked(tier, before, limit, LATER):
        assert len(page) <= limit
        gone.extend(row.cid for row in page)
        assert catalog.forget([row.cid for row in page]) == len(page)
    return gone


@given(
    links=st.lists(st.sets(st.integers(0, 30), max_size=4), min_size=31, max_size=31),
    roots=st.dictionaries(st.integers(0, 30), st.booleans(), max_size=4),
    page=st.integers(1, 5),
)
def test_what_a_pin_reaches_is_kept_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, links: list[set[int]], roots: dict[int, bool], page: int
) -> None:
    """A graph of 31 nodes with sharing and even cycles; pins of both kinds."""
    catalog = Catalog(tmp_path_factory.mktemp("marks"))
    catalog.open()
    cids = [cid_of(number, DAG_PB) for number in range(31)]
    catalog.note([put(cid) for cid in cids])
    for root, recursive in roots.items():
        catalog.pin(cids[root], recursive, "", NOW)
    catalog.begin_marking(NOW + 1)
    for pin in catalog.pins(None, 100):
        catalog.mark([pin.cid], expand=pin.recursive)
    turns = 0
    while waiting := catalog.frontier(page):
        for cid in waiting:
            catalog.mark([cids[link] for link in links[cids.index(cid)]], expand=True)
        catalog.expanded(waiting)
        turns += 1
    assert turns <= 31, "each is expanded once"
    reached = {root for root, recursive in roots.items() if recursive}
    while more := {link for node in reached for link in links[node]} - reached:
        reached |= more
    reached |= roots.keys()
    totals = catalog.marked_totals()
    assert totals == MarkedTotals(len(reached), 100 * len(reached), 31 - len(reached), 100 * (31 - len(reached)), 0)
    assert {cids.index(cid) for cid in swept(catalog)} == set(range(31)) - reached
    assert {cids.index(cid) for cid, row in zip(cids, catalog.usage(cids), strict=True) if row} == reached
    catalog.close()


def test_the_coldest_go_first(catalog: Catalog) -> None:
    rng = random.Random(7)
    cids = [cid_of(number) for number in range(40)]
    for cid in cids:
        catalog.note([Use(cid, 100, "disk", True, rng.randrange(5), NOW - rng.randrange(10**6))])
    catalog.begin_marking(NOW)
    catalog.mark(cids[::4], expand=False)
    rest = [row for row in catalog.usage(cids) if row and not catalog.is_marked([row.cid])[0]]
    assert len(rest) == 30
    expected = [row.cid for row in sorted(rest, key=lambda row: row.heat(LATER))]
    assert swept(catalog) == expected


def test_what_is_pinned_or_put_meanwhile_is_kept(catalog: Catalog) -> None:
    """Whatever the clock says: a put may carry a time before the marking began."""
    cids = [cid_of(number, DAG_PB) for number in range(6)]
    catalog.note([put(cid, NOW - 100) for cid in cids[:5]])
    catalog.begin_marking(NOW)
    catalog.pin(cids[0], True, "", NOW + 1)
    catalog.pin(cids[1], False, "", NOW + 1)
    catalog.note([put(cids[2], NOW - 50), put(cids[5], NOW - 50)])
    catalog.note([Use(cids[3], 100, "disk", False, 1, NOW - 50)])  # a read alone keeps nothing
    assert catalog.is_marked(cids) == [True, True, True, False, False, True]
    assert catalog.frontier(10) == [cids[0]]
    assert set(swept(catalog)) == {cids[3], cids[4]}


def test_what_was_used_after_the_limit_of_time_is_spared(catalog: Catalog) -> None:
    catalog.note([put(cid_of(1), NOW), put(cid_of(2), NOW - 1), put(cid_of(3), NOW - 1, tier="cold")])
    catalog.begin_marking(NOW)
    assert catalog.marked_totals("disk", NOW) == MarkedTotals(1, 100, 1, 100, 0)
    assert catalog.marked_totals(before=NOW) == MarkedTotals(1, 100, 2, 200, 0)
    assert swept(catalog, "disk", NOW) == [cid_of(2)]
    assert swept(catalog, "cold", NOW) == [cid_of(3)]


def test_a_page_is_looked_at_again_when_it_is_handed_out(catalog: Catalog) -> None:
    """What was found by one scan may have been marked, used, moved or forgotten before its turn."""
    cids = [cid_of(number) for number in range(8)]
    catalog.note([put(cid, NOW + number) for number, cid in enumerate(cids)])
    catalog.begin_marking(NOW)
    assert [row.cid for row in catalog.unmarked("disk", LATER, 1, LATER)] == cids[:1]
    catalog.mark(cids[1:2], expand=True)
    catalog.note([Use(cids[2], 0, "", False, 1, LATER)])
    catalog.moved(cids[3:4], "cold", LATER)
    catalog.forget(cids[4:5])
    assert [row.cid for row in catalog.unmarked("disk", LATER, 10, LATER)] == [cids[0], *cids[5:]]
    assert [row.cid for row in catalog.unmarked("disk", LATER, 10, LATER)] == [cids[0], *cids[5:]]


def test_blocks_that_come_to_the_tier_later_are_found_at_the_end(catalog: Catalog) -> None:
    cids = [cid_of(number) for number in range(5)]
    catalog.note([put(cid, NOW, tier="disk" if number < 3 else "cold") for number, cid in enumerate(cids)])
    catalog.begin_marking(NOW)
    assert len(catalog.unmarked("disk", LATER, 10, LATER)) == 3
    catalog.moved(cids, "disk", NOW + 1)
    assert set(swept(catalog)) == set(cids)


def test_a_store_larger_than_one_scan(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "CATALOG_SWEEP_MAX", Limit(7, "blocks", "few", "this test"))
    cids = [cid_of(number) for number in range(40)]
    catalog.note([put(cid, NOW + number) for number, cid in enumerate(cids)])
    catalog.begin_marking(NOW)
    catalog.mark(cids[10:20], expand=False)
    assert swept(catalog) == [*cids[:10], *cids[20:]]


def test_the_same_bytes_are_walked_under_each_codec(catalog: Catalog) -> None:
    """Marked as raw they have no links; the links that they have as dag-pb must still be marked."""
    raw, tree, cbor = (CID.of(b"both", codec) for codec in (RAW, DAG_PB, DAG_CBOR))
    catalog.begin_marking(NOW)
    assert catalog.mark([raw], expand=True) == [raw]
    assert catalog.frontier(10) == []
    assert catalog.is_marked([raw, tree]) == [True, True]
    assert catalog.mark([tree, cbor, tree], expand=True) == [tree, cbor]
    assert set(catalog.frontier(10)) == {tree, cbor}


def test_a_mark_only_rises(catalog: Catalog) -> None:
    old, tree = CID.of(b"tree", DAG_PB, 0), CID.of(b"tree", DAG_PB)
    catalog.begin_marking(NOW)
    assert catalog.mark([tree], expand=False) == [tree]
    assert catalog.frontier(10) == []
    assert catalog.mark([old], expand=True) == [], "marked already, yet to be expanded from now on"
    assert catalog.frontier(10) == [tree]
    catalog.expanded([old])
    assert catalog.mark([tree], expand=True) == catalog.mark([tree], expand=False) == []
    assert catalog.frontier(10) == []


def test_an_identity_cid_may_have_links(catalog: Catalog) -> None:
    inline = CID(1, DAG_CBOR, IDENTITY, b"\x80")
    catalog.begin_marking(NOW)
    catalog.mark([inline], expand=True)
    assert catalog.frontier(10) == [inline]


def test_one_marking_at_a_time_and_none_without_one(catalog: Catalog, tmp_path: Path) -> None:
    first = catalog.begin_marking(NOW)
    assert [catalog.marking] == [first]
    with pytest.raises(Unavailable, match="under way"):
        catalog.begin_marking(NOW)
    catalog.mark([cid_of(1)], expand=False)
    catalog.end_marking()
    catalog.end_marking()
    assert catalog.marking is None
    assert not (tmp_path / "marks.sqlite").exists()
    for call in (
        lambda: catalog.mark([], expand=True),
        lambda: catalog.frontier(1),
        lambda: catalog.expanded([]),
        lambda: catalog.is_marked([]),
        lambda: catalog.unmarked("disk", NOW, 1, NOW),
        lambda: catalog.marked_totals(),
    ):
        with pytest.raises(Unavailable, match="begin a marking"):
            call()
    second = catalog.begin_marking(NOW)
    assert second.number != first.number
    assert catalog.is_marked([cid_of(1)]) == [False]


def test_a_marking_that_a_crash_cut_short_is_discarded(catalog: Catalog, tmp_path: Path) -> None:
    catalog.begin_marking(NOW)
    catalog.mark([cid_of(1)], expand=True)
    (tmp_path / "marks.sqlite").rename(tmp_path / "left")
    catalog.close()
    (tmp_path / "left").rename(tmp_path / "marks.sqlite")  # as a killed process leaves it
    (tmp_path / "marks.sqlite-journal").write_bytes(b"rubbish")
    catalog.open()
    assert catalog.marking is None
    assert sorted(path.name for path in tmp_path.glob("marks*")) == []
    catalog.begin_marking(NOW)
    assert catalog.is_marked([cid_of(1)]) == [False]


def test_bad_bounds(catalog: Catalog) -> None:
    catalog.begin_marking(NOW)
    many = [cid_of(1)] * (CATALOG_BATCH_MAX.value + 1)
    for call in (
        lambda: catalog.mark(many, expand=True),
        lambda: catalog.expanded(many),
        lambda: catalog.is_marked(many),
        lambda: catalog.unmarked("disk", float("nan"), 1, NOW),
        lambda: catalog.unmarked("disk", NOW, 1, float("nan")),
        lambda: catalog.marked_totals(before=float("nan")),
        lambda: catalog.begin_marking(float("inf")),
    ):
        with pytest.raises(BadInput):
            call()
