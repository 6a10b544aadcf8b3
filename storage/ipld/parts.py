"""What one block of a file or directory means: the judgements that all readers share.

Pure functions on one block; which block to fetch next is a reader's business.  A DAG that lies is refused
here with RemoteError: sizes that disagree, children that are no file, names in a file, depth without end.
Source: specs.ipfs.tech/unixfs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_PB, RAW
from shoal.messages.errors import RemoteError
from shoal.messages.limits import FILE_DEPTH_MAX
from shoal.storage.ipld import dagpb, hamt, unixfs
from shoal.storage.ipld.dagpb import PBNode
from shoal.storage.ipld.faults import UnknownCodec
from shoal.storage.ipld.unixfs import FILE_KINDS, Kind, UnixFS

FILE_SIZE_MAX: Final = 2**63 - 1  # bytes; what file systems and HTTP can express


@dataclass(frozen=True, slots=True)
class FilePart:
    """A subtree of a file: where it begins, how many bytes it must hold (None: the root), how deep it lies."""

    start: int = 0
    size: int | None = None
    depth: int = 0


@dataclass(frozen=True, slots=True)
class PartContent:
    """What a part's block says: its size in bytes, its own data, and its children in order."""

    size: int
    data: memoryview
    children: tuple[tuple[CID, FilePart], ...] = ()


@dataclass(frozen=True, slots=True)
class DirEntry:
    """An entry of a directory.  ``kind`` and ``size`` (bytes) are None unless the CID alone tells them.

    ``tsize``, the bytes of all its blocks, is what the directory claims; nobody has checked it.
    """

    name: str
    cid: CID
    tsize: int | None
    kind: Kind | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class ShardPart:
    """A deeper shard of a HAMT: its level, and the fanout that it must have too."""

    depth: int
    fanout: int


def read_node(block: Block, *, inside: bool = False) -> tuple[PBNode, UnixFS]:
    """The dag-pb node in ``block`` and what its data says.  A node without data is a directory: old ones exist.

    Unless it is dag-pb, raises RemoteError ``inside`` a file or HAMT, where it can be nothing else, and
    UnknownCodec where a user or a directory may have named anything.
    """
    if block.cid.codec != DAG_PB:
        if inside:
            raise RemoteError(f"part of a file or HAMT of codec 0x{block.cid.codec:x}", "file-kind")
        raise UnknownCodec(f"{block.cid} is not a UnixFS node", "name a file or directory")
    node = dagpb.decode(block.data)
    return node, unixfs.decode(node.data) if node.data else UnixFS(Kind.DIRECTORY)


def read_raw(part: FilePart, block: Block) -> PartContent:
    """A raw block as a part of a file."""
    return _checked(part, PartContent(len(block.data), block.data))


def read_part(part: FilePart, block: Block, node: PBNode, message: UnixFS) -> PartContent:
    """A dag-pb node as a part of a file."""
    if message.kind not in FILE_KINDS:
        raise RemoteError("part of a file that is no file itself", "file-kind")
    if len(node.links) != len(message.blocksizes):
        raise RemoteError("file node with more links than sizes, or fewer", "file-size")
    if part.depth >= FILE_DEPTH_MAX.value:
        raise RemoteError(f"file of more than {FILE_DEPTH_MAX.value} levels", "file-depth")
    data = memoryview(message.data or b"")
    if len(data) * 2 < len(block.data):
        data = memoryview(bytes(data))  # a few bytes must not keep the whole block in memory
    children: list[tuple[CID, FilePart]] = []
    at = part.start + len(data)
    for link, size in zip(node.links, message.blocksizes, strict=True):
        if link.name:
            raise RemoteError("part of a file that has a name", "file-kind")
        # An empty part adds nothing, and fetching it could go on for ever: it is passed over.
        if size:
            children.append((link.cid, FilePart(at, size, part.depth + 1)))
            at += size
    size = at - part.start
    if message.filesize not in (None, size):
        raise RemoteError(f"file node says {message.filesize} bytes and holds {size}", "file-size")
    return _checked(part, PartContent(size, data, tuple(children)))


def _checked(part: FilePart, content: PartContent) -> PartContent:
    """``content``, once its size is the one that its parent announced."""
    if content.size > FILE_SIZE_MAX:
        raise RemoteError("file of more than 2**63 bytes", "file-size")
    if part.size not in (None, content.size):
        raise RemoteError(f"part of a file holds {content.size} bytes, announced {part.size}", "file-size")
    return content


def read_directory(
    node: PBNode, message: UnixFS, shard: ShardPart | None
) -> list[DirEntry | tuple[CID, int | None, ShardPart]]:
    """Entries, and deeper shards with their Tsize, of a directory node in order.  ``shard`` None: the root.

    Of entries with one name only the first counts, as the spec has it for reading.
    """
    if message.kind is Kind.HAMT_SHARD:
        depth = shard.depth if shard else 0
        read = hamt.read_shard(node, message, depth, shard.fanout if shard else None)
        return [
            (link.cid, link.tsize, ShardPart(depth + 1, read.fanout))
            if link.name is None
            else entry_of(link.name, link.cid, link.tsize)
            for link in read.links
        ]
    if shard is not None:
        raise RemoteError("HAMT link that leads to no shard", "hamt")
    entries: dict[str, DirEntry | tuple[CID, int | None, ShardPart]] = {}
    for link in node.links:
        name = link.name or ""
        if name not in entries:
            entries[name] = entry_of(name, link.cid, link.tsize)
    return list(entries.values())


def entry_of(name: str, cid: CID, tsize: int | None) -> DirEntry:
    """The entry, with what its CID tells: a raw block is a whole file."""
    if cid.codec == RAW:
        return DirEntry(name, cid, tsize, Kind.FILE, tsize)
    return DirEntry(name, cid, tsize)


def symlink_target(node: PBNode, message: UnixFS) -> str:
    """Where a symlink points.  Raises RemoteError when it has links or its target is no UTF-8."""
    if node.links:
        raise RemoteError("symlink with links", "symlink")
    try:
        return str(message.data or b"", "utf-8")
    except UnicodeDecodeError:
        raise RemoteError("symlink whose target is not UTF-8", "symlink") from None
