"""The book of blocks used lately that are not in memory: names, and how often and when they were used.  Pure.

The first use of a block says little: a file that passes through once names thousands of blocks that nobody asks for
again.  So a name used once is one line in a queue, which the next ones push out (A1out of 2Q: Johnson and Shasha, VLDB
1994); only a second use makes it a ``Use``.  Both parts are bounded, and the name used longest ago goes first.

Not here: what is in memory (``hot``, which takes a ``Use`` out of the book and puts it back).  Names are multihashes,
so that a CIDv0 and a CIDv1 of the same bytes are one.  Begin at ``Use``.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from shoal.messages.limits import HEAT_AGAIN_MAX, HEAT_ONCE_MAX
from shoal.storage.heat import heat
from shoal.storage.memory import cost_of

FADE_S: Final = 3600.0  # seconds in which past uses count half: a pattern that changes is followed within them


class Use:
    """How a block of ``cost`` bytes of memory was used.  Times are seconds on the caller's clock.

    ``uses`` counts as of ``last``, and fades: each hour halves what was before.  Unlike the count in heat it has no
    upper end.  Both were measured (``bin/bench heat``): a count that never fades holds on to what was hot in the
    morning, and one that ends at 100 takes a thousand uses of a large block for less than two of a small one.
    """

    __slots__ = ("cost", "first", "last", "place", "uses")

    def __init__(self, size: int, now: float) -> None:
        self.cost = cost_of(size)
        self.first = now
        self.last = now
        self.uses = 1.0
        self.place = -1  # among those in memory; -1: it is not

    def again(self, now: float) -> None:
        """Count one more use."""
        if now > self.last:
            self.uses *= 2.0 ** ((self.last - now) / FADE_S)
            self.last = now
        self.uses += 1.0

    def worth(self, now: float) -> float:
        """What memory gains by holding the block: its heat, for ``uses`` in place of the count that ends at 100."""
        faded = 2.0 ** ((self.last - now) / FADE_S) if now > self.last else 1.0
        return self.uses * faded * heat(1, self.first, self.last, now)


class Book:
    """Blocks used lately and not in memory."""

    def __init__(self) -> None:
        self._once: OrderedDict[bytes, float] = OrderedDict()  # when it was used
        self._again: OrderedDict[bytes, Use] = OrderedDict()

    def used(self, name: bytes, size: int, now: float) -> Use | None:
        """Note a use of a block of ``size`` bytes; None when it is the first that is remembered."""
        use = self._again.get(name)
        if use is not None:
            use.again(now)
            self._again.move_to_end(name)
            return use
        first = self._once.pop(name, None)
        if first is None:
            self._once[name] = now
            if len(self._once) > HEAT_ONCE_MAX.value:
                self._once.popitem(last=False)
            return None
        use = Use(size, first)
        use.again(now)
        self.add(name, use)
        return use

    def add(self, name: bytes, use: Use) -> None:
        """Remember a block as used again; memory has let go of it."""
        self._again[name] = use
        if len(self._again) > HEAT_AGAIN_MAX.value:
            self._again.popitem(last=False)

    def take(self, name: bytes) -> None:
        """Memory holds it from now on."""
        del self._again[name]

    def forget(self, name: bytes) -> None:
        """The block was deleted."""
        self._once.pop(name, None)
        self._again.pop(name, None)

    def __len__(self) -> int:
        return len(self._once) + len(self._again)
