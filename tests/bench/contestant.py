"""What a contestant of a measurement is: a kind of peer that is started as fresh processes on loopback.

Begin with ``Contestant.start`` and ``Peer``; ``pair`` starts a holder and a fetcher, which need not be of one kind.
Contestants are in ``contestants/``, one module each, listed in ``registry`` there, the pairs of them too.  Each does
what its own user would do and keeps its own promises about what is stored; ``note`` says what those are.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from shoal.tests.support.processes import Child

Work = Literal["file", "tree", "chunked", "block", "node"]
"""What can be asked of a contestant: ``hold`` and ``fetch`` of a file, of a whole directory, of a file cut into
chunks of a given size; ``put_block`` and ``get_block``; to be started twice on one folder, as a node with a repo is."""


class Peer(Protocol):
    """One running process, connected to nobody.  What fails raises ChildFailed."""

    @property
    def addr(self) -> str:
        """A TCP multiaddr on loopback that ends in ``/p2p/<id>``."""

    @property
    def process(self) -> Child:
        """The process itself: to suspend, kill or measure."""

    def connect(self, addr: str) -> None:
        """Dial a peer of a kind that it understands.  The TCP port may be that of a proxy before it."""

    def hold(self, path: Path, chunk_bytes: int | None = None) -> str:
        """Take in a file or directory, as durable as this contestant makes it; its name from now on (a CID)."""

    def fetch(self, name: str, out: Path, timeout_s: float, *, tree: bool = False) -> None:
        """Fetch what a peer holds: all bytes in the file ``out``, or with ``tree`` a new directory there.

        A peer that is StoresOnly leaves ``out`` to ``write_out``.
        """

    def put_block(self, data: bytes) -> str:
        """Hold one block; its CID, a raw CIDv1."""

    def get_block(self, cid: str, timeout_s: float) -> bytes:
        """One block, from here or from a peer, and stored here."""

    def peak_rss(self) -> int:
        """The highest resident memory so far, in bytes."""

    def rss(self) -> int:
        """Resident memory now, in bytes."""


@runtime_checkable
class StoresOnly(Protocol):
    """A peer whose ``fetch`` stores and writes no files; what it stored is written out to be compared, untimed."""

    def write_out(self, name: str, out: Path, timeout_s: float) -> None:
        """Write the file or directory, out of its store, as ``fetch`` of others does."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """``start`` runs one peer whose files are in the folder, made if it is new; leaving it kills the process."""

    name: str
    note: str
    start: Callable[[Path], AbstractContextManager[Peer]]
    can: frozenset[Work]
    why_not: Callable[[], str | None] = lambda: None  # why it cannot run here


@dataclass(frozen=True, slots=True)
class Pairing:
    """Who holds and who fetches: a row of most tables."""

    holder: Contestant
    fetcher: Contestant

    @property
    def name(self) -> str:
        """One name for two of a kind, otherwise ``holder->fetcher``."""
        return self.holder.name if self.holder == self.fetcher else f"{self.holder.name}->{self.fetcher.name}"

    @property
    def note(self) -> str:
        return (
            self.holder.note
            if self.holder == self.fetcher
            else f"{self.holder.name} holds, {self.fetcher.name} fetches"
        )

    @property
    def can(self) -> frozenset[Work]:
        return self.holder.can & self.fetcher.can

    def why_not(self) -> str | None:
        """Why it cannot run here."""
        return self.holder.why_not() or self.fetcher.why_not()


class Pair(NamedTuple):
    """Two running peers, connected, with nothing fetched yet."""

    holder: Peer
    fetcher: Peer


@contextmanager
def pair(holder: Contestant, fetcher: Contestant, folder: Path) -> Iterator[Pair]:
    """Start both in new folders below ``folder``; the fetcher dials the holder."""
    with ExitStack() as stack:
        holding = stack.enter_context(holder.start(folder / "holder"))
        fetching = stack.enter_context(fetcher.start(folder / "fetcher"))
        fetching.connect(holding.addr)
        yield Pair(holding, fetching)
