"""What open does for a store whose index and segments disagree: nothing that is in a segment stays lost."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from shoal.messages.block import Block
from shoal.messages.errors import BadConfig, StorageFault, StorageFull
from shoal.storage.cold.places import INDEX_NAME
from shoal.storage.cold.record import Packer
from shoal.storage.cold.schema import APPLICATION_ID, ASIDE
from shoal.storage.cold.store import ColdStore
from shoal.tests.storage.cold.sites import Site, upload_all
from shoal.tests.storage.disk.samples import block_of

BLOCKS = [block_of(seed, 20_000) for seed in range(18)]


def filled(site: Site, *, upload: bool = True) -> ColdStore:
    """A store with all of BLOCKS in four segments, two blocks a put."""
    store = site.open()
    for start in range(0, len(BLOCKS), 2):
        store.put_many(BLOCKS[start : start + 2])
    if upload:
        upload_all(store)
    return store


def held(store: ColdStore) -> list[Block]:
    return [block for block in BLOCKS if store.get_many([block.cid]) == [block]]


def copy_index(site: Site, to: Path) -> None:
    to.mkdir(exist_ok=True)
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{site.folder / INDEX_NAME}{suffix}", f"{to / INDEX_NAME}{suffix}")


def put_index_back(site: Site, source: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{site.folder / INDEX_NAME}{suffix}").unlink(missing_ok=True)
    for path in source.iterdir():
        shutil.copyfile(path, site.folder / path.name)


def check_counts(store: ColdStore, blocks: list[Block]) -> None:
    stats = store.stats()
    assert (stats.blocks, stats.bytes) == (len(blocks), sum(map(len, blocks)))
    assert stats.live_bytes <= stats.stored_bytes
    names = [cid.multihash for cid in store.list(None, 1000)]
    assert names == sorted(block.cid.multihash for block in blocks)


def test_a_deleted_index_is_made_anew(site: Site) -> None:
    filled(site).close()
    (site.folder / INDEX_NAME).unlink()
    store = site.open()
    assert held(store) == BLOCKS
    check_counts(store, BLOCKS)
    assert store.repairs.found == len(BLOCKS)
    assert store.repairs.rotten_bytes == 0
    store.put_many([block_of(100, 500)])
    store.close()
    store = site.open()
    assert store.repairs.scanned == 0
    assert held(store) == BLOCKS
    store.close()


def test_deleted_blocks_come_back_with_a_new_index_and_can_be_deleted_again(site: Site) -> None:
    store = filled(site)
    store.delete_many([block.cid for block in BLOCKS[:5]])
    store.close()
    (site.folder / INDEX_NAME).unlink()
    store = site.open()
    assert held(store) == BLOCKS, "room, not loss: see the store's docstring"
    assert store.delete_many([block.cid for block in BLOCKS[:5]]) == 5
    store.close()
    store = site.open()
    assert held(store) == BLOCKS[5:]
    check_counts(store, BLOCKS[5:])
    store.close()


@pytest.mark.parametrize("damage", ["junk", "empty", "cut", "other", "folded"])
def test_an_index_that_cannot_be_used_is_set_aside(site: Site, damage: str) -> None:
    filled(site).close()
    index = site.folder / INDEX_NAME
    whole = index.read_bytes()
    if damage == "junk":
        index.write_bytes(b"junk" * 5000)
    elif damage == "empty":
        index.write_bytes(b"")
    elif damage == "cut":
        index.write_bytes(whole[: len(whole) // 2])
    elif damage == "folded":
        index.write_bytes(whole[:4096] + bytes(len(whole) - 4096))
    else:
        index.unlink()
        with sqlite3.connect(index) as conn:
            conn.execute("CREATE TABLE t (a)")
            conn.execute("PRAGMA application_id = 7")
        conn.close()
    store = site.open()
    assert held(store) == BLOCKS
    check_counts(store, BLOCKS)
    assert (damage == "empty") or index.with_name(INDEX_NAME + ASIDE).exists()
    store.close()


def test_an_index_of_a_newer_shoal_is_left_alone(site: Site) -> None:
    filled(site).close()
    with sqlite3.connect(site.folder / INDEX_NAME) as conn:
        assert conn.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
        conn.execute("UPDATE _sqlite_migrations SET name = 'm999_future'")
    conn.close()
    with pytest.raises(BadConfig, match="newer shoal"):
        site.open()


def test_an_index_older_than_its_segments_learns_of_them(site: Site, tmp_path: Path) -> None:
    store = site.open()
    store.put_many(BLOCKS[:2])
    copy_index(site, tmp_path / "old")
    for start in range(2, len(BLOCKS), 2):
        store.put_many(BLOCKS[start : start + 2])
    store.close()
    put_index_back(site, tmp_path / "old")
    store = site.open()
    assert held(store) == BLOCKS
    check_counts(store, BLOCKS)
    assert store.repairs.found == len(BLOCKS) - 2
    store.close()


def test_an_index_older_than_a_compaction_loses_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path / "cold")
    store = filled(site)
    copy_index(site, tmp_path / "old")
    gone = [block for index, block in enumerate(BLOCKS) if index % 3]
    store.delete_many([block.cid for block in gone])
    while store.compact(1 << 30).segment is not None:
        pass
    kept = [block for block in BLOCKS if block not in gone]
    store.close()
    put_index_back(site, tmp_path / "old")
    store = site.open()
    assert set(held(store)) >= set(kept)
    check_counts(store, held(store))
    assert store.stats().damaged_reads == 0
    store.close()


def test_an_index_older_than_an_upload_asks_the_object_store(site: Site, tmp_path: Path) -> None:
    store = filled(site, upload=False)
    copy_index(site, tmp_path / "old")
    upload_all(store)
    store.close()
    put_index_back(site, tmp_path / "old")
    store = site.open()
    assert held(store) == BLOCKS
    assert store.repairs.lost == []
    check_counts(store, BLOCKS)
    store.close()


def test_an_index_newer_than_its_segments_forgets_what_is_gone(tmp_path: Path) -> None:
    site = Site(tmp_path / "cold")
    filled(site).close()
    first, second, *rest = site.files()
    assert rest
    first.unlink()
    whole = second.read_bytes()
    second.write_bytes(whole[: len(whole) // 2])
    store = site.open()
    kept = held(store)
    check_counts(store, kept)
    assert 0 < len(kept) < len(BLOCKS)
    assert sorted(store.repairs.lost) == [0, 1]
    store.put_many(BLOCKS)  # fetched again
    assert held(store) == BLOCKS
    check_counts(store, BLOCKS)
    store.close()
    store = site.open()
    assert store.repairs.lost == []
    assert held(store) == BLOCKS
    store.close()


def test_a_torn_end_is_cut_and_whole_records_behind_the_index_are_kept(site: Site) -> None:
    store = site.open()
    store.put_many(BLOCKS[:2])
    store.close()
    (path,) = site.files()
    size = path.stat().st_size
    extra, torn = Packer().pack(BLOCKS[2]), Packer().pack(BLOCKS[3])
    with path.open("ab") as file:
        file.write(extra + torn[:-1])
    store = site.open()
    assert path.stat().st_size == size + len(extra)
    assert held(store) == BLOCKS[:3]
    assert store.repairs.rotten_bytes == len(torn) - 1
    store.put_many(BLOCKS[3:5])
    assert held(store) == BLOCKS[:5]
    store.close()
    store = site.open()
    assert store.repairs.scanned == 0
    store.close()


@pytest.mark.parametrize("header_bytes", [0, 1, 10])
def test_a_segment_that_got_no_further_than_its_header_is_used(site: Site, header_bytes: int) -> None:
    site.folder.mkdir()
    (site.folder / "0000.car.zst").write_bytes(Packer().header()[:header_bytes])
    store = site.open()
    store.put_many(BLOCKS[:1])
    store.close()
    (site.folder / INDEX_NAME).unlink()
    store = site.open()
    assert [path.name for path in site.files()] == ["0000.car.zst"]
    assert store.repairs.rotten_bytes == 0
    assert held(store) == BLOCKS[:1]
    store.close()


def test_a_segment_with_rot_before_its_end_is_not_written_to_again(site: Site) -> None:
    store = site.open()
    store.put_many(BLOCKS[:3])
    store.close()
    (path,) = site.files()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (site.folder / INDEX_NAME).unlink()
    store = site.open()
    assert held(store) == [BLOCKS[0], BLOCKS[2]]
    store.put_many(BLOCKS[3:4])
    assert path.read_bytes() == data
    assert len(site.files()) == 2
    store.close()


def test_other_files_in_the_folder_are_left_alone(site: Site) -> None:
    site.folder.mkdir()
    strangers = [
        "notes.txt",
        "12.car.zst",
        "00001.car.zst",
        "0001.car.zst.part",
        "x0001.car.zst",
        "9" * 30 + ".car.zst",
    ]
    for name in strangers:
        (site.folder / name).write_bytes(b"mine")
    (site.folder / "0007.car.zst").mkdir()
    store = site.open()
    store.put_many(BLOCKS)
    upload_all(store)
    assert held(store) == BLOCKS
    store.close()
    assert all((site.folder / name).read_bytes() == b"mine" for name in strangers)


def test_a_smaller_segment_size_seals_what_is_above_it(site: Site) -> None:
    store = site.open(segment_bytes=1 << 20)
    store.put_many(BLOCKS)
    store.close()
    store = site.open(segment_bytes=50_000)
    store.put_many([block_of(500, 10)])
    store.close()
    assert len(site.files()) == 2


def test_segments_in_an_object_store_need_its_url(site: Site) -> None:
    filled(site).close()
    if site.url:
        with pytest.raises(BadConfig, match="none is configured"):
            Site(site.folder).open()
    else:
        store = Site(site.folder).open()
        assert held(store) == BLOCKS
        store.close()


def test_a_transaction_that_fails_leaves_nothing_and_the_next_one_goes_on(site: Site) -> None:
    """The index has no room while its segments have: SQLite's own page limit."""
    store = site.open(segment_bytes=1 << 20)
    store.put_many(BLOCKS[:2])
    pages = store._index.number("PRAGMA page_count")
    store._index.number(f"PRAGMA max_page_count = {pages}")
    many = [block_of(seed, 10) for seed in range(1000, 1400)]
    for _ in range(3):
        with pytest.raises(StorageFull):
            store.put_many(many)
        assert store.get_many([many[0].cid]) == [None]
        assert held(store) == BLOCKS[:2]
    (path,) = site.files()
    assert path.stat().st_size < 3 * 40_000 + 400 * 100, "what failed is cut off before the next is written"
    store._index.number("PRAGMA max_page_count = 1000000")
    store.put_many(many)
    store.put_many(BLOCKS[2:])
    assert held(store) == BLOCKS
    store.close()
    (site.folder / INDEX_NAME).unlink()
    store = site.open()
    check_counts(store, BLOCKS + many)
    assert store.repairs.rotten_bytes == 0
    store.close()


def test_damage_in_the_index_is_told_and_cured_by_the_next_open(site: Site) -> None:
    store = filled(site)
    store.close()
    index = site.folder / INDEX_NAME
    data = bytearray(index.read_bytes())
    with sqlite3.connect(index) as conn:
        root = conn.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'blocks'").fetchone()[0]
    conn.close()
    data[(root - 1) * 4096 : root * 4096] = b"\xff" * 4096
    index.write_bytes(data)
    store = site.open()
    with pytest.raises(StorageFault, match="open the store again"):
        store.get_many([BLOCKS[0].cid])
    wanted = store.wants_repair
    store.close()
    store.open()
    assert (wanted, store.wants_repair) == (True, False)
    assert held(store) == BLOCKS
    check_counts(store, BLOCKS)
    store.close()
