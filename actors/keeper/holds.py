"""What requests in progress need: their roots, and everything put since they began.  A table in memory.

It outlives the keeper (its spec keeps it, as the mailbox keeps messages), but not the process, whose requests end with
it.  A request that adds has no root to name until its end, so the time of its beginning stands for what it puts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from shoal.messages.cid import CID
from shoal.messages.errors import Unavailable
from shoal.messages.limits import HOLDS_MAX


@dataclass(frozen=True, slots=True)
class OneHold:
    """``since`` is in seconds of the wall clock."""

    roots: tuple[CID, ...]
    since: float


class Holds:
    """Open holds by number."""

    def __init__(self) -> None:
        self.open: dict[int, OneHold] = {}

    def add(self, number: int, roots: tuple[CID, ...], now: float) -> None:
        """Open one under the number of the envelope that asked for it.  Raises Unavailable above HOLDS_MAX."""
        if len(self.open) >= HOLDS_MAX.value:
            raise Unavailable(f"{len(self.open)} requests hold content already", "wait for some of them to end")
        self.open[number] = OneHold(roots, now)

    def release(self, number: int) -> None:
        """Close one; nothing when it is closed."""
        self.open.pop(number, None)

    def distrust(self) -> None:
        """What was put since they began is not all known: nothing is old enough to go until they are closed."""
        self.open = {number: OneHold(hold.roots, -math.inf) for number, hold in self.open.items()}

    def roots(self) -> tuple[CID, ...]:
        """All roots held, each once."""
        return tuple(dict.fromkeys(root for hold in self.open.values() for root in hold.roots))

    def since(self, now: float) -> float:
        """When the oldest began: what was put after it stays.  ``now`` without any."""
        return min((hold.since for hold in self.open.values()), default=now)
