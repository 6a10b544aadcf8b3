"""Which of a peer's wants makes room when it wants more than it may: the least urgent, absent blocks' first.

Made once for a batch of wants beyond the cap, since a peer may send a thousand of them in each message.
"""

from __future__ import annotations

import heapq
import itertools

from shoal.actors.bitswap.partner import Partner, PeerWant, State


class Victims:
    """The wants of one peer, least urgent first.  Wants that are being sent are never given up."""

    def __init__(self, partner: Partner) -> None:
        self._partner = partner
        self._order = itertools.count()
        self._absent: list[tuple[int, int, PeerWant]] = []
        self._all: list[tuple[int, int, PeerWant]] = []
        for want in partner.wants.values():
            self.add(want)

    def add(self, want: PeerWant) -> None:
        """A want that may be given up too."""
        entry = (want.priority, next(self._order), want)
        heapq.heappush(self._all, entry)
        if want.state is State.ABSENT:
            heapq.heappush(self._absent, entry)

    def for_want(self, row: PeerWant) -> PeerWant | None:
        """The want to be given up for ``row``, whose size is known; None when ``row`` is the least of all.

        A want whose block is here is worth more than any whose block is not; else urgency decides.
        """
        if row.size >= 0 and (absent := self._least(self._absent)) is not None:
            return absent
        least = self._least(self._all)
        return least if least is not None and least.priority < row.priority else None

    def _least(self, heap: list[tuple[int, int, PeerWant]]) -> PeerWant | None:
        while heap:
            want = heap[0][2]
            alive = self._partner.wants.get(want.cid) is want and want.state is not State.SENDING
            if alive and (heap is self._all or want.state is State.ABSENT):
                return want
            heapq.heappop(heap)
        return None
