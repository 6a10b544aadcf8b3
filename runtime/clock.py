"""Time as an argument: the node's clock, real or virtual.

Everything in the machine room that needs the time is given a ``Clock``.  Not here: timers, which belong to a mailbox
(``timers.py``).
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings of time, both in seconds."""

    def monotonic(self) -> float:
        """Never goes back.  Deadlines are on this clock."""

    def wall(self) -> float:
        """Since 1970.  May jump; only for what is shown or stored."""


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


class VirtualClock:
    """A clock that stands still until it is moved.  Wall time keeps a fixed distance to it."""

    WALL_AT_ZERO = 1_700_000_000.0  # seconds since 1970: any fixed date will do, so that runs are alike

    def __init__(self, start: float = 0.0) -> None:
        self.now = start

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.WALL_AT_ZERO + self.now

    def advance_to(self, when: float) -> None:
        """Move on to ``when``; a time that has passed changes nothing."""
        self.now = max(self.now, when)
