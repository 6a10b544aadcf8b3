"""A scheduler for tests of the simulated network alone: virtual time, same-instant calls in random order.

Not the one of whole simulated nodes, which is ``runtime/simulation/scheduler.py``.  The random order of calls due at
the same instant is on purpose: nothing in the network may rest on it.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True, order=True)
class Entry:
    """A call to come; it is its own timer."""

    at: float
    tie: float
    number: int
    call: Callable[[], None] | None = field(compare=False)

    def cancel(self) -> None:
        self.call = None


class VirtualTime:
    """``step`` makes the next call and moves the clock to it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._ties = random.Random(seed ^ 0x5EED)
        self._heap: list[Entry] = []
        self._now = 0.0
        self._number = 0
        self._running = False

    def now(self) -> float:
        return self._now

    def after(self, seconds: float, call: Callable[[], None]) -> Entry:
        assert seconds >= 0
        self._number += 1
        entry = Entry(self._now + seconds, self._ties.random(), self._number, call)
        heapq.heappush(self._heap, entry)
        return entry

    def step(self, limit: float = float("inf")) -> bool:
        """Make the next call due by ``limit``; False when there is none."""
        while self._heap and self._heap[0].at <= limit:
            entry = heapq.heappop(self._heap)
            if entry.call is not None:
                assert not self._running, "a step within a step"
                self._running = True
                self._now = entry.at
                try:
                    entry.call()
                finally:
                    self._running = False
                return True
        return False

    def run_for(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        end = self._now + seconds
        while self.step(end):
            pass
        self._now = end

    def run_until(self, condition: Callable[[], bool], limit_s: float) -> bool:
        """Go on until ``condition``; whether it came true within ``limit_s``."""
        end = self._now + limit_s
        while not condition():
            if not self.step(end):
                return condition()
        return True
