"""Rotten segments: never a wrong byte, the other blocks stay readable, and what was damaged can be stored again."""

from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.errors import LocalError, StorageFault
from shoal.storage.cold.places import INDEX_NAME
from shoal.storage.cold.store import ColdStore
from shoal.tests.storage.cold.sites import S3, Site, upload_all
from shoal.tests.storage.disk.samples import block_of
from shoal.tests.storage.disk.test_disk_damage import folder


def text_block(seed: int) -> Block:
    data = f"{seed} {seed * 7919} the same words again ".encode() * 100
    return Block(CID.of(data), data)


BLOCKS = [block_of(seed, [4, 10, 700, 3000][seed % 4]) for seed in range(12)] + [text_block(seed) for seed in range(6)]
SEGMENT_BYTES = 4_000


def fill(site: Site) -> None:
    store = site.open(segment_bytes=SEGMENT_BYTES)
    for start in range(0, len(BLOCKS), 3):
        store.put_many(BLOCKS[start : start + 3])
    store.close()


def read_all(store: ColdStore) -> list[Block | None]:
    return [store.get_many([block.cid])[0] for block in BLOCKS]


def check(got: list[Block | None], lost_max: int) -> None:
    lost = sum(block is None for block in got)
    assert lost <= lost_max
    assert all(block is None or block == true for block, true in zip(got, BLOCKS, strict=True)), "a wrong byte"


flips = st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 7)), min_size=1, max_size=4)


@given(flips, st.booleans())
@settings(max_examples=150)
def test_flipped_bits_cost_their_own_records_only(bits: list[tuple[int, int, int]], without_index: bool) -> None:
    with folder() as place:
        site = Site(place / "cold")
        fill(site)
        files = site.files()
        assert len(files) >= 2
        for which, where, bit in bits:
            path = files[which % len(files)]
            data = bytearray(path.read_bytes())
            data[where % len(data)] ^= 1 << bit
            path.write_bytes(data)
        if without_index:
            (site.folder / INDEX_NAME).unlink()
        store = site.open(segment_bytes=SEGMENT_BYTES)
        got = read_all(store)
        check(got, len(bits))
        lost = [true for block, true in zip(got, BLOCKS, strict=True) if block is None]
        event(f"{len(lost)} lost")
        stats = store.stats()
        assert stats.blocks == len(BLOCKS) - len(lost)
        assert without_index or (stats.quarantined, stats.damaged_reads) == (len(lost), len(lost))
        store.put_many(lost)  # fetched again
        assert read_all(store) == BLOCKS
        store.close()


@given(flips)
@settings(max_examples=60)
def test_compaction_of_a_rotten_segment_carries_what_is_sound(bits: list[tuple[int, int, int]]) -> None:
    with folder() as place:
        site = Site(place / "cold")
        fill(site)
        for which, where, bit in bits:
            path = site.files()[which % len(site.files())]
            data = bytearray(path.read_bytes())
            data[where % len(data)] ^= 1 << bit
            path.write_bytes(data)
        store = site.open(segment_bytes=SEGMENT_BYTES)
        for _ in range(20):
            store.compact(4000, live_ratio_min=2.0)
        check(read_all(store), len(bits))
        store.close()
        (site.folder / INDEX_NAME).unlink()
        store = site.open(segment_bytes=SEGMENT_BYTES)
        check(read_all(store), len(bits))
        store.close()


@given(st.data())
@settings(max_examples=60)
def test_any_damage_to_the_index_gives_no_wrong_byte(data: st.DataObject) -> None:
    with folder() as place:
        site = Site(place / "cold")
        fill(site)
        index = site.folder / INDEX_NAME
        whole = bytearray(index.read_bytes())
        for _ in range(data.draw(st.integers(1, 5))):
            whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        index.write_bytes(whole)
        store = site.store(segment_bytes=SEGMENT_BYTES)
        try:
            store.open()
            check(read_all(store), len(BLOCKS))
            store.close()
        except LocalError as fault:
            event(type(fault).__name__)
            store.close()
        index.unlink()
        store = site.open(segment_bytes=SEGMENT_BYTES)
        assert read_all(store) == BLOCKS, "nothing that was done to an index touches a segment"
        store.close()


