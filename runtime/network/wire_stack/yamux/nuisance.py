"""A bucket of tokens for small frames: pings, empty frames, SYN and RST in turns.  Pure: time is an argument.

Bulk data costs a peer bandwidth; a small frame costs it next to nothing and us some microseconds.  A peer that sends
more of them than the rate is not punished: its connection is read more slowly, and nobody else's is.
"""

from shoal.messages.limits import YAMUX_SMALL_FRAMES_BURST, YAMUX_SMALL_FRAMES_RATE


class SmallFrames:
    """``charge`` for small frames; ``pause`` says how long to read no more."""

    __slots__ = ("_as_of", "_tokens")

    def __init__(self, now: float) -> None:
        self._tokens = float(YAMUX_SMALL_FRAMES_BURST.value)
        self._as_of = now

    def charge(self, frames: int) -> None:
        """So many small frames came."""
        self._tokens -= frames

    def pause(self, now: float) -> float:
        """Seconds until the bucket is level again, 0 while it is not empty.  Time that goes back counts as none."""
        gained = max(0.0, now - self._as_of) * YAMUX_SMALL_FRAMES_RATE.value
        self._tokens = min(float(YAMUX_SMALL_FRAMES_BURST.value), self._tokens + gained)
        self._as_of = now
        return max(0.0, -self._tokens) / YAMUX_SMALL_FRAMES_RATE.value
