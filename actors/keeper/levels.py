"""How full a tier may get, and what is to be done about it.  Pure: sizes, heats and the policy are arguments.

Between the watermarks nothing happens by itself, so that a tier at its mark is not emptied and filled by turns; and
what was promoted has to cool to an eighth before its heat alone sends it back.
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


def demotions(disk: Level, coldest: Iterable[Usage], policy: Policy, now: float) -> Iterator[Usage]:
    """Which of the disk tier's ``coldest`` blocks (in that order) go down now.

    Above the high watermark the coldest whatever their heat, above the low one those that have cooled; never more
    than brings it to the low one.
    """
    excess = disk.above_low(policy)
    limit = float("inf") if disk.is_high(policy) else policy.demotion_heat
    for usage in coldest:
        if excess <= 0 or usage.heat(now) >= limit:
            return
        excess -= usage.size
        yield usage


def promotions(disk: Level, hottest: Iterable[Usage], coldest: Usage | None, policy: Policy, now: float) -> list[Usage]:
    """Which of the cold tier's ``hottest`` blocks (in that order) come up now.

    Those above the promotion heat; when the disk tier has no room, only those twice as hot as its ``coldest``, for
    which that one will have to go.
    """
    room = disk.room(policy)
    bar = 2 * coldest.heat(now) if coldest is not None else 0.0
    rising: list[Usage] = []
    for usage in hottest:
        heat = usage.heat(now)
        if heat < policy.promotion_heat or (usage.size > room and heat < bar):
            break
        room = max(0, room - usage.size)
        rising.append(usage)
    return rising
