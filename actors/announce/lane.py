"""One lane of telling: the batch that is under way over one way, and the pause after a failure.  Pure.

Times are seconds of the node's clock.  A lane has one batch at a time.  What can go wrong has two answers: a row that
nobody took is put off by itself (``schedule.retry``); a way that does not answer, or takes nothing at all, makes the
lane pause, and its rows keep their turn.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Final

from shoal.messages.cid import CID
from shoal.storage.announcements.rows import Due

PAUSE_MIN_S: Final = 5.0  # after the first failure of a way; then twice that
PAUSE_MAX_S: Final = 300.0
PAUSE_JITTER: Final = 0.2  # of the pause, so that nodes that lost the same network do not come back as one


class Lane:
    """A batch of one way.  ``left`` are rows that have neither been told nor failed."""

    def __init__(self, rng: random.Random) -> None:
        self._random = rng
        self.left: dict[bytes, Due] = {}
        self.busy = False
        self.failures = 0  # of the way, in a row
        self.not_before = 0.0
        self._told = 0

    def ready(self, now: float) -> bool:
        """Whether a batch may begin."""
        return not self.busy and now >= self.not_before

    def begin(self, rows: Iterable[Due]) -> None:
        """A batch is under way."""
        self.busy, self._told = True, 0
        self.left = {row.cid.multihash: row for row in rows}

    def drop(self, cids: Iterable[CID]) -> list[Due]:
        """Take rows out of the batch; those that were in it."""
        return [row for cid in cids if (row := self.left.pop(cid.multihash, None)) is not None]

    def told(self, cids: Sequence[CID]) -> list[CID]:
        """These have been told; those of them that were waited for."""
        done = [row.cid for row in self.drop(cids)]
        self._told += len(done)
        return done

    def end(self, now: float, *, answered: bool) -> list[Due]:
        """The batch is over; what is left of it.  A way that did not answer, or took nothing of it, gets a pause."""
        left = list(self.left.values())
        self.busy, self.left = False, {}
        if answered and (self._told or not left):
            self.recovered()
        else:
            self.stumbled(now)
        return left

    def stumbled(self, now: float) -> None:
        """Something failed that is no row's fault: pause before the next batch."""
        self.failures += 1
        pause = min(PAUSE_MIN_S * 2.0 ** min(self.failures - 1, 32), PAUSE_MAX_S)
        self.not_before = now + pause * (1 + PAUSE_JITTER * self._random.random())

    def recovered(self) -> None:
        """The way works (again): no pause."""
        self.failures, self.not_before = 0, 0.0

    def __contains__(self, cid: CID) -> bool:
        return cid.multihash in self.left
