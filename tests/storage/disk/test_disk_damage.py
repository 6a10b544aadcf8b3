"""Bits that flip, pages that vanish: a read gives the block or nothing, never other bytes; salvage keeps the sound."""

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from shoal.messages.block import Block
from shoal.messages.errors import BadInput, LocalError, StorageFault
from shoal.messages.limits import DISK_QUARANTINE_MAX
from shoal.storage.disk.salvage import salvage
from shoal.storage.disk.schema import PAGE_BYTES
from shoal.storage.disk.store import DiskStore
from shoal.tests.storage.disk.samples import FAST_FOLDER, QUOTA, block_of, data_of

SMALL = [block_of(seed, 40 + 90 * seed) for seed in range(40)]
LARGE = [block_of(100 + seed, 60_000 + 40_000 * seed) for seed in range(8)]
BLOCKS = [*SMALL, *LARGE]
GONE = [block_of(200 + seed, 150_000) for seed in range(3)]  # put and deleted, for a list of free pages


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir=FAST_FOLDER))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def opened(path: Path) -> DiskStore:
    store = DiskStore(path, QUOTA, reserve_bytes=0)
    store.open()
    return store


@functools.cache
def sound_file() -> bytes:
    """A closed store's file with BLOCKS in it."""
    with folder() as place:
        store = opened(place / "blocks.sqlite")
        store.put_many([*BLOCKS[::2], *GONE])
        store.put_many(BLOCKS[1::2])
        store.delete_many([block.cid for block in GONE])
        store.close()
        return (place / "blocks.sqlite").read_bytes()


FILE_PAGES = 80  # about as many as it has; a page behind the end is one at the beginning
flips = st.lists(
    st.tuples(
        st.integers(0, FILE_PAGES - 1),
        # Headers, cell pointers and links stand at a page's start, and the newest cells at its end.
        st.one_of(st.integers(0, 200), st.integers(0, PAGE_BYTES - 1), st.integers(PAGE_BYTES - 4000, PAGE_BYTES - 1)),
        st.integers(0, 7),
    ),
    min_size=1,
    max_size=12,
)


def flipped(bits: list[tuple[int, int, int]]) -> bytes:
    data = bytearray(sound_file())
    for page, offset, bit in bits:
        data[(page * PAGE_BYTES + offset) % len(data)] ^= 1 << bit
    return bytes(data)


def use(path: Path) -> None:
    """Do all that a node does with a store, and check every answer."""
    try:
        store = opened(path)
    except LocalError:
        event("cannot be opened")
        return
    for _ in range(2):
        present = 0
        for block in BLOCKS:
            with contextlib.suppress(LocalError):
                (got,) = store.get_many([block.cid])
                assert got is None or got == block
                present += got is not None
        event(f"lost {min(3, len(BLOCKS) - present)} or more" if present < len(BLOCKS) else "all there")
        with contextlib.suppress(LocalError):
            store.sizes([block.cid for block in BLOCKS])
        with contextlib.suppress(LocalError):
            for cid in store.list(None, 100):
                (listed,) = store.get_many([cid])
                assert listed is None or cid.matches(listed.data)
        for start in range(0, len(BLOCKS), 8):
            with contextlib.suppress(LocalError):
                store.put_many(BLOCKS[start : start + 8])
        with contextlib.suppress(LocalError):
            store.delete_many([LARGE[0].cid, SMALL[0].cid])
        with contextlib.suppress(LocalError):
            assert store.stats().blocks >= 0
            store.recount()
            store.shrink(1 << 20)
    store.close()


@given(flips)
def test_flipped_bits_never_give_a_wrong_byte(bits: list[tuple[int, int, int]]) -> None:
    with folder() as place:
        (place / "blocks.sqlite").write_bytes(flipped(bits))
        use(place / "blocks.sqlite")


