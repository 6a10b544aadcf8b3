"""The node's own API: what its users can do, as plain blocking calls over the outer edge.

The HTTP server, the Python API and the tests stand on this; it is the ``Backend`` of ``runtime/http/backend.py``.
Every call ends: with its result, with a LocalError that says what was tried, or, for content that its maker got wrong,
with a RemoteError.  Nothing here knows threads or the network; in the simulation the same calls pump the virtual clock.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Final, TypeVar

from shoal.messages import announcing, blocks, exchange, keeping, lifecycle, routing, transport, wants
from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_PB
from shoal.messages.envelope import PRIORITY_NORMAL
from shoal.messages.errors import DeadlineExceeded, LocalError, Unavailable
from shoal.messages.policy import Policy, policy_of
from shoal.messages.replies import Done
from shoal.runtime import carfiles, naming
from shoal.runtime.adding import BlockSink, add_items, durable, nothing_more
from shoal.runtime.announcing import Announcing
from shoal.runtime.asking import ASK_TIMEOUT_S, ask_patiently
from shoal.runtime.discovering import PROVIDERS, Discovering
from shoal.runtime.fetch import READ_AHEAD_BYTES, BlockList, Fetch, Reader
from shoal.runtime.holding import Holding
from shoal.runtime.http.backend import Added, AddItem, AddOptions, BlockFacts, EntryKind, ImportResult, LsEntry
from shoal.runtime.keeping import PRIORITY_PINNED, Keeping
from shoal.runtime.machine import Machine
from shoal.runtime.offering import Offering
from shoal.runtime.paths import resolve, root_of
from shoal.runtime.pubsub import Pubsub
from shoal.runtime.supervisor.routes import render
from shoal.storage.catalog.rows import check_name
from shoal.storage.files.tar import tar_stream
from shoal.storage.ipld.parts import read_node, symlink_target
from shoal.storage.ipld.profile import UNIXFS_V0_2015, ImportProfile, profile_named
from shoal.storage.ipld.reader import DagWalker, DirectoryReader, FileReader, TreeReader
from shoal.storage.ipld.unixfs import FILE_KINDS, Kind

T = TypeVar("T")
M = TypeVar("M", bound=Message)

VERSION: Final = "0.1.0"
STORE_TIMEOUT_S: Final = 60.0  # seconds for one block to become durable
USAGE_TIMEOUT_S: Final = 2.0  # seconds for what is known of a block's use, which is told beside what was asked
SCRAPE_AGE_S: Final = 10.0  # seconds for which the metrics' figures of the tiers are kept


ResolveNames = Callable[[str, tuple[str, ...], float], tuple[str, ...]]
"""A peer's addresses (without /p2p) with IPs in place of names, within so many seconds.  Raises NotFound."""


