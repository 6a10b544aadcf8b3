"""The cold store's contract, in a folder and with an object store: what is put is read, listed, deleted, counted."""

import pytest

from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_PB, IDENTITY, RAW
from shoal.messages.errors import BadConfig, BadInput, StorageFull, Unavailable
from shoal.messages.limits import DISK_GET_BLOCKS_MAX, DISK_PUT_BLOCKS_MAX, MIB
from shoal.storage.cold.record import LEVEL_MAX
from shoal.storage.cold.store import ColdStore
from shoal.tests.storage.cold.sites import Site, upload_all
from shoal.tests.storage.disk.samples import block_of, v0_block_of


def text_block(seed: int, size: int) -> Block:
    """A block that compresses well."""
    data = (f"line {seed} of a text that says the same again and again\n".encode() * size)[:size]
    return Block(CID.of(data), data)


BLOCKS = [block_of(seed, size) for seed, size in enumerate([0, 1, 50, 3000, 40_000, 70_000, 2 * MIB])]
TEXTS = [text_block(seed, 50_000) for seed in range(10)]


def read(store: ColdStore, *blocks: Block) -> list[Block | None]:
    return [store.get_many([block.cid])[0] for block in blocks]


def test_what_is_put_is_read_from_wherever_it_went(site: Site) -> None:
    store = site.open()
    for block in [*BLOCKS, *TEXTS]:
        store.put_many([block])
    assert read(store, *BLOCKS, *TEXTS) == [*BLOCKS, *TEXTS]
    assert store.get_many([block.cid for block in BLOCKS]) == BLOCKS
    uploaded = upload_all(store)
    assert (uploaded > 0) == bool(site.url)
    assert read(store, *BLOCKS, *TEXTS) == [*BLOCKS, *TEXTS]
    stats = store.stats()
    assert (stats.blocks, stats.bytes) == (17, sum(map(len, [*BLOCKS, *TEXTS])))
    assert stats.live_ratio > 0.9
    assert stats.stored_bytes < stats.bytes - 9 * 49_000, "text shrinks"
    assert stats.remote_segments == uploaded
    store.close()
    store = site.open()
    assert store.repairs.scanned == 0, "an orderly end leaves nothing to repair"
    assert read(store, *BLOCKS, *TEXTS) == [*BLOCKS, *TEXTS]
    assert (store.stats().blocks, store.stats().bytes) == (stats.blocks, stats.bytes)
    store.close()


def test_names_that_share_a_multihash_share_a_block(site: Site) -> None:
    store = site.open()
    v0, raw = v0_block_of(5, 900), block_of(5, 900, RAW)
    v1 = block_of(5, 900, DAG_PB)
    inline = Block(CID(1, RAW, IDENTITY, b"inline"), b"inline")
    store.put_many([v0, raw, inline])
    assert store.get_many([raw.cid, v0.cid, v1.cid, inline.cid]) == [raw, v0, v1, inline]
    assert store.sizes([v1.cid, inline.cid, block_of(6, 1).cid]) == [900, 6, None]
    assert store.stats().blocks == 1
    assert store.list(None, 10) == [v1.cid]
    store.close()


def test_absent_and_deleted_blocks_are_none(site: Site) -> None:
    store = site.open()
    store.put_many(TEXTS)
    upload_all(store)
    assert store.delete_many([TEXTS[1].cid, TEXTS[1].cid, block_of(1, 1).cid]) == 1
    assert store.get_many([TEXTS[0].cid, TEXTS[1].cid, TEXTS[2].cid]) == [TEXTS[0], None, TEXTS[2]]
    assert store.sizes([TEXTS[1].cid]) == [None]
    assert store.stats().blocks == 9
    store.put_many([TEXTS[1]])
    assert read(store, TEXTS[1]) == [TEXTS[1]]
    store.close()


def test_a_listing_is_in_order_and_in_pages(site: Site) -> None:
    store = site.open()
    store.put_many(TEXTS)
    expected = sorted(block.cid.multihash for block in TEXTS)
    seen: list[CID] = []
    while page := store.list(seen[-1].multihash if seen else None, 3):
        assert len(page) <= 3
        seen += page
    assert [cid.multihash for cid in seen] == expected
    store.close()


