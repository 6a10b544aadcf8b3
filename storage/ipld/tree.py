"""A whole file, directory or symlink, depth first, as events: what ``get`` writes to disk or into a tar.

Names of entries are checked here, since they are about to become paths: a peer's ``..`` or slash is a
RemoteError.  Events say what is there; writing it safely is ``storage.files.exporter``'s part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shoal.messages.block import Block
from shoal.messages.cid import CID, RAW
from shoal.messages.errors import RemoteError
from shoal.messages.limits import SYMLINK_BYTES_MAX, TREE_DEPTH_MAX
from shoal.storage.ipld.dagpb import PBNode
from shoal.storage.ipld.names import check_theirs
from shoal.storage.ipld.parts import (
    DirEntry,
    FilePart,
    PartContent,
    ShardPart,
    read_directory,
    read_node,
    read_part,
    read_raw,
    symlink_target,
)
from shoal.storage.ipld.unixfs import FILE_KINDS, Kind, Mtime, UnixFS
from shoal.storage.ipld.walk import Slot, Walk, claimed_hole, item_slot, sized_hole


@dataclass(frozen=True, slots=True)
class EnterDir:
    """A directory begins.  ``path`` is relative to the root, whose own is ""."""

    path: str
    mode: int | None = None
    mtime: Mtime | None = None


@dataclass(frozen=True, slots=True)
class LeaveDir:
    """The directory entered last is complete."""


@dataclass(frozen=True, slots=True)
class FileBegin:
    """A file of exactly ``size`` bytes begins."""

    path: str
    size: int
    mode: int | None = None
    mtime: Mtime | None = None


@dataclass(frozen=True, slots=True)
class FileData:
    """The next bytes of the file begun last."""

    data: memoryview


@dataclass(frozen=True, slots=True)
class FileEnd:
    """The file begun last is complete."""


@dataclass(frozen=True, slots=True)
class Symlink:
    """A symbolic link to ``target``, which may be any text without NUL of 1 to 4,095 bytes."""

    path: str
    target: str


TreeEvent = EnterDir | LeaveDir | FileBegin | FileData | FileEnd | Symlink


@dataclass(frozen=True, slots=True)
class _Node:
    """A hole whose kind is unknown until it is filled."""

    path: str
    depth: int


@dataclass(frozen=True, slots=True)
class _Shard:
    """A hole that must be a shard of the directory at ``path``."""

    path: str
    depth: int
    part: ShardPart


class TreeReader(Walk[TreeEvent]):
    """Everything below ``root``, depth first.  At most ``window_bytes`` of file data are asked for or held.

    The sizes that a directory claims of its entries are not to be trusted; each is reckoned as 256 KiB at
    least, so a directory that lies about them can at most exceed the window eightfold.
    """

    def __init__(self, root: CID, window_bytes: int = 8 << 20) -> None:
        super().__init__(window_bytes)
        slot: Slot[TreeEvent] = Slot(root, None, 0, _Node("", 0))
        slot.inner = True
        self._start(slot)

    def _expand(self, context: Any, block: Block) -> list[Slot[TreeEvent]]:
        if isinstance(context, FilePart):
            if block.cid.codec == RAW:
                return _pieces(read_raw(context, block))
            return _pieces(read_part(context, block, *read_node(block, inside=True)))
        if isinstance(context, _Shard):
            return self._entries(context.path, context.depth, *read_node(block, inside=True), context.part)
        node_at: _Node = context
        if block.cid.codec == RAW:
            return _file(node_at.path, read_raw(FilePart(), block), UnixFS(Kind.FILE))
        node, message = read_node(block)
        if message.kind in FILE_KINDS:
            return _file(node_at.path, read_part(FilePart(), block, node, message), message)
        if message.kind is Kind.SYMLINK:
            return [item_slot(_symlink(node_at.path, node, message))]
        if message.kind is Kind.METADATA:
            raise RemoteError("UnixFS metadata node, which nobody has defined", "unixfs")
        if node_at.depth >= TREE_DEPTH_MAX.value:
            raise RemoteError(f"directories nested deeper than {TREE_DEPTH_MAX.value}", "tree-depth")
        enter: Slot[TreeEvent] = item_slot(EnterDir(node_at.path, message.mode, message.mtime))
        return [enter, *self._entries(node_at.path, node_at.depth, node, message, None), item_slot(LeaveDir())]

    def _entries(
        self, path: str, depth: int, node: PBNode, message: UnixFS, shard: ShardPart | None
    ) -> list[Slot[TreeEvent]]:
        """Holes for the entries, and deeper shards, of the directory at ``path``."""
        slots: list[Slot[TreeEvent]] = []
        for found in read_directory(node, message, shard):
            if isinstance(found, DirEntry):
                check_theirs(found.name)
                below = f"{path}/{found.name}" if path else found.name
                slots.append(claimed_hole(found.cid, found.tsize, _Node(below, depth + 1)))
            else:
                deeper, tsize, part = found
                hole: Slot[TreeEvent] = claimed_hole(deeper, tsize, _Shard(path, depth, part))
                hole.inner, hole.weight = True, 0
                slots.append(hole)
        return slots


def _file(path: str, content: PartContent, message: UnixFS) -> list[Slot[TreeEvent]]:
    """A file from its beginning to its end."""
    begin: Slot[TreeEvent] = item_slot(FileBegin(path, content.size, message.mode, message.mtime))
    return [begin, *_pieces(content), item_slot(FileEnd())]


def _pieces(content: PartContent) -> list[Slot[TreeEvent]]:
    """A part's own bytes and holes for its children."""
    slots: list[Slot[TreeEvent]] = []
    if content.data:
        slots.append(item_slot(FileData(content.data), len(content.data)))
    for child, piece in content.children:
        slots.append(sized_hole(child, piece.size or 0, piece))
    return slots


def _symlink(path: str, node: PBNode, message: UnixFS) -> Symlink:
    """The symlink.  Raises RemoteError for a target that no disk takes."""
    target = symlink_target(node, message)
    if not target or "\0" in target or len(target.encode()) > SYMLINK_BYTES_MAX.value:
        raise RemoteError("symlink whose target is empty, too long or holds a NUL", "symlink")
    return Symlink(path, target)
