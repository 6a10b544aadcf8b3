"""What peers say that they hold: their filters as of now, within bounds a peer and in all.  Pure.

``take`` is given each frame; ``ready`` names the peers whose filter has changed since it was last told on, and
``tell`` gives it.  News wait in a list until then, so that a flood of small frames costs one copy of a filter now and
then and not one each.  Every frame costs its sender budget; who has spent it gets a RemoteError, and its filter is
dropped.  The budget outlives a connection, so that coming again does not fill it.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field
from typing import Final

from shoal.actors.adverts import wire
from shoal.messages.adverts import PeerFilter
from shoal.messages.block import Buffer
from shoal.messages.bloom import Bloom
from shoal.messages.errors import RemoteError
from shoal.messages.limits import FILTER_FRAME_COST, FILTER_TAKEN_PER_PEER, FILTERS_BYTES_ALL, FILTERS_PEERS_MAX

TELL_EVERY_S: Final = 0.25  # seconds between two tellings of one peer's filter
REFILL_S: Final = 120.0  # seconds in which the budget of FILTER_TAKEN_PER_PEER is there again
STALE_S: Final = 150.0  # seconds without a word after which a filter is forgotten: two words are missing


@dataclass(slots=True)
class Heard:
    """One peer: its filter, in the form of ``messages.bloom`` (empty: none), and what it may still send."""

    peer: str
    form: bytes = b""
    generation: int = 0
    names: int = 0
    complete: bool = False
    news: array[int] = field(default_factory=lambda: array("Q"))  # marks that ``form`` has not yet
    heard_at: float = -math.inf
    told_at: float = -math.inf
    budget: float = float(FILTER_TAKEN_PER_PEER.value)  # bytes
    budget_at: float = -math.inf

    def drop(self) -> None:
        """It has no filter."""
        self.form, self.names, self.complete = b"", 0, False
        self.news = array("Q")


class Hearing:
    """All peers that have sent something, in the order in which they were last heard."""

    def __init__(self) -> None:
        self.rows: dict[str, Heard] = {}
        self.bytes = 0  # of filters
        self.received = 0  # frames
        self.received_bytes = 0
        self.refused = 0  # frames
        self._changed: dict[str, None] = {}

    def take(self, peer: str, frame: bytes | memoryview, now: float) -> None:
        """One frame of a peer.  Raises RemoteError for one that breaks a rule; the peer then has no filter."""
        row = self._row(peer)
        self.received += 1
        self.received_bytes += len(frame)
        try:
            self._charge(row, len(frame), now)
            said = wire.decode(frame)
            if isinstance(said, wire.Whole):
                self._charge(row, len(said.filter) - len(frame), now)  # what is small on its way is not small here
                Bloom.parse(said.filter)
                self._whole(row, said)
            elif isinstance(said, wire.News):
                self._news(row, said)
            else:
                self._drop(row)
        except RemoteError:
            self.refused += 1
            self._drop(row)
            raise
        row.heard_at = now
        self._bound(row)

    def _row(self, peer: str) -> Heard:
        row = self.rows.pop(peer, None)
        if row is None:
            if len(self.rows) >= FILTERS_PEERS_MAX.value:
                oldest = next(iter(self.rows.values()))
                self._drop(oldest)
                del self.rows[oldest.peer]
            row = Heard(peer)
        self.rows[peer] = row
        return row

    def _charge(self, row: Heard, size: int, now: float) -> None:
        most = float(FILTER_TAKEN_PER_PEER.value)
        row.budget = min(most, row.budget + max(0.0, now - row.budget_at) * most / REFILL_S)
        row.budget_at = now
        cost = max(size, FILTER_FRAME_COST.value)
        if cost > row.budget:
            raise RemoteError("more filters than a peer may send", "filter-flood")
        row.budget -= cost

    def _whole(self, row: Heard, said: wire.Whole) -> None:
        self.bytes += len(said.filter) - len(row.form)
        row.form, row.generation, row.news = said.filter, said.generation, array("Q")
        row.names, row.complete = said.names, said.complete
        self._changed[row.peer] = None

    def _news(self, row: Heard, said: wire.News) -> None:
        if not row.form or row.generation != said.generation:
            return  # of a filter that was dropped here, or never came
        row.news.extend(said.marks)
        row.names, row.complete = said.names, said.complete
        self._changed[row.peer] = None

    def _drop(self, row: Heard) -> None:
        if row.form:
            self.bytes -= len(row.form)
            row.drop()
            self._changed[row.peer] = None

    def _bound(self, newest: Heard) -> None:
        for row in list(self.rows.values()):
            if self.bytes <= FILTERS_BYTES_ALL.value:
                break
            if row is not newest:
                self._drop(row)

    def gone(self, peer: str) -> None:
        """The connection has ended: nobody asks it, and nothing is to be told of it."""
        row = self.rows.get(peer)
        if row is not None:
            self._drop(row)
        self._changed.pop(peer, None)

    def forget(self, now: float) -> None:
        """Filters of which nothing was heard for long."""
        for row in self.rows.values():
            if row.form and now - row.heard_at > STALE_S:
                self._drop(row)

    # --- telling on ------------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether something is to be told on, now or soon."""
        return bool(self._changed)

    def ready(self, now: float) -> list[str]:
        """Peers whose filter is to be told on now."""
        rows = self.rows
        return [peer for peer in self._changed if peer not in rows or now - rows[peer].told_at >= TELL_EVERY_S]

    def tell_all(self) -> None:
        """Whoever is told knows nothing any more."""
        self._changed.update((peer, None) for peer, row in self.rows.items() if row.form)

    def tell(self, peer: str, now: float) -> PeerFilter:
        """The peer's filter as of now.  Raises RemoteError when its news have made it too full to be of use."""
        self._changed.pop(peer, None)
        row = self.rows.get(peer)
        if row is None or not row.form:
            return PeerFilter(peer, Buffer(b""), 0, False)
        row.told_at = now
        if row.news:
            grown = Bloom.parse(row.form).writable()
            grown.add_marks(row.news)
            row.news = array("Q")
            try:
                grown.check()
            except RemoteError:
                self.refused += 1
                self._drop(row)
                raise
            row.form = grown.packed()
        return PeerFilter(peer, Buffer(row.form), row.names, row.complete)

    @property
    def filters(self) -> int:
        """Peers whose filter is known."""
        return sum(bool(row.form) for row in self.rows.values())