def test_the_quota_refuses_all_of_a_batch_or_nothing(site: Site) -> None:
    store = site.open(quota=120_000)
    store.put_many(TEXTS[:2])
    with pytest.raises(StorageFull, match="quota"):
        store.put_many(TEXTS[2:4])
    assert read(store, *TEXTS[:4]) == [*TEXTS[:2], None, None]
    store.put_many(TEXTS[:2])  # at the quota, what is here is still taken
    store.set_quota(200_000)
    store.put_many(TEXTS[2:4])
    assert read(store, *TEXTS[:4]) == TEXTS[:4]
    store.close()


def test_the_reserve_of_the_volume_is_left_free(site: Site) -> None:
    store = site.open(reserve_bytes=1 << 60)
    with pytest.raises(StorageFull, match="kept back"):
        store.put_many(TEXTS[:1])
    store.close()


def test_batches_are_bounded(site: Site) -> None:
    store = site.open()
    with pytest.raises(BadInput, match="at most"):
        store.put_many([block_of(seed, 1) for seed in range(DISK_PUT_BLOCKS_MAX.value + 1)])
    with pytest.raises(BadInput, match="at most"):
        store.get_many([TEXTS[0].cid] * (DISK_GET_BLOCKS_MAX.value + 1))
    with pytest.raises(BadInput, match="smaller blocks"):
        store.put_many([block_of(1, 2 * MIB + 1)])
    store.close()


def test_the_largest_batches_go_through(site: Site) -> None:
    store = site.open(segment_bytes=64 * MIB)
    many = [block_of(seed, 10) for seed in range(DISK_PUT_BLOCKS_MAX.value)]
    large = [block_of(seed, 2 * MIB) for seed in range(2000, 2016)]
    store.put_many(many)
    store.put_many(large)
    assert store.get_many([block.cid for block in large]) == large
    assert store.get_many([block.cid for block in many[-32:]]) == many[-32:]
    store.close()


def test_compaction_gives_room_back_step_by_step(site: Site) -> None:
    store = site.open()
    blocks = [block_of(seed, 30_000) for seed in range(40)]
    for start in range(0, 40, 4):
        store.put_many(blocks[start : start + 4])
    upload_all(store)
    before = store.stats()
    assert store.compact(MIB).segment is None, "nothing is dead yet"
    kept, gone = blocks[::4], [block for index, block in enumerate(blocks) if index % 4]
    store.delete_many([block.cid for block in gone])
    steps = []
    while (done := store.compact(40_000)).segment is not None:
        assert done.moved_bytes <= 40_000
        steps.append(done)
        assert store.get_many([block.cid for block in kept]) == kept
    stats = store.stats()
    assert sum(step.freed_bytes for step in steps) > before.stored_bytes * 0.7
    assert stats.stored_bytes < before.stored_bytes * 0.4
    assert stats.segments < before.segments
    assert (stats.blocks, stats.bytes) == (10, 300_000)
    upload_all(store)
    store.close()
    store = site.open()
    assert store.get_many([block.cid for block in kept]) == kept
    assert read(store, *gone[:5]) == [None] * 5
    store.close()


def test_a_segment_without_life_goes_unread(site: Site) -> None:
    store = site.open()
    store.put_many([block_of(seed, 60_000) for seed in range(3)])
    upload_all(store)
    store.delete_many([block_of(seed, 60_000).cid for seed in range(3)])
    done = store.compact(1)
    assert (done.segment, done.moved) == (0, 0)
    assert done.freed_bytes > 180_000
    assert store.stats().segments == 0
    assert site.files() == []
    store.put_many(TEXTS[:1])
    assert [path.name for path in site.files()] == ["0001.car.zst"], "a number is not used twice"
    store.close()


def test_what_cannot_be_is_refused(site: Site) -> None:
    for level in (0, LEVEL_MAX + 1, -5):
        with pytest.raises(BadConfig, match="level"):
            site.store(level=level)
    for size in (0, -1, 1 << 40):
        with pytest.raises(BadConfig, match="segment"):
            site.store(segment_bytes=size)
    with pytest.raises(Unavailable):
        site.store().put_many(TEXTS)
    site.folder.write_text("a file")
    with pytest.raises(BadConfig, match="not a folder"):
        site.open()


@pytest.mark.parametrize("level", [1, LEVEL_MAX])
def test_every_level_can_be_read(site: Site, level: int) -> None:
    store = site.open(level=level)
    store.put_many([*BLOCKS, *TEXTS])
    store.close()
    store = site.open()
    assert read(store, *BLOCKS, *TEXTS) == [*BLOCKS, *TEXTS]
    store.close()
