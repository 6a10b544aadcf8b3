"""Reading files and directories from blocks, demand-driven and without I/O.  Begin here.

Every reader has ``wants() -> CIDs``, ``give(block)``, ``take() -> what is ready`` and ``done``, from ``walk``:
FileReader (bytes of a file or a range of it), DirectoryReader (entries), TreeReader (a whole tree, for
``get``), DagWalker (every block, for CAR export).  PathResolver finds the CID that a path leads to; it has
``result`` instead of ``take``.
"""

from __future__ import annotations

from typing import Any

from shoal.messages.block import Block
from shoal.messages.cid import CID, RAW
from shoal.messages.errors import BadInput
from shoal.storage.ipld.dag import DagWalker
from shoal.storage.ipld.faults import NotADirectory, NotAFile
from shoal.storage.ipld.parts import (
    DirEntry,
    FilePart,
    PartContent,
    ShardPart,
    read_directory,
    read_node,
    read_part,
    read_raw,
)
from shoal.storage.ipld.resolve import PathResolver, Resolution
from shoal.storage.ipld.tree import EnterDir, FileBegin, FileData, FileEnd, LeaveDir, Symlink, TreeEvent, TreeReader
from shoal.storage.ipld.unixfs import FILE_KINDS, Kind
from shoal.storage.ipld.walk import Slot, Walk, drive, item_slot, sized_hole

__all__ = [
    "DagWalker",
    "DirEntry",
    "DirectoryReader",
    "EnterDir",
    "FileBegin",
    "FileData",
    "FileEnd",
    "FileReader",
    "LeaveDir",
    "PathResolver",
    "Resolution",
    "Symlink",
    "TreeEvent",
    "TreeReader",
    "drive",
]

# Entries that one listing reads ahead; a shard of 256 buckets holds about as many of them or of shards.
LISTING_WINDOW_ENTRIES = 4096
SHARD_ENTRIES_GUESS = 256


class FileReader(Walk[memoryview]):
    """The bytes of the file at ``root`` from ``offset``, at most ``length`` of them (None: to the end).

    ``take`` returns views in order.  At most ``window_bytes`` of leaves are asked for or held, or one leaf.
    ``size`` is the whole file's, None until its root is known.  A range past the end is empty.
    """

    def __init__(self, root: CID, offset: int = 0, length: int | None = None, window_bytes: int = 8 << 20) -> None:
        super().__init__(window_bytes)
        if offset < 0 or (length is not None and length < 0):
            raise BadInput("a file range below zero", "give an offset and length of 0 or more")
        self.size: int | None = None
        self._from = offset
        self._to = None if length is None else offset + length
        slot: Slot[memoryview] = Slot(root, None, 0, FilePart())
        slot.inner = True
        self._start(slot)

    def _expand(self, context: Any, block: Block) -> list[Slot[memoryview]]:
        part: FilePart = context
        content = self._read(part, block)
        if part.size is None:
            self.size = content.size
        slots: list[Slot[memoryview]] = []
        data = self._clip(content.data, part.start)
        if data:
            slots.append(item_slot(data, len(data)))
        for child, piece in content.children:
            size = piece.size or 0
            if piece.start + size > self._from and (self._to is None or piece.start < self._to):
                slots.append(sized_hole(child, size, piece))
        return slots

    def _read(self, part: FilePart, block: Block) -> PartContent:
        """The content of a part; at the root, a LocalError when it is no file at all."""
        if block.cid.codec == RAW:
            return read_raw(part, block)
        node, message = read_node(block, inside=part.size is not None)
        if part.size is None and message.kind not in FILE_KINDS:
            raise NotAFile(f"{block.cid} is a {message.kind.name.lower()}, not a file", "list it, or get it whole")
        return read_part(part, block, node, message)

    def _clip(self, data: memoryview, start: int) -> memoryview:
        """The part of ``data``, which begins at ``start``, that lies within the range."""
        stop = len(data) if self._to is None else max(self._to - start, 0)
        return data[max(self._from - start, 0) : stop]


class DirectoryReader(Walk[DirEntry]):
    """The entries of the directory at ``root``, as they come; names are as the peer wrote them, unchecked.

    ``take`` returns a page of them.  ``sharded`` tells a HAMT, None until the root is known.
    """

    def __init__(self, root: CID, window_entries: int = LISTING_WINDOW_ENTRIES) -> None:
        super().__init__(window_entries)
        self.sharded: bool | None = None
        self._start(self._hole(root, None))

    def _hole(self, cid: CID, shard: ShardPart | None) -> Slot[DirEntry]:
        slot: Slot[DirEntry] = Slot(cid, None, 0, shard)
        slot.inner, slot.span = True, SHARD_ENTRIES_GUESS
        return slot

    def _expand(self, context: Any, block: Block) -> list[Slot[DirEntry]]:
        shard: ShardPart | None = context
        if shard is None and block.cid.codec == RAW:
            raise NotADirectory(f"{block.cid} is a file, not a directory", "read it as a file")
        node, message = read_node(block, inside=shard is not None)
        if shard is None:
            if message.kind not in (Kind.DIRECTORY, Kind.HAMT_SHARD):
                raise NotADirectory(
                    f"{block.cid} is a {message.kind.name.lower()}, not a directory", "read it as a file"
                )
            self.sharded = message.kind is Kind.HAMT_SHARD
        return [
            item_slot(found, 1) if isinstance(found, DirEntry) else self._hole(found[0], found[2])
            for found in read_directory(node, message, shard)
        ]
