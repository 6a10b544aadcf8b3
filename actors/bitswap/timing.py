"""How long a peer takes: round trips, delivery rates, and what follows from them.  Pure; ``now`` is an argument.

Round trips are smoothed as TCP smooths them (RFC 6298); a peer's timeout backs off while it does not answer, which
is how a link too slow for our first guess is learnt.  The least of them is what the path takes; the smoothed one has
what we asked for besides, waiting in line, and of a peer that is not asked any more it is an old story.  The delivery
rate is measured as BBR measures it: bytes delivered between the moment a block was asked for and its arrival, divided
by that time, the best of the last ten seconds or so.  From both comes the window, the bytes worth asking for ahead:
bandwidth x delay, with room to grow.
"""

from __future__ import annotations

from typing import Final

from shoal.messages.limits import KIB, MIB, WINDOW_BYTES_MAX, WINDOW_BYTES_MIN

RTT_UNKNOWN_S: Final = 0.2  # seconds assumed of a peer that has not answered yet
TIMEOUT_FIRST_S: Final = 5.0  # seconds for a first answer, boxo's DONT_HAVE timeout
TIMEOUT_MIN_S: Final = 2.0  # seconds; below it a busy peer looks like a dead one
TIMEOUT_MAX_S: Final = 30.0  # seconds without any progress after which a peer is given up for a block
HEDGE_MIN_S: Final = 0.3  # seconds; a block later than this, and than expected, is asked of a second peer
HEDGE_FIRST_S: Final = 1.0  # seconds, while nothing has been measured
HEDGE_MAX_S: Final = 3.0  # seconds
RATE_UNKNOWN: Final = 1 * MIB  # bytes a second assumed of a peer when nothing at all is known
RATE_MIN: Final = 1.0  # byte a second; a rate is divided by
LEAST_KEPT_S: Final = 5.0  # seconds of one half of the window in which the least round trip is looked for
STALE_S: Final = 2.0  # seconds without an answer after which a round trip is not believed any more, but at least
STALE_ROUNDS: Final = 10  # of them: trying a peer that is as slow as it was costs no more than a tenth of the time
RATE_KEPT_S: Final = 5.0  # seconds of one half of the window in which the best rate is looked for
BLOCK_GUESS: Final = 256 * KIB  # bytes of a block when nothing is known: Kubo's default chunk
TURNAROUND_S: Final = 0.05  # seconds; least delay that a window covers: peers answer in batches and have other work
WINDOW_BLOCKS_MIN: Final = 4  # blocks; fewer and the peer would idle while we ask for more


class RoundTrip:
    """Response time of one peer, in seconds: smoothed, and the least of the last two periods of ``LEAST_KEPT_S``."""

    __slots__ = ("_at", "_least", "_since", "backoff", "least", "samples", "smooth", "spread")

    def __init__(self) -> None:
        self.smooth = RTT_UNKNOWN_S
        self.spread = 0.0
        self.least = RTT_UNKNOWN_S
        self.samples = 0
        self.backoff = 1.0
        self._at = 0.0
        self._since = 0.0
        self._least = RTT_UNKNOWN_S

    def sample(self, seconds: float, now: float) -> None:
        """One answer took this long.  A clock that went backwards gives no sample."""
        self.backoff = 1.0
        if seconds < 0:
            return
        if self.samples == 0 or self.stale(now):
            self.smooth, self.spread = seconds, seconds / 2
            self.least, self._least, self._since = seconds, seconds, now
        else:
            self.spread += (abs(seconds - self.smooth) - self.spread) / 4
            self.smooth += (seconds - self.smooth) / 8
            if not 0 <= now - self._since < LEAST_KEPT_S:
                self.least, self._least, self._since = self._least, seconds, now
            self._least = min(self._least, seconds)
            self.least = min(self.least, seconds)
        self.samples += 1
        self._at = now

    def stale(self, now: float) -> bool:
        """Whether the last answer is so long ago that the next may be quite different."""
        return self.samples > 0 and now - self._at > max(STALE_S, STALE_ROUNDS * self.smooth)

    def missed(self) -> None:
        """No answer in time: the next timeout is twice as long, up to its bound."""
        self.backoff = min(self.backoff * 2, TIMEOUT_MAX_S / TIMEOUT_MIN_S)


class Rate:
    """Delivery rate of one peer, in bytes a second: the best of the last two periods of ``RATE_KEPT_S``."""

    __slots__ = ("_best", "_since", "known", "value")

    def __init__(self) -> None:
        self.value = float(RATE_UNKNOWN)
        self.known = False
        self._best = 0.0
        self._since = 0.0

    def sample(self, size: int, seconds: float, limited: bool, now: float) -> None:
        """``size`` bytes came in ``seconds``.  ``limited``: we had asked for too little to see the peer's full rate."""
        if seconds <= 0 or size <= 0:
            return
        rate = max(size / seconds, RATE_MIN)
        if not self.known:
            self.value, self._best, self._since, self.known = rate, rate, now, True
            return
        if limited and rate < self.value:
            return
        if not 0 <= now - self._since < RATE_KEPT_S:
            self.value, self._best, self._since = max(self._best, rate), rate, now
        self._best = max(self._best, rate)
        self.value = max(self.value, rate)


def window(rtt: RoundTrip, rate: Rate, block: int) -> int:
    """Bytes worth asking one peer for ahead, with blocks of about ``block`` bytes."""
    least = max(WINDOW_BYTES_MIN.value, WINDOW_BLOCKS_MIN * block)
    if not rate.known:
        return least
    return int(min(max(2 * rate.value * max(rtt.least, TURNAROUND_S), least), max(WINDOW_BYTES_MAX.value, least)))


def timeout_s(rtt: RoundTrip, rate: Rate, size: int) -> float:
    """Seconds without progress after which a peer is taken not to answer for a block of ``size`` bytes."""
    if rtt.samples == 0:
        base = TIMEOUT_FIRST_S
    else:
        base = 4 * (rtt.smooth + rtt.spread) + (2 * size / rate.value if rate.known else 0.0)
    return min(max(base, TIMEOUT_MIN_S) * rtt.backoff, TIMEOUT_MAX_S)


def hedge_s(rtt: RoundTrip, rate: Rate, size: int) -> float:
    """Seconds without progress after which a block is late: worth asking a second peer for."""
    if rtt.samples == 0:
        return HEDGE_FIRST_S
    expected = 3 * (rtt.smooth + rtt.spread) + (2 * size / rate.value if rate.known else 0.0)
    return min(max(expected, HEDGE_MIN_S), HEDGE_MAX_S)
