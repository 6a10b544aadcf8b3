"""Bits that flip, files that vanish: pins are as they were or refused in plain words; usage begins anew and goes on."""

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from shoal.messages.cid import CID, DAG_PB
from shoal.messages.errors import BadConfig, LocalError, StorageFault, Unavailable
from shoal.storage.catalog.catalog import Catalog
from shoal.storage.catalog.rows import Listed, Pin, Span, Use
from shoal.storage.catalog.schema import PAGE_BYTES
from shoal.tests.storage.disk.samples import FAST_FOLDER

NOW = 1.8e9
CIDS = [CID.of(number.to_bytes(8, "big"), DAG_PB) for number in range(300)]
PINS = sorted(
    (Pin(cid, number % 2 == 0, f"name {number}", NOW + number) for number, cid in enumerate(CIDS[:120])),
    key=lambda pin: pin.cid.multihash,
)
FILE_PAGES = 20  # about as many as each file has; a page behind the end is one at the beginning

flips = st.lists(
    st.tuples(
        st.integers(0, FILE_PAGES - 1),
        st.one_of(st.integers(0, 120), st.integers(0, PAGE_BYTES - 1)),  # headers and cell pointers stand first
        st.integers(0, 7),
    ),
    min_size=1,
    max_size=8,
)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir=FAST_FOLDER))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def opened(place: Path) -> Catalog:
    catalog = Catalog(place)
    catalog.open()
    return catalog


def note_all(catalog: Catalog) -> None:
    catalog.note([Use(cid, 100, "disk", True, number % 5, NOW + number) for number, cid in enumerate(CIDS)])


@functools.cache
def sound_files() -> dict[str, bytes]:
    """A closed catalogue: 120 pins and 300 rows of usage."""
    with folder() as place:
        catalog = opened(place)
        for pin in PINS:
            catalog.pin(pin.cid, pin.recursive, pin.name, pin.at)
        note_all(catalog)
        catalog.close()
        return {path.name: path.read_bytes() for path in place.iterdir()}


def write(place: Path, **changed: bytes) -> None:
    for name, data in sound_files().items():
        (place / name).write_bytes(changed.get(name.removesuffix(".sqlite"), data))


def flipped(data: bytes, bits: list[tuple[int, int, int]]) -> bytes:
    changed = bytearray(data)
    for page, offset, bit in bits:
        changed[(page * PAGE_BYTES + offset) % len(changed)] ^= 1 << bit
    return bytes(changed)


def check_pins(place: Path) -> str:
    """All of them, or a refusal that says what to do and throws nothing away; which of the two."""
    before = (place / "pins.sqlite").stat().st_size
    fault: LocalError | None = None
    try:
        catalog = opened(place)
    except (StorageFault, BadConfig) as refused:
        fault = refused
    if fault is not None:
        assert fault.remedy
        assert (place / "pins.sqlite").stat().st_size >= before
        return f"refused: {type(fault).__name__}"
    seen: list[Pin] = []
    while page := catalog.pins(seen[-1].cid if seen else None, 50):
        seen.extend(page)
    assert seen == PINS
    assert catalog.pinned([pin.cid for pin in PINS]) == PINS
    with contextlib.suppress(StorageFault):  # a page that is met only by writing
        catalog.unpin(PINS[0].cid)
        catalog.pin(PINS[0].cid, True, "again", NOW)
    catalog.close()
    return "all there"


@given(flips)
@example([(0, 18, 0)])
@example([(0, 4057, 7)])
@example([(0, 4056, 3)])
def test_flipped_bits_never_lose_a_pin_in_silence(bits: list[tuple[int, int, int]]) -> None:
    with folder() as place:
        write(place, pins=flipped(sound_files()["pins.sqlite"], bits))
        event(check_pins(place))


@given(st.integers(1, 64), st.integers(0, 64))
@example(2, 0)
def test_a_page_of_pins_that_is_lost_or_in_the_wrong_place(page: int, source: int) -> None:
    """A page of zeros, or one that was written over with another (a misdirected write)."""
    sound = sound_files()["pins.sqlite"]
    pages = [sound[start : start + PAGE_BYTES] for start in range(0, len(sound), PAGE_BYTES)]
    other = pages[source % len(pages)] if source else bytes(PAGE_BYTES)
    pages[page % len(pages)] = other
    with folder() as place:
        write(place, pins=b"".join(pages))
        event(check_pins(place))


@given(st.integers(0, 20 * PAGE_BYTES))
@example(0)
@example(1)
@example(PAGE_BYTES)
def test_pins_that_are_cut_short(length: int) -> None:
    with folder() as place:
        write(place, pins=sound_files()["pins.sqlite"][:length])
        event(check_pins(place))