class NodeApi:
    """A running node, for its users.  Thread-safe: each call has its own inbox."""

    def __init__(
        self,
        machine: Machine,
        *,
        default_profile: ImportProfile = UNIXFS_V0_2015,
        shutdown: Callable[[], None] = lambda: None,
        resolve_names: ResolveNames | None = None,
    ) -> None:
        """``shutdown`` is what ``/api/v0/shutdown`` calls; ``resolve_names`` asks the DNS."""
        self.machine = machine
        self.shutdown = shutdown
        self._resolve_names = resolve_names
        self.edge = machine.edge
        self.default_profile = default_profile
        self._holding = Holding(self.edge)
        self.keeping = Keeping(self.edge, self._holding)
        self.discovery = Discovering(machine)
        self.announcing = Announcing(machine)
        self.pubsub = Pubsub(machine)
        self.offers = Offering(machine)

    # --- the node ----------------------------------------------------------------------------------

    def identity(self) -> transport.Identity:
        """Who this node is and where it listens."""
        return self._ask(transport.Identity, transport.WhoAmI(), ASK_TIMEOUT_S)

    def version(self) -> dict[str, str]:
        """Version and platform, under Kubo's keys."""
        system = f"{platform.machine()}/{platform.system().lower()}"
        return {
            "Version": VERSION,
            "Commit": "",
            "Repo": "1",
            "System": system,
            "Python": platform.python_version(),
        }

    def repo_stat(self) -> blocks.RepoStats:
        """Figures of every storage tier."""
        return self._ask(blocks.RepoStats, blocks.RepoStat(), ASK_TIMEOUT_S)

    def actors(self) -> lifecycle.ActorsListed:
        """Every actor, in start order."""
        return self._ask(lifecycle.ActorsListed, lifecycle.ListActors(), ASK_TIMEOUT_S)

    def crash_actor(self, name: str) -> None:
        """Make an actor fail as a bug would."""
        self._ask(Done, lifecycle.CrashActor(name), ASK_TIMEOUT_S)

    def policy(self) -> Policy:
        """The policy in force."""
        return self.machine.policy

    def change_role(self, role: str) -> Policy:
        """Run under another role's policy."""
        policy_of(role)
        return self._ask(lifecycle.PolicyNow, lifecycle.ChangeRole(role), ASK_TIMEOUT_S).policy

    def routes(self) -> str:
        """The table of routes, as text."""
        return render()

    def trace(self, trace_id: int) -> list[dict[str, Any]]:
        """What the flight recorder holds of one request, oldest first."""
        return self.machine.recorder.trace(trace_id)

    def metrics(self) -> bytes:
        """Prometheus text exposition."""
        try:
            figures = self.keeping.figures(SCRAPE_AGE_S)
            self.machine.metrics.tiers.show(figures.repo, figures.keeper)
        except LocalError:  # a node that cannot answer is just the one whose other figures are wanted
            pass
        return self.machine.metrics.exposition()

    def health(self) -> dict[str, Any]:
        """Answers when the process is alive."""
        return {"alive": True, "version": VERSION}

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether every actor runs."""
        rows = self.actors().actors
        down = {row.name: row.state for row in rows if row.state != "running"}
        return not down, {"ready": not down, "actors": len(rows), "down": down}

    # --- files -------------------------------------------------------------------------------------

    def add(self, entries: Iterable[AddItem], options: AddOptions) -> Iterator[Added]:
        """Store files, directories and symlinks.  A result is yielded once all that it needs is durable."""
        profile = profile_named(options.profile) if options.profile else self.default_profile
        profile = profile.tuned(chunker=options.chunker, raw_leaves=options.raw_leaves, cid_version=options.cid_version)
        pinned = options.pin and not options.only_hash
        check_name(options.pin_name)

        def settled(roots: Sequence[CID]) -> None:
            for root in dict.fromkeys(roots) if pinned else ():
                self.keeping.pin(root, True, options.pin_name)
            self.announcing.roots_added(roots)

        with nullcontext() if options.only_hash else self._holding.storing():
            priority = PRIORITY_PINNED if pinned else PRIORITY_NORMAL
            sink = BlockSink(self.edge, dry=options.only_hash, priority=priority)
            then = nothing_more if options.only_hash else settled
            try:
                results = add_items(entries, profile, sink, wrap=options.wrap)
                yield from durable(results, sink, progress=options.progress, then=then)
            finally:
                sink.close()

    def cat(self, path: str, offset: int, length: int | None, timeout_s: float) -> Iterator[memoryview]:
        """Bytes of a file, from ``offset``, at most ``length`` of them."""
        with self._holding.reading(root_of(path)):
            cid = self.resolve(path, timeout_s)
            yield from self._read(FileReader(cid, offset, length, READ_AHEAD_BYTES), timeout_s)

    def get_tar(self, path: str, timeout_s: float) -> Iterator[bytes | memoryview]:
        """A file or directory as a tar stream whose root entry bears the last name of ``path``."""
        with self._holding.reading(root_of(path)):
            cid = self.resolve(path, timeout_s)
            events = self._read(TreeReader(cid, READ_AHEAD_BYTES), timeout_s)
            yield from tar_stream(events, naming.last_name(path))

    def ls(self, path: str, timeout_s: float) -> list[LsEntry]:
        """The entries of a directory; none for a file."""
        with self._holding.reading(root_of(path)):
            return self._entries(self.resolve(path, timeout_s), timeout_s)

    def _entries(self, cid: CID, timeout_s: float) -> list[LsEntry]:
        if cid.codec != DAG_PB or self._kind_of(cid, timeout_s) not in (Kind.DIRECTORY, Kind.HAMT_SHARD):
            return []
        found = list(self._read(DirectoryReader(cid), timeout_s))
        unknown = [entry.cid for entry in found if entry.kind is None]
        facts = {block.cid: _facts_of(block) for block in self._read(BlockList(unknown), timeout_s)}
        return [
            LsEntry(entry.name, entry.cid, entry.size or 0, "file")
            if entry.kind is not None
            else LsEntry(entry.name, entry.cid, *facts[entry.cid])
            for entry in found
        ]

    def resolve(self, path: str, timeout_s: float) -> CID:
        """The CID that ``CID/name/name`` leads to."""
        return resolve(self.edge, path, timeout_s)

    # --- blocks and DAGs ---------------------------------------------------------------------------

    def block_get(self, cid_text: str, timeout_s: float) -> bytes:
        """A block's bytes."""
        return bytes(self._block(CID.parse(cid_text), timeout_s).data)

    def block_stat(self, cid_text: str, timeout_s: float) -> BlockFacts:
        """A block's CID and size, and how it is used."""
        cid = CID.parse(cid_text)
        sizes = self._ask(blocks.BlockSizes, blocks.HasBlocks((cid,)), ASK_TIMEOUT_S).sizes
        size = sizes[0] if sizes[0] >= 0 else len(self._block(cid, timeout_s))
        try:
            usage = self.edge.ask_for(keeping.UsageFound, keeping.AskUsage(cid), USAGE_TIMEOUT_S)
        except (Unavailable, DeadlineExceeded):
            usage = None
        return BlockFacts(cid, size, usage)

    def block_put(self, data: bytes, codec: str, mhtype: str, version: int) -> tuple[CID, int]:
        """Store a block under the CID of these multicodec names."""
        cid = naming.cid_of(data, codec, mhtype, version)
        self._ask(blocks.BlocksStored, blocks.PutBlocks((Block(cid, data),)), STORE_TIMEOUT_S)
        return cid, len(data)

    def dag_import(self, chunks: Iterator[bytes], pin_roots: bool = True) -> Iterator[ImportResult]:
        """Store the blocks of one CAR stream; roots are reported once all is durable, and whether they are pinned."""
        with self._holding.storing():
            if pin_roots:
                yield from carfiles.import_car(chunks, self.edge, self._pin_whole, PRIORITY_PINNED)
            else:
                yield from carfiles.import_car(chunks, self.edge)

    def dag_export(self, cid_text: str, timeout_s: float) -> Iterator[bytes]:
        """A DAG as a CARv1 stream, each block once, depth first."""
        cid = CID.parse(cid_text)
        with self._holding.reading(cid):
            yield from carfiles.export_car(cid, self._read(DagWalker(cid, READ_AHEAD_BYTES), timeout_s))

    # --- the network -------------------------------------------------------------------------------

    def swarm_connect(self, addr: str, timeout_s: float) -> str:
        """Connect to a multiaddr that ends in /p2p/ID.  The peer's id."""
        peer, bare = naming.peer_address(addr)
        addrs: tuple[str, ...] = (bare,) if bare else ()
        if self._resolve_names is not None:
            began = time.monotonic()
            addrs = self._resolve_names(peer, addrs, timeout_s)
            timeout_s = max(0.0, timeout_s - (time.monotonic() - began))
        return self._ask(transport.Dialed, transport.Dial(peer, addrs), timeout_s).peer

    def swarm_peers(self) -> tuple[transport.PeerInfo, ...]:
        """Every connection."""
        return self._ask(transport.PeersListed, transport.ListPeers(), ASK_TIMEOUT_S).peers

    def swarm_disconnect(self, addr_or_peer: str) -> None:
        """Close every connection to a peer."""
        peer, _ = naming.peer_address(addr_or_peer)
        self._ask(Done, transport.Hangup(peer), ASK_TIMEOUT_S)

    def ping(self, peer: str, timeout_s: float) -> float:
        """One round trip to a peer id, in seconds."""
        name, _ = naming.peer_address(peer)
        return self._ask(transport.Pong, transport.Ping(name), timeout_s).rtt_s

    def bitswap_stat(self, peer: str = "") -> exchange.BitswapStats:
        """Totals, or those of one peer."""
        return self._ask(exchange.BitswapStats, exchange.BitswapStat(peer), ASK_TIMEOUT_S)

    def bitswap_wantlist(self, peer: str = "") -> tuple[wants.WantEntry, ...]:
        """Our own wants and those of all peers; with ``peer``, those of that peer."""
        return self._ask(wants.WantsListed, wants.ListWants(peer), ASK_TIMEOUT_S).wants

    # --- finding and being found ---------------------------------------------------------------------

    def announce_content(self, cid: str, metadata: Mapping[str, Any] | None = None) -> announcing.Announced:
        """Tell others that this node has ``cid``, now and again, until it is withdrawn; durable on return."""
        return self.announcing.announce([cid], metadata)

    def withdraw(self, cid: str) -> None:
        """Announce it no more."""
        self.announcing.withdraw([cid])

    def announcements(self, limit: int = 100) -> announcing.Backlog:
        """What is announced, the most urgent first."""
        return self.announcing.backlog(limit)

    def find_providers(self, cid: str, count: int = PROVIDERS, timeout_s: float = 60.0) -> Iterator[routing.Provider]:
        """Who is said to have ``cid``, as they are found."""
        for word in self.discovery.find_providers(cid, count, timeout_s):
            if isinstance(word, routing.Provider):
                yield word

    def find_peer(self, peer: str, timeout_s: float = 60.0) -> routing.PeerFound:
        """Where a peer can be dialled."""
        return self.discovery.find_peer(peer, timeout_s)

    # --- within ------------------------------------------------------------------------------------

    def _ask(self, kind: type[M], message: Message, timeout_s: float) -> M:
        return ask_patiently(self.edge, kind, message, timeout_s)

    def _pin_whole(self, root: CID) -> str:
        """Pin ``root`` when all of it is here, without going to the network; why it is not pinned, or nothing."""
        try:
            fault = self.keeping.missing_of(root)
            if not fault:
                self.keeping.pin(root)
        except LocalError as error:
            return str(error)
        return fault

    def _read(self, reader: Reader[T], timeout_s: float) -> Iterator[T]:
        return iter(Fetch(self.edge, reader, timeout_s=timeout_s))

    def _block(self, cid: CID, timeout_s: float) -> Block:
        """One block, to be read: nobody counts on its being here afterwards."""
        return next(iter(Fetch(self.edge, BlockList([cid]), timeout_s=timeout_s, early=True)))

    def _kind_of(self, cid: CID, timeout_s: float) -> Kind:
        return read_node(self._block(cid, timeout_s))[1].kind


def _facts_of(block: Block) -> tuple[int, EntryKind, str]:
    """Size, kind and symlink target that an entry's root block tells."""
    if block.cid.codec != DAG_PB:
        return len(block), "file", ""
    node, message = read_node(block)
    if message.kind in FILE_KINDS:
        return message.filesize if message.filesize is not None else len(message.data or b""), "file", ""
    if message.kind is Kind.SYMLINK:
        return 0, "symlink", symlink_target(node, message)
    return 0, "directory", ""
