"""Adding files from the outer edge: bytes to blocks to durable blocks, with a bounded number in the air.

``BlockSink`` hands batches of blocks to placement and counts what is acknowledged; ``add_items`` makes files,
directories and symlinks out of a flat list of paths, as ``ipfs add`` sends them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Final

from shoal.messages import blocks
from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.envelope import PRIORITY_NORMAL
from shoal.messages.errors import BadInput, DeadlineExceeded
from shoal.messages.limits import MIB
from shoal.runtime.edge import Edge, raise_if_no
from shoal.runtime.http.backend import Added, AddItem
from shoal.runtime.inbox import Inbox, lost_with_its_actor
from shoal.storage.ipld.builder import Entry, FileBuilder, build_symlink
from shoal.storage.ipld.directory import DirectoryBuilder
from shoal.storage.ipld.names import split_path
from shoal.storage.ipld.profile import ImportProfile

BATCH_BYTES: Final = 4 * MIB  # bytes of blocks in one PutBlocks
BATCH_BLOCKS: Final = 1024  # blocks in one PutBlocks, for tiny files
BATCHES_OPEN: Final = 3  # batches not yet acknowledged: hashing goes on while the disk writes
STORE_TIMEOUT_S: Final = 120.0  # seconds for one batch to become durable on a slow disk
RESULTS_HELD: Final = 256  # results that wait for one flush: a directory of small files costs a commit for so many
RESULTS_HELD_S: Final = 0.25  # seconds after which the next result waits for no more of them
ANSWER_GRACE_S: Final = 3.0  # seconds beyond its deadline that the node has to say why
RETRY_S: Final = 0.05  # seconds before a batch that a dying actor took along is sent again


class BlockSink:
    """Stores blocks through placement.  ``close`` returns once all are durable."""

    def __init__(self, edge: Edge, *, dry: bool = False, priority: int = PRIORITY_NORMAL) -> None:
        self.edge = edge
        self.dry = dry  # hash only: nothing is stored
        self.priority = priority
        self.inbox = Inbox(edge)
        self.batch: list[Block] = []
        self.batch_bytes = 0
        self.open: dict[int, tuple[tuple[Block, ...], float]] = {}  # request -> (blocks, when to give up)

    def put(self, new: Iterable[Block]) -> None:
        """Take blocks; waits while too many batches are unacknowledged.  Raises StorageFull and the like."""
        if self.dry:
            return
        for block in new:
            self.batch.append(block)
            self.batch_bytes += len(block)
            if self.batch_bytes >= BATCH_BYTES or len(self.batch) >= BATCH_BLOCKS:
                self._send()

    def flush(self) -> None:
        """Wait until all that was put is durable."""
        if self.batch:
            self._send()
        while self.open:
            self._receive()

    def close(self) -> None:
        """Let go of the inbox; what is not acknowledged may or may not be stored."""
        self.inbox.close()

    def _send(self) -> None:
        full, self.batch, self.batch_bytes = tuple(self.batch), [], 0
        self._put(full, self.edge.now() + STORE_TIMEOUT_S)
        while len(self.open) >= BATCHES_OPEN:
            self._receive()

    def _put(self, batch: tuple[Block, ...], deadline: float) -> None:
        request = self.inbox.send(blocks.PutBlocks(batch), deadline=deadline, priority=self.priority)
        self.open[request] = batch, deadline

    def _receive(self) -> None:
        received = self.inbox.next(STORE_TIMEOUT_S + ANSWER_GRACE_S)
        if received is None:
            raise DeadlineExceeded("the disk did not take the blocks in time", "check the disk's health and load")
        request, reply = received
        if request not in self.open:
            return
        batch, deadline = self.open.pop(request)
        if isinstance(reply, blocks.BlocksStored):
            return
        if lost_with_its_actor(reply) and self.edge.now() + RETRY_S < deadline:
            self.inbox.pause(RETRY_S)
            self._put(batch, deadline)
            return
        raise_if_no(reply)


def nothing_more(_: Sequence[CID]) -> None:
    """What is added is neither pinned nor announced."""


def durable(
    results: Iterable[Added], sink: BlockSink, *, progress: bool, then: Callable[[Sequence[CID]], None] = nothing_more
) -> Iterator[Added]:
    """``results``, each once all blocks put before it are durable, several at a time; progress is passed on at once.

    A flush a result would make a directory of small files as slow as as many commits, one after the other.  ``then`` is
    given the roots among them, and returns once they are pinned: before anybody believes that they will stay.
    """

    def settled(held: list[Added]) -> list[Added]:
        sink.flush()
        if roots := [added.cid for added in held if added.root and added.cid is not None]:
            then(roots)
        return held

    held: list[Added] = []
    since = 0.0
    for added in results:
        if added.cid is None:
            if progress:
                yield added
            continue
        since = since if held else sink.edge.now()
        held.append(added)
        if len(held) >= RESULTS_HELD or sink.edge.now() - since >= RESULTS_HELD_S:
            yield from settled(held)
            held = []
    yield from settled(held)


class _Folder(dict[str, "Entry | _Folder"]):
    """A directory that is being gathered."""


def add_items(items: Iterable[AddItem], profile: ImportProfile, sink: BlockSink, *, wrap: bool) -> Iterator[Added]:
    """Build and store what ``items`` describe.  Yields progress (no CID) and results, directories after their entries.

    Blocks may still be on their way to the disk when the last result is made: the caller flushes the sink before it
    believes one.
    """
    root = _Folder()
    for item in items:
        names = split_path(item.path) or [""]
        if item.kind == "directory":
            _folder_at(root, names)
            continue
        if item.kind == "symlink":
            block, entry = build_symlink(item.target, profile)
            sink.put([block])
        else:
            entry = yield from _add_file(item, profile, sink)
        folder, name = _folder_at(root, names[:-1]), names[-1] or str(entry.cid)
        before = folder.get(name, entry)
        alone = folder is root and not wrap  # in no directory: two files may bear one name
        if before != entry and not (alone and isinstance(before, Entry)):
            raise BadInput(f"{item.path} comes twice, with different content", "send each path once")
        folder[name] = entry
        yield Added(item.path or str(entry.cid), entry.cid, entry.tsize, root=alone)
    for name, child in root.items():
        if isinstance(child, _Folder):
            root[name] = yield from _close_folder(child, name, profile, sink, root=not wrap)
    if wrap:
        entry = _build(root, profile, sink)
        yield Added("", entry.cid, entry.tsize, root=True)


def _add_file(item: AddItem, profile: ImportProfile, sink: BlockSink) -> Generator[Added, None, Entry]:
    builder = FileBuilder(profile)
    done = 0
    for piece in item.data or ():
        sink.put(builder.feed(piece))
        done += len(piece)
        yield Added(item.path, None, bytes=done)
    last, entry = builder.finish()
    sink.put(last)
    return entry


def _folder_at(root: _Folder, names: list[str]) -> _Folder:
    folder = root
    for name in names:
        child = folder.setdefault(name, _Folder())
        if not isinstance(child, _Folder):
            raise BadInput(f"{'/'.join(names)} is both a file and a directory", "send each path once")
        folder = child
    return folder


def _close_folder(
    folder: _Folder, path: str, profile: ImportProfile, sink: BlockSink, *, root: bool = False
) -> Generator[Added, None, Entry]:
    for name, child in folder.items():
        if isinstance(child, _Folder):
            folder[name] = yield from _close_folder(child, f"{path}/{name}", profile, sink)
    entry = _build(folder, profile, sink)
    yield Added(path, entry.cid, entry.tsize, root=root)
    return entry


def _build(folder: _Folder, profile: ImportProfile, sink: BlockSink) -> Entry:
    builder = DirectoryBuilder(profile)
    for name, child in folder.items():
        assert not isinstance(child, _Folder), "children are closed first"
        builder.add(name, child)
    made, entry = builder.finish()
    sink.put(made)
    return entry
