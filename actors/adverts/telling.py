"""Who is told of our filter, what, and when: a pure table of the peers that speak the protocol.

``due`` gives what is to be done for a peer now: open a stream, or send a frame.  A peer gets the whole filter once, and
again when it is another (at most once in WHOLE_EVERY_S); else only news: a first frame at once, a second soon, since
the root of what is added comes last, then ever less often, down to one in ``period``; and a word now and then that
nothing has changed, by which it knows that its copy is still true.  All of it within a budget of bytes a minute.  What
does not fit waits: it costs the peer time, as if it had no filter.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Final

from shoal.actors.adverts import wire
from shoal.actors.adverts.holding import Holding
from shoal.messages.limits import FILTER_NEWS_MAX, FILTER_SENT_PER_PEER, FILTERS_PEERS_MAX

EDGE_S: Final = 0.05  # seconds from a change to its telling, so that a batch of blocks is one frame
NEWS_SOON_S: Final = 0.2  # seconds from a first frame of news to the second, doubled for each more up to
NEWS_EVERY_S: Final = 2.0  # seconds between two frames of news to one peer, or longer, for at most
NEWS_PER_S: Final = 20.0  # frames of news a second to all peers
WHOLE_EVERY_S: Final = 60.0  # seconds between two whole filters to one peer
ALIVE_EVERY_S: Final = 60.0  # seconds without news after which a peer is told that there are none
BUDGET_S: Final = 60.0  # seconds in which FILTER_SENT_PER_PEER may be sent
BACK_OFF_S: Final = 5.0  # seconds before a stream is opened again, doubled for each failure in a row up to
BACK_OFF_MAX_S: Final = 300.0  # seconds
STABLE_S: Final = 60.0  # seconds after which a stream that ends was none of the failures in a row
FRAME_KEPT: Final = 0.25  # of a filter's size in news, after which its frame is made anew for the next peer


@dataclass(slots=True)
class Row:
    """One peer that can be told.  ``stream`` 0: none is open."""

    peer: str
    stream: int = 0
    opening: bool = False
    opened_at: float = 0.0
    retry_at: float = 0.0
    failures: int = 0
    unwritten: int = 0  # bytes handed to the transport and not written yet
    generation: int = 0  # of the filter that it has; 0: none
    told: int = 0  # marks of it that it knows
    complete: bool = False  # as it was told last
    said_at: float = -math.inf
    gap: float = 0.0  # seconds from then to the next news
    whole_at: float = -math.inf
    budget: float = float(FILTER_SENT_PER_PEER.value)  # bytes
    budget_at: float = 0.0

    def lose_stream(self) -> None:
        """The stream is gone; what the peer makes of what it had is its affair."""
        self.stream = self.unwritten = self.generation = self.told = 0
        self.opening = self.complete = False

    def afford(self, size: int, now: float) -> float:
        """Seconds until the budget has ``size`` bytes."""
        most = float(FILTER_SENT_PER_PEER.value)
        self.budget = min(most, self.budget + max(0.0, now - self.budget_at) * most / BUDGET_S)
        self.budget_at = now
        return max(0.0, (min(size, most) - self.budget) * BUDGET_S / most)


@dataclass(frozen=True, slots=True)
class Due:
    """What to do for a peer: send ``frame``, or open a stream (``open``), or look again in ``wait_s``."""

    frame: bytes = b""
    open: bool = False
    wait_s: float = math.inf


class Telling:
    """The peers that are told, and their streams.  ``now`` in seconds on the node's clock."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.rows: dict[str, Row] = {}
        self.sent = 0  # frames
        self.sent_bytes = 0
        self._peers: dict[int, str] = {}  # stream -> peer
        self._frame: tuple[int, int, bool, bytes] = (0, 0, False, b"")  # generation, marks, complete: the whole filter

    # --- peers and streams -----------------------------------------------------------------------------

    def speaks(self, peer: str, now: float) -> None:
        """The peer takes filters."""
        if len(self.rows) < FILTERS_PEERS_MAX.value and peer not in self.rows:
            self.rows[peer] = Row(peer, budget_at=now)

    def gone(self, peer: str) -> int:
        """It is not connected any more, or takes none; its stream, 0 without one."""
        row = self.rows.pop(peer, None)
        if row is None:
            return 0
        self._peers.pop(row.stream, None)
        return row.stream

    def opened(self, peer: str, stream: int, now: float) -> bool:
        """The stream is open; False when nobody waits for it any more and it is to be closed."""
        row = self.rows.get(peer)
        if row is None or not row.opening:
            return False
        row.opening, row.stream, row.opened_at = False, stream, now
        self._peers[stream] = peer
        return True

    def not_opened(self, peer: str, now: float) -> None:
        """It could not be opened."""
        row = self.rows.get(peer)
        if row is not None and row.opening:
            row.opening = False
            self._back_off(row, now)

    def closed(self, stream: int, now: float) -> None:
        """A stream is gone, if it was one of these."""
        peer = self._peers.pop(stream, None)
        if peer is not None:
            row = self.rows[peer]
            if now - row.opened_at >= STABLE_S:
                row.failures = 0
            row.lose_stream()
            self._back_off(row, now)

    def written(self, stream: int, size: int) -> None:
        """So many bytes have left."""
        peer = self._peers.get(stream)
        if peer is not None:
            self.rows[peer].unwritten = max(0, self.rows[peer].unwritten - size)

    def _back_off(self, row: Row, now: float) -> None:
        wait = min(BACK_OFF_S * 2 ** min(row.failures, 16), BACK_OFF_MAX_S)
        row.failures += 1
        row.retry_at = now + wait * self.rng.uniform(0.75, 1.25)

    # --- what to say -----------------------------------------------------------------------------------

    @property
    def period(self) -> float:
        """Seconds between two frames of news to one peer."""
        return max(NEWS_EVERY_S, len(self._peers) / NEWS_PER_S)

    def due(self, row: Row, holding: Holding, now: float) -> Due:
        """What is to be done for a peer now.  What ``frame`` says counts as said."""
        if row.opening or row.unwritten:
            return Due()  # until it is open, or written
        if holding.names is None:
            return self._nothing(row)
        if not row.stream:
            if now < row.retry_at:
                return Due(wait_s=row.retry_at - now)
            row.opening = True
            return Due(open=True)
        if row.generation != holding.generation:
            return self._whole(row, holding, now)
        return self._news(row, holding, now)

    def _nothing(self, row: Row) -> Due:
        if not row.stream or not row.generation:
            return Due()
        row.generation, row.told = 0, 0
        return self._say(row, wire.encode_nothing())

    def _whole(self, row: Row, holding: Holding, now: float) -> Due:
        frame, told = self._whole_frame(holding)
        wait = max(row.whole_at + WHOLE_EVERY_S - now, row.afford(len(frame), now))
        if wait > 0:
            return Due(wait_s=wait)
        assert holding.names is not None
        row.generation, row.told, row.complete = holding.generation, told, holding.names.complete
        row.whole_at = row.said_at = now
        row.gap = NEWS_SOON_S
        return self._say(row, frame)

    def _whole_frame(self, holding: Holding) -> tuple[bytes, int]:
        """The frame, and how many marks it has: one that is a little behind serves the next peers too."""
        names = holding.names
        assert names is not None
        generation, told, complete, frame = self._frame
        news = wire.MARK_BYTES * (len(names.marks) - told)
        stale = news > FRAME_KEPT * len(names.filter) or complete != names.complete
        if generation != holding.generation or stale:
            told = len(names.marks)
            frame = wire.encode_whole(holding.generation, told, names.complete, names.filter)
            self._frame = (holding.generation, told, names.complete, frame)
        return frame, told

    def _news(self, row: Row, holding: Holding, now: float) -> Due:
        names = holding.names
        assert names is not None
        behind = wire.MARK_BYTES * (len(names.marks) - row.told)
        if behind > len(names.filter) and now >= row.whole_at + WHOLE_EVERY_S:
            return self._whole(row, holding, now)
        marks = names.marks[row.told : row.told + FILTER_NEWS_MAX.value]
        changed = bool(marks) or row.complete != names.complete
        frame_size = wire.HEAD.size + wire.MARK_BYTES * len(marks)
        wait = row.said_at + (row.gap if changed else ALIVE_EVERY_S) - now
        wait = max(wait, row.afford(frame_size, now))
        if wait > 0:
            return Due(wait_s=wait)
        rested = now - row.said_at >= 2 * self.period
        row.gap = NEWS_SOON_S if rested else min(2 * row.gap, self.period)
        row.told += len(marks)
        row.complete, row.said_at = names.complete, now
        return self._say(row, wire.encode_news(holding.generation, len(names.marks), names.complete, marks))

    def _say(self, row: Row, frame: bytes) -> Due:
        row.budget -= len(frame)
        row.unwritten += len(frame)
        self.sent += 1
        self.sent_bytes += len(frame)
        return Due(frame=frame)
