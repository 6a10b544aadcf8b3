"""A disk without room, three ways: a small volume, a file-size limit, and SQLite's own page limit.

Each time: the put that does not fit raises and stores nothing, what was acknowledged can be read, a delete goes
through, and puts are accepted again when there is room.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.messages.block import Block
from shoal.messages.errors import LocalError, StorageFull
from shoal.messages.limits import MIB
from shoal.storage.disk.store import DiskStore
from shoal.tests.storage.disk.samples import QUOTA, block_of, child_environment

pytestmark = pytest.mark.faults

BATCH = 4


def batch_of(number: int) -> list[Block]:
    return [block_of(number * BATCH + index, 100_000) for index in range(BATCH)]


def fill(store: DiskStore) -> tuple[list[Block], LocalError]:
    """Put batches until one is refused: the blocks acknowledged, and how it was refused."""
    kept: list[Block] = []
    for number in range(10_000):
        try:
            store.put_many(batch_of(number))
        except LocalError as fault:
            return kept, fault
        kept.extend(batch_of(number))
    raise AssertionError("it was never full")


def check_all_there(store: DiskStore, kept: list[Block]) -> None:
    for block in kept:
        assert store.get_many([block.cid]) == [block]
    assert (store.stats().blocks, store.stats().bytes) == (len(kept), sum(map(len, kept)))


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """A folder on a tmpfs of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED ON A FULL VOLUME: only root may mount a tmpfs")
    folder = tmp_path / "volume"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"NOT TESTED ON A FULL VOLUME: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_volume(small_volume: Path) -> None:
    path = small_volume / "blocks.sqlite"
    store = DiskStore(path, QUOTA, reserve_bytes=0)
    store.open()
    ballast = small_volume / "ballast"
    ballast.write_bytes(bytes(3 * MIB))  # so that it fills while nothing has been checkpointed
    kept, fault = fill(store)
    assert isinstance(fault, StorageFull)
    assert "free some space" in fault.remedy
    assert kept
    check_all_there(store, kept)
    with pytest.raises(StorageFull):
        store.put_many([block_of(9_999_999, 2 * MIB)])
    check_all_there(store, kept)
    # Somebody makes room.
    ballast.unlink()
    more = [block_of(8_888_888, 100_000)]
    store.put_many(more)
    check_all_there(store, kept + more)
    # A full volume that is opened again, as after a crash.
    with contextlib.suppress(StorageFull):
        for seed in range(1000):
            store.put_many([block_of(7_000_000 + seed, 50_000)])
            more.append(block_of(7_000_000 + seed, 50_000))
    store.close()
    store.open()
    check_all_there(store, kept + more)
    store.close()


def test_writing_until_the_very_last_byte(small_volume: Path) -> None:
    """Without the check of free room, so that SQLite itself meets the end of the volume."""
    store = DiskStore(small_volume / "blocks.sqlite", QUOTA, reserve_bytes=-(1 << 40))
    store.open()
    kept, fault = fill(store)
    assert isinstance(fault, StorageFull)
    check_all_there(store, kept)
    store.close()
    store.open()  # the log may not fit into the file: it stays, and is read
    check_all_there(store, kept)
    store.close()


def test_deletes_go_through_on_a_volume_at_its_reserve(small_volume: Path) -> None:
    store = DiskStore(small_volume / "blocks.sqlite", QUOTA, reserve_bytes=2 * MIB)
    store.open()
    kept, fault = fill(store)
    assert isinstance(fault, StorageFull)
    assert "kept back" in fault.message
    (small_volume / "ballast").write_bytes(bytes(MIB))  # another program takes half of the reserve
    assert store.delete_many([block.cid for block in kept[: len(kept) // 2]]) == len(kept) // 2
    check_all_there(store, kept[len(kept) // 2 :])
    store.close()


def test_sqlites_own_page_limit(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "blocks.sqlite", QUOTA, reserve_bytes=0)
    store.open()
    store._file.db.conn.execute("PRAGMA max_page_count = 64")  # 4 MiB
    kept, fault = fill(store)
    assert isinstance(fault, StorageFull)
    check_all_there(store, kept)
    # At the limit a delete frees pages, and they are used again.
    assert store.delete_many([block.cid for block in kept[:BATCH]]) == BATCH
    again = batch_of(5_000)
    store.put_many(again)
    check_all_there(store, kept[BATCH:] + again)
    store.close()


LIMITED = """
import json, resource, sys
from pathlib import Path
from shoal.storage.disk.store import DiskStore
from shoal.tests.storage.disk.test_disk_full import batch_of, check_all_there, fill
from shoal.tests.storage.disk.samples import QUOTA

store = DiskStore(Path(sys.argv[1]), QUOTA, reserve_bytes=0)
store.open()
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_001, hard))
kept, fault = fill(store)
check_all_there(store, kept)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
store.put_many(batch_of(5000))
check_all_there(store, kept + batch_of(5000))
print(json.dumps([len(kept), type(fault).__name__, str(fault)]))
"""


def test_a_file_size_limit_is_a_fault_that_says_so(tmp_path: Path) -> None:
    """EFBIG, in a process of its own because the limit holds for all of it.  It dies without closing the store."""
    path = tmp_path / "blocks.sqlite"
    argv = [sys.executable, "-c", LIMITED, str(path)]
    done = subprocess.run(argv, env=child_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    count, kind, text = json.loads(done.stdout)
    assert count >= BATCH
    assert kind == "StorageFault"
    assert "file-size limit" in text
    store = DiskStore(path, QUOTA)
    store.open()
    check_all_there(store, [block for number in [*range(count // BATCH), 5000] for block in batch_of(number)])
    store.close()
