"""One peer of the book as data, and what ranking gets to see of it.  Pure.

How well a peer is known has three steps.  CLAIMED: somebody named it.  MET: it was connected, which proves that it
exists.  USED: it delivered blocks, or was where its address said.  A lower step never pushes out a higher one.

Not here: who gets into the book (book), and what follows for the order of providers (ranking).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from shoal.actors.routing.hygiene import is_relayed
from shoal.actors.transport.dialing import is_dialable
from shoal.messages.routing import SOURCES

CLAIMED, MET, USED = 0, 1, 2

RTT_WEIGHT: Final = 0.3  # of the latest round trip in the smoothed one
OUTCOME_KEPT: Final = 0.8  # how much of a peer's record stays after one more outcome: the last five weigh most
FAULTS_HALVED_S: Final = 3600.0  # seconds in which half of what went wrong is forgiven
SERVER, CLIENT, OTHER = "server", "client", "other"
_DHT: Final = ("/ipfs/kad/1.0.0", "/ipfs/lan/kad/1.0.0")
_BIT: Final = {name: 1 << index for index, name in enumerate(SOURCES)}


def bit(source: str) -> int:
    """A source as one bit; 0 for one that is not known."""
    return _BIT.get(source, 0)


def names(bits: int) -> tuple[str, ...]:
    """The sources of these bits, in the order of SOURCES."""
    return tuple(name for name, one in _BIT.items() if bits & one)


def bits(sources: Iterable[str]) -> int:
    """The other way round; unknown names are left out."""
    total = 0
    for name in sources:
        total |= bit(name)
    return total


def kind_of(protocols: Iterable[str]) -> str:
    """What a peer is good for by the protocols that it names; empty: it named none.

    "server": it serves bitswap and a DHT, as nodes do that others can reach; "client": bitswap alone; "other": it does
    not exchange blocks.
    """
    spoken = set(protocols)
    if not spoken:
        return ""
    if not any(name.startswith("/ipfs/bitswap") for name in spoken):
        return OTHER
    return SERVER if spoken.intersection(_DHT) else CLIENT


@dataclass(slots=True)
class Addr:
    """One address of a peer.  ``expires`` on the node's clock; ``worked`` is the step of a dial that reached it."""

    expires: float
    sources: int
    worked: bool = False


@dataclass(slots=True, frozen=True)
class Facts:
    """What ranking sees of one peer.  ``rtt_s`` 0: not known; ``good`` and ``bad``: its latest outcomes, weighed."""

    connected: bool = False
    rtt_s: float = 0.0
    good: float = 0.0
    bad: float = 0.0
    kind: str = ""
    direct: bool = False  # an address is known that can be dialled
    relayed: bool = False  # one through a relay is
    load: int = 0  # open searches that it has been told to


UNKNOWN: Final = Facts()


@dataclass(slots=True)
class Row:
    """One peer.  Times are on the node's clock; -inf: never."""

    peer: str
    owner: str = ""  # the source in whose share it is while only claimed
    teller: str = ""  # the peer that told of it while only claimed
    step: int = CLAIMED
    sources: int = 0
    addrs: dict[str, Addr] = field(default_factory=dict)
    connected: bool = False
    seen: float = -math.inf
    rtt_s: float = 0.0
    blocks: int = 0
    failures: int = 0
    good: float = 0.0
    bad: float = 0.0
    failed_at: float = -math.inf
    kind: str = ""

    def facts(self, now: float, load: int = 0) -> Facts:
        """As ranking sees it."""
        direct = any(is_dialable(addr) for addr in self.addrs)
        relayed = any(is_relayed(addr) for addr in self.addrs)
        forgiven = 0.5 ** (max(now - self.failed_at, 0.0) / FAULTS_HALVED_S) if self.bad else 1.0
        bad = self.bad * forgiven
        return Facts(self.connected, self.rtt_s, self.good, bad, self.kind, direct, relayed, load)

    def outcome(self, blocks: int, failures: int, rtt_s: float, now: float) -> None:
        """What it was good for, once more."""
        self.blocks += blocks
        self.failures += failures
        self.good = self.good * OUTCOME_KEPT + min(blocks, 8)
        self.bad = self.bad * OUTCOME_KEPT + min(failures, 8)
        if failures:
            self.failed_at = now
        if 0.0 < rtt_s < math.inf:
            self.rtt_s = rtt_s if not self.rtt_s else self.rtt_s + (rtt_s - self.rtt_s) * RTT_WEIGHT
        self.seen = now

    def best_addrs(self, now: float) -> tuple[str, ...]:
        """What is still believed: those that worked, then those that can be dialled, then relayed; newest first."""
        live = [addr for addr, entry in self.addrs.items() if self.connected or entry.expires > now]
        live.reverse()
        live.sort(key=lambda addr: (not self.addrs[addr].worked, is_relayed(addr)))
        return tuple(live)
