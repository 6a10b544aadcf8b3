"""Which blocks deserve the memory tier: those of which a byte is worth most, as far as their uses tell.  Pure.

``HotSet`` is told of every use and knows what memory holds, block by block; memory itself decides nothing.  A block
that is used again comes in while there is room.  After that it comes in only if it is worth MARGIN times what would
have to leave for it, lest two of the same worth push each other out in turn.  What leaves is what is worth least per
byte of a sample: worth changes with time, so there is no order to keep, and sixteen of thousands have one of the
coldest tenth among them four times in five.

A file that passes through once costs one line of the book a block, and no copy.  Memory is asked only for
what it was given: for anything else the way there and back is wasted.

Not here: how uses count (``book``), whether a block is small enough (``choice``), and messages (``actor``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from shoal.actors.placement.book import Book, Use
from shoal.messages.block import Block
from shoal.messages.cid import CID

MARGIN: Final = 1.1  # times the worth of what leaves, at least; 2 would save half the moves and lose 2 % of hits
LOOKED_AT_MIN: Final = 16  # blocks of a sample; 64 find 0.1 % more hits
LOOKED_AT_MAX: Final = 2048  # blocks of a sample, some 2 ms: room for 2 MiB among nothing but the smallest blocks
CHOICE: Final = 8  # times the bytes that must leave are looked at, so that there is something to choose from
STRIDE: Final = 2654435761  # a prime above any count of blocks: steps of it visit each once, near ones far apart
RAW_V1: Final = b"\x01\x55"  # before a multihash: its CIDv1 with raw codec


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a block comes into memory, and which have to leave first (by a CIDv1 of their multihash)."""

    keep: bool
    leave: tuple[CID, ...] = ()


@dataclass(frozen=True, slots=True)
class Moves:
    """What to tell memory: first what to let go of, then what to keep."""

    evict: tuple[CID, ...]
    put: tuple[Block, ...]


STAY: Final = Decision(False)


