"""What the catalogue promises of usage, one case each: late news, wrong clocks, listings, bounds, versions, ranking."""

import math
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database

from shoal.messages.cid import CID, DAG_PB, IDENTITY, RAW
from shoal.messages.errors import BadConfig, BadInput, StorageFault, Unavailable
from shoal.messages.limits import BLOCK_BYTES_MAX, CATALOG_BATCH_MAX, CATALOG_STRAYS_MAX, CATALOG_WAL_BYTES
from shoal.storage.catalog import marks, ranking, schema, usage
from shoal.storage.catalog.catalog import Catalog
from shoal.storage.catalog.rows import Listed, Span, Usage, Use
from shoal.storage.heat import heat

NOW = 1.8e9
HOUR = 3600.0


def cid_of(number: int, codec: int = RAW) -> CID:
    return CID.of(number.to_bytes(8, "big"), codec)


def put(number: int, at: float = NOW, tier: str = "disk", size: int = 100) -> Use:
    return Use(cid_of(number), size, tier, True, 0, at)


def read(number: int, at: float = NOW, tier: str = "", times: int = 1) -> Use:
    return Use(cid_of(number), 0, tier, False, times, at)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog(tmp_path / "catalog")
    catalog.open()
    yield catalog
    assert catalog.rebuilt == 0
    catalog.close()


def known(catalog: Catalog, number: int) -> Usage:
    (found,) = catalog.usage([cid_of(number)])
    assert found is not None
    return found


def test_a_block_is_known_from_its_first_use_on(catalog: Catalog) -> None:
    assert catalog.usage([cid_of(1)]) == [None]
    catalog.note([put(1, NOW, size=262_144), read(1, NOW + 5, times=3), read(1, NOW + 9)])
    assert catalog.usage([cid_of(1), cid_of(2)]) == [Usage(cid_of(1), 262_144, "disk", 5, NOW, NOW + 9, 0), None]
    catalog.weigh([cid_of(1)], 9)
    catalog.moved([cid_of(1)], "cold", NOW + 10)
    assert known(catalog, 1) == Usage(cid_of(1), 262_144, "cold", 5, NOW, NOW + 9, 9)
    assert known(catalog, 1).heat(NOW + 9 + HOUR) == heat(5, NOW, NOW + 9, NOW + 9 + HOUR)
    assert catalog.forget([cid_of(1)]) == 1
    assert catalog.usage([cid_of(1)]) == [None]


def test_other_names_of_the_same_bytes_are_one_row(catalog: Catalog) -> None:
    data = b"the same"
    old, tree, raw = CID.of(data, DAG_PB, 0), CID.of(data, DAG_PB), CID.of(data)
    catalog.note([Use(old, 8, "disk", True, 0, NOW), Use(raw, 8, "disk", False, 1, NOW)])
    assert catalog.usage([raw, tree]) == [Usage(tree, 8, "disk", 2, NOW, NOW, 0)] * 2
    assert catalog.forget([raw, old, tree]) == 1


def test_an_identity_cid_has_no_row(catalog: Catalog) -> None:
    inline = CID(1, RAW, IDENTITY, b"inline")
    catalog.note([Use(inline, 6, "disk", True, 0, NOW)])
    assert catalog.listed("disk", [Listed(inline, 6)], NOW).added == 0
    assert catalog.usage([inline]) == [None]


def test_late_news_of_a_use_does_not_undo_a_move(catalog: Catalog) -> None:
    catalog.note([put(1, NOW)])
    catalog.moved([cid_of(1)], "cold", NOW + 10)
    catalog.note([read(1, NOW + 5, tier="disk")])
    assert known(catalog, 1).tier == "cold"
    assert known(catalog, 1).last == NOW + 5
    catalog.note([read(1, NOW + 20, tier="disk"), read(1, NOW + 7)])
    assert (known(catalog, 1).tier, known(catalog, 1).last) == ("disk", NOW + 20)


def test_a_clock_that_was_ahead_is_forgiven(catalog: Catalog) -> None:
    """Else the block would be hot, and safe from a GC, until the wrong time comes."""
    year = 365 * 24 * HOUR
    catalog.note([put(1, NOW + year), put(2, NOW + year), put(3, NOW)])
    catalog.note([read(1, NOW + 10)])
    assert (known(catalog, 1).first, known(catalog, 1).last) == (NOW + 10, NOW + 10)
    assert catalog.listed("disk", [Listed(cid_of(n), 100) for n in (1, 2, 3)], NOW + 20).corrected == 1
    assert (known(catalog, 2).first, known(catalog, 2).last) == (NOW + 20, NOW + 20)
    # Where a block is was told by the wrong clock too, and gives way.
    catalog.note([put(4, NOW + year)])
    assert catalog.listed("cold", [Listed(cid_of(4), 100)], NOW).corrected == 1
    assert known(catalog, 4).tier == "cold"


