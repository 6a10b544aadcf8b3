"""Bits that flip, files cut short or swapped: the records are begun anew or go on; nothing else is ever raised."""

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hypothesis import event, example, given
from hypothesis import strategies as st

from shoal.messages.errors import BadConfig, StorageFault
from shoal.storage.catalog.schema import PAGE_BYTES
from shoal.storage.records.store import RecordStore
from shoal.tests.storage.disk.samples import FAST_FOLDER

NOW = 1.8e9
KEYS = [b"\x12\x20" + number.to_bytes(32, "big") for number in range(300)]
FILE_PAGES = 25  # about as many as the file has; a page behind the end is one at the beginning

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


@functools.cache
def sound_file() -> bytes:
    with folder() as place:
        store = RecordStore(place / "records.sqlite")
        store.open()
        for number, key in enumerate(KEYS):
            store.add_provider(key, f"peer {number % 20}", ["/ip4/192.0.2.1/tcp/4001"], NOW + number)
        for number in range(20):
            store.put_value(b"/ipns/%d" % number, bytes(300), NOW, f"peer {number}")
        store.close()
        return (place / "records.sqlite").read_bytes()


def check(data: bytes) -> str:
    """Use a store on ``data``: what it answers is of the right kind, and afterwards it keeps what it is told."""
    with folder() as place:
        path = place / "records.sqlite"
        path.write_bytes(data)
        store = RecordStore(path)
        try:
            store.open()
        except BadConfig as refused:  # the application id, or a version that is not ours
            return f"refused: {refused.message[-20:]}"
        for key in KEYS:
            for found in store.providers(key, NOW + 400):
                assert isinstance(found.peer, str)
                assert all(isinstance(addr, str) for addr in found.addrs)
        for number in range(20):
            store.value(b"/ipns/%d" % number, NOW)
        for step in range(4):
            store.maintain(NOW + 10 + 100 * step)
        for number, key in enumerate(KEYS[:60]):
            store.add_provider(key, f"peer {number % 30}", ["/ip4/192.0.2.2/tcp/4001"], NOW + 500)
        store.put_value(b"/ipns/new", b"value", NOW, "peer")
        store.close()
        store.open()  # where sums that are wrong are noticed
        if store.rebuilt:  # then all that is told is there
            for number, key in enumerate(KEYS[:60]):
                store.add_provider(key, f"peer {number % 30}", ["/ip4/192.0.2.2/tcp/4001"], NOW + 500)
            assert all(store.providers(key, NOW + 500) for key in KEYS[:60])
        assert store.rebuilt or not store.faults, store.why
        store.close()
        return "begun anew" if store.rebuilt else "goes on"


@given(flips)
@example([(0, 18, 0)])
def test_flipped_bits(bits: list[tuple[int, int, int]]) -> None:
    changed = bytearray(sound_file())
    for page, offset, bit in bits:
        changed[(page * PAGE_BYTES + offset) % len(changed)] ^= 1 << bit
    event(check(bytes(changed)))


@given(st.integers(0, FILE_PAGES * PAGE_BYTES))
@example(0)
@example(1)
@example(PAGE_BYTES)
def test_cut_short(length: int) -> None:
    event(check(sound_file()[:length]))


@given(st.integers(1, FILE_PAGES), st.integers(0, FILE_PAGES))
def test_a_page_that_is_lost_or_in_the_wrong_place(page: int, source: int) -> None:
    sound = sound_file()
    pages = [sound[start : start + PAGE_BYTES] for start in range(0, len(sound), PAGE_BYTES)]
    pages[page % len(pages)] = pages[source % len(pages)] if source else bytes(PAGE_BYTES)
    event(check(b"".join(pages)))


def test_a_damaged_file_is_kept_for_study(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    path.write_bytes(b"not a database" * 500)
    store = RecordStore(path)
    store.open()
    assert store.rebuilt == 1
    assert store.counts() == (0, 0)
    assert store.add_provider(KEYS[0], "a", (), NOW)
    store.close()
    assert (tmp_path / "records.sqlite.damaged").read_bytes().startswith(b"not a database")


def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    path.mkdir()
    store = RecordStore(path)
    with contextlib.suppress(StorageFault):
        store.open()
        raise AssertionError("a folder was opened")
    assert path.is_dir()