def test_rotten_objects_are_set_aside_like_rotten_files(s3: S3, tmp_path: Path) -> None:
    url = s3.url()
    site = Site(tmp_path / "cold", url)
    fill(site)
    store = site.open(segment_bytes=SEGMENT_BYTES)
    upload_all(store)
    objects = s3.objects(url)
    rotten = bytearray(objects.get("0000.car.zst").bytes())
    rotten[len(rotten) // 2] ^= 4
    objects.put("0000.car.zst", bytes(rotten[:-1]))
    got = read_all(store)
    check(got, 2)
    assert got.count(None) == 2, "one that has changed and one that is cut short"
    assert store.stats().quarantined == 2
    store.put_many(BLOCKS)
    assert read_all(store) == BLOCKS
    store.close()


def test_a_segment_that_is_gone_is_absent_and_a_bucket_that_is_gone_is_a_fault(s3: S3, tmp_path: Path) -> None:
    s3.request("PUT", "/other")
    url = s3.url(bucket="other", prefix="node")
    site = Site(tmp_path / "cold", url)
    fill(site)
    store = site.open(segment_bytes=SEGMENT_BYTES)
    upload_all(store)
    s3.objects(url).delete("0000.car.zst")
    got = read_all(store)
    assert None in got
    assert any(block is not None for block in got)
    check(got, len(BLOCKS))
    quarantined = store.stats().quarantined
    objects = s3.objects(url)
    objects.delete([entry["path"] for part in objects.list() for entry in part])
    assert s3.request("DELETE", "/other")[0] == 204
    remote = next(
        block.cid
        for block in BLOCKS
        if (entry := store._index.find(block.cid.multihash)) is not None
        and store._index.segments("id = ?", (entry.segment,))[0].remote
    )
    with pytest.raises(StorageFault, match="NoSuchBucket") as caught:
        store.get_many([remote])
    assert "make the bucket" in caught.value.remedy
    assert "SECRET" not in str(caught.value)
    assert store.stats().quarantined == quarantined, "what cannot be reached is not damaged"
    store.close()


def test_a_file_that_is_gone_is_absent(tmp_path: Path) -> None:
    site = Site(tmp_path / "cold")
    fill(site)
    store = site.open(segment_bytes=SEGMENT_BYTES)
    site.files()[0].unlink()
    got = read_all(store)
    assert 0 < got.count(None) < len(BLOCKS)
    check(got, len(BLOCKS))
    assert store.stats().quarantined == got.count(None)
    store.close()


def test_a_block_that_the_index_was_wrong_about_is_found_when_its_segment_goes(tmp_path: Path) -> None:
    site = Site(tmp_path / "cold")
    store = site.open(segment_bytes=30_000)
    blocks = [block_of(seed, 3000) for seed in range(100, 112)]
    for block in blocks:
        store.put_many([block])
    misled, rotten = blocks[2], blocks[5]
    with store._index.writing("spoil a row") as writer:
        writer.db.conn.execute("UPDATE blocks SET crc = crc + 1 WHERE multihash = ?", (misled.cid.multihash,))
    entry = store._index.find(rotten.cid.multihash)
    assert entry is not None
    data = bytearray(site.files()[0].read_bytes())
    data[entry.offset + 100] ^= 1
    site.files()[0].write_bytes(data)
    assert store.get_many([misled.cid, rotten.cid]) == [None, None]
    assert store.stats().quarantined == 2
    store.delete_many([block.cid for block in blocks if block not in (misled, rotten, blocks[0])])
    while store.compact(10_000).segment is not None:
        pass
    assert store.get_many([misled.cid, rotten.cid, blocks[0].cid, blocks[1].cid]) == [misled, None, blocks[0], None]
    assert "0000.car.zst" not in [path.name for path in site.files()]
    store.close()
