"""What the disk store promises, one case each: names, bounds, versions, threads, room."""

import hashlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_PB, IDENTITY, RAW, SHA2_256
from shoal.messages.errors import BadConfig, BadInput, StorageFault, StorageFull, Unavailable
from shoal.messages.limits import (
    BLOCK_BYTES_MAX,
    DISK_DELETE_MAX,
    DISK_GET_BLOCKS_MAX,
    DISK_PUT_BLOCKS_MAX,
    DISK_PUT_BYTES_MAX,
    DISK_SIZES_MAX,
    DISK_WAL_BYTES,
    MIB,
)
from shoal.storage.disk import schema
from shoal.storage.disk.store import DiskStore
from shoal.tests.storage.disk.samples import QUOTA, block_of, v0_block_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "blocks.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[DiskStore]:
    store = DiskStore(path, QUOTA, reserve_bytes=0)
    store.open()
    yield store
    store.close()


def test_a_v0_and_a_v1_of_the_same_bytes_share_a_row(store: DiskStore) -> None:
    old, new = v0_block_of(1, 500), block_of(1, 500)
    store.put_many([old, new])
    store.put_many([new])
    assert store.stats().blocks == 1
    assert store.get_many([new.cid, old.cid]) == [new, old]
    assert store.list(None, 10) == [old.cid.as_v1()]
    assert store.delete_many([new.cid]) == 1
    assert store.get_many([old.cid]) == [None]


def test_an_identity_cid_is_answered_without_a_row(store: DiskStore) -> None:
    cid, empty = CID(1, RAW, IDENTITY, b"hi"), CID(1, DAG_PB, IDENTITY, b"")
    assert store.get_many([cid, empty]) == [Block(cid, b"hi"), Block(empty, b"")]
    assert store.sizes([cid, empty]) == [2, 0]
    store.put_many([Block(cid, b"hi")])
    assert store.stats().blocks == 0
    assert store.delete_many([cid]) == 0


def test_every_hash_we_can_check_is_listed_as_it_was_put(store: DiskStore) -> None:
    cids = [
        CID(1, RAW, 0xB220, hashlib.blake2b(b"x", digest_size=32).digest()),
        CID(1, DAG_PB, 0x13, hashlib.sha512(b"x").digest()),
        CID(1, RAW, SHA2_256, hashlib.sha256(b"x").digest()[:20]),
    ]
    store.put_many([Block(cid, b"x") for cid in cids])
    assert set(store.list(None, 10)) == set(cids)
    assert store.get_many(cids) == [Block(cid, b"x") for cid in cids]


def test_the_largest_block_goes_in_and_a_larger_one_does_not(store: DiskStore) -> None:
    largest = block_of(1, BLOCK_BYTES_MAX.value)
    store.put_many([largest])
    assert store.get_many([largest.cid]) == [largest]
    with pytest.raises(BadInput, match="at most"):
        store.put_many([block_of(2, BLOCK_BYTES_MAX.value + 1)])