def test_a_listing_adds_and_corrects_and_leaves_uses_alone(catalog: Catalog) -> None:
    catalog.note([put(1), read(1), put(2, size=0), read(3)])
    done = catalog.listed("cold", [Listed(cid_of(n), 50) for n in (1, 2, 3, 4)], NOW + 60)
    assert (done.added, done.corrected, done.dropped, done.complete) == (1, 3, 0, True)
    assert known(catalog, 1) == Usage(cid_of(1), 50, "cold", 2, NOW, NOW, 0)
    assert known(catalog, 4) == Usage(cid_of(4), 50, "cold", 1, NOW + 60, NOW + 60, 0)
    again = catalog.listed("cold", [Listed(cid_of(n), 50) for n in (1, 2, 3, 4)], NOW + 60)
    assert (again.added, again.corrected) == (0, 0)


def test_a_listing_does_not_overrule_what_came_after_it_was_asked_for(catalog: Catalog) -> None:
    catalog.note([put(1, NOW), put(2, NOW)])
    catalog.moved([cid_of(1)], "cold", NOW + 10)
    catalog.note([put(3, NOW + 10)])
    done = catalog.listed("disk", [Listed(cid_of(1), 100), Listed(cid_of(2), 100)], NOW + 5, Span())
    assert (done.added, done.corrected, done.dropped) == (0, 0, 0)
    assert [known(catalog, n).tier for n in (1, 2, 3)] == ["cold", "disk", "disk"]


def test_what_a_tier_no_longer_lists_is_pruned_unless_another_has_it(catalog: Catalog) -> None:
    catalog.note([put(n, NOW - 100) for n in range(10)] + [put(10, NOW - 100, tier="cold")])
    assert catalog.listed("disk", [Listed(cid_of(n), 100) for n in range(4)], NOW, Span()).dropped == 6
    catalog.listed("cold", [Listed(cid_of(n), 100) for n in (9, 10)], NOW)
    assert catalog.prune(NOW - 200) == 0, "too young"
    assert catalog.prune(NOW, 2) == 2
    assert catalog.prune(NOW) == 3
    tiers = [row and row.tier for row in catalog.usage([cid_of(n) for n in range(11)])]
    assert tiers == ["disk"] * 4 + [None] * 5 + ["cold"] * 2


def test_pages_of_a_listing_cover_a_tier_without_gaps(catalog: Catalog) -> None:
    """As a tier lists: by multihash, each page a span of its own, the last one open."""
    catalog.note([put(n, NOW - 100) for n in range(100)])
    held = sorted((cid_of(n) for n in range(0, 100, 3)), key=lambda cid: cid.multihash)
    after, dropped = None, 0
    for start in range(0, len(held), 10):
        page = held[start : start + 10]
        through = page[-1].multihash if start + 10 < len(held) else None
        dropped += catalog.listed("disk", [Listed(cid, 100) for cid in page], NOW, Span(after, through)).dropped
        after = through
    assert dropped == 100 - len(held)
    assert catalog.totals(NOW)["disk"].blocks == len(held)


def test_a_span_with_too_much_to_drop_is_finished_by_more_calls(catalog: Catalog) -> None:
    count = 2 * CATALOG_BATCH_MAX.value + 10
    for start in range(0, count, 1000):
        catalog.note([put(n, NOW - 100) for n in range(start, min(count, start + 1000))])
    kept = [Listed(cid_of(n), 100) for n in range(5)]
    found = [catalog.listed("disk", kept, NOW, Span()) for _ in range(3)]
    assert [done.complete for done in found] == [False, False, True]
    assert sum(done.dropped for done in found) == count - 5
    assert catalog.totals(NOW)["disk"].blocks == 5


