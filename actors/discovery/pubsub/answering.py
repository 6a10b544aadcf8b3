"""Others' WANTs: which of the blocks that somebody wants are looked up here, and when it is said that they are.

A WANT crosses the whole swarm, so every node that has the block could shout at once: each waits for a while by chance,
and says nothing when enough others have.  What one WANT, and all together, may make this node look up and say is
bounded.  A block is claimed only after placement has said that it is here.  Pure: who asks and says is ``swarm``.
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict
from typing import Final

from shoal.actors.discovery.pubsub.bucket import Bucket
from shoal.messages.cid import CID
from shoal.messages.limits import WANTS_ANSWERED_MAX, WANTS_HEARD_MAX, WANTS_LOOKED_UP

SPREAD_EACH_S: Final = 0.05  # seconds of the wait for each peer of the swarm, by which answers are spread, up to
SPREAD_MAX_S: Final = 2.0  # seconds
ENOUGH: Final = 3  # others that say they have it, after which this node need not
AGAIN_S: Final = 60.0  # seconds before the same CID is looked up again
ANSWER_TTL_S: Final = 600.0  # seconds that an answer is believed
ANSWER_BURST: Final = 8  # answers at once
ANSWER_RATE: Final = 0.5  # answers a second


class Wanted:
    """CIDs that others want.  ``now`` in seconds on the node's clock."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._waiting: dict[CID, float] = {}  # -> when to look it up
        self._done: OrderedDict[bytes, float] = OrderedDict()  # multihash -> when it was taken up; the oldest first
        self._bucket: Bucket | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def heard(self, cids: tuple[CID, ...], swarm: int, now: float) -> None:
        """Somebody of a swarm of so many wants these."""
        while self._done and now - next(iter(self._done.values())) >= AGAIN_S:
            self._done.popitem(last=False)
        spread_s = min(SPREAD_MAX_S, SPREAD_EACH_S * swarm)
        for cid in cids[: WANTS_LOOKED_UP.value]:
            full = len(self._waiting) >= WANTS_HEARD_MAX.value or len(self._done) >= WANTS_ANSWERED_MAX.value
            if full or cid.multihash in self._done:
                continue
            self._done[cid.multihash] = now
            self._waiting[cid] = now + self.rng.uniform(0.0, spread_s)

    def wait_s(self, now: float) -> float:
        """Seconds until the next is to be looked up; infinity when there is none."""
        return max(0.0, min(self._waiting.values(), default=math.inf) - now)

    def due(self, now: float) -> list[CID]:
        """CIDs to look up now."""
        due = [cid for cid, at in self._waiting.items() if at <= now][: WANTS_LOOKED_UP.value]
        for cid in due:
            del self._waiting[cid]
        return due

    def may_answer(self, now: float) -> bool:
        """Whether one more answer may be said; it is counted as said."""
        if self._bucket is None:
            self._bucket = Bucket(ANSWER_BURST, ANSWER_RATE, now)
        return self._bucket.take(1, now)
