"""When to ask the local network who is there: often at first, then seldom, and not when somebody else has just asked.

Every answer is for all, so on a network of a hundred nodes one question in five minutes serves them all; if each asked,
each would hear ten thousand answers in that time.  A question is 75 bytes on the wire and an answer of two addresses
400 (measured): an idle network of two nodes carries 3 bytes a second, of ten 14, of a hundred below a KiB.

Pure: time and chance are arguments.

Source: RFC 6762, section 5.2 for the intervals, section 7.3 for questions that others have asked.
"""

from __future__ import annotations

import random
from typing import Final

FIRST_S: Final = 1.0  # seconds between the first two questions; doubles
LONGEST_S: Final = 300.0  # seconds between two questions on a network, in the long run
SPREAD: Final = 0.2  # of an interval, at random on top: not all ask at the same moment
OWN_EVERY_S: Final = 7200.0  # seconds after which one asks whatever one has heard: it may be a forger's


class Asking:
    """The time of the next question, in seconds on the node's clock."""

    def __init__(self, rng: random.Random, now: float) -> None:
        self.rng = rng
        self.start_over(now)

    def start_over(self, now: float) -> None:
        """Another network perhaps, with others on it."""
        self.asked = 0
        self.last = self.at = now

    def due(self, now: float) -> bool:
        """Whether to ask now; it counts as asked."""
        if now < self.at <= now + OWN_EVERY_S:  # a clock set back must not put it off for longer than that
            return False
        self.last = now
        self.at = now + self._interval()
        self.asked += 1
        return True

    def answers_heard(self, now: float) -> None:
        """Neighbours that are known said again that they are there: somebody has asked, perhaps this node."""
        if self._settled and 0 <= now - self.last < OWN_EVERY_S - LONGEST_S:
            self.at = max(self.at, now + self._interval())

    @property
    def _settled(self) -> bool:
        return FIRST_S * 2.0 ** min(self.asked, 16) >= LONGEST_S

    def _interval(self) -> float:
        return min(LONGEST_S, FIRST_S * 2.0 ** min(self.asked, 16)) * self.rng.uniform(1, 1 + SPREAD)