def test_rows_of_no_tier_are_bounded(catalog: Catalog) -> None:
    count = CATALOG_STRAYS_MAX.value + 3 * CATALOG_BATCH_MAX.value
    catalog.note([put(count + 1)])
    for start in range(0, count, CATALOG_BATCH_MAX.value):
        catalog.note([read(n, NOW + n) for n in range(start, start + CATALOG_BATCH_MAX.value)])
        assert catalog.totals(NOW)[""].blocks <= CATALOG_STRAYS_MAX.value
    assert catalog.usage([cid_of(0)]) == [None]
    assert known(catalog, count - 1).n == 1
    assert known(catalog, count + 1).tier == "disk"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Use(cid_of(1), -1, "disk", True, 0, NOW),
        lambda: Use(cid_of(1), BLOCK_BYTES_MAX.value + 1, "disk", True, 0, NOW),
        lambda: Use(cid_of(1), 1, "d" * 33, True, 0, NOW),
        lambda: Use(cid_of(1), 1, "dïsk", True, 0, NOW),
        lambda: Use(cid_of(1), 1, "disk", True, -1, NOW),
        lambda: Use(cid_of(1), 1, "disk", False, 0, NOW),
        lambda: Use(cid_of(1), 1, "disk", True, 0, math.nan),
        lambda: Use(cid_of(1), 1, "disk", True, 0, math.inf),
        lambda: Listed(cid_of(1), -1),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_made(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(BadInput):
        wrong()


def test_what_cannot_be_asked_for_is_refused(catalog: Catalog) -> None:
    many = [cid_of(1)] * (CATALOG_BATCH_MAX.value + 1)
    wrong: list[object] = [
        lambda: catalog.note([put(1)] * len(many)),
        lambda: catalog.usage(many),
        lambda: catalog.moved(many, "disk", NOW),
        lambda: catalog.moved([], "d" * 33, NOW),
        lambda: catalog.moved([], "disk", math.nan),
        lambda: catalog.forget(many),
        lambda: catalog.weigh(many, 1),
        lambda: catalog.weigh([], 256),
        lambda: catalog.weigh([], -1),
        lambda: catalog.listed("disk", [Listed(cid_of(1), 1)] * len(many), NOW),
        lambda: catalog.listed("", [], NOW),
        lambda: catalog.listed("disk", [], math.inf),
        lambda: catalog.coldest("disk", math.nan, 1),
        lambda: catalog.coldest("disk", NOW, 1, math.nan),
        lambda: catalog.hottest("disk", NOW, 1, math.nan),
        lambda: catalog.prune(math.nan),
        lambda: catalog.pinned(many),
    ]
    for each in wrong:
        assert callable(each)
        with pytest.raises(BadInput):
            each()
    assert catalog.totals(NOW) == {}


def test_uses_are_counted_up_to_a_point(catalog: Catalog) -> None:
    catalog.note([read(1, times=10**30)] * 5)
    assert known(catalog, 1).n == 10**9


rows = st.lists(
    st.tuples(
        st.one_of(st.integers(1, 3), st.integers(1, 200)),
        st.one_of(st.floats(0, 40 * 86400.0), st.floats(-100.0, 2 * HOUR)),  # idle
        st.one_of(st.just(0.0), st.floats(0, 80 * 86400.0)),  # used for
    ),
    max_size=60,
)


def fill(catalog: Catalog, spread: Sequence[tuple[int, float, float]]) -> list[Usage]:
    """Rows used n times, idle and used for so long; what the catalogue knows of them."""
    for number, (n, idle, used) in enumerate(spread):
        uses = [put(number, NOW - idle - used)]
        catalog.note(uses if n == 1 else [*uses, read(number, NOW - idle, times=n - 1)])
    found = catalog.usage([cid_of(number) for number in range(len(spread))])
    return [row for row in found if row is not None]


@given(rows, st.integers(0, 12), st.floats(0, 5), st.floats(0, 50))
def test_coldest_and_hottest_are_exact(
    spread: list[tuple[int, float, float]], limit: int, below: float, above: float
) -> None:
    """The cut by last use, which spares a scan, never costs a row."""
    conn = sqlite3.connect(":memory:", isolation_level=None)
    schema.usage_migrations.apply(Database(conn))
    usage.note(conn, [put(1000, NOW, "cold")])
    for number, (n, idle, used) in enumerate(spread):
        usage.note(conn, [put(number, NOW - idle - used), read(number, NOW - idle, times=n)])
    found = [row for row in usage.find(conn, [cid_of(number) for number in range(len(spread))]) if row is not None]
    for most in (below, math.inf):
        cold = sorted((row for row in found if row.heat(NOW) < most), key=lambda r: (r.heat(NOW), r.cid.multihash))
        assert ranking.coldest(conn, "disk", NOW, limit, most) == cold[:limit]
    for least in (above, -math.inf):
        hot = sorted((row for row in found if row.heat(NOW) > least), key=lambda r: (-r.heat(NOW), r.cid.multihash))
        assert ranking.hottest(conn, "disk", NOW, limit, least) == hot[:limit]
    conn.close()


def test_the_histogram_has_a_bucket_for_every_heat(catalog: Catalog) -> None:
    wanted = [(1, 40 * HOUR, 0.0), (1, 4 * HOUR, 0.0), (2, HOUR, 0.0), (2, 0.0, 0.0), (4, 0.0, 0.0), (9, 0.0, 0.0)]
    found = fill(catalog, [*wanted, (30, 0.0, 0.0), (100, 0.0, 60 * 86400.0)])
    assert [round(row.heat(NOW), 2) for row in found] == [0.03, 0.2, 1.0, 2, 4, 9, 30, 400]
    assert catalog.totals(NOW)["disk"].heats == (1, 1, 0, 1, 2, 1, 1, 1)
    assert len(ranking.HEAT_EDGES) == 8


def test_no_question_walks_more_than_it_must(catalog: Catalog) -> None:
    """Each by the table's order or the covering index: a plan that changes costs seconds at a million blocks."""
    catalog.begin_marking(NOW)
    conn = catalog._usage.conn
    values = dict.fromkeys(("tier", "now", "cut", "below", "above", "before", "limit", "probe", "at", "after"), 1.0)

    def plan(query: str) -> str:
        rows = conn.execute(f"EXPLAIN QUERY PLAN {query}", {**values, "through": 1.0}).fetchall()
        return " / ".join(row[3] for row in rows)

    for query in (ranking._COLDEST, ranking._HOTTEST, ranking._PROBE_OLD, ranking._PROBE_NEW, marks._SCAN):
        assert "SEARCH usage USING COVERING INDEX usage_by_last (tier=?" in plan(query), query
    for query in (ranking._TOTALS, marks._TOTALS):
        assert "SCAN usage USING COVERING INDEX usage_by_last" in plan(query), query
    assert "USING PRIMARY KEY (multihash>? AND multihash<?)" in plan(usage._IN_SPAN)
    frontier = conn.execute(f"EXPLAIN QUERY PLAN {marks._FRONTIER}", (1,)).fetchall()
    assert "COVERING INDEX marks_to_expand" in frontier[0][3]


def test_the_log_is_held_to_its_bound(catalog: Catalog, tmp_path: Path) -> None:
    log = tmp_path / "catalog" / "usage.sqlite-wal"
    highest = 0
    for start in range(0, 100_000, 4000):
        catalog.note([put(n) for n in range(start, start + 4000)])
        highest = max(highest, log.stat().st_size)
    assert CATALOG_WAL_BYTES.value // 2 < highest < 3 * CATALOG_WAL_BYTES.value


def test_usage_outlives_the_process_that_noted_it(tmp_path: Path) -> None:
    first = Catalog(tmp_path / "catalog")
    first.open()
    first.note([put(1)])
    second = Catalog(tmp_path / "catalog")  # the first one has not closed it
    second.open()
    assert known(second, 1).n == 1
    second.close()
    first.close()
    first.close()


def test_it_must_be_open_and_is_opened_once(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "deep" / "catalog")
    for call in (lambda: catalog.note([put(1)]), lambda: catalog.pins(None, 1), lambda: catalog.begin_marking(NOW)):
        with pytest.raises(Unavailable, match="open it first"):
            call()
    catalog.open()
    with pytest.raises(Unavailable, match="open already"):
        catalog.open()
    catalog.note([put(1)])
    catalog.close()


def test_it_belongs_to_the_thread_that_opened_it(catalog: Catalog) -> None:
    caught: list[Exception] = []

    def elsewhere() -> None:
        for call in (lambda: catalog.note([put(1)]), lambda: catalog.pin(cid_of(1), True, "", NOW)):
            try:
                call()
            except sqlite3.ProgrammingError as fault:
                caught.append(fault)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(caught) == 2
    assert catalog.usage([cid_of(1)]) == [None]


@pytest.mark.parametrize("name", ["usage", "pins"])
def test_files_of_a_newer_shoal_or_of_another_program_are_refused_unchanged(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.sqlite"
    catalog = Catalog(tmp_path)
    catalog.open()
    catalog.close()
    db = Database(path)
    later = {"migration_set": f"shoal.storage.catalog.{name}", "name": "m999_later", "applied_at": "2030"}
    schema.table(db, "_sqlite_migrations").insert(later)
    db.close()
    before = path.read_bytes()
    with pytest.raises(BadConfig, match=r"newer shoal.*m999_later.*upgrade"):
        catalog.open()
    assert path.read_bytes() == before
    path.unlink()
    db = Database(path)
    schema.table(db, "thoughts").insert({"id": 1})
    db.close()
    before = path.read_bytes()
    with pytest.raises(BadConfig, match="another program"):
        catalog.open()
    assert path.read_bytes() == before


def test_the_versions_are_those_of_the_migrations() -> None:
    for kind in (schema.USAGE, schema.PINS):
        pending = kind.migrations.pending(Database(memory=True))
        assert tuple(migration.name for migration in pending) == kind.versions


def test_a_place_where_no_folder_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFault, match="cannot make the folder"):
        Catalog(tmp_path / "file" / "catalog").open()
