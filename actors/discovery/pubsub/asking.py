"""Routing's searches: answered out of the hints at once, and where nobody is known, by asking the swarm.

A search that is still open after WANT_AFTER_S - cheaper sources had that long - puts its CID into a WANT; whoever has
the block says HAVE, and every HAVE that comes while a search is open is an answer to it.  A pure table: who speaks is
``swarm``.  ``now`` in seconds on the node's clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from shoal.messages import routing
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.limits import ANNOUNCEMENT_CIDS_MAX, PUBSUB_SEARCHES_MAX

WANT_AFTER_S: Final = 1.0  # seconds that a search is left to cheaper ways
ANSWERS_S: Final = 5.0  # seconds that answers to a WANT are waited for
WANT_AGAIN_S: Final = 30.0  # seconds before the same CID is asked for again
WANT_TTL_S: Final = 30.0  # seconds that a WANT is meant


@dataclass(slots=True)
class Search:
    """One open search."""

    cid: CID
    count: int  # providers that are enough; 0: all
    envelope: Envelope
    began: float
    told: dict[str, None] = field(default_factory=dict)  # peers
    ends: float = math.inf
    wants: int = 0  # messages that it caused

    @property
    def satisfied(self) -> bool:
        """Whether it has what it asked for."""
        return 0 < self.count <= len(self.told)


Key = tuple[str, int]  # asker and ticket


class Searches:
    """Open searches by asker and ticket, and by the block they are about."""

    def __init__(self) -> None:
        self.open: dict[Key, Search] = {}
        self._blocks: dict[bytes, dict[Key, None]] = {}
        self._wanted: dict[bytes, float] = {}  # multihash -> when it was last in a WANT of ours; the oldest first

    def begin(self, message: routing.SearchSource, envelope: Envelope, now: float) -> Search | None:
        """A search; None when too many are open, or its ticket is taken."""
        key = (envelope.sender, message.ticket)
        if key in self.open or len(self.open) >= PUBSUB_SEARCHES_MAX.value:
            return None
        search = self.open[key] = Search(message.cid, message.count, envelope, now)
        self._blocks.setdefault(message.cid.multihash, {})[key] = None
        return search

    def end(self, asker: str, ticket: int) -> Search | None:
        """It is over; None when it was already."""
        key = (asker, ticket)
        search = self.open.pop(key, None)
        if search is not None:
            keys = self._blocks[search.cid.multihash]
            del keys[key]
            if not keys:
                del self._blocks[search.cid.multihash]
        return search

    def about(self, cid: CID) -> list[tuple[Key, Search]]:
        """Open searches that somebody who has ``cid`` is an answer to."""
        return [(key, self.open[key]) for key in self._blocks.get(cid.multihash, ())]

    def to_want(self, now: float) -> list[CID]:
        """CIDs to ask the swarm for now; their searches end ANSWERS_S later."""
        while self._wanted and now - next(iter(self._wanted.values())) >= WANT_AGAIN_S:
            del self._wanted[next(iter(self._wanted))]
        wanted: list[CID] = []
        for search in self.open.values():
            if search.ends < math.inf or now - search.began < WANT_AFTER_S:
                continue
            search.ends = now + ANSWERS_S
            if search.cid.multihash not in self._wanted and len(wanted) < ANNOUNCEMENT_CIDS_MAX.value:
                self._wanted[search.cid.multihash] = now
                wanted.append(search.cid)
                search.wants = 1
        return wanted

    def over(self, now: float) -> list[tuple[Key, Search]]:
        """Searches whose time is up: waited for long enough, or their asker's deadline has passed."""
        return [(key, one) for key, one in self.open.items() if min(one.ends, one.envelope.deadline) <= now]
