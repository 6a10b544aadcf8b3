"""The cold store against a dict: any order of puts, deletes, reads, compactions, uploads, reopenings and crashes.

A crash is the files as they are on the disk, opened by somebody new: with an index that has forgotten its last
transactions, or none at all, with a record half written at the end of the segment in use.  Deleted blocks may come
back with an index made anew; blocks that were put and not deleted are always there.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_PB, IDENTITY, RAW
from shoal.messages.errors import StorageFull
from shoal.storage.cold.places import INDEX_NAME
from shoal.storage.cold.record import Packer
from shoal.storage.cold.store import ColdStore
from shoal.tests.storage.cold.sites import S3, Site, whole_archive
from shoal.tests.storage.disk.samples import FAST_FOLDER, block_of, v0_block_of
from shoal.tests.support.bitswap import MACHINE_EXAMPLES

SIZES = [0, 1, 100, 2000, 5000, 9000, 20_000]
RAW_BLOCKS = [block_of(seed, size) for seed, size in enumerate(SIZES)]
PB_BLOCKS = [v0_block_of(seed, size) for seed, size in enumerate(SIZES)]  # the same bytes under another name
V1_PB_BLOCKS = [block_of(seed, size, DAG_PB) for seed, size in enumerate(SIZES)]
TEXTS = [Block(CID.of(data), data) for data in (b"text " * 3000, b"words " * 800)]
INLINE = Block(CID(1, RAW, IDENTITY, b"inline"), b"inline")
BLOCKS = st.sampled_from([*RAW_BLOCKS, *PB_BLOCKS, *V1_PB_BLOCKS, *TEXTS, INLINE])
BATCHES = st.lists(BLOCKS, max_size=6)
STRANGER = block_of(77, 3000)  # never put: what a torn record at the end of a segment is of
SEGMENT_BYTES = 12_000


class ColdMachine(RuleBasedStateMachine):
    """On a folder; ``server`` is set by the test that runs it with an object store."""

    server: S3 | None = None

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(dir=FAST_FOLDER))
        self.site = Site(self.place / "0", self.server.url() if self.server is not None else "")
        self.model: dict[bytes, bytes] = {}
        self.ghosts: dict[bytes, bytes] = {}  # deleted, and perhaps still in a segment
        self.quota = 200_000
        self.opened = 0
        self.snapshot: Path | None = None

    @initialize()
    def start(self) -> None:
        self.store = self.open()

    def open(self) -> ColdStore:
        return self.site.open(segment_bytes=SEGMENT_BYTES, quota=self.quota)

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

    @rule(seed=st.integers(100, 130))
    def fill(self, seed: int) -> None:
        """Enough for a segment: most of what happens to one needs one that is sealed."""
        self.put([block_of(seed + index, 3000) for index in range(5)])

    @rule(data=st.data())
    def thin_out(self, data: st.DataObject) -> None:
        """Delete most of what is here."""
        doomed = [cid for cid in self.store.list(None, 1000) if data.draw(st.integers(0, 3))]
        self.delete([Block(cid, b"") for cid in doomed])

    @rule(batch=BATCHES)
    def delete(self, batch: list[Block]) -> None:
        here = {b.cid.multihash for b in batch} & self.model.keys()
        assert self.store.delete_many([b.cid for b in batch]) == len(here)
        for multihash in here:
            self.ghosts[multihash] = self.model.pop(multihash)
        self.snapshot = None  # durable: no crash goes back before it

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

    @rule(quota=st.sampled_from([0, 20_000, 200_000, 1_000_000]))
    def change_quota(self, quota: int) -> None:
        self.quota = quota
        self.store.set_quota(quota)

    @rule(bytes_max=st.sampled_from([0, 5000, 1 << 30]), ratio=st.sampled_from([0.5, 2.0]))
    def compact(self, bytes_max: int, ratio: float) -> None:
        before = self.store.stats()
        done = self.store.compact(bytes_max, ratio)
        self.snapshot = None
        assert self.store.stats().stored_bytes <= before.stored_bytes - done.freed_bytes + done.moved_bytes + 100

    @rule()
    def upload(self) -> None:
        if self.store.upload():
            self.snapshot = None

    @rule()
    def upload_cut_short(self) -> None:
        """The object is there, and nobody has taken note of it."""
        upload = self.store.next_upload()
        if upload is not None:
            upload.run()
            self.store.drop_upload(upload)

    @rule()
    def remember_index(self) -> None:
        self.snapshot = self.place / f"index-{self.opened}"
        self._copy_index(self.site.folder, self.snapshot)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self.open()
        assert self.store.repairs.scanned == 0

    @rule(torn=st.one_of(st.none(), st.floats(0, 1)))
    def crash(self, torn: float | None) -> None:
        self._crash(None, torn, self.site.folder)

    @precondition(lambda self: self.snapshot is not None)
    @rule(torn=st.one_of(st.none(), st.floats(0, 1)))
    def power_cut(self, torn: float | None) -> None:
        """The index has lost its last transactions; those that said more than the segments do were synced."""
        self._crash(None, torn, self.snapshot)

    @rule(torn=st.one_of(st.none(), st.floats(0, 1)))
    def lose_index(self, torn: float | None) -> None:
        self._crash("index", torn, None)
        here = {cid.multihash for cid in self.store.list(None, 1000)}
        assert here >= self.model.keys()
        assert here <= self.model.keys() | self.ghosts.keys()
        for multihash in here - self.model.keys():
            self.model[multihash] = self.ghosts.pop(multihash)

    def _crash(self, lost: str | None, torn: float | None, index: Path | None) -> None:
        self.opened += 1
        old = self.site.folder
        self.site.folder = self.place / str(self.opened)
        self.site.folder.mkdir()
        for path in old.glob("*.car.zst"):
            shutil.copyfile(path, self.site.folder / path.name)
        if index is not None:
            self._copy_index(index, self.site.folder)
        files = self.site.files()
        if torn is not None and files and self.store._appender._tail is not None:
            frame = Packer().pack(STRANGER)
            with files[-1].open("ab") as file:
                file.write(frame[: int(torn * (len(frame) - 1))])
        left_behind = self.store
        self.store = self.open()
        left_behind.close()
        self.snapshot = None

    @staticmethod
    def _copy_index(source: Path, target: Path) -> None:
        target.mkdir(exist_ok=True)
        for suffix in ("", "-wal"):
            shutil.copyfile(source / f"{INDEX_NAME}{suffix}", target / f"{INDEX_NAME}{suffix}")

    @invariant()
    def counts_are_right(self) -> None:
        if hasattr(self, "store"):
            stats = self.store.stats()
            assert (stats.blocks, stats.bytes) == (len(self.model), sum(map(len, self.model.values())))
            assert (stats.quarantined, stats.damaged_reads) == (0, 0)
            assert stats.live_bytes <= stats.stored_bytes
            assert self.store.repairs.lost == []

    def teardown(self) -> None:
        if hasattr(self, "store"):
            for cid in self.store.list(None, 1000):
                (got,) = self.store.get_many([cid])
                assert got is not None
                assert bytes(got.data) == self.model[cid.multihash]
            self.store.close()
            for path in self.site.files():
                whole_archive(path)
        shutil.rmtree(self.place)


TestColdMachine: Any = ColdMachine.TestCase
TestColdMachine.settings = settings(stateful_step_count=30, max_examples=MACHINE_EXAMPLES)


def test_the_same_with_an_object_store(s3: S3) -> None:
    class RemoteMachine(ColdMachine):
        server = s3

    case: Any = RemoteMachine.TestCase
    case.settings = settings(max_examples=15, stateful_step_count=25)
    case().runTest()
