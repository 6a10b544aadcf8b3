"""The disk store against a dict: any order of puts, deletes, reads, reopenings and crashes.

A crash is the files as they are on the disk, the log not folded in, opened by somebody new.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_PB, IDENTITY, RAW
from shoal.messages.errors import StorageFull
from shoal.storage.disk.store import DiskStore
from shoal.tests.storage.disk.samples import FAST_FOLDER, block_of, v0_block_of

SIZES = [0, 1, 100, 2000, 65_536, 70_000, 200_000]
RAW_BLOCKS = [block_of(seed, size) for seed, size in enumerate(SIZES)]
PB_BLOCKS = [v0_block_of(seed, size) for seed, size in enumerate(SIZES)]  # the same bytes under another name
V1_PB_BLOCKS = [block_of(seed, size, DAG_PB) for seed, size in enumerate(SIZES)]
INLINE = Block(CID(1, RAW, IDENTITY, b"inline"), b"inline")
BLOCKS = st.sampled_from([*RAW_BLOCKS, *PB_BLOCKS, *V1_PB_BLOCKS, INLINE])
BATCHES = st.lists(BLOCKS, max_size=8)


class DiskMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=FAST_FOLDER))
        self.model: dict[bytes, bytes] = {}
        self.quota = 300_000
        self.opened = 0

    @initialize()
    def start(self) -> None:
        self.store = self.open_at(self.folder / "0.sqlite")

    def open_at(self, path: Path) -> DiskStore:
        store = DiskStore(path, self.quota, reserve_bytes=0)
        store.open()
        self.path = path
        return store

    def model_bytes(self) -> int:
        return sum(map(len, self.model.values()))

    @rule(batch=BATCHES)
    def put(self, batch: list[Block]) -> None:
        after = dict(self.model)
        after.update({b.cid.multihash: bytes(b.data) for b in batch if b is not INLINE})
        if len(after) > len(self.model) and sum(map(len, after.values())) > self.quota:
            with pytest.raises(StorageFull):
                self.store.put_many(batch)
        else:
            self.store.put_many(batch)
            self.model = after

    @rule(batch=BATCHES)
    def delete(self, batch: list[Block]) -> None:
        here = {b.cid.multihash for b in batch} & self.model.keys()
        assert self.store.delete_many([b.cid for b in batch]) == len(here)
        for multihash in here:
            del self.model[multihash]

    @rule(batch=BATCHES)
    def get(self, batch: list[Block]) -> None:
        for wanted, got in zip(batch, self.store.get_many([b.cid for b in batch]), strict=True):
            if wanted is INLINE or wanted.cid.multihash in self.model:
                assert got == wanted
            else:
                assert got is None

    @rule(batch=BATCHES)
    def sizes(self, batch: list[Block]) -> None:
        known = {**self.model, INLINE.cid.multihash: b"inline"}
        expected = [len(known[b.cid.multihash]) if b.cid.multihash in known else None for b in batch]
        assert self.store.sizes([b.cid for b in batch]) == expected

    @rule(page=st.integers(1, 4))
    def list_in_pages(self, page: int) -> None:
        seen: list[bytes] = []
        while cids := self.store.list(seen[-1] if seen else None, page):
            assert len(cids) <= page
            seen.extend(cid.multihash for cid in cids)
        assert seen == sorted(self.model)

    @rule(quota=st.sampled_from([0, 100_000, 300_000, 1_000_000]))
    def change_quota(self, quota: int) -> None:
        self.quota = quota
        self.store.set_quota(quota)

    @rule(bytes_max=st.sampled_from([0, 65_536, 1 << 30]))
    def shrink(self, bytes_max: int) -> None:
        assert self.store.shrink(bytes_max) >= 0

    @rule()
    def recount(self) -> None:
        self.store.recount()

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self.open_at(self.path)

    @rule()
    def crash(self) -> None:
        self.opened += 1
        copy = self.folder / f"{self.opened}.sqlite"
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{self.path}{suffix}", f"{copy}{suffix}")
        left_behind = self.store
        self.store = self.open_at(copy)
        left_behind.close()

    @rule()
    def actor_dies(self) -> None:
        """The old connection is still about, as a dead actor's is until it is collected."""
        left_behind = self.store
        self.store = self.open_at(self.path)
        left_behind.close()

    @invariant()
    def counts_are_right(self) -> None:
        if hasattr(self, "store"):
            stats = self.store.stats()
            assert (stats.blocks, stats.bytes, stats.dead_bytes) == (len(self.model), self.model_bytes(), 0)
            assert (stats.quarantined, stats.damaged_reads) == (0, 0)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
        shutil.rmtree(self.folder)


TestDiskMachine: Any = DiskMachine.TestCase
TestDiskMachine.settings = settings(stateful_step_count=20)
