"""Our downloads as data: a want (one CID, whoever of us waits for it) and a session (the wants of one download).

A want is in exactly one phase:

    IDLE       nobody is being asked for the block; it is in its session's ``idle`` queue
    LIVE       one peer, or two when it is late, has been asked for the block and has not answered
    SEARCHING  peers have been asked whether they have it, and none of them for the block itself
    EXHAUSTED  every connected peer was tried; it waits for a new peer or for the next rebroadcast
    ARRIVED    the block came and was handed on; it waits to be stored

Two sessions that want the same CID share the want; its first session is its home, whose queues it is in.
Not here: what moves a want from phase to phase (seeker), and who is asked (choosing).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from shoal.actors.bitswap.timing import BLOCK_GUESS
from shoal.messages.cid import CID

HEDGES_FIRST: Final = 2.0  # blocks that a session may ask of a second peer before any has arrived
HEDGES_PER_BLOCK: Final = 0.04  # more of them with each block that arrives: duplicates stay below 5 %
HEDGES_MAX: Final = 4.0
MISSES_MAX: Final = 16  # DONT_HAVEs in a row after which a peer leaves the session, as in boxo
SESSION_SOURCES_MAX: Final = 64  # peers that a session keeps in mind
SIZE_WEIGHT: Final = 0.2  # weight of the latest block in the expected block size


class Phase(Enum):
    """What is being done for a want."""

    IDLE = 1
    LIVE = 2
    SEARCHING = 3
    EXHAUSTED = 4
    ARRIVED = 5


@dataclass(slots=True, frozen=True)
class Outcome:
    """How asking a peer ended: "lacks", "silent" (no answer in ``seconds``) or "broken" (it had said HAVE)."""

    kind: str
    seconds: float = 0.0


@dataclass(slots=True, eq=False)
class Want:
    """One CID that we want.  The sets hold ids of connected peers."""

    cid: CID
    priority: int
    since: float
    home: Session
    sessions: dict[int, Session]
    phase: Phase = Phase.IDLE
    asks: set[str] = field(default_factory=set)  # asked for the block, unanswered
    asked: set[str] = field(default_factory=set)  # told of the want: all of them are told when it ends
    tried: set[str] = field(default_factory=set)  # asked in the search that is going on
    haves: set[str] = field(default_factory=set)
    lacks: set[str] = field(default_factory=set)
    timed_out: set[str] = field(default_factory=set)
    outcomes: dict[str, Outcome] = field(default_factory=dict)  # latest of each peer, for the error text
    next_round: float = 0.0
    spared_at: float | None = None  # when peers were first not asked on their filters' word, and nobody else was known
    size: int = 0  # bytes; once it has arrived
    arrived_at: float = 0.0

    def begin_again(self) -> None:
        """Forget who was tried: the next search asks everybody once more."""
        self.tried.clear()
        self.lacks.clear()
        self.timed_out.clear()


@dataclass(slots=True)
class Record:
    """How a peer has done in one session."""

    blocks: int = 0
    misses: int = 0  # in a row


@dataclass(slots=True, eq=False)
class Session:
    """The wants of one download and the peers that have had its blocks."""

    id: int
    used_at: float
    wants: dict[CID, None] = field(default_factory=dict)
    idle: dict[CID, None] = field(default_factory=dict)
    searching: dict[CID, None] = field(default_factory=dict)
    exhausted: dict[CID, None] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    probed: dict[str, int] = field(default_factory=dict)  # peer -> times asked whether it has anything of this
    vouched: dict[str, None] = field(default_factory=dict)  # peers whose filters say that they have some of it
    spared: dict[CID, None] = field(default_factory=dict)  # wants that peers were not asked for on a filter's word
    probe_at: float = 0.0  # seconds; next look for further holders
    probe_wait: float = 0.0  # seconds from one to the next; 0: none has been needed
    in_vain: bool = False  # the first peers asked had nothing of it
    rebroadcast_at: float = 0.0  # 0: none is due
    rebroadcasts: int = 0  # in a row without a block
    block_size: int = BLOCK_GUESS
    hedges: float = HEDGES_FIRST

    def queue_of(self, phase: Phase) -> dict[CID, None] | None:
        """The queue that wants of this phase are in."""
        if phase is Phase.IDLE:
            return self.idle
        if phase is Phase.SEARCHING:
            return self.searching
        return self.exhausted if phase is Phase.EXHAUSTED else None

    def record(self, peer: str) -> Record:
        """The peer's record here; made on first need, the poorest making room."""
        row = self.records.get(peer)
        if row is None:
            if len(self.records) >= SESSION_SOURCES_MAX:
                del self.records[min(self.records, key=lambda one: self.records[one].blocks)]
            row = self.records[peer] = Record()
        return row

    def has(self, peer: str) -> None:
        """The peer has something of this session."""
        self.record(peer).misses = 0

    def vouch(self, peer: str) -> None:
        """The peer's filter says that it has something of this session."""
        self.vouched[peer] = None
        if len(self.vouched) > SESSION_SOURCES_MAX:
            del self.vouched[next(iter(self.vouched))]

    def lacks(self, peer: str) -> None:
        """The peer lacks something of this session; after many in a row it is not asked first any more."""
        row = self.records.get(peer)
        if row is not None:
            row.misses += 1
            if row.misses >= MISSES_MAX:
                del self.records[peer]

    def block_came(self, peer: str, size: int) -> None:
        """The peer sent a block of this session."""
        row = self.record(peer)
        row.blocks += 1
        row.misses = 0
        self.hedges = min(self.hedges + HEDGES_PER_BLOCK, HEDGES_MAX)
        self.block_size = int(self.block_size + (size - self.block_size) * SIZE_WEIGHT) or 1
        self.rebroadcasts = 0


def move(want: Want, phase: Phase) -> None:
    """Put a want into another phase and its home's queue for it."""
    old = want.home.queue_of(want.phase)
    if old is not None:
        old.pop(want.cid, None)
    want.phase = phase
    new = want.home.queue_of(phase)
    if new is not None:
        new[want.cid] = None


def cids(wants: Iterable[Want]) -> list[CID]:
    """Their names."""
    return [want.cid for want in wants]
