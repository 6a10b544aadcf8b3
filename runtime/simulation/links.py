"""How long bytes take from one simulated node to another: the pure arithmetic of links.

No events, no nodes, no clock: ``now`` and randomness are arguments.  A ``Path`` is one direction of one
connection, with the behaviour of TCP: nothing is lost or overtaken, a lost frame comes late and holds up what
follows, and a connection on which too many tries are lost breaks.  Begin with ``Path.transit``.

What is simplified: a frame is lost or kept whole; there is no slow start; the stages of a path
(sender's uplink, the link itself, receiver's downlink) pass bytes on as they come, so that a frame takes the time of
the slowest stage and not the sum of all.
"""

import random
from dataclasses import dataclass
from typing import Final, NamedTuple

from shoal.messages.errors import BadConfig

RETRANSMIT_FACTOR: Final = 2.0  # each further loss of the same frame doubles the wait, RFC 6298 section 5.5


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """One link, both directions alike.  ``bandwidth`` 0 means unlimited.

    ``loss`` is the probability, 0 to 1, that one sending of a frame is lost.  After ``retransmissions`` lost
    sendings in a row the connection breaks.
    """

    latency_s: float = 0.02  # one way
    jitter_s: float = 0.0  # up to this much is added to the latency, uniformly
    bandwidth: int = 0  # bytes a second
    loss: float = 0.0
    retransmit_s: float = 0.2  # wait before the first retransmission, Linux's minimum RTO
    retransmissions: int = 6

    def __post_init__(self) -> None:
        """Refuse values that no link has, with BadConfig."""
        if min(self.latency_s, self.jitter_s, self.bandwidth, self.retransmit_s, self.retransmissions) < 0:
            raise BadConfig(
                "a link has a negative value", "latency, jitter, bandwidth and retransmissions are 0 or more"
            )
        if not 0 <= self.loss <= 1:
            raise BadConfig(f"a link loses {self.loss} of its frames", "loss is a probability between 0 and 1")


class Shaper:
    """A stage that passes ``bandwidth`` bytes a second, first come first served; 0 means unlimited."""

    def __init__(self, bandwidth: int) -> None:
        self.bandwidth = bandwidth
        self.free_at = 0.0  # when the last byte accepted so far has passed

    def reserve(self, now: float, size: int) -> float:
        """Pass ``size`` bytes that are here at ``now``; when the last of them is through."""
        if self.bandwidth == 0:
            return now
        self.free_at = max(now, self.free_at) + size / self.bandwidth
        return self.free_at


class Transit(NamedTuple):
    """``sent_at``: the last byte has left the sender.  ``arrives_at``: it is there; None when the connection breaks."""

    sent_at: float
    arrives_at: float | None


class Path:
    """One direction of one connection: a link between two nodes' own shapers."""

    def __init__(self, config: LinkConfig, stages: tuple[Shaper, ...], rng: random.Random) -> None:
        self.config = config
        self._stages = stages
        self._rng = rng
        self._last_arrival = 0.0

    def transit(self, now: float, size: int) -> Transit:
        """Send ``size`` bytes at ``now``.  Arrivals never overtake one another."""
        sent_at = max([now, *(stage.reserve(now, size) for stage in self._stages)])
        late = self._late()
        if late is None:
            return Transit(sent_at, None)
        delay = self.config.latency_s + late
        if self.config.jitter_s:
            delay += self._rng.random() * self.config.jitter_s
        self._last_arrival = max(self._last_arrival, sent_at + delay)
        return Transit(sent_at, self._last_arrival)

    def _late(self) -> float | None:
        """Seconds that losses cost one frame, None when every sending of it is lost."""
        loss = self.config.loss
        if loss == 0:
            return 0.0
        late, wait = 0.0, self.config.retransmit_s
        for _ in range(self.config.retransmissions + 1):
            if self._rng.random() >= loss:
                return late
            late += wait
            wait *= RETRANSMIT_FACTOR
        return None
