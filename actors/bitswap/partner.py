"""One peer's side of the ledger: what it wants, what is being sent to it, and in which order it is served.

A want is in exactly one state, and each state says who acts next:

    LOOKUP   the store is to be asked whether the block is here        (the shell, through ``Ledger.lookups``)
    ABSENT   it is not; the want stays for when it comes               (``Ledger.available``)
    QUEUED   it can be answered                                        (``Ledger.next``)
    SENDING  the answer is being read or written                       (the transport, by FrameSent)

A want that was answered is gone; the peer asks again if it wants again.  Not here: who is served next (ledger).
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from shoal.actors.bitswap.wire import WireWant
from shoal.messages.cid import CID
from shoal.messages.limits import EAGER_BLOCKS_MAX, INLINE_BLOCK_MAX, KIB, SERVE_BATCH_BYTES, SERVE_BLOCKS_MAX

PRESENCE_COST: Final = 64  # bytes charged for a HAVE or DONT_HAVE: a CID and its headers
BATCH_FIRST: Final = 256 * KIB  # bytes of blocks in a message over a link that is not known; doubled up to the limit
BATCH_MIN: Final = 64 * KIB  # bytes; a larger block goes alone
QUICK_S: Final = 0.25  # seconds for a message to be written, up to which the next may be twice as large
SLOW_S: Final = 0.5  # seconds from which on it is half as large
QUEUE_SLACK: Final = 64  # stale entries that the queue may hold beyond twice its wants before it is rebuilt


class State(Enum):
    """Who acts next on a want."""

    LOOKUP = 1
    ABSENT = 2
    QUEUED = 3
    SENDING = 4


@dataclass(slots=True, eq=False)
class PeerWant:
    """One want of the peer.  ``turn`` tells the queue's live entry for it from stale ones."""

    cid: CID
    priority: int
    block: bool
    dont_have: bool
    state: State = State.LOOKUP
    size: int = -1
    turn: int = 0
    shown: bool = False  # the wantlist has been told of it

    @property
    def by_block(self) -> bool:
        """Whether it is answered by the block: asked for, or no longer than a HAVE is worth."""
        return self.block or 0 <= self.size <= INLINE_BLOCK_MAX.value


@dataclass(slots=True, eq=False)
class Answer:
    """One want being answered.  ``turn`` is the want's at that time: if it has another since, this one is void."""

    want: PeerWant
    turn: int
    by_block: bool

    @property
    def valid(self) -> bool:
        """Whether the want still waits for just this answer."""
        return self.want.state is State.SENDING and self.want.turn == self.turn


@dataclass(slots=True)
class Frame:
    """One message on its way to the peer: its bytes on the stream, what it holds of the credit, and what it answers."""

    size: int
    cost: int
    answers: tuple[Answer, ...]
    data_bytes: int
    blocks: int
    at: float = 0.0  # seconds; when it was handed to the transport


@dataclass(slots=True, eq=False)
class Work:
    """What to send next to one peer: blocks to be read, presences to be said.  ``cost`` bytes of credit are held."""

    partner: Partner
    answers: list[Answer] = field(default_factory=list)
    denials: list[CID] = field(default_factory=list)
    cost: int = 0
    blocks: int = 0

    @property
    def peer(self) -> str:
        """Whom it is for."""
        return self.partner.peer

    @property
    def cids(self) -> tuple[CID, ...]:
        """The blocks to read."""
        return tuple(answer.want.cid for answer in self.answers if answer.by_block)


@dataclass(slots=True, eq=False)
class Lookup:
    """What the store is being asked for one peer.  ``eager``: few, and wanted as blocks: to be read at once."""

    partner: Partner
    cids: tuple[CID, ...]
    eager: bool = False


