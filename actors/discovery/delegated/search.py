"""One question of routing, and what the servers said to it so far.  Pure.

``next_of`` says who is to be asked; ``take`` gives what of an answer is news; ``over`` says that no more will come.
A search ends when it has what it wants, when every server has had its turn, or at its deadline.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from shoal.actors.base import Timer
from shoal.actors.discovery.delegated.records import PeerRecord
from shoal.actors.web.standing import Server
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.limits import DELEGATED_PROVIDERS_MAX
from shoal.messages.routing import BITSWAP, DELEGATED, PeerFound, Provider

RACED: Final = 3  # servers asked at once for one search: the first to answer is what counts, the rest is courtesy


class Request(Protocol):
    """A request of a search, under way."""

    def settle(self) -> None:
        """Its answer is not needed any more: cancel it, and give its server what it deserves so far."""


@dataclass(slots=True, eq=False)
class Search:
    """A search for providers of ``cid``, or for the addresses of ``peer``."""

    envelope: Envelope
    deadline: float
    cid: CID | None = None
    peer: str = ""
    count: int = 0  # providers wanted; 0: all
    ticket: int = 0
    timer: Timer | None = None
    requests: int = 0
    open: dict[str, Request] = field(default_factory=dict)  # by the server's URL
    asked: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    addrs: tuple[str, ...] = ()
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def most(self) -> int:
        """Providers after which no more are wanted."""
        most = DELEGATED_PROVIDERS_MAX.value
        return min(self.count, most) if self.count > 0 else most

    @property
    def satisfied(self) -> bool:
        """Whether it has what was asked for."""
        return len(self.told) >= self.most if self.cid is not None else bool(self.addrs)

    def next_of(self, servers: Iterable[Server]) -> list[Server]:
        """Those of ``servers``, in their order, that are to be asked now."""
        if self.satisfied:
            return []
        fresh = [server for server in servers if server.url not in self.asked]
        return fresh[: max(0, RACED - len(self.open))]

    def over(self, awake: Iterable[Server]) -> bool:
        """Whether nothing more will come: nobody is being asked, and of those who do not rest all have been."""
        return self.satisfied or (not self.open and all(server.url in self.asked for server in awake))

    def take(self, records: Iterable[PeerRecord]) -> tuple[Provider, ...]:
        """What of these is news."""
        fresh = []
        for record in records:
            if self.cid is None:
                if record.peer == self.peer and record.addrs:
                    self.addrs = self.addrs or record.addrs
            elif record.protocols and BITSWAP not in record.protocols:
                continue  # of no use to us; a server that knows filters has left it out
            elif record.peer not in self.told and not self.satisfied:
                self.told.add(record.peer)
                fresh.append(Provider(record.peer, record.addrs, DELEGATED, record.protocols))
        return tuple(fresh)

    def found(self) -> PeerFound | None:
        """The answer of a search for a peer."""
        return PeerFound(self.peer, self.addrs, DELEGATED) if self.addrs else None

    def outcome(self) -> str:
        """What went wrong; empty when some server answered in order."""
        if self.told or self.addrs or len(self.faults) < len(self.asked):
            return ""
        return "; ".join(f"{url}: {fault}" for url, fault in self.faults.items())
