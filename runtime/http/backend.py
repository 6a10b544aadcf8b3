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

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from shoal.messages.blocks import RepoStats
from shoal.messages.cid import CID
from shoal.messages.exchange import BitswapStats
from shoal.messages.lifecycle import ActorsListed
from shoal.messages.policy import Policy
from shoal.messages.transport import Identity, PeerInfo
from shoal.messages.wants import WantEntry

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
    progress: bool = False  # yield ``Added`` without a CID as the bytes go by


@dataclass(frozen=True, slots=True)
class Added:
    """An entry that is stored (``size``: bytes of all its blocks), or, without ``cid``, its progress in ``bytes``."""

    name: str
    cid: CID | None
    size: int = 0
    bytes: int = 0


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


class Backend(Protocol):
    """A node, as the HTTP edge sees it."""

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

    def block_stat(self, cid_text: str, timeout_s: float) -> tuple[CID, int]:
        """A block's CID and size."""

    def dag_import(self, chunks: Iterator[bytes]) -> Iterator[ImportResult]:
        """Store the blocks of one CAR stream."""

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
