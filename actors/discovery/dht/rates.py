"""How fast each peer is given something: a token bucket a peer, of a bounded number of peers.  Pure."""

from __future__ import annotations

from collections import OrderedDict


class Rates:
    """``burst`` at once, then ``per_s`` a second.  Of more than ``peers_max`` peers the longest idle are forgotten."""

    def __init__(self, burst: float, per_s: float, peers_max: int) -> None:
        self.burst = burst
        self.per_s = per_s
        self.peers_max = peers_max
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens left, as of when

    def __len__(self) -> int:
        return len(self._buckets)

    def wait(self, peer: str, now: float) -> float:
        """Seconds until ``peer`` may have one."""
        tokens, since = self._buckets.get(peer, (self.burst, now))
        return max(0.0, (1.0 - tokens) / self.per_s - max(0.0, now - since))

    def take(self, peer: str, now: float) -> bool:
        """Whether ``peer`` may have one more at ``now`` (seconds).  A clock that goes back gives nothing."""
        tokens, since = self._buckets.pop(peer, (self.burst, now))
        tokens = min(self.burst, tokens + max(0.0, now - since) * self.per_s)
        may = tokens >= 1.0
        self._buckets[peer] = (tokens - may, now)
        while len(self._buckets) > self.peers_max:
            self._buckets.popitem(last=False)
        return may
