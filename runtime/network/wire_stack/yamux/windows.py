"""Flow control of one stream: what the peer may send us, and what we may send it.  Pure: time is an argument.

Source: hashicorp/yamux spec.md (256 KiB to begin with, in both directions), and go-yamux for how a window grows: one
that is half used up within four round trips of its last update is too small for bandwidth times delay, and doubles.
Growth is reserved first (``accounts``): a window is a promise to hold that many bytes.
"""

from collections.abc import Callable
from typing import Final

from shoal.messages.errors import RemoteError
from shoal.messages.limits import YAMUX_WINDOW_START
from shoal.runtime.network.wire_stack.yamux.frames import U32_MAX

START: Final = YAMUX_WINDOW_START.value
GROW_WITHIN_RTTS: Final = 4  # round trips; go-yamux


class SendWindow:
    """``room`` is how many bytes the peer is ready to take."""

    __slots__ = ("room",)

    def __init__(self) -> None:
        self.room = START

    def widen(self, increment: int) -> None:
        """The peer takes ``increment`` more.  Raises RemoteError when that is beyond what 32 bits hold."""
        if self.room + increment > U32_MAX:
            raise RemoteError("a yamux window of more than 2**32 - 1 bytes", "flow-control")
        self.room += increment


class ReceiveWindow:
    """``size`` is the window, ``left`` what of it the peer has not used and not been told of again.

    ``reserve`` is asked before the window grows by so many bytes; the owner gives ``grown`` bytes back at the end.
    """

    __slots__ = ("_largest", "_reserve", "_since", "left", "size")

    def __init__(self, largest: int, now: float, reserve: Callable[[int], bool]) -> None:
        self.size = START
        self.left = START
        self._largest = largest
        self._since = now
        self._reserve = reserve

    @property
    def grown(self) -> int:
        """Bytes by which the window has grown."""
        return self.size - START

    def announced(self, length: int) -> None:
        """A frame of ``length`` bytes begins.  Raises RemoteError when it does not fit."""
        if length > self.left:
            raise RemoteError("the peer sent more than its windows allow", "flow-control")
        self.left -= length

    def update(self, unread: int, now: float, rtt_s: float) -> int:
        """After a read that leaves ``unread`` bytes: the increment to tell the peer, 0 while it is not worth a frame.

        ``rtt_s`` is 0 while no round trip has been measured; the window does not grow then.
        """
        due = self.size - self.left - unread
        if due < self.size // 2:
            return 0
        larger = min(2 * self.size, self._largest)
        if now - self._since < GROW_WITHIN_RTTS * rtt_s and larger > self.size and self._reserve(larger - self.size):
            due += larger - self.size
            self.size = larger
        self._since = now
        self.left += due
        return due
