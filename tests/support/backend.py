"""A node without a network: ``runtime.http.backend.Backend`` over a dictionary of blocks.

Not a mock: files become blocks and blocks files through the node's own storage code, so CIDs, tars and CARs are real.
What has no blocks in it (peers, actors, figures) is a fixed sample that tests may replace.  ``before_fetch`` is
called for every block that is read, in the thread that reads it, for tests that need a slow or failing source.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from shoal.messages.block import Block
from shoal.messages.blocks import RepoStats, TierStat
from shoal.messages.cid import CID, DAG_CBOR, DAG_PB, RAW, digest_of
from shoal.messages.errors import BadInput, NotFound, Unavailable
from shoal.messages.exchange import BitswapStats
from shoal.messages.lifecycle import ActorInfo, ActorsListed
from shoal.messages.policy import WORKER, Policy, policy_of
from shoal.messages.routing import Provider
from shoal.messages.transport import Identity, PeerInfo
from shoal.messages.wants import WantEntry
from shoal.runtime.adding import BlockSink, add_items
from shoal.runtime.http.backend import (
    Added,
    AddItem,
    AddOptions,
    BlockFacts,
    EntryKind,
    ImportResult,
    Keeping,
    LsEntry,
)
from shoal.storage.files.tar import tar_stream
from shoal.storage.ipld import car
from shoal.storage.ipld.parts import read_node, symlink_target
from shoal.storage.ipld.profile import UNIXFS_V0_2015, profile_named
from shoal.storage.ipld.reader import DagWalker, DirectoryReader, FileReader, PathResolver, TreeReader
from shoal.storage.ipld.unixfs import FILE_KINDS, Kind
from shoal.storage.ipld.walk import drive

if TYPE_CHECKING:
    from shoal.runtime.announcing import Announcing
    from shoal.runtime.discovering import Discovering
    from shoal.runtime.pubsub import Pubsub

ME = "12D3KooWEZXjE41uU4EL2gpkAQeDXYok6wghN7wwNVPF5bwkaNfS"
PEER = "12D3KooWGbfLJuV8mTHVbBMmUYf5q8fDZjXYDTFVwYqFoMt6VQ8j"
PEER_ADDR = "/ip4/192.0.2.7/tcp/4001"
WINDOW_BYTES = 1024 * 1024


# Not runtime.naming: that imports libp2p, and every process that a test starts would pay seconds for it.
CODECS = {"raw": RAW, "dag-pb": DAG_PB, "dag-cbor": DAG_CBOR}
HASHES = {"sha2-256": (0x12, 32), "sha2-512": (0x13, 64)}


def _cid_of(data: bytes, codec: str, mhtype: str, version: int) -> CID:
    if codec not in CODECS or mhtype not in HASHES:
        raise BadInput(f"unknown codec or hash: {codec!r}, {mhtype!r}", f"use {list(CODECS)}, {list(HASHES)}")
    code, length = HASHES[mhtype]
    return CID(version, CODECS[codec], code, digest_of(code, length, data))


def _peer_of(text: str) -> str:
    peer = text.rpartition("/p2p/")[2]
    if not peer.startswith("12D3Koo"):
        raise BadInput(f"{text!r} is not an address of a peer", "end it in /p2p/ID")
    return peer


class _DictSink(BlockSink):
    """Puts blocks into the dictionary at once."""

    def __init__(self, blocks: dict[CID, bytes], dry: bool) -> None:
        self.blocks, self.dry = blocks, dry

    def put(self, new: Iterable[Block]) -> None:
        if not self.dry:
            self.blocks.update((block.cid, bytes(block.data)) for block in new)


class DictOffers:
    """What strangers may ask: ``found`` are the providers of anything, ``values`` the DHT; blocks are the store's."""

    def __init__(self, blocks: dict[CID, bytes]) -> None:
        self.blocks = blocks
        self.found: list[Provider | None] = []  # None: a moment of waiting
        self.values: dict[bytes, bytes] = {}
        self.asked: list[tuple[object, int]] = []
        self.closed = 0
        self.before_each: Callable[[], None] = lambda: None

    def providers(self, cid: CID, count: int, timeout_s: float) -> Iterator[Provider | None]:
        self.asked.append((cid, count))
        try:
            for provider in self.found[:count]:
                self.before_each()
                yield provider
        finally:
            self.closed += 1

    def addresses(self, peer: str, timeout_s: float) -> Iterator[Provider | None]:
        self.asked.append((peer, 1))
        yield from (one for one in self.found if one is None or one.peer == peer)

    def value(self, key: bytes, timeout_s: float) -> bytes:
        if key not in self.values:
            raise NotFound("no such value")
        return self.values[key]

    def put_value(self, key: bytes, value: bytes, timeout_s: float) -> None:
        if not value.startswith(b"valid"):
            raise BadInput("the record is not valid", "sign it")
        self.values[key] = value

    def block(self, cid: CID, timeout_s: float) -> memoryview:
        if cid not in self.blocks:
            raise NotFound("not here")
        return memoryview(self.blocks[cid])


