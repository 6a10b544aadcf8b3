"""Bytes into a balanced UnixFS file, streaming: memory is one chunk and one node of links a level.

No file is opened here; ``storage.files.importer`` reads one.  Begin with ``FileBuilder``: it cuts chunks and
makes leaves, and ``BalancedLayout`` stacks them.  All leaves end at one depth, so a lone trailing leaf is
wrapped until it stands level with the others (IPIP-499, "balanced").
"""

from __future__ import annotations

from dataclasses import dataclass

from shoal.messages.block import Block
from shoal.messages.cid import CID, RAW
from shoal.storage.ipld import dagpb, unixfs
from shoal.storage.ipld.dagpb import PBLink
from shoal.storage.ipld.profile import ImportProfile
from shoal.storage.ipld.unixfs import Kind, UnixFS


@dataclass(frozen=True, slots=True)
class Entry:
    """What a built DAG is to its parent.  ``size``: file bytes.  ``tsize``: bytes of all its blocks."""

    cid: CID
    size: int
    tsize: int


class BalancedLayout:
    """Stacks leaves into nodes of ``links_per_node``, level by level."""

    def __init__(self, profile: ImportProfile) -> None:
        self._profile = profile
        self._levels: list[list[Entry]] = [[]]

    def append(self, leaf: Entry) -> list[Block]:
        """Add the next leaf.  Returns the inner nodes that it completed."""
        blocks: list[Block] = []
        level, entry = 0, leaf
        while True:
            if level == len(self._levels):
                self._levels.append([])
            row = self._levels[level]
            row.append(entry)
            if len(row) < self._profile.links_per_node:
                return blocks
            entry = self._fold(level, blocks)
            level += 1

    def finish(self) -> tuple[list[Block], Entry]:
        """The inner nodes still missing, and the root.  At least one leaf must have been added."""
        blocks: list[Block] = []
        level = 0
        while level < len(self._levels) - 1 or len(self._levels[level]) > 1:
            if self._levels[level]:
                entry = self._fold(level, blocks)
                if level + 1 == len(self._levels):
                    self._levels.append([])
                self._levels[level + 1].append(entry)
            level += 1
        return blocks, self._levels[level][0]

    def _fold(self, level: int, blocks: list[Block]) -> Entry:
        """Make one node of all entries at ``level``, add its block to ``blocks``, and empty the level."""
        row = self._levels[level]
        self._levels[level] = []
        size = sum(entry.size for entry in row)
        message = UnixFS(Kind.FILE, filesize=size, blocksizes=tuple(entry.size for entry in row))
        links = [PBLink(entry.cid.raw, "", entry.tsize) for entry in row]
        block = dagpb.encode(links, unixfs.encode(message))
        entry = Entry(self._profile.node_cid(block), size, len(block) + sum(entry.tsize for entry in row))
        blocks.append(Block(entry.cid, block))
        return entry


class FileBuilder:
    """Feed it a file's bytes in any pieces; store every block that it returns; the root comes last."""

    def __init__(self, profile: ImportProfile) -> None:
        self._profile = profile
        self._layout = BalancedLayout(profile)
        self._tail = bytearray()  # always shorter than a chunk
        self._leaves = 0

    def feed(self, data: bytes | memoryview) -> list[Block]:
        """Take the file's next bytes.  Returns the blocks they completed, leaves before their parents."""
        view = memoryview(data)
        chunk = self._profile.chunk_bytes
        blocks: list[Block] = []
        at = 0
        if self._tail:
            at = min(len(view), chunk - len(self._tail))
            self._tail += view[:at]
            if len(self._tail) < chunk:
                return blocks
            self._add_leaf(bytes(self._tail), blocks)
            self._tail.clear()
        while len(view) - at >= chunk:
            # A copy: the caller's buffer may change once this returns, a block's bytes may not.
            self._add_leaf(bytes(view[at : at + chunk]), blocks)
            at += chunk
        self._tail += view[at:]
        return blocks

    def finish(self) -> tuple[list[Block], Entry]:
        """The last blocks and the root.  An empty file is one empty leaf."""
        blocks: list[Block] = []
        if self._tail or not self._leaves:
            self._add_leaf(bytes(self._tail), blocks)
            self._tail.clear()
        last, root = self._layout.finish()
        return blocks + last, root

    def _add_leaf(self, data: bytes, blocks: list[Block]) -> None:
        """Make the leaf of one chunk and stack it."""
        if self._profile.raw_leaves:
            cid, block = CID.of(data, RAW), data
        else:
            message = UnixFS(Kind.FILE, data=data or None, filesize=len(data))
            block = dagpb.encode((), unixfs.encode(message))
            cid = self._profile.node_cid(block)
        self._leaves += 1
        blocks.append(Block(cid, block))
        blocks += self._layout.append(Entry(cid, len(data), len(block)))


def build_symlink(target: str, profile: ImportProfile) -> tuple[Block, Entry]:
    """The node of a symlink to ``target``, whatever that is."""
    block = dagpb.encode((), unixfs.encode(UnixFS(Kind.SYMLINK, data=target.encode())))
    cid = profile.node_cid(block)
    return Block(cid, block), Entry(cid, len(target.encode()), len(block))