@given(st.integers(0, FILE_PAGES - 1), st.one_of(st.none(), st.integers(0, FILE_PAGES - 1)))
@example(0, None)
def test_a_page_that_is_lost_or_in_the_wrong_place(page: int, source: int | None) -> None:
    """A page of zeros, or one that was written over with another (a misdirected write)."""
    sound = sound_file()
    page %= len(sound) // PAGE_BYTES
    other = bytes(PAGE_BYTES) if source is None else sound[source * PAGE_BYTES :][:PAGE_BYTES]
    data = sound[: page * PAGE_BYTES] + other + sound[(page + 1) * PAGE_BYTES :]
    with folder() as place:
        (place / "blocks.sqlite").write_bytes(data)
        use(place / "blocks.sqlite")


@given(st.integers(0, FILE_PAGES * PAGE_BYTES))
@example(0)
@example(1)
@example(PAGE_BYTES)
def test_a_file_that_is_cut_short(length: int) -> None:
    with folder() as place:
        (place / "blocks.sqlite").write_bytes(sound_file()[:length])
        use(place / "blocks.sqlite")


@given(st.binary(min_size=1, max_size=300), st.integers(0, 4))
def test_a_log_of_rubbish_beside_the_file_changes_nothing(rubbish: bytes, pages: int) -> None:
    with folder() as place:
        (place / "blocks.sqlite").write_bytes(sound_file())
        (place / "blocks.sqlite-wal").write_bytes(rubbish + bytes(pages * PAGE_BYTES))
        store = opened(place / "blocks.sqlite")
        assert [store.get_many([block.cid])[0] for block in BLOCKS] == BLOCKS
        store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "blocks.sqlite").write_bytes(sound_file())
    return tmp_path / "blocks.sqlite"


def damage(path: Path, block: Block, part: bytes | None = None) -> None:
    """Flip one bit in the middle of the block's bytes on the disk."""
    data = bytearray(path.read_bytes())
    middle = len(block) // 2
    at = data.index(part or bytes(block.data[middle : middle + 20]))
    data[at + 10] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("block", [SMALL[7], LARGE[5]])
def test_a_damaged_block_is_set_aside_and_can_be_stored_anew(path: Path, block: Block) -> None:
    damage(path, block)
    store = opened(path)
    assert store.sizes([block.cid]) == [len(block)]  # the index cannot know
    assert store.get_many([block.cid, BLOCKS[1].cid]) == [None, BLOCKS[1]]
    assert store.sizes([block.cid]) == [None]
    stats = store.stats()
    assert (stats.quarantined, stats.damaged_reads, stats.dead_bytes) == (1, 1, len(block))
    assert (stats.blocks, stats.bytes) == (len(BLOCKS) - 1, sum(map(len, BLOCKS)) - len(block))
    store.put_many([block])
    assert store.get_many([block.cid]) == [block]
    store.close()
    store.open()
    assert store.get_many([block.cid]) == [block]
    assert (store.stats().quarantined, store.stats().dead_bytes) == (1, len(block))
    store.close()


def test_dead_bytes_count_towards_the_quota(path: Path) -> None:
    block = LARGE[5]
    damage(path, block)
    store = opened(path)
    assert store.get_many([block.cid]) == [None]
    store.set_quota(sum(map(len, BLOCKS)))
    with pytest.raises(LocalError, match="quota"):
        store.put_many([block])
    store.close()


def test_without_verifying_reads_the_caller_gets_what_is_there(path: Path) -> None:
    """Which is why it is for callers that hash what they get."""
    damage(path, SMALL[7])
    store = DiskStore(path, QUOTA, verify_reads=False)
    store.open()
    (got,) = store.get_many([SMALL[7].cid])
    assert got is not None
    assert not SMALL[7].cid.matches(got.data)
    store.close()


def test_the_quarantine_is_bounded(tmp_path: Path) -> None:
    store = opened(tmp_path / "blocks.sqlite")
    count = DISK_QUARANTINE_MAX.value + 40
    blocks = [block_of(seed, 50) for seed in range(count)]
    for block in blocks:
        store.put_many([block])
    with store._file.writing("damage them all") as writer:
        writer.db.conn.execute("UPDATE payloads SET data = ?", (data_of(9999, 50),))
    for block in blocks:
        assert store.get_many([block.cid]) == [None]
    stats = store.stats()
    assert (stats.quarantined, stats.damaged_reads) == (DISK_QUARANTINE_MAX.value, count)
    assert (stats.blocks, stats.bytes, stats.dead_bytes) == (0, 0, count * 50)
    store.close()


