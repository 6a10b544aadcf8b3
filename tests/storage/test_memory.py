"""What the memory store promises, one case each."""

import pytest

from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_PB, IDENTITY, RAW
from shoal.messages.errors import BadInput
from shoal.messages.limits import MEMORY_ENTRY_BYTES
from shoal.storage.memory import MemoryStore, cost_of


def block_of(seed: int, size: int = 1000) -> Block:
    data = seed.to_bytes(8, "big") * (size // 8 + 1)
    return Block(CID.of(data[:size]), data[:size])


def room_for(blocks: int, size: int = 1000) -> int:
    return blocks * cost_of(size)


def test_the_block_used_longest_ago_goes_first() -> None:
    store = MemoryStore(room_for(3))
    for seed in range(4):
        assert store.put(block_of(seed))
    assert [seed for seed in range(4) if block_of(seed).cid in store] == [1, 2, 3]
    assert store.stats().evicted == 1


def test_a_use_and_a_second_put_make_a_block_the_last_to_go() -> None:
    store = MemoryStore(room_for(3))
    for seed in range(3):
        store.put(block_of(seed))
    store.get(block_of(0).cid)
    store.put(block_of(1))
    store.size(block_of(2).cid)
    store.put(block_of(3))
    assert [seed for seed in range(4) if block_of(seed).cid in store] == [0, 1, 3]


def test_a_block_bigger_than_the_capacity_is_refused_and_pushes_nothing_out() -> None:
    store = MemoryStore(room_for(2))
    store.put(block_of(1))
    assert not store.put(block_of(2, 2 * cost_of(1000) - MEMORY_ENTRY_BYTES.value + 1))
    assert block_of(1).cid in store
    assert store.put(block_of(3, 2 * cost_of(1000) - MEMORY_ENTRY_BYTES.value))
    assert block_of(1).cid not in store
    assert not MemoryStore(0).put(block_of(1, 0))


def test_empty_blocks_are_bounded_too() -> None:
    store = MemoryStore(room_for(4, 0))
    cids = [CID(1, codec, 0x12, CID.of(b"").digest) for codec in (RAW, DAG_PB)]
    assert store.put(Block(cids[0], b""))
    assert [store.size(cid) for cid in cids] == [0, 0]  # one multihash, two codecs
    for length in range(20, 32):
        store.put(Block(CID(1, RAW, 0x12, CID.of(b"").digest[:length]), b""))
    assert store.stats().blocks == 4


def test_a_v0_and_a_v1_share_an_entry_and_each_asker_gets_the_cid_asked_for() -> None:
    store = MemoryStore(room_for(9))
    data = b"the same bytes"
    old, new = CID.of(data, DAG_PB, 0), CID.of(data)
    store.put(Block(old, data))
    store.put(Block(new, data))
    assert store.stats().blocks == 1
    assert store.get(new) == Block(new, data)
    assert store.get(old) == Block(old, data)
    assert store.delete(new)
    assert store.get(old) is None


def test_an_identity_cid_takes_no_room() -> None:
    store = MemoryStore(0)
    cid = CID(1, RAW, IDENTITY, b"hi")
    assert store.put(Block(cid, b"hi"))
    assert store.get(cid) == Block(cid, b"hi")
    assert (store.size(cid), cid in store, store.delete(cid)) == (2, True, False)
    assert store.stats().blocks == 0


def test_a_slice_of_a_message_does_not_keep_the_message() -> None:
    message = bytes(4_000_000)
    store = MemoryStore(room_for(9))
    part = memoryview(message)[:100]
    cid = CID.of(part)
    store.put(Block(cid, part))
    got = store.get(cid)
    assert got is not None
    assert got.data == part
    assert isinstance(got.data.obj, bytes)
    assert len(got.data.obj) == 100


def test_bytes_of_their_own_are_kept_by_reference() -> None:
    data = b"x" * 1000
    store = MemoryStore(room_for(9))
    store.put(Block(CID.of(data), data))
    got = store.get(CID.of(data))
    assert got is not None
    assert got.data.obj is data


def test_evictions_are_told_and_deletions_are_not() -> None:
    told: list[Block] = []
    store = MemoryStore(room_for(3), told.append)
    blocks = [block_of(seed) for seed in range(5)]
    for block in blocks[:4]:
        store.put(block)
    store.delete(blocks[1].cid)
    assert told == blocks[:1]
    store.set_capacity(room_for(1))
    assert told == [blocks[0], blocks[2]]
    assert blocks[3].cid in store


def test_hits_and_misses_are_counted() -> None:
    store = MemoryStore(room_for(3))
    store.put(block_of(1))
    store.get(block_of(1).cid)
    store.get(block_of(2).cid)
    assert store.size(block_of(2).cid) is None
    assert (store.stats().hits, store.stats().misses) == (1, 1)


def test_a_capacity_below_zero_is_the_users_fault() -> None:
    with pytest.raises(BadInput):
        MemoryStore(-1)
    with pytest.raises(BadInput):
        MemoryStore(1).set_capacity(-1)
