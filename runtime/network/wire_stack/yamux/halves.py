"""One stream as the session sees it: two halves, each open, ended or broken.  A pure core with no I/O.

``Session`` changes it and keeps the books; ``stream.YamuxStream`` reads and writes through it.
"""

from collections.abc import Callable

from shoal.runtime.network.wire_stack.yamux.buffers import ReceiveBuffer
from shoal.runtime.network.wire_stack.yamux.windows import ReceiveWindow, SendWindow


def _nobody() -> None:
    """Nobody is waiting."""


class StreamState:
    """A stream.  ``changed`` is called when bytes, room or an end have come for it, maybe more often."""

    __slots__ = (
        "acknowledged",
        "broken",
        "buffer",
        "changed",
        "ended_at",
        "finished",
        "id",
        "introduced",
        "outbound",
        "peer_finished",
        "receive",
        "send",
    )

    def __init__(self, stream: int, receive: ReceiveWindow, *, outbound: bool) -> None:
        self.id = stream
        self.outbound = outbound
        self.introduced = not outbound  # the peer has heard of it: our SYN went out with the first frame
        self.acknowledged = not outbound
        self.receive = receive
        self.send = SendWindow()
        self.buffer = ReceiveBuffer()
        self.peer_finished = False  # the peer has ended its half
        self.finished = False  # we have ended ours
        self.ended_at = 0.0  # when we did
        self.broken = ""  # why both halves are gone
        self.changed: Callable[[], None] = _nobody

    @property
    def over(self) -> bool:
        """Nothing more can come or go; what came may still be read."""
        return bool(self.broken) or (self.finished and self.peer_finished)
