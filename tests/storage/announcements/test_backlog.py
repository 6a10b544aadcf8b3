"""The backlog's bounds, its bad inputs, and damaged files: plain words, or begun anew."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.messages.announcing import WAYS
from shoal.messages.cid import CID, IDENTITY, RAW
from shoal.messages.errors import BadConfig, BadInput, StorageFull, Unavailable
from shoal.storage.announcements import rows
from shoal.storage.announcements.rows import Origin, check_metadata, pack_metadata, unpack_metadata
from shoal.storage.announcements.store import Announcements
from shoal.storage.catalog.pins import PinBook

NOW = 1.8e9
CIDS = [CID.of(number.to_bytes(4, "big")) for number in range(600)]
DUE = [(cid, NOW) for cid in CIDS]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Announcements]:
    made = Announcements(tmp_path / "below" / "announce.sqlite")
    made.open()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("ways", "metadata", "count", "fault"),
    [
        (("dht", "smoke"), (), 1, "'smoke'"),
        ((), (), 1, "over nothing"),
        (WAYS, (("key", "x" * 257),), 1, "a text of 257 characters"),
        (WAYS, tuple((str(number), "x" * 200) for number in range(6)), 1, "metadata of 1206 bytes"),
        (WAYS, (("key", "v"),) * 17, 1, "17 pairs"),
        (WAYS, (("\ud800", ""),), 1, "not text"),
        (WAYS, (), 4097, "a batch of 4097"),
    ],
)
def test_what_cannot_be_added_is_named(
    store: Announcements, ways: tuple[str, ...], metadata: rows.Metadata, count: int, fault: str
) -> None:
    with pytest.raises(BadInput, match=fault):
        store.add([DUE[0]] * count, ways, Origin.EXPLICIT, metadata)
    assert store.page(10) == []


def test_an_identity_cid_needs_nobody(store: Announcements) -> None:
    with pytest.raises(BadInput, match="carries its content itself"):
        store.add([DUE[0], (CID(1, RAW, IDENTITY, b"here"), NOW)], WAYS, Origin.EXPLICIT)
    assert store.page(10) == []


def test_a_full_backlog_takes_all_of_a_request_or_nothing(
    store: Announcements, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(rows.WAY_ROWS_MAX, "dht", 10)
    assert store.add(DUE[:8], WAYS, Origin.EXPLICIT) == 8
    with pytest.raises(StorageFull, match="holds 10 CIDs, and no more"):
        store.add(DUE[6:11], WAYS, Origin.EXPLICIT)
    assert store.totals()["dht"].rows == store.totals()["pubsub"].rows == 8
    assert store.add(DUE[6:10], ("dht",), Origin.EXPLICIT) == 2
    done = store.reconcile(Origin.ALL, ("dht",), sorted(DUE[:20], key=lambda item: item[0].multihash), b"", None, 100)
    assert (done.added, done.refused) == (0, 10)
    assert store.withdraw(CIDS[:1]) == 1, "what a listing has is kept as withdrawn"
    with pytest.raises(StorageFull):
        store.add(DUE[30:31], ("dht",), Origin.EXPLICIT)


def test_pubsub_without_room_does_not_keep_a_cid_from_the_dht(
    store: Announcements, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(rows.WAY_ROWS_MAX, "pubsub", 3)
    assert store.add(DUE[:10], WAYS, Origin.EXPLICIT) == 10
    assert (store.totals()["dht"].rows, store.totals()["pubsub"].rows) == (10, 3)
    with pytest.raises(StorageFull, match="over pubsub"):
        store.add(DUE[20:21], ("pubsub",), Origin.EXPLICIT)


@given(st.lists(st.tuples(st.text(), st.text()), max_size=20).map(tuple))
def test_metadata_comes_back_as_it_was_or_is_refused(metadata: rows.Metadata) -> None:
    try:
        check_metadata(metadata)
    except BadInput:
        return
    assert unpack_metadata(pack_metadata(metadata)) == metadata


@given(st.binary(max_size=60))
def test_metadata_that_is_damaged_is_none(data: bytes) -> None:
    for pair in unpack_metadata(data):
        assert [type(text) for text in pair] == [str, str]


def test_a_backlog_that_is_not_open_says_so(tmp_path: Path) -> None:
    store = Announcements(tmp_path / "announce.sqlite")
    with pytest.raises(Unavailable, match="is not open"):
        store.totals()
    store.open()
    with pytest.raises(Unavailable, match="is open already"):
        store.open()
    store.close()
    store.close()


def test_another_programs_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "announce.sqlite"
    pins = PinBook(path)
    pins.open(may_make=True)
    pins.close()
    before = path.read_bytes()
    with pytest.raises(BadConfig, match="another program"):
        Announcements(path).open()
    assert path.read_bytes() == before


def test_a_file_of_garbage_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "announce.sqlite"
    path.write_bytes(b"garbage " * 1000)
    store = Announcements(path)
    store.open()
    assert store.rebuilt == 1
    assert store.why_rebuilt
    assert store.add(DUE[:1], WAYS, Origin.EXPLICIT) == 1
    store.close()
    assert path.with_name("announce.sqlite.damaged").read_bytes() == b"garbage " * 1000


def test_a_row_without_a_cid_goes(tmp_path: Path, store: Announcements) -> None:
    store.add(DUE[:3], ("dht",), Origin.EXPLICIT)
    with store._file.db.atomic():
        store._file.db.conn.execute(
            "UPDATE announcements SET multihash = x'1299' WHERE multihash = ?", (CIDS[0].multihash,)
        )
    assert {row.cid for row in store.due("dht", NOW, 10)} == set(CIDS[1:3])
    assert store.totals()["dht"].rows == 2
    assert len(store.due("dht", NOW, 10)) == 2


flips = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=6)


@settings(max_examples=60)
@given(flips=flips)
def test_flipped_bits_never_stop_it(tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[float, int]]) -> None:
    path = tmp_path_factory.mktemp("flips") / "announce.sqlite"
    store = Announcements(path)
    store.open()
    store.add(DUE, WAYS, Origin.EXPLICIT, (("size", "12"),))
    store.close()
    data = bytearray(path.read_bytes())
    for place, bit in flips:
        data[int(place * len(data))] ^= 1 << bit
    path.write_bytes(data)
    store = Announcements(path)
    try:
        store.open()
    except BadConfig:
        return  # the bit that says whose file it is, or which of its tables a later shoal has made
    for _ in range(2):
        store.due("dht", NOW, 4096)
        store.page(100)
        store.late(NOW)
        assert store.add(DUE[:9], WAYS, Origin.ROOT) <= 9
        store.told("dht", DUE[:500], NOW)
        store.failed("pubsub", DUE[:500])
        store.reconcile(Origin.PINNED, WAYS, (), b"", None, 2000)
        store.withdraw(CIDS[:300])
    store.close()
