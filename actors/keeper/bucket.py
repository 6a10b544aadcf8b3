"""A token bucket for work in the background: so many bytes a second, and no burst after a rest.  Pure."""

from __future__ import annotations

BURST_S = 1.0  # seconds' worth that may be spent at once after a rest


class Bucket:
    """Bytes that may be spent.  The rate is given with every call, since a policy may change it."""

    def __init__(self) -> None:
        self._credit = 0.0  # bytes; negative: spent ahead
        self._at: float | None = None

    def spend(self, size: int, rate: float, now: float) -> float:
        """Spend ``size`` bytes at ``rate`` bytes a second; the seconds to wait before the next.  Rate 0: no limit."""
        if rate <= 0:
            self._credit, self._at = 0.0, now
            return 0.0
        passed = max(0.0, now - self._at) if self._at is not None else BURST_S
        self._at = now
        self._credit = min(self._credit + passed * rate, BURST_S * rate) - size
        return max(0.0, -self._credit / rate)
