"""A token bucket: so many at once, then so many a second."""

from __future__ import annotations


class Bucket:
    """Full at first.  ``now`` in seconds on any clock; one that goes back adds nothing."""

    __slots__ = ("_at", "_burst", "_level", "_rate")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = burst
        self._rate = rate  # tokens a second
        self._level = burst
        self._at = now

    def take(self, count: float, now: float) -> bool:
        """Take ``count`` tokens; False, and none taken, when there are not so many."""
        self._level = min(self._burst, self._level + max(0.0, now - self._at) * self._rate)
        self._at = now
        if self._level < count:
            return False
        self._level -= count
        return True
