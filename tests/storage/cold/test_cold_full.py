"""A volume without room: what does not fit is refused whole, the rest can be read, and compaction makes room again."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.messages.block import Block
from shoal.messages.errors import StorageFull
from shoal.messages.limits import MIB
from shoal.storage.cold.places import INDEX_NAME
from shoal.storage.cold.store import ColdStore
from shoal.tests.storage.cold.sites import Site
from shoal.tests.storage.disk.samples import block_of

pytestmark = pytest.mark.faults


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A folder on a tmpfs of 12 MiB."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED ON A FULL VOLUME: only root may mount a tmpfs")
    folder = tmp_path / "volume"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"NOT TESTED ON A FULL VOLUME: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(store: ColdStore, first: int) -> list[Block]:
    """Put batches until one is refused; what was acknowledged."""
    kept: list[Block] = []
    for number in range(first, first + 1000):
        batch = [block_of(number * 4 + index, 60_000) for index in range(4)]
        try:
            store.put_many(batch)
        except StorageFull:
            assert store.get_many([block.cid for block in batch]) == [None] * 4
            return kept
        kept += batch
    raise AssertionError("it was never full")


def check(store: ColdStore, kept: list[Block]) -> None:
    for block in kept:
        assert store.get_many([block.cid]) == [block]
    assert (store.stats().blocks, store.stats().bytes) == (len(kept), sum(map(len, kept)))


# A reserve below nothing: the end of the volume is met by the segment's writes, or the index's.
@pytest.mark.parametrize("reserve_bytes", [2 * MIB, -(1 << 40)])
def test_a_full_volume(volume: Path, reserve_bytes: int) -> None:
    site = Site(volume / "cold")
    options = {"segment_bytes": MIB, "reserve_bytes": reserve_bytes}
    store = site.open(**options)
    ballast = volume / "ballast"
    ballast.write_bytes(bytes(MIB))
    kept = fill(store, 0)
    assert len(kept) > 100
    check(store, kept)
    store.close()
    if reserve_bytes < 0:
        ballast.unlink()  # without a reserve, somebody must make room for what open may have to write
    store = site.open(**options)  # a full volume that is opened again, as after a crash
    check(store, kept)
    store.delete_many([block.cid for block in kept[::3]] + [block.cid for block in kept[1::3]])
    kept = kept[2::3]
    check(store, kept)
    while store.compact(MIB).segment is not None:
        check(store, kept)
    assert store.stats().live_ratio > 0.5
    more = fill(store, 2000)
    assert len(more) > 50
    check(store, kept + more)
    store.close()
    (site.folder / INDEX_NAME).unlink()
    store = site.open(**options)
    assert all(store.get_many([block.cid]) == [block] for block in kept + more)
    store.close()
