"""The parts of a search as data: a leg is one source's part, an asker is one of those who wait for the answer.  Pure.

Not here: what makes a search go on (search).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from shoal.messages.cid import CID
from shoal.messages.routing import Provider, SourceReport

CANCELLED: Final = "cancelled"
OUT_OF_TIME: Final = "out of time"

Key = tuple[str, int]  # who asks, and its ticket


class State(Enum):
    """Of a leg."""

    WAITING = 1  # for its turn
    RUNNING = 2
    ENDED = 3


@dataclass(slots=True)
class Leg:
    """One source's part.  Times are on the node's clock; ``ticket`` is ours, 0 before it has begun."""

    source: str
    due: float
    state: State = State.WAITING
    ticket: int = 0
    began: float = 0.0
    ended: float = 0.0
    count: int = 0  # of providers that it was asked for; 0: all
    added: int = 0  # to what was found
    outcome: str = ""
    again: int = 0  # times that it was begun anew for an asker with a later deadline, or that takes more
    counts: dict[str, int] = field(default_factory=dict)  # by the provider's own source: lan-dht beside dht
    firsts: dict[str, float] = field(default_factory=dict)

    @property
    def told(self) -> int:
        """Providers so far."""
        return sum(self.counts.values())

    def report(self, started: float, now: float, cut: str = CANCELLED) -> list[SourceReport]:
        """What it has done so far; nothing when it has not begun.  ``cut``: why it ends now, if it was not over."""
        if not self.ticket:
            return []
        running = self.state is not State.ENDED
        ended = now if running else self.ended
        outcome = cut if running else self.outcome
        return [
            SourceReport(
                name,
                self.began - started,
                ended - started,
                self.counts.get(name, 0),
                self.firsts[name] - started if name in self.firsts else -1.0,
                outcome,
            )
            for name in dict.fromkeys((self.source, *self.counts))
        ]


@dataclass(slots=True)
class Asker:
    """One who waits.  ``given``: how many of the search's providers were looked at for it, and ``told`` to it."""

    key: Key
    count: int  # 0: all
    deadline: float
    picky: bool = False  # it is not told of peers that have just failed
    given: int = 0
    told: int = 0

    @property
    def lacks(self) -> int:
        """How many more it takes; -1: any number."""
        return self.count - self.told if self.count else -1


@dataclass(slots=True, eq=False)
class Search:
    """All that is done to find one CID's providers.  ``found`` in the order in which they came, each once."""

    cid: CID
    started: float
    legs: list[Leg]
    found: list[Provider] = field(default_factory=list)
    peers: set[str] = field(default_factory=set)
    askers: dict[Key, Asker] = field(default_factory=dict)
    recalled: int = 0  # of ``found``, that were remembered

    @property
    def deadline(self) -> float:
        """Of the asker that waits longest."""
        return max((asker.deadline for asker in self.askers.values()), default=self.started)


# --- what is to be done ----------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Start:
    """Ask a source."""

    source: str
    ticket: int
    cid: CID
    count: int
    deadline: float


@dataclass(slots=True, frozen=True)
class Stop:
    """A source need not go on."""

    source: str
    ticket: int


@dataclass(slots=True, frozen=True)
class Tell:
    """Providers for one who waits, best first."""

    key: Key
    cid: CID
    providers: tuple[Provider, ...]


@dataclass(slots=True, frozen=True)
class End:
    """The search is over for one who waits."""

    key: Key
    cid: CID
    reports: tuple[SourceReport, ...]


Action = Start | Stop | Tell | End