def test_pins_that_are_gone_are_missed(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "pins.sqlite").unlink()
    with pytest.raises(StorageFault, match=r"missing.*put back a copy"):
        opened(tmp_path)
    assert not (tmp_path / "pins.sqlite").exists()
    # The remedy: put it back, or take the usage away as well.
    (tmp_path / "pins.sqlite").write_bytes(sound_files()["pins.sqlite"])
    assert check_pins(tmp_path) == "all there"
    for path in tmp_path.glob("*.sqlite"):
        path.unlink()
    catalog = opened(tmp_path)
    assert catalog.pin_count() == 0
    catalog.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE pins SET name = 'other' WHERE rowid_ = 1",
        "UPDATE pins SET recursive = 1 - recursive WHERE rowid_ = 1",
        "UPDATE pins SET at = 'soon' WHERE rowid_ = 1",
        "UPDATE pins SET codec = 85 WHERE rowid_ = 1",
        "UPDATE pins SET multihash = x'00' WHERE rowid_ = 1",
        "DELETE FROM pins WHERE rowid_ = 1",
        "UPDATE ledger SET pins = pins - 1",
        "UPDATE ledger SET seals = seals + 1",
        "UPDATE ledger SET seals = 'none'",
        "DELETE FROM ledger",
    ],
)
def test_a_pin_that_was_changed_behind_our_back_is_noticed(tmp_path: Path, statement: str) -> None:
    write(tmp_path)
    catalog = opened(tmp_path)
    one = f"multihash = x'{PINS[60].cid.multihash.hex()}'"
    catalog._pins._file.conn.execute(statement.replace("rowid_ = 1", one))
    catalog.close()
    with pytest.raises(StorageFault, match=r"pins in .* are damaged: .*put back a copy"):
        catalog.open()
    with pytest.raises(Unavailable):
        catalog.pins(None, 1)


def test_a_pin_that_changes_while_it_runs_is_not_read_as_another(tmp_path: Path) -> None:
    write(tmp_path)
    catalog = opened(tmp_path)
    catalog._pins._file.conn.execute("UPDATE pins SET recursive = 1 - recursive")
    for call in (
        lambda: catalog.pins(None, 1),
        lambda: catalog.pinned(CIDS[:1]),
        lambda: catalog.unpin(CIDS[0]),
        lambda: catalog.pin(CIDS[0], True, "", NOW),
    ):
        with pytest.raises(StorageFault, match="put back a copy"):
            call()
    catalog.close()


# --- usage -------------------------------------------------------------------------------------------


def use(place: Path) -> None:
    """All that a keeper does, twice; whatever is damaged, each call gives an answer, and the pins are untouched."""
    try:
        catalog = opened(place)
    except BadConfig:
        event("another's file")  # a flipped bit of the application id or of a migration's name
        return
    for turn in range(2):
        for row in catalog.usage(CIDS):
            assert row is None or row.size >= 0
        for tier in ("disk", "cold", ""):
            assert len(catalog.coldest(tier, NOW, 20)) <= 20
            assert len(catalog.hottest(tier, NOW, 20)) <= 20
        assert sum(tier.blocks for tier in catalog.totals(NOW).values()) >= 0
        catalog.listed("disk", [Listed(cid, 100) for cid in CIDS[:200]], NOW + 1000, Span())
        catalog.moved(CIDS[::3], "cold", NOW + 2000)
        catalog.weigh(CIDS[::4], 3)
        catalog.prune(NOW, 10)
        with contextlib.suppress(Unavailable):  # damage met while a marking lasts ends it
            catalog.begin_marking(NOW + turn)
            catalog.mark(CIDS[:50], expand=True)
            catalog.expanded(catalog.frontier(20))
            catalog.is_marked(CIDS)
            catalog.marked_totals()
            page = catalog.unmarked("disk", NOW + 5000, 50, NOW)
            assert not {row.cid for row in page} & set(CIDS[:50])
        note_all(catalog)
        catalog.end_marking()
        catalog.forget(CIDS[:5])
    assert catalog.pins(None, 500) == PINS
    event(f"begun anew {catalog.rebuilt} times")
    catalog.close()


@given(flips)
@example([(0, 18, 0)])  # the header's write version: SQLite then only reads
@example([(0, 4057, 7)])  # a column's name that is no text
@example([(0, 4056, 3)])  # and one that is another name
def test_flipped_bits_in_the_usage_stop_nothing(bits: list[tuple[int, int, int]]) -> None:
    with folder() as place:
        write(place, usage=flipped(sound_files()["usage.sqlite"], bits))
        use(place)