class DictBackend:
    """The backend.  ``blocks`` is the store; ``reading`` counts the streams that are open."""

    def __init__(self) -> None:
        self.blocks: dict[CID, bytes] = {}
        self.offers = DictOffers(self.blocks)
        self.before_fetch: Callable[[CID], None] = lambda cid: None
        self.reading = 0
        self.stopped = threading.Event()
        self.crashed: list[str] = []
        self.disconnected: list[str] = []
        self.pings: list[float] = [0.0123]
        self.is_ready = True
        self.wants: tuple[WantEntry, ...] = ()
        self._policy = WORKER

    @property
    def keeping(self) -> Keeping:
        raise Unavailable("a dictionary keeps all that it is given", "run a node to pin and to collect garbage")

    @property
    def discovery(self) -> Discovering:
        raise Unavailable("a dictionary finds nobody", "run a node")

    @property
    def announcing(self) -> Announcing:
        raise Unavailable("a dictionary tells nobody what it has", "run a node")

    @property
    def pubsub(self) -> Pubsub:
        raise Unavailable("a dictionary has no topics", "run a node")

    def identity(self) -> Identity:
        addrs = (f"/ip4/127.0.0.1/tcp/4001/p2p/{ME}",)
        return Identity(ME, addrs, "shoal/0.1.0", ("/ipfs/ping/1.0.0", "/ipfs/bitswap/1.2.0"))

    def version(self) -> dict[str, str]:
        return {"Version": "0.1.0", "Commit": "", "Repo": "1", "System": "x86_64/linux", "Python": "3.11.7"}

    def shutdown(self) -> None:
        self.stopped.set()

    def add(self, entries: Iterable[AddItem], options: AddOptions) -> Iterator[Added]:
        profile = profile_named(options.profile) if options.profile else UNIXFS_V0_2015
        profile = profile.tuned(chunker=options.chunker, raw_leaves=options.raw_leaves, cid_version=options.cid_version)
        sink = _DictSink(self.blocks, options.only_hash)
        for added in add_items(entries, profile, sink, wrap=options.wrap):
            if added.cid is not None or options.progress:
                yield added

    def cat(self, path: str, offset: int, length: int | None, timeout_s: float) -> Iterator[memoryview]:
        root = self._resolve(path)
        with self._stream():
            yield from drive(FileReader(root, offset, length, WINDOW_BYTES), self._fetch)

    def get_tar(self, path: str, timeout_s: float) -> Iterator[bytes | memoryview]:
        root = self._resolve(path)
        with self._stream():
            yield from tar_stream(
                drive(TreeReader(root, WINDOW_BYTES), self._fetch), path.rstrip("/").rpartition("/")[2]
            )

    def ls(self, path: str, timeout_s: float) -> list[LsEntry]:
        root = self._resolve(path)
        if root.codec == RAW or read_node(self._block(root))[1].kind in FILE_KINDS:
            return []
        found = list(drive(DirectoryReader(root), self._fetch))
        return [LsEntry(entry.name, entry.cid, *self._facts(entry.cid)) for entry in found]

    def block_get(self, cid_text: str, timeout_s: float) -> bytes:
        return bytes(self._block(CID.parse(cid_text)).data)

    def block_put(self, data: bytes, codec: str, mhtype: str, version: int) -> tuple[CID, int]:
        cid = _cid_of(data, codec, mhtype, version)
        self.blocks[cid] = data
        return cid, len(data)

    def block_stat(self, cid_text: str, timeout_s: float) -> BlockFacts:
        block = self._block(CID.parse(cid_text))
        return BlockFacts(block.cid, len(block))

    def dag_import(self, chunks: Iterator[bytes], pin_roots: bool) -> Iterator[ImportResult]:
        decoder, roots, count, size = car.CarDecoder(), [], 0, 0
        for chunk in chunks:
            for part in decoder.feed(chunk):
                if isinstance(part, Block):
                    self.blocks[part.cid] = bytes(part.data)
                    count, size = count + 1, size + len(part)
                else:
                    roots = list(part.roots)
        decoder.finish()
        yield from (ImportResult(root) for root in roots)
        yield ImportResult(None, blocks=count, block_bytes=size)

    def dag_export(self, cid_text: str, timeout_s: float) -> Iterator[bytes]:
        root = CID.parse(cid_text)
        with self._stream():
            yield car.encode_header([root])
            for block in drive(DagWalker(root, WINDOW_BYTES), self._fetch):
                yield car.encode_section(block)

    def swarm_connect(self, addr: str, timeout_s: float) -> str:
        peer = _peer_of(addr)
        if peer != PEER:
            raise NotFound(f"cannot reach {peer}", "check the address")
        return peer

    def swarm_peers(self) -> tuple[PeerInfo, ...]:
        return (PeerInfo(PEER, PEER_ADDR, True, "noise", "kubo/0.39.0", ("/ipfs/id/1.0.0",), 2, 0.0123, 1.7e9),)

    def swarm_disconnect(self, addr_or_peer: str) -> None:
        self.disconnected.append(_peer_of(addr_or_peer))

    def ping(self, peer: str, timeout_s: float) -> float:
        if peer != PEER or not self.pings:
            raise NotFound(f"{peer} does not answer", "look whether it runs")
        return self.pings[0]

    def bitswap_stat(self, peer: str = "") -> BitswapStats:
        return BitswapStats(11, 12, 1300, 1400, 1, 100, 16, 17, len(self.wants), 1, (PEER,), 18)

    def bitswap_wantlist(self, peer: str = "") -> tuple[WantEntry, ...]:
        return self.wants

    def repo_stat(self) -> RepoStats:
        size = sum(len(data) for data in self.blocks.values())
        memory = TierStat("memory", 1, 100, 1000, 5, 6)
        return RepoStats((memory, TierStat("disk", len(self.blocks), size, 10**9, 7, 8)))

    def actors(self) -> ActorsListed:
        return ActorsListed((ActorInfo("transport", "running", 2, 1, 0, 5, 1234, "RuntimeError: drill"),), 3)

    def routes(self) -> str:
        return "Dial  edge -> transport\n"

    def trace(self, trace_id: int) -> list[dict[str, Any]]:
        if trace_id != 7:
            raise NotFound(f"nothing is recorded of {trace_id}", "traces are kept for a short while")
        return [{"at": 1.5, "kind": "GetBlocks", "sender": "edge", "to": "placement"}]

    def policy(self) -> Policy:
        return self._policy

    def change_role(self, role: str) -> Policy:
        self._policy = policy_of(role)
        return self._policy

    def crash_actor(self, name: str) -> None:
        if name != "transport":
            raise BadInput(f"there is no actor {name!r}", "see: shoal actors")
        self.crashed.append(name)

    def metrics(self) -> bytes:
        return b"# TYPE shoal_up gauge\nshoal_up 1.0\n"

    def health(self) -> dict[str, Any]:
        return {"alive": True}

    def ready(self) -> tuple[bool, dict[str, Any]]:
        return self.is_ready, {"ready": self.is_ready}

    def _resolve(self, path: str) -> CID:
        if path.startswith("/ipns/"):
            raise BadInput(f"{path!r} is an IPNS name", "only /ipfs/ paths are followed")
        root, _, rest = path.removeprefix("/ipfs/").partition("/")
        resolver = PathResolver(CID.parse(root), rest)
        while not resolver.done:
            for cid in resolver.wants():
                resolver.give(self._block(cid))
        assert resolver.result is not None
        return resolver.result.cid

    def _block(self, cid: CID) -> Block:
        self.before_fetch(cid)
        if cid not in self.blocks:
            raise NotFound(f"block {cid} is not here", "tried: nobody has it")
        return Block(cid, self.blocks[cid])

    def _fetch(self, cids: list[CID]) -> Iterator[Block]:
        return (self._block(cid) for cid in cids)

    def _facts(self, cid: CID) -> tuple[int, EntryKind, str]:
        block = self._block(cid)
        if cid.codec == RAW:
            return len(block), "file", ""
        node, message = read_node(block)
        if message.kind is Kind.SYMLINK:
            return 0, "symlink", symlink_target(node, message)
        return message.filesize or 0, "file" if message.kind in FILE_KINDS else "directory", ""

    def _stream(self) -> _Stream:
        return _Stream(self)


class _Stream:
    """Counts an open stream."""

    def __init__(self, backend: DictBackend) -> None:
        self._backend = backend

    def __enter__(self) -> None:
        self._backend.reading += 1

    def __exit__(self, *_: object) -> None:
        self._backend.reading -= 1