def test_batches_are_bounded(store: DiskStore) -> None:
    cid = block_of(1, 10).cid
    with pytest.raises(BadInput):
        store.put_many([block_of(1, 10)] * (DISK_PUT_BLOCKS_MAX.value + 1))
    with pytest.raises(BadInput):
        store.put_many([block_of(seed, 2 * MIB) for seed in range(DISK_PUT_BYTES_MAX.value // (2 * MIB) + 1)])
    with pytest.raises(BadInput):
        store.get_many([cid] * (DISK_GET_BLOCKS_MAX.value + 1))
    with pytest.raises(BadInput):
        store.sizes([cid] * (DISK_SIZES_MAX.value + 1))
    with pytest.raises(BadInput):
        store.delete_many([cid] * (DISK_DELETE_MAX.value + 1))
    assert store.stats().blocks == 0


def test_a_put_over_the_quota_stores_nothing(path: Path) -> None:
    store = DiskStore(path, 1000, reserve_bytes=0)
    store.open()
    kept = block_of(1, 600)
    store.put_many([kept])
    with pytest.raises(StorageFull, match="quota"):
        store.put_many([block_of(2, 300), block_of(3, 300)])
    assert store.stats().bytes == 600
    assert store.list(None, 10) == [kept.cid]
    store.put_many([kept, block_of(4, 400)])  # to the byte; what is here already asks for no room
    store.delete_many([kept.cid])
    store.put_many([block_of(2, 300), block_of(3, 300)])
    assert store.stats().bytes == 1000
    store.close()


def test_the_volumes_reserve_is_left_alone(path: Path) -> None:
    store = DiskStore(path, QUOTA, reserve_bytes=1 << 60)
    store.open()
    with pytest.raises(StorageFull, match="kept back"):
        store.put_many([block_of(1, 10)])
    assert store.stats().blocks == 0
    store.close()


def test_the_log_and_the_page_size_are_as_set(store: DiskStore, path: Path) -> None:
    highest = 0
    for seed in range(0, 384, 16):  # 96 MiB
        store.put_many([block_of(number, 256 * 1024) for number in range(seed, seed + 16)])
        highest = max(highest, store.stats().log_bytes)
    # The batch that crosses the line, and an index page each, are written before the checkpoint.
    assert DISK_WAL_BYTES.value < highest < DISK_WAL_BYTES.value + 8 * MIB
    pragmas = ("page_size", "synchronous", "auto_vacuum", "journal_mode")
    conn = store._file.db.conn
    assert [conn.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas] == [32768, 2, 2, "wal"]
    before = path.stat().st_size
    cids = store.list(None, 4096)
    assert store.delete_many(cids) == 384
    assert store.stats().reusable_bytes > 90 * MIB
    while store.shrink(1 << 30) > 0:
        assert store.stats().log_bytes == 0
    assert path.stat().st_size < before - 90 * MIB


def test_a_file_of_a_newer_shoal_is_refused_unchanged(path: Path) -> None:
    store = DiskStore(path, QUOTA)
    store.open()
    store.close()
    db = Database(path)
    schema.table(db, "_sqlite_migrations").insert(
        {"migration_set": "shoal.storage.disk", "name": "m999_later", "applied_at": "2030"}
    )
    db.close()
    before = path.read_bytes()
    with pytest.raises(BadConfig, match=r"newer shoal.*m999_later.*upgrade"):
        store.open()
    assert path.read_bytes() == before


def test_the_versions_are_those_of_the_migrations() -> None:
    pending = schema.migrations.pending(Database(memory=True))
    assert tuple(migration.name for migration in pending) == schema.VERSIONS


def test_a_database_of_another_program_is_refused(path: Path) -> None:
    db = Database(path)
    schema.table(db, "blocks").insert({"multihash": b"x"})
    db.close()
    with pytest.raises(BadConfig, match="another program"):
        DiskStore(path, QUOTA).open()


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"these are not the bytes you are looking for" * 100)
    before = path.read_bytes()
    with pytest.raises(StorageFault, match="move the file away"):
        DiskStore(path, QUOTA).open()
    assert path.read_bytes() == before


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageFault, match=r"missing.*folder exists"):
        DiskStore(tmp_path / "missing" / "blocks.sqlite", QUOTA).open()


def test_a_closed_store_says_so(path: Path) -> None:
    store = DiskStore(path, QUOTA)
    with pytest.raises(Unavailable, match="not open"):
        store.get_many([block_of(1, 1).cid])
    store.open()
    with pytest.raises(Unavailable, match="open already"):
        store.open()
    store.close()
    store.close()
    with pytest.raises(Unavailable, match="not open"):
        store.put_many([block_of(1, 1)])


def test_another_thread_may_not_use_it(store: DiskStore) -> None:
    block = block_of(1, 1)
    faults: list[BaseException] = []

    def use() -> None:
        for call in (lambda: store.put_many([block]), lambda: store.get_many([block.cid])):
            try:
                call()
            except sqlite3.ProgrammingError as fault:
                faults.append(fault)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(faults) == 2
    store.put_many([block])
    assert store.get_many([block.cid]) == [block]


def test_another_writer_is_waited_for_and_then_named(store: DiskStore, path: Path) -> None:
    store._file.db.conn.execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageFault, match="other program"):
        store.put_many([block_of(1, 1)])
    other.execute("ROLLBACK")
    other.close()
    store.put_many([block_of(1, 1)])
    assert store.stats().blocks == 1


def test_a_body_that_raises_leaves_nothing(store: DiskStore) -> None:
    block = block_of(1, 1)

    def fail() -> None:
        with store._file.writing("test") as writer:
            writer.db.conn.execute("INSERT INTO blocks VALUES (?, 1, 85, 1)", (block.cid.multihash,))
            writer.totals = writer.totals.plus(1, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.sizes([block.cid]) == [None]
    assert store.stats().blocks == 0
    store.put_many([block])
    assert store.get_many([block.cid]) == [block]


def test_a_block_read_is_a_copy_that_outlives_the_store(path: Path) -> None:
    store = DiskStore(path, QUOTA)
    store.open()
    block = block_of(1, 100_000)
    store.put_many([block])
    (got,) = store.get_many([block.cid])
    store.delete_many([block.cid])
    store.close()
    path.unlink()
    assert got == block
    assert got.data.readonly