class Partner:
    """A peer that wants something, or is being sent something."""

    def __init__(self, peer: str, now: float, batch: int = BATCH_FIRST) -> None:
        self.peer = peer
        self.kept = True  # its wants are kept: there was room among the peers served
        self.wants: dict[CID, PeerWant] = {}
        self.overflow: dict[CID, PeerWant] = {}  # beyond the cap: looked up, then let in or turned away
        self.denials: dict[CID, None] = {}  # DONT_HAVE to be said
        self.to_look: dict[CID, None] = {}
        self.looking = False
        self.look_after = now  # seconds; earliest next lookup
        self.frames: deque[Frame] = deque()
        self.written = 0  # bytes written of the oldest frame
        self.outstanding = 0  # bytes of credit held by work and frames
        self.batch = batch  # bytes of blocks that one message may hold now
        self.waiting_since = now  # seconds; since when it has had work without being served
        self.queued_bytes = 0
        self._queue: list[tuple[int, int, PeerWant]] = []  # (-priority, turn, want), stale entries included
        self._turns = itertools.count(1)

    def has_work(self) -> bool:
        """Whether anything could be said now."""
        return bool(self.denials) or self._first() is not None

    def has_room(self, credit: int) -> bool:
        """Whether the next message can be filled as far as it may be.

        Else one that went out half full would give back room for half a message, and so would all after it: the
        silly window of TCP (RFC 813), for which each message costs as much as a full one.
        """
        return credit - self.outstanding >= max(1, min(self.batch, self.queued_bytes))

    def idle(self) -> bool:
        """Whether nothing is left that this row is needed for."""
        return not (self.wants or self.overflow or self.denials or self.frames or self.outstanding)

    def is_eager(self) -> bool:
        """Whether it waits for just these few blocks, so that a look and then a read would be one trip too many."""
        if len(self.to_look) > EAGER_BLOCKS_MAX.value or self.outstanding or not self.kept:
            return False
        rows = [self.wants.get(cid) for cid in self.to_look]
        return all(row is not None and row.block for row in rows)

    def enqueue(self, want: PeerWant) -> None:
        """The want can be answered."""
        if want.state is not State.QUEUED and want.by_block:
            self.queued_bytes += want.size
        want.state = State.QUEUED
        self.push(want)

    def push(self, want: PeerWant) -> None:
        """(Re)place a queued want by its priority; its older entries are stale from now on."""
        want.turn = next(self._turns)
        heapq.heappush(self._queue, (-want.priority, want.turn, want))
        if len(self._queue) > 2 * len(self.wants) + QUEUE_SLACK:
            self._queue = [entry for entry in self._queue if self._live(entry)]
            heapq.heapify(self._queue)

    def unqueue(self, want: PeerWant, state: State) -> None:
        """Take a want out of the queue (its entry goes stale) into another state."""
        if want.state is State.QUEUED and want.by_block:
            self.queued_bytes -= want.size
        want.state = state
        want.turn = 0

    def take(self, room: int) -> Work:
        """The most urgent answers, up to one batch; at least one, however large."""
        work = Work(self)
        for cid in list(self.denials)[: max(1, room // PRESENCE_COST)]:
            del self.denials[cid]
            work.denials.append(cid)
            work.cost += PRESENCE_COST
        data = 0
        while (want := self._first()) is not None:
            by_block = want.by_block
            cost = want.size if by_block else PRESENCE_COST
            if work.cost and work.cost + cost > room:
                break
            if by_block and work.blocks and (data + cost > self.batch or work.blocks >= SERVE_BLOCKS_MAX.value):
                break
            heapq.heappop(self._queue)
            self.unqueue(want, State.SENDING)
            want.turn = next(self._turns)
            work.answers.append(Answer(want, want.turn, by_block))
            work.cost += cost
            work.blocks += by_block
            data += cost if by_block else 0
        self.outstanding += work.cost
        return work

    def wrote(self, size: int, now: float) -> Iterator[Frame]:
        """The transport has written ``size`` bytes of the frames, in order; those that are whole now."""
        self.written += size
        while self.frames and self.written >= self.frames[0].size:
            frame = self.frames.popleft()
            self.written -= frame.size
            self._pace(now - frame.at)
            yield frame
        if not self.frames:
            self.written = 0

    def _pace(self, seconds: float) -> None:
        """Fill messages as far as the link is quick: over a slow one a peer waits for a whole message, and gives up."""
        if seconds <= QUICK_S:
            self.batch = min(2 * self.batch, SERVE_BATCH_BYTES.value)
        elif seconds > SLOW_S:
            self.batch = max(self.batch // 2, BATCH_MIN)

    def _first(self) -> PeerWant | None:
        while self._queue:
            if self._live(self._queue[0]):
                return self._queue[0][2]
            heapq.heappop(self._queue)
        return None

    def _live(self, entry: tuple[int, int, PeerWant]) -> bool:
        return entry[2].turn == entry[1] and entry[2].state is State.QUEUED


def wanted(entry: WireWant) -> PeerWant:
    """A wantlist entry as a row."""
    return PeerWant(entry.cid, entry.priority, entry.block, entry.dont_have)
