"""How full a tier may get, and what is to be done about it.  Pure: sizes, heats and the policy are arguments.

Between the watermarks nothing is sent down for its size alone, so that a tier at its mark is not emptied and filled by
turns; what was promoted has to cool to an eighth before its heat alone sends it back; and what comes up above the low
watermark is twice as hot as what goes down for it, so that no two blocks take turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from shoal.messages.policy import Policy
from shoal.storage.catalog.rows import Usage


@dataclass(frozen=True, slots=True)
class Level:
    """One tier: bytes it holds, and its quota in bytes (0: none)."""

    size: int
    quota: int

    def above_low(self, policy: Policy) -> int:
        """Bytes above the low watermark; 0 when below it or without a quota."""
        return max(0, self.size - int(self.quota * policy.watermark_low)) if self.quota else 0

    def is_high(self, policy: Policy) -> bool:
        """Whether the tier has passed its high watermark."""
        return bool(self.quota) and self.size > self.quota * policy.watermark_high

    def room(self, policy: Policy) -> int:
        """Bytes up to the high watermark; without a quota there is always room."""
        return max(0, int(self.quota * policy.watermark_high) - self.size) if self.quota else 2**62

    def takes(self, size: int) -> bool:
        """Whether ``size`` more bytes are within the quota."""
        return not self.quota or self.size + size <= self.quota


def demotions(disk: Level, cold: Level, coldest: Iterable[Usage], policy: Policy, now: float) -> Iterator[Usage]:
    """Which of the disk tier's ``coldest`` blocks (in that order) go down now.

    Above the high watermark the coldest whatever their heat, above the low one those that have cooled; never more
    than brings it to the low one, and never more than brings the cold tier to its high one.
    """
    excess, room = disk.above_low(policy), cold.room(policy)
    limit = float("inf") if disk.is_high(policy) else policy.demotion_heat
    for usage in coldest:
        if excess <= 0 or usage.heat(now) >= limit:
            return
        if usage.size <= room:
            excess -= usage.size
            room -= usage.size
            yield usage


def promotions(
    disk: Level, hottest: Iterable[Usage], coldest: Iterable[Usage], policy: Policy, now: float
) -> list[Usage]:
    """Which of the cold tier's ``hottest`` blocks (in that order) come up now.

    Those above the promotion heat that fit below the low watermark.  Above it only those within the quota that are
    twice as hot as whatever, of the disk tier's ``coldest`` (in that order), it would send down to be at that mark
    again: so what has just gone down does not come back, and what has just come up does not go.
    """
    size, sent_down, bar = disk.size, 0, 0.0
    leaving = iter(coldest)
    rising: list[Usage] = []
    for usage in hottest:
        heat = usage.heat(now)
        if heat < policy.promotion_heat:
            break
        if not Level(size, disk.quota).takes(usage.size):
            continue
        excess = Level(size + usage.size, disk.quota).above_low(policy)
        while sent_down < excess:
            going = next(leaving, None)
            if going is None:
                return rising
            sent_down += going.size
            bar = 2 * going.heat(now)
        if heat < bar:
            break
        size += usage.size
        rising.append(usage)
    return rising
