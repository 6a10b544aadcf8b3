"""What the HTTP edge needs of a node: one Protocol, and the plain values that pass through it.

Not an implementation (``runtime/api.py`` is the node's; tests have one over a dictionary of blocks).  Every method
blocks, is called in a worker thread, and may be called by many threads at once.  Errors are LocalError subclasses
with a remedy, or RemoteError.

Iterators are pulled by one thread at a time, though not always the same one, and are closed (``close()`` of a
generator) as soon as the client is gone or the answer is complete; an iterator that is pulled when that happens is
closed once the pull returns.  ``timeout_s`` bounds the wait for any one block, not a whole transfer; the edge itself
ends a transfer for which the client gave a ``timeout``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from shoal.messages.blocks import AvailableBlock, RepoStats
from shoal.messages.cid import CID
from shoal.messages.exchange import BitswapStats
from shoal.messages.keeping import GcEnd, Scrubbed, UsageFound
from shoal.messages.lifecycle import ActorsListed
from shoal.messages.policy import Policy
from shoal.messages.transport import Identity, PeerInfo
from shoal.messages.wants import WantEntry
from shoal.runtime.figures import Figures
from shoal.runtime.http.offers import Offers

if TYPE_CHECKING:  # they know libp2p, which costs seconds to import
    from shoal.runtime.announcing import Announcing
    from shoal.runtime.discovering import Discovering
    from shoal.runtime.pubsub import Pubsub

EntryKind = Literal["file", "directory", "symlink"]


@dataclass(frozen=True, slots=True)
class AddItem:
    """One part of an upload.

    ``path`` is relative, of plain names joined by "/" (no "..", no empty name); it is empty for a lone file without
    a name.  Folders that only appear inside the path of another item are implied.  ``data`` is there for a file only
    and must be read before the next item is asked for: what is left is thrown away.
    """

    path: str
    kind: EntryKind
    data: Iterator[bytes] | None = None
    target: str = ""


@dataclass(frozen=True, slots=True)
class AddOptions:
    """How to add.  None: as the profile has it; profile None: as the node has it."""

    cid_version: int | None = None
    raw_leaves: bool | None = None
    chunker: str | None = None
    profile: str | None = None
    wrap: bool = False
    only_hash: bool = False
    pin: bool = True  # recursively what the upload is called by: each file and folder that is in no other
    pin_name: str = ""
    progress: bool = False  # yield ``Added`` without a CID as the bytes go by


@dataclass(frozen=True, slots=True)
class Added:
    """An entry that is stored (``size``: bytes of all its blocks), or, without ``cid``, its progress in ``bytes``.

    ``root``: it is in no folder of the upload.
    """

    name: str
    cid: CID | None
    size: int = 0
    bytes: int = 0
    root: bool = False


@dataclass(frozen=True, slots=True)
class LsEntry:
    """One entry of a directory.  ``size`` is in bytes of content."""

    name: str
    cid: CID
    size: int
    kind: EntryKind
    target: str = ""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """A root that a CAR names, with what is wrong with it; or, without a root, the totals, as the last result."""

    root: CID | None
    error: str = ""
    blocks: int = 0
    block_bytes: int = 0


@dataclass(frozen=True, slots=True)
class BlockFacts:
    """A block, and what is known of its use; ``usage`` is None when that cannot be had."""

    cid: CID
    size: int
    usage: UsageFound | None = None


@dataclass(frozen=True, slots=True)
class Pinned:
    """How far a pin has come: blocks and bytes read or fetched.  ``cids``: what it was about, in the last one only."""

    cids: tuple[CID, ...]
    blocks: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class PinLine:
    """That ``cid`` is pinned: recursive, direct or indirect, the last because of the recursive pin of ``via``."""

    cid: CID
    kind: str
    name: str = ""
    via: CID | None = None


@dataclass(frozen=True, slots=True)
class PinCheck:
    """A recursive pin, and what is wrong with it: CIDs, each with why; nothing when it is whole."""

    cid: CID
    broken: tuple[tuple[CID, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RemovedBlock:
    """A block that is gone, or why it is not."""

    cid: CID
    fault: str = ""


class Keeping(Protocol):
    """What a node keeps, as the HTTP edge sees it; ``runtime.keeping`` says what each does."""

    def pin_add(self, paths: Sequence[str], recursive: bool, name: str, timeout_s: float) -> Iterator[Pinned]:
        """Fetch and pin.  Progress; last what is pinned."""

    def pin_rm(self, paths: Sequence[str], recursive: bool, timeout_s: float) -> list[CID]:
        """End pins."""

    def pin_update(self, old: str, new: str, unpin: bool, timeout_s: float) -> Iterator[Pinned]:
        """Fetch and pin ``new`` in place of ``old``.  Progress; last both."""

    def pins(self, paths: Sequence[str], kind: str, name: str, timeout_s: float) -> Iterator[PinLine]:
        """All pins of a kind, or of these paths."""

    def pin_verify(self) -> Iterator[PinCheck]:
        """Every recursive pin."""

    def collect(self, dry_run: bool) -> Iterator[AvailableBlock | GcEnd | None]:
        """Collect garbage: what went, then the totals; None while nothing new is to be said."""

    def block_rm(self, cid_texts: Sequence[str], force: bool) -> Iterator[RemovedBlock]:
        """Delete blocks that no pin keeps."""

    def figures(self, age_s: float) -> Figures:
        """Figures of the tiers and of the keeper, at most ``age_s`` seconds old unless they are dear to get."""

    def scrub(self, start: bool) -> Scrubbed:
        """How the scrub stands; ``start``: begin one first."""

    def usage(self, cid_text: str) -> UsageFound:
        """What is known of the use of a block."""


class Backend(Protocol):
    """A node, as the HTTP edge sees it."""

    @property
    def keeping(self) -> Keeping:
        """What it keeps."""

    @property
    def discovery(self) -> Discovering:
        """Whom it finds."""

    @property
    def announcing(self) -> Announcing:
        """What it tells others."""

    @property
    def pubsub(self) -> Pubsub:
        """Its topics."""

    @property
    def offers(self) -> Offers:
        """What it answers to strangers."""

    def identity(self) -> Identity:
        """Who this node is and where it listens."""

    def version(self) -> dict[str, str]:
        """``Version``, ``Commit``, ``Repo``, ``System``, and ``Python`` where Kubo has ``Golang``."""

    def shutdown(self) -> None:
        """Begin an ordered stop and return at once."""

    def add(self, entries: Iterable[AddItem], options: AddOptions) -> Iterator[Added]:
        """Store an upload.  Children before the directory that holds them, the last is the root."""

    def cat(self, path: str, offset: int, length: int | None, timeout_s: float) -> Iterator[memoryview]:
        """Bytes of a file, from ``offset``, at most ``length`` of them."""

    def get_tar(self, path: str, timeout_s: float) -> Iterator[bytes | memoryview]:
        """A file or directory as a tar stream whose root entry bears the last name of ``path``."""

    def ls(self, path: str, timeout_s: float) -> list[LsEntry]:
        """The entries of a directory; none for a file."""

    def block_get(self, cid_text: str, timeout_s: float) -> bytes:
        """A block's bytes."""

    def block_put(self, data: bytes, codec: str, mhtype: str, version: int) -> tuple[CID, int]:
        """Store a block under the CID of these multicodec names."""

    def block_stat(self, cid_text: str, timeout_s: float) -> BlockFacts:
        """A block's CID and size, and how it is used."""

    def dag_import(self, chunks: Iterator[bytes], pin_roots: bool) -> Iterator[ImportResult]:
        """Store the blocks of one CAR stream, and pin its roots."""

    def dag_export(self, cid_text: str, timeout_s: float) -> Iterator[bytes | memoryview]:
        """A DAG as a CAR stream."""

    def swarm_connect(self, addr: str, timeout_s: float) -> str:
        """Connect to a multiaddr that ends in /p2p/ID.  The peer's id."""

    def swarm_peers(self) -> tuple[PeerInfo, ...]:
        """Every connection."""

    def swarm_disconnect(self, addr_or_peer: str) -> None:
        """Close every connection to a peer."""

    def ping(self, peer: str, timeout_s: float) -> float:
        """One round trip to a peer id, in seconds."""

    def bitswap_stat(self, peer: str = "") -> BitswapStats:
        """Totals, or those of one peer."""

    def bitswap_wantlist(self, peer: str = "") -> tuple[WantEntry, ...]:
        """Our own wants and those of all peers; with ``peer``, those of that peer."""

    def repo_stat(self) -> RepoStats:
        """Figures of every storage tier."""

    def actors(self) -> ActorsListed:
        """Every actor, in start order."""

    def routes(self) -> str:
        """The table of routes, as text."""

    def trace(self, trace_id: int) -> list[dict[str, Any]]:
        """What the flight recorder holds of one request, oldest first."""

    def policy(self) -> Policy:
        """The policy in force."""

    def change_role(self, role: str) -> Policy:
        """Run under another role's policy.  The policy now in force."""

    def crash_actor(self, name: str) -> None:
        """Make an actor fail as a bug would."""

    def metrics(self) -> bytes:
        """Prometheus text exposition."""

    def health(self) -> dict[str, Any]:
        """Answers when the process is alive."""

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether the node can serve, and why not."""