def test_totals_made_nonsense_are_counted_anew(path: Path) -> None:
    store = opened(path)
    with store._file.writing("damage the totals") as writer:
        writer.db.conn.execute("UPDATE totals SET bytes = 'many'")
    store.close()
    store.open()
    assert (store.stats().blocks, store.stats().bytes) == (len(BLOCKS), sum(map(len, BLOCKS)))
    with store._file.writing("damage the totals") as writer:
        writer.db.conn.execute("UPDATE totals SET bytes = 77")
    store.close()
    store.open()
    assert store.stats().bytes == 77
    store.recount()
    assert (store.stats().blocks, store.stats().bytes) == (len(BLOCKS), sum(map(len, BLOCKS)))
    store.close()


def test_salvage_keeps_every_sound_block(path: Path, tmp_path: Path) -> None:
    damage(path, LARGE[2])
    damage(path, SMALL[9])
    new = opened(tmp_path / "new.sqlite")
    done = salvage(path, new)
    assert (done.kept, done.lost) == (len(BLOCKS) - 2, 2)
    lost = (LARGE[2], SMALL[9])
    for block in BLOCKS:
        assert new.get_many([block.cid]) == [None if block in lost else block]
    new.close()


def test_salvage_needs_no_index(path: Path, tmp_path: Path) -> None:
    store = opened(path)
    root = store._file.db.conn.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'blocks'").fetchone()[0]
    store.close()
    data = bytearray(path.read_bytes())
    data[(root - 1) * PAGE_BYTES : root * PAGE_BYTES] = b"\xff" * PAGE_BYTES
    path.write_bytes(data)
    store = opened(path)
    assert store.get_many([BLOCKS[0].cid]) == [None]
    with pytest.raises(StorageFault, match="salvage"):
        store.put_many([block_of(999, 10)])
    store.close()
    new = opened(tmp_path / "new.sqlite")
    assert salvage(path, new).kept == len(BLOCKS)
    assert [new.get_many([block.cid])[0] for block in BLOCKS] == BLOCKS
    new.close()


def test_salvage_of_a_file_that_is_cut_short(path: Path, tmp_path: Path) -> None:
    path.write_bytes(sound_file()[: len(sound_file()) // 2])
    with pytest.raises(StorageFault, match="salvage"):
        opened(path)
    new = opened(tmp_path / "new.sqlite")
    done = salvage(path, new)
    assert done.kept >= len(SMALL) // 2
    assert done.kept < len(BLOCKS)
    for cid in new.list(None, 1000):
        assert new.get_many([cid]) != [None]
    new.close()


def test_salvage_of_what_is_not_there_makes_nothing(tmp_path: Path) -> None:
    new = opened(tmp_path / "new.sqlite")
    with pytest.raises(BadInput, match="no file"):
        salvage(tmp_path / "missing.sqlite", new)
    assert not (tmp_path / "missing.sqlite").exists()
    new.close()


@given(flips)
def test_salvage_of_anything_ends_and_keeps_only_what_is_sound(bits: list[tuple[int, int, int]]) -> None:
    with folder() as place:
        (place / "blocks.sqlite").write_bytes(flipped(bits))
        new = opened(place / "new.sqlite")
        try:
            done = salvage(place / "blocks.sqlite", new)
            event("salvaged all" if done.kept >= len(BLOCKS) else "salvaged some")
        except LocalError:
            event("cannot be salvaged")
        known = {block.cid.multihash: block for block in BLOCKS}
        for cid in new.list(None, 1000):
            (got,) = new.get_many([cid])
            assert got is not None
            assert cid.multihash not in known or got.data == known[cid.multihash].data
        assert new.stats().damaged_reads == 0
        new.close()
