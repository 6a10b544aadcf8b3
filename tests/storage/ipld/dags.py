"""Content by number, a shelf of blocks in memory, and ways to build small DAGs, honest and not."""

import hashlib
import random
from collections.abc import Iterable

from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_CBOR, DAG_PB, IDENTITY, RAW
from shoal.storage.ipld import dagcbor, dagpb, unixfs
from shoal.storage.ipld.builder import Entry, FileBuilder, build_symlink
from shoal.storage.ipld.dagpb import PBLink
from shoal.storage.ipld.directory import DirectoryBuilder
from shoal.storage.ipld.profile import UNIXFS_V0_2015, ImportProfile
from shoal.storage.ipld.resolve import PathResolver, Resolution
from shoal.storage.ipld.unixfs import Kind, UnixFS
from shoal.storage.ipld.walk import T, Walk

TINY = UNIXFS_V0_2015.tuned(chunker="size-3")


def pattern(size: int) -> bytes:
    """The content that the golden CIDs of Kubo and of ipfs-unixfs-importer were made from."""
    return hashlib.shake_128(b"shoal golden %d" % size).digest(size)


class Shelf:
    """Blocks by CID, and all that was asked of it, in order."""

    def __init__(self) -> None:
        self.blocks: dict[CID, Block] = {}
        self.asked: list[CID] = []

    def put(self, blocks: Iterable[Block]) -> None:
        self.blocks.update((block.cid, block) for block in blocks)

    def fetch(self, wanted: list[CID]) -> list[Block]:
        self.asked += wanted
        return [self.blocks[cid] for cid in wanted if cid in self.blocks]

    def file(self, data: bytes, profile: ImportProfile = TINY) -> Entry:
        builder = FileBuilder(profile)
        self.put(builder.feed(data))
        blocks, entry = builder.finish()
        self.put(blocks)
        return entry

    def symlink(self, target: str, profile: ImportProfile = TINY) -> Entry:
        block, entry = build_symlink(target, profile)
        self.put([block])
        return entry

    def directory(self, entries: dict[str, Entry], profile: ImportProfile = TINY) -> Entry:
        builder = DirectoryBuilder(profile)
        for name, entry in entries.items():
            builder.add(name, entry)
        blocks, entry = builder.finish()
        self.put(blocks)
        return entry

    def node(self, message: UnixFS | None, links: Iterable[PBLink] = ()) -> CID:
        """Any dag-pb node, however untrue."""
        return self.raw_node(dagpb.encode(links, None if message is None else unixfs.encode(message)))

    def raw_node(self, data: bytes) -> CID:
        block = Block(CID.of(data, DAG_PB), data)
        self.put([block])
        return block.cid

    def leaf(self, data: bytes) -> CID:
        block = Block(CID.of(data, RAW), data)
        self.put([block])
        return block.cid

    def value(self, value: dagcbor.Value) -> CID:
        data = dagcbor.encode(value)
        block = Block(CID.of(data, DAG_CBOR), data)
        self.put([block])
        return block.cid


def link(cid: CID, name: str = "", tsize: int | None = 0) -> PBLink:
    return PBLink(cid.raw, name, tsize)


def file_node(*sizes: int, data: bytes | None = None, filesize: int | None = None) -> UnixFS:
    total = sum(sizes) + len(data or b"") if filesize is None else filesize
    return UnixFS(Kind.FILE, data=data, filesize=total, blocksizes=sizes)


def identity(data: bytes, codec: int = RAW) -> CID:
    return CID(1, codec, IDENTITY, data)


def resolve(root: CID, path: str, shelf: Shelf) -> Resolution:
    """Where ``path`` leads."""
    resolver = PathResolver(root, path)
    while resolver.result is None:
        for block in shelf.fetch(resolver.wants()):
            resolver.give(block)
    return resolver.result


def run_shuffled(walk: Walk[T], shelf: Shelf, rng: random.Random, observe=lambda outstanding: None) -> list[T]:
    """Run ``walk`` with blocks arriving one by one in random order, and takes at random moments."""
    out: list[T] = []
    outstanding: list[CID] = []
    while not walk.done:
        wanted = walk.wants()
        shelf.asked += wanted
        outstanding += wanted
        observe(outstanding)
        if outstanding:
            walk.give(shelf.blocks[outstanding.pop(rng.randrange(len(outstanding)))])
        if not outstanding or rng.random() < 0.5:
            out += walk.take()
    return out
