"""The memory store against a dict: it never holds a byte too many, and what it holds is what was put."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_PB
from shoal.storage.memory import MemoryStore, cost_of

DATA = [bytes([seed]) * size for seed, size in enumerate((0, 1, 500, 500, 2000, 2000, 6000, 9000, 20_000))]
BLOCKS = [Block(CID.of(data), data) for data in DATA] + [Block(CID.of(data, DAG_PB, 0), data) for data in DATA]
CAPACITIES = st.sampled_from([0, 1024, 5000, 20_000, 60_000])


class MemoryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.held: dict[bytes, bytes] = {}  # by multihash: everything put and not deleted or told of as evicted

    @initialize(capacity=CAPACITIES)
    def start(self, capacity: int) -> None:
        self.store = MemoryStore(capacity, self.on_evict)
        self.capacity = capacity

    def on_evict(self, block: Block) -> None:
        assert self.held.pop(block.cid.multihash) == block.data

    @rule(block=st.sampled_from(BLOCKS))
    def put(self, block: Block) -> None:
        fits = cost_of(len(block)) <= self.capacity
        before = dict(self.held)
        assert self.store.put(block) is fits
        if fits:
            self.held[block.cid.multihash] = bytes(block.data)
            assert block.cid in self.store
        else:
            assert self.held == before

    @rule(block=st.sampled_from(BLOCKS))
    def get(self, block: Block) -> None:
        before = self.store.stats()
        got = self.store.get(block.cid)
        assert got == (block if block.cid.multihash in self.held else None)
        after = self.store.stats()
        assert (after.hits - before.hits, after.misses - before.misses) == ((1, 0) if got is not None else (0, 1))
        assert (after.blocks, after.bytes) == (before.blocks, before.bytes)

    @rule(block=st.sampled_from(BLOCKS))
    def delete(self, block: Block) -> None:
        assert self.store.delete(block.cid) is (self.held.pop(block.cid.multihash, None) is not None)

    @rule(capacity=CAPACITIES)
    def set_capacity(self, capacity: int) -> None:
        self.capacity = capacity
        self.store.set_capacity(capacity)

    @invariant()
    def holds_what_it_says_and_no_more(self) -> None:
        if not hasattr(self, "store"):
            return
        stats = self.store.stats()
        assert stats.bytes <= stats.capacity_bytes == self.capacity
        assert stats.bytes == sum(cost_of(len(data)) for data in self.held.values())
        assert stats.blocks == len(self.held)
        for block in BLOCKS:
            data = self.held.get(block.cid.multihash)
            assert self.store.size(block.cid) == (None if data is None else len(data))


TestMemoryMachine: Any = MemoryMachine.TestCase
TestMemoryMachine.settings = settings(stateful_step_count=40)