@given(st.integers(0, 64), st.one_of(st.none(), st.integers(0, 64)))
@example(0, None)
def test_a_page_of_usage_that_is_lost_or_in_the_wrong_place(page: int, source: int | None) -> None:
    sound = sound_files()["usage.sqlite"]
    pages = [sound[start : start + PAGE_BYTES] for start in range(0, len(sound), PAGE_BYTES)]
    pages[page % len(pages)] = bytes(PAGE_BYTES) if source is None else pages[source % len(pages)]
    with folder() as place:
        write(place, usage=b"".join(pages))
        use(place)


@given(st.integers(0, 30 * PAGE_BYTES))
@example(0)
@example(1)
@example(PAGE_BYTES)
def test_usage_that_is_cut_short(length: int) -> None:
    with folder() as place:
        write(place, usage=sound_files()["usage.sqlite"][:length])
        use(place)


def test_a_damaged_usage_is_kept_once_and_begun_anew(tmp_path: Path) -> None:
    write(tmp_path, usage=b"these are not the bytes you are looking for" * 100)
    catalog = opened(tmp_path)
    assert catalog.rebuilt == 1
    assert catalog.usage(CIDS[:1]) == [None]
    note_all(catalog)
    catalog.close()
    assert (tmp_path / "usage.sqlite.damaged").read_bytes().startswith(b"these are not")
    catalog.open()
    assert catalog.rebuilt == 1
    assert catalog.totals(NOW)["disk"].blocks == len(CIDS)
    catalog.close()
    (tmp_path / "usage.sqlite").write_bytes(b"nor are these" * 100)
    catalog.open()
    assert catalog.rebuilt == 2
    catalog.close()
    assert [path.name for path in tmp_path.glob("*.damaged")] == ["usage.sqlite.damaged"]


def test_a_usage_that_is_gone_is_made_anew(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "usage.sqlite").unlink()
    catalog = opened(tmp_path)
    assert catalog.usage(CIDS[:1]) == [None]
    assert len(catalog.pins(None, 500)) == len(PINS)
    catalog.close()


def test_damage_while_it_runs(tmp_path: Path) -> None:
    """A table that is not what it was: the work is done again on an empty file, and a marking is over."""
    write(tmp_path)
    catalog = opened(tmp_path)
    catalog.begin_marking(NOW)
    catalog.mark(CIDS[:1], expand=True)
    catalog._usage.conn.execute("DROP TABLE usage")
    catalog.note([Use(CIDS[1], 100, "disk", True, 0, NOW)])
    assert catalog.rebuilt == 1
    assert [row and row.n for row in catalog.usage(CIDS[:2])] == [None, 1]
    assert catalog.marking is None
    with pytest.raises(Unavailable, match="begin a marking"):
        catalog.unmarked("disk", NOW, 1, NOW)
    catalog.begin_marking(NOW)
    assert catalog.is_marked(CIDS[:1]) == [False]
    catalog.close()


@pytest.mark.parametrize("statement", ["DROP TABLE marks.marks", "UPDATE marks.marks SET codec = -1"])
def test_damaged_marks_end_the_marking_and_cost_no_usage(tmp_path: Path, statement: str) -> None:
    write(tmp_path)
    catalog = opened(tmp_path)
    catalog.begin_marking(NOW)
    catalog.mark(CIDS[:5], expand=True)
    catalog._usage.conn.execute(statement)
    with pytest.raises(Unavailable, match="cost its marks"):
        catalog.frontier(10)
    assert catalog.marking is None
    assert catalog.rebuilt == 0
    assert catalog.totals(NOW)["disk"].blocks == len(CIDS)
    catalog.pin(CIDS[200], True, "", NOW)
    catalog.close()


def test_a_pin_in_a_marking_that_is_lost_is_a_pin(tmp_path: Path) -> None:
    write(tmp_path)
    catalog = opened(tmp_path)
    catalog.begin_marking(NOW)
    catalog._usage.conn.execute("DROP TABLE marks.marks")
    catalog.pin(CIDS[200], True, "", NOW)
    assert catalog.pinned(CIDS[200:201]) == [Pin(CIDS[200], True, "", NOW)]
    assert catalog.marking is None
    catalog.close()


def test_a_folder_where_the_file_should_be(tmp_path: Path) -> None:
    for name in ("pins.sqlite", "usage.sqlite"):
        place = tmp_path / name.removesuffix(".sqlite")
        (place / name).mkdir(parents=True)
        with pytest.raises(LocalError, match=r"could not open|missing"):
            opened(place)