class HotSet:
    """The blocks in memory, never more than ``capacity`` bytes of them, and those that may come in."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._book = Book()
        self._held: dict[bytes, Use] = {}
        self._row: list[bytes] = []  # the same names, in no order: what samples are taken from
        self._hand = 0  # where in the row the last sample ended
        self._bytes = 0  # of what is held, as ``storage.memory.cost_of`` counts

    def used(self, cid: CID, size: int, now: float) -> Decision:
        """Note a use, at ``now`` seconds, of a block of ``size`` bytes; what to do about memory.

        Who asks must do it: from here on the block counts as held, and those that leave do not.
        """
        name = cid.multihash
        held = self._held.get(name)
        if held is not None:
            held.again(now)
            return STAY
        use = self._book.used(name, size, now)
        if use is None or use.cost > self._capacity:
            return STAY
        excess = self._bytes + use.cost - self._capacity
        if excess <= 0:
            leaving: list[bytes] | None = []
        else:
            leaving = self._victims(excess, use.worth(now) / MARGIN, use.cost, now)
        if leaving is None:
            return STAY
        self._book.take(name)
        self._hold(name, use)
        return Decision(True, self._let_go(leaving))

    def bring(self, cid: CID, size: int, now: float) -> Decision:
        """As ``used``, for a block that its user wants in memory, whatever it and what has to leave are worth.

        It still has to fit.  The order counts as the second use, without which memory takes nothing.
        """
        name = cid.multihash
        if name in self._held:
            return STAY
        use = self._book.used(name, size, now) or self._book.used(name, size, now)
        if use is None or use.cost > self._capacity:
            return STAY
        excess = self._bytes + use.cost - self._capacity
        leaving = self._victims(excess, math.inf, use.cost, now) if excess > 0 else []
        if leaving is None:
            return STAY
        self._book.take(name)
        self._hold(name, use)
        return Decision(True, self._let_go(leaving))

    def all_used(self, blocks: Iterable[Block], now: float) -> Moves:
        """The same for several blocks at one time."""
        return self._all(blocks, self.used, now)

    def all_brought(self, blocks: Iterable[Block], now: float) -> Moves:
        """``bring`` for several blocks at one time."""
        return self._all(blocks, self.bring, now)

    def holds(self, cid: CID) -> bool:
        """Whether memory should have the block."""
        return cid.multihash in self._held

    def lost(self, cids: Iterable[CID]) -> None:
        """Memory was asked for these and has them no more."""
        names = dict.fromkeys(cid.multihash for cid in cids)  # it may have been asked for under several of its names
        self._let_go([name for name in names if name in self._held])

    def forget(self, cids: Iterable[CID]) -> None:
        """These blocks were deleted."""
        for cid in cids:
            name = cid.multihash
            if name in self._held:
                self._drop(name)
            self._book.forget(name)

    def empty(self) -> None:
        """Memory begins anew with nothing; how often blocks were used is still known."""
        self._let_go(list(self._row))

    def resize(self, capacity: int, now: float) -> tuple[CID, ...]:
        """Memory has ``capacity`` bytes from now on; what has to leave, the least worth first."""
        self._capacity = capacity
        return self._let_go(self._least_worth(self._bytes - capacity, now))

    def shed(self, size: int, now: float) -> tuple[tuple[CID, ...], int]:
        """Let go of at least ``size`` bytes, or all: what has to leave, the least worth first, and its bytes."""
        before = self._bytes
        leaving = self._let_go(self._least_worth(size, now))
        return leaving, before - self._bytes

    def __len__(self) -> int:
        return len(self._held)

    # --- within ------------------------------------------------------------------------------------

    def _least_worth(self, size: int, now: float) -> list[bytes]:
        """Names that take at least ``size`` bytes of memory together, or all; the least worth by the byte first."""
        leaving: list[bytes] = []
        for _, name in sorted((use.worth(now) / use.cost, name) for name, use in self._held.items()):
            if size <= 0:
                break
            size -= self._held[name].cost
            leaving.append(name)
        return leaving

    def _all(self, blocks: Iterable[Block], decide: Callable[[CID, int, float], Decision], now: float) -> Moves:
        put: dict[bytes, Block] = {}
        evict: list[CID] = []
        for block in blocks:
            decision = decide(block.cid, len(block), now)
            if decision.keep:
                evict += [cid for cid in decision.leave if put.pop(cid.multihash, None) is None]
                put[block.cid.multihash] = block
        return Moves(tuple(evict), tuple(put.values()))

    def _victims(self, excess: int, worth: float, cost: int, now: float) -> list[bytes] | None:
        """Names that make room for ``excess`` bytes and are worth less than ``worth`` together; None if not found.

        ``cost``: bytes of the block that wants in.  If no byte of the first few is worth less than one of its, the
        search ends: so it does nearly always, and cheaply.
        """
        row, held, hand, count = self._row, self._held, self._hand, len(self._row)
        sample: list[tuple[float, bytes]] = []
        seen = 0
        least = worth / cost
        hopeful = False
        while len(sample) < min(count, LOOKED_AT_MAX):
            hand = (hand + STRIDE) % count
            use = held[row[hand]]
            density = use.worth(now) / use.cost
            hopeful = hopeful or density < least
            sample.append((density, row[hand]))
            seen += use.cost
            if len(sample) >= LOOKED_AT_MIN and (not hopeful or seen >= CHOICE * excess):
                break
        self._hand = hand
        if not hopeful:
            return None
        leaving = []
        for density, name in sorted(sample):
            worth -= density * held[name].cost
            if worth < 0:
                return None
            leaving.append(name)
            excess -= held[name].cost
            if excess <= 0:
                return leaving
        return None

    def _hold(self, name: bytes, use: Use) -> None:
        use.place = len(self._row)
        self._row.append(name)
        self._held[name] = use
        self._bytes += use.cost

    def _drop(self, name: bytes) -> Use:
        """Hold it no more.  The last of the row takes its place."""
        use = self._held.pop(name)
        last = self._row.pop()
        if last != name:
            self._row[use.place] = last
            self._held[last].place = use.place
        use.place = -1
        self._bytes -= use.cost
        return use

    def _let_go(self, names: list[bytes]) -> tuple[CID, ...]:
        """Hold these no more, and remember them as used."""
        for name in names:
            self._book.add(name, self._drop(name))
        return tuple(CID.from_bytes(RAW_V1 + name) for name in names)
