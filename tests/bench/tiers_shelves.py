"""Block stores that compete in ``bin/bench tiers``, asked in the caller's thread: shoal's own, flatfs, diskcache.

Not here: shoal's stores behind their actors (``tiers_actors``).  Begin at ``Shelf``, which is all that the table knows;
what is on a shelf is made in ``tiers_material``.
"""

from __future__ import annotations

import base64
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeVar

from shoal.actors.tiers.durable import UNBOUNDED
from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.storage.cold.store import ColdStore
from shoal.storage.disk.store import DiskStore
from shoal.storage.memory import MemoryStore
from shoal.tests.support.processes import ChildFailed

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
Data = bytes | memoryview
Work = Literal["put", "get", "has"]

SHARD_LETTERS: Final = 2  # flatfs: of a name, the two before its last are its folder's


class Shelf(Protocol):
    """A store of blocks.  Every method gives the seconds of each call, made one after another.

    What is not stored, or not what was put, raises ChildFailed.
    """

    def put(self, batches: Sequence[Sequence[Block]]) -> list[float]:
        """Store each batch with one call, as durably as this store can."""

    def get(self, blocks: Sequence[Block]) -> list[float]:
        """Read each of these, which were put."""

    def has(self, asked: Sequence[tuple[CID, bool]]) -> list[float]:
        """Ask for each whether it is here, which it is or is not."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of the table.  ``open`` makes one in an empty folder, and closes it at the end."""

    name: str
    note: str
    open: Callable[[Path], AbstractContextManager[Shelf]]
    can: frozenset[Work] = frozenset({"put", "get", "has"})
    text: bool = False  # works on blocks that can be compressed
    many_files: bool = False


class Store(Protocol):
    """What ``Called`` asks: one call for each method."""

    def put_many(self, blocks: Sequence[Block]) -> object: ...
    def get(self, cid: CID) -> Data | None: ...
    def has(self, cid: CID) -> bool: ...


class Called:
    """A shelf whose store is called by whoever asks."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def put(self, batches: Sequence[Sequence[Block]]) -> list[float]:
        return [timed(self.store.put_many, batch)[0] for batch in batches]

    def get(self, blocks: Sequence[Block]) -> list[float]:
        taken = []
        for block in blocks:
            seconds, data = timed(self.store.get, block.cid)
            check(block, data)
            taken.append(seconds)
        return taken

    def has(self, asked: Sequence[tuple[CID, bool]]) -> list[float]:
        taken = []
        for cid, is_here in asked:
            seconds, answer = timed(self.store.has, cid)
            check_has(cid, is_here, answer)
            taken.append(seconds)
        return taken


def timed(call: Callable[[Asked], Answer], argument: Asked) -> tuple[float, Answer]:
    """The seconds of a call, and what it gave."""
    begun = time.perf_counter()
    answer = call(argument)
    return time.perf_counter() - begun, answer


def check(block: Block, data: Data | None) -> None:
    """Raises ChildFailed unless ``data`` is the block's."""
    if data is None or bytes(data) != bytes(block.data):
        raise ChildFailed(f"{block.cid} was read as {'nothing' if data is None else f'{len(data)} other bytes'}")


def check_has(cid: CID, is_here: bool, answer: bool) -> None:
    """Raises ChildFailed unless it is as it is."""
    if answer != is_here:
        raise ChildFailed(f"{cid} was said to be {'here' if answer else 'absent'}, which it is not")


# --- shoal's own -----------------------------------------------------------------------------------


class OfMemory:
    """``MemoryStore`` with room for everything."""

    def __init__(self, _: Path) -> None:
        self.store = MemoryStore(UNBOUNDED)

    def put_many(self, blocks: Sequence[Block]) -> None:
        for block in blocks:
            self.store.put(block)

    def get(self, cid: CID) -> Data | None:
        block = self.store.get(cid)
        return None if block is None else block.data

    def has(self, cid: CID) -> bool:
        return self.store.size(cid) is not None


