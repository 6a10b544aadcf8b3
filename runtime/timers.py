"""Calls to be made later, in order of time and, at one time, in order of making.

A pure structure: it never looks at a clock and never makes a call.  One mailbox owns one queue, and only that actor's
thread touches it, so there is no lock.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

from shoal.messages.limits import TIMERS_MAX

COMPACT_FROM: Final = 64  # cancelled entries below which sweeping them out is not worth the while


class TimerHandle:
    """One call that will be made.  Satisfies ``actors.base.Timer``."""

    __slots__ = ("_queue", "call", "due", "seq")

    def __init__(self, queue: TimerQueue, due: float, seq: int, call: Callable[[], None]) -> None:
        self._queue = queue
        self.due = due
        self.seq = seq
        self.call: Callable[[], None] | None = call

    def __lt__(self, other: TimerHandle) -> bool:
        return (self.due, self.seq) < (other.due, other.seq)

    def cancel(self) -> None:
        """Do not make the call.  Harmless when it has been made."""
        if self.call is not None:
            self.call = None  # whatever the call holds on to is let go at once
            self._queue._cancelled_one()


class TimerQueue:
    """A heap of timers.  Cancelled ones are swept out once they are the greater part."""

    def __init__(self, maximum: int = TIMERS_MAX.value) -> None:
        self._heap: list[TimerHandle] = []
        self._maximum = maximum
        self._cancelled = 0
        self._seq = 0

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def add(self, due: float, call: Callable[[], None]) -> TimerHandle:
        """Have ``call`` due at ``due`` seconds.  Raises RuntimeError beyond the maximum: only a bug sets so many."""
        if len(self) >= self._maximum:
            raise RuntimeError(f"{self._maximum} timers are set already")
        self._seq += 1
        timer = TimerHandle(self, due, self._seq, call)
        heapq.heappush(self._heap, timer)
        return timer

    def next_due(self) -> float | None:
        """When the earliest timer is due, None without one."""
        heap = self._heap
        while heap and heap[0].call is None:
            heapq.heappop(heap)
            self._cancelled -= 1
        return heap[0].due if heap else None

    def pop_due(self, now: float) -> Callable[[], None] | None:
        """The call of the earliest timer if it is due by ``now``, taken out."""
        due = self.next_due()
        if due is None or due > now:
            return None
        timer = heapq.heappop(self._heap)
        call, timer.call = timer.call, None
        return call

    def clear(self) -> None:
        """Forget every timer."""
        for timer in self._heap:
            timer.call = None
        self._heap.clear()
        self._cancelled = 0

    def _cancelled_one(self) -> None:
        self._cancelled += 1
        if self._cancelled > COMPACT_FROM and self._cancelled * 2 > len(self._heap):
            self._heap = [timer for timer in self._heap if timer.call is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0
