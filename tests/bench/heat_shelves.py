"""Memory tiers that compete in ``bin/bench heat``: shoal's, the least recently used, 2Q, and the best that stays put.

Each keeps names, not bytes, and charges every block ``cost_of`` its size.  Begin at ``Shelf``.
"""

from collections import OrderedDict
from typing import Final, Protocol

from shoal.actors.placement.hot import HotSet
from shoal.messages.cid import CID
from shoal.storage.memory import cost_of
from shoal.tests.bench.heat_trace import Blocks


class Shelf(Protocol):
    """One contestant.  It never holds more than its capacity."""

    def read(self, number: int, now: float) -> bool:
        """A block is read at ``now`` seconds; whether it was in memory."""

    def holds(self, number: int) -> bool:
        """Whether it is in memory."""


class Shoal:
    """The tier as placement runs it."""

    def __init__(self, sizes: list[int], capacity: int) -> None:
        self.hot = HotSet(capacity)
        self.sizes = sizes
        self.cids = [CID.of(number.to_bytes(4, "big")) for number in range(len(sizes))]

    def read(self, number: int, now: float) -> bool:
        cid = self.cids[number]
        hit = self.hot.holds(cid)
        self.hot.used(cid, self.sizes[number], now)
        return hit

    def holds(self, number: int) -> bool:
        return self.hot.holds(self.cids[number])


class Lru:
    """Every block that is read comes in; what was used longest ago leaves."""

    def __init__(self, sizes: list[int], capacity: int) -> None:
        self.sizes, self.capacity = sizes, capacity
        self.held: OrderedDict[int, None] = OrderedDict()
        self.bytes = 0

    def read(self, number: int, now: float) -> bool:
        if number in self.held:
            self.held.move_to_end(number)
            return True
        self.held[number] = None
        self.bytes += cost_of(self.sizes[number])
        while self.bytes > self.capacity:
            gone, _ = self.held.popitem(last=False)
            self.bytes -= cost_of(self.sizes[gone])
        return False

    def holds(self, number: int) -> bool:
        return number in self.held


class TwoQueues:
    """The second use brings a block in (the names of the last SEEN are known); two segments inside.

    2Q's way in (Johnson and Shasha, VLDB 1994) before a segmented LRU (Karedla, Love and Wherry, 1994).
    """

    SEEN: Final = 16384
    PROTECTED: Final = 0.8  # of the capacity

    def __init__(self, sizes: list[int], capacity: int) -> None:
        self.sizes, self.capacity = sizes, capacity
        self.seen: OrderedDict[int, None] = OrderedDict()
        self.known: set[int] = set()  # used twice, in memory or not
        self.segments: tuple[OrderedDict[int, None], ...] = (OrderedDict(), OrderedDict())  # on probation, protected
        self.bytes = [0, 0]

    def read(self, number: int, now: float) -> bool:
        if self.holds(number):
            self._move(number)
            return True
        if number in self.seen or number in self.known:
            self.seen.pop(number, None)
            self.known.add(number)
            self._put(number, 0)
            while sum(self.bytes) > self.capacity:
                self._pop(0 if self.segments[0] else 1)
        else:
            self.seen[number] = None
            if len(self.seen) > self.SEEN:
                self.seen.popitem(last=False)
        return False

    def holds(self, number: int) -> bool:
        return any(number in segment for segment in self.segments)

    def _move(self, number: int) -> None:
        """Used again: to the young end of the protected, whose oldest may return to probation."""
        old = 0 if number in self.segments[0] else 1
        del self.segments[old][number]
        self.bytes[old] -= cost_of(self.sizes[number])
        self._put(number, 1)
        while self.bytes[1] > self.PROTECTED * self.capacity:
            self._put(self._pop(1), 0)

    def _put(self, number: int, where: int) -> None:
        self.segments[where][number] = None
        self.bytes[where] += cost_of(self.sizes[number])

    def _pop(self, where: int) -> int:
        number, _ = self.segments[where].popitem(last=False)
        self.bytes[where] -= cost_of(self.sizes[number])
        return number


class Fixed:
    """The blocks with the highest chance of a read per byte, as many as fit, and never another.

    Whoever does not know the chances beforehand can hardly do better; who follows a change may.
    """

    def __init__(self, blocks: Blocks, capacity: int) -> None:
        chances = blocks.chances()
        costs = [cost_of(size) for size in blocks.sizes]
        self.held: set[int] = set()
        for number in sorted(range(len(costs)), key=lambda number: -chances[number] / costs[number]):
            if costs[number] <= capacity:
                capacity -= costs[number]
                self.held.add(number)

    def read(self, number: int, now: float) -> bool:
        return number in self.held

    def holds(self, number: int) -> bool:
        return number in self.held