class Durable:
    """One of shoal's durable stores."""

    def __init__(self, store: DiskStore | ColdStore) -> None:
        self.store = store
        self.put_many = store.put_many

    def get(self, cid: CID) -> Data | None:
        (block,) = self.store.get_many([cid])
        return None if block is None else block.data

    def has(self, cid: CID) -> bool:
        (size,) = self.store.sizes([cid])
        return size is not None


@contextmanager
def memory(folder: Path) -> Iterator[Shelf]:
    yield Called(OfMemory(folder))


@contextmanager
def disk(folder: Path, *, verify_reads: bool = True) -> Iterator[Shelf]:
    store = DiskStore(folder / "blocks.sqlite", UNBOUNDED, verify_reads=verify_reads)
    store.open()
    try:
        yield Called(Durable(store))
    finally:
        store.close()


@contextmanager
def cold(folder: Path) -> Iterator[Shelf]:
    store = ColdStore(folder / "cold", UNBOUNDED)
    store.open()
    try:
        yield Called(Durable(store))
    finally:
        store.close()


# --- others ----------------------------------------------------------------------------------------


class FlatFs:
    """One file a block, as Kubo's default block store lays them out and syncs them (go-ds-flatfs, ``next-to-last/2``).

    A put writes a temporary file, syncs it, renames it into its shard's folder, and syncs that; a batch syncs every
    file before the first is renamed, and every folder once.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temporary = folder / ".temp"
        self.temporary.mkdir()

    def put_many(self, blocks: Sequence[Block]) -> None:
        made: list[tuple[int, str, Path]] = []
        new_shard = False
        for block in blocks:
            place = self._path(block.cid)
            if not place.parent.exists():
                place.parent.mkdir()
                new_shard = True
            file, name = tempfile.mkstemp(dir=self.temporary)
            made.append((file, name, place))
            _write(file, block.data)
        for file, _, _ in made:
            os.fsync(file)
            os.close(file)
        for _, name, place in made:
            os.rename(name, place)
        folders = {place.parent for _, _, place in made}
        for shard in folders | {self.folder} if new_shard or len(blocks) > 1 else folders:
            _sync_folder(shard)

    def get(self, cid: CID) -> Data | None:
        try:
            return self._path(cid).read_bytes()
        except FileNotFoundError:
            return None

    def has(self, cid: CID) -> bool:
        return self._path(cid).exists()

    def _path(self, cid: CID) -> Path:
        name = base64.b32encode(cid.multihash).decode().rstrip("=")
        return self.folder / name[-SHARD_LETTERS - 1 : -1] / f"{name}.data"


def _write(file: int, data: memoryview) -> None:
    while data:
        data = data[os.write(file, data) :]


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextmanager
def flatfs(folder: Path) -> Iterator[Shelf]:
    yield Called(FlatFs(folder))


class Cached:
    """``diskcache.Cache``; its keys are the multihashes."""

    def __init__(self, cache: Any) -> None:
        self.cache = cache

    def put_many(self, blocks: Sequence[Block]) -> None:
        if len(blocks) == 1:
            self.cache.set(blocks[0].cid.multihash, bytes(blocks[0].data))
            return
        with self.cache.transact():
            for block in blocks:
                self.cache.set(block.cid.multihash, bytes(block.data))

    def get(self, cid: CID) -> Data | None:
        data: bytes | None = self.cache.get(cid.multihash)
        return data

    def has(self, cid: CID) -> bool:
        return cid.multihash in self.cache


@contextmanager
def diskcache(folder: Path, **settings: int) -> Iterator[Shelf]:
    """Raises ChildFailed where it is not installed."""
    try:
        import diskcache as library  # of the extra ``bench`` alone
    except ImportError as fault:
        raise ChildFailed("diskcache is not installed: it is of the extra bench") from fault
    cache = library.Cache(str(folder), size_limit=UNBOUNDED, **settings)
    try:
        yield Called(Cached(cache))
    finally:
        cache.close()
