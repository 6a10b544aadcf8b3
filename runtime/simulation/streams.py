"""One end of a simulated stream: a sending queue with a window, and what arrives from the other end.

``StreamEnd`` is what framed streams and users' streams share: parcels leave in order while the other side has not
``WINDOW`` bytes unread, an end mark follows the last of them, a reset overtakes what has not left.
``FramedEnd`` is the stream of actors: whole frames against reading credit, told as events.  (``user.py`` has the
other kind.)

Simplified against yamux: a parcel is a whole frame, so a frame of 4 MiB holds up the connection that it is on for
as long as it takes to pass; a frame larger than the window passes alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from shoal.actors.base import Timer
from shoal.messages.limits import READ_CREDIT, SEND_QUEUE_BYTES, SEND_QUEUE_FRAMES
from shoal.runtime.simulation.wires import Parcel

if TYPE_CHECKING:
    from shoal.runtime.simulation.connections import ConnectionEnd

WINDOW: Final = 256 * 1024  # bytes sent but not yet taken by the other side; yamux's initial window
OVERHEAD_BYTES: Final = 32  # of yamux and Noise around a frame
CONTROL_BYTES: Final = 64  # a window update, an end or a reset on the wire

RESET_BY_US: Final = "reset by us"
RESET_BY_PEER: Final = "reset by the peer"


@dataclass(slots=True)
class Outgoing:
    """One thing to send: what is ``reported`` as its size, and the ``pieces`` that really leave."""

    reported: int
    pieces: tuple[bytes, ...]
    size: int  # of the pieces
    left: bool = False
    timer: Timer | None = None


class StreamEnd:
    """One end.  Subclasses say what becomes of data, of the other side's end mark, and of our own end."""

    def __init__(self, end: ConnectionEnd, number: int, protocol: str, inbound: bool) -> None:
        self.end = end
        self.id = number
        self.protocol = protocol
        self.inbound = inbound
        self.peer = end.connection.peer
        self.remote: StreamEnd | None = None  # set once both ends exist
        self.in_lane = False
        self.closed = False
        self.ending = False  # no more data will be queued
        self._queue: deque[Outgoing] = deque()
        self._leaving: Outgoing | None = None
        self._queued = 0  # bytes in _queue
        self._unread = 0  # bytes that have left and that the other side has not taken
        self._end_sent = False

    # --- for subclasses ----------------------------------------------------------------------------

    def data_arrived(self, data: bytes) -> None:
        """Bytes from the other side; ``took`` says later that they have been read."""
        raise NotImplementedError

    def end_arrived(self) -> None:
        """The other side sends no more."""
        raise NotImplementedError

    def end_left(self) -> None:
        """Our end mark has been sent."""
        raise NotImplementedError

    def piece_left(self, reported: int) -> None:
        """One thing that was queued has been sent."""
        raise NotImplementedError

    def gone(self, reason: str) -> None:
        """The stream is no more.  Called once."""
        raise NotImplementedError

    # --- sending -----------------------------------------------------------------------------------

    def send(self, reported: int, pieces: tuple[bytes, ...], timeout_s: float) -> None:
        """Queue ``pieces``, to be told of as ``reported`` bytes; not sent within ``timeout_s`` means a reset."""
        if self.closed or self.ending:
            return
        item = Outgoing(reported, pieces, sum(map(len, pieces)))
        full = len(self._queue) >= SEND_QUEUE_FRAMES.value or self._queued + item.size > SEND_QUEUE_BYTES.value
        if full and self._queue:
            self.abort("the sending queue is full")
            return
        self._queue.append(item)
        self._queued += item.size
        self.end.lane.offer(self)
        if not item.left and not self.closed:
            item.timer = self.end.after(timeout_s, lambda: self.abort(f"a write took longer than {timeout_s:g} s"))

    def send_end(self) -> None:
        """Queue the end mark behind what is queued."""
        if not self.closed and not self.ending:
            self.ending = True
            self.end.lane.offer(self)

    def next_parcel(self) -> Parcel | None:
        """For the lane: the next thing that the window lets pass."""
        if self.closed or self._leaving is not None or self.remote is None:
            return None
        if not self._queue:
            return self._end_parcel()
        item = self._queue[0]
        if self._unread and self._unread + item.size > WINDOW:
            return None
        self._queue.popleft()
        self._queued -= item.size
        self._leaving = item
        self._unread += item.size
        remote = self.remote
        return Parcel(item.size + OVERHEAD_BYTES, lambda: remote.receive(item.pieces), lambda: self._left(item))

    def _end_parcel(self) -> Parcel | None:
        remote = self.remote
        if not self.ending or self._end_sent or remote is None:
            return None
        self._end_sent = True
        return Parcel(CONTROL_BYTES, remote.receive_end, self._end_left)

    def _left(self, item: Outgoing) -> None:
        self._leaving = None
        item.left = True
        if item.timer is not None:
            item.timer.cancel()
        if not self.closed:
            self.piece_left(item.reported)
            self.end.lane.offer(self)

    def _end_left(self) -> None:
        if not self.closed:
            self.end_left()

    # --- arriving ----------------------------------------------------------------------------------

    def receive(self, pieces: tuple[bytes, ...]) -> None:
        """What the other side sent is here; sent to a stream that we have closed, it is answered with a reset."""
        if self.closed and self.end.up:
            self._tell_reset()
        for piece in pieces:
            if not self.closed:
                self.data_arrived(piece)

    def receive_end(self) -> None:
        """The other side's end mark is here."""
        if not self.closed:
            self.end_arrived()

    def took(self, size: int) -> None:
        """``size`` bytes have been read here: open the other side's window."""
        remote = self.remote
        if remote is not None:
            self.end.lane.send(CONTROL_BYTES, lambda: remote.window_opened(size))

    def window_opened(self, size: int) -> None:
        """The other side has read ``size`` bytes."""
        self._unread -= size
        if not self.closed:
            self.end.lane.offer(self)

    # --- ending ------------------------------------------------------------------------------------

    def abort(self, reason: str) -> None:
        """Drop the stream and tell the other side."""
        if self.closed:
            return
        self._tell_reset()
        self.finish(reason)

    def _tell_reset(self) -> None:
        remote = self.remote
        if remote is not None:
            self.end.lane.send(CONTROL_BYTES, lambda: remote.finish(RESET_BY_PEER))

    def finish(self, reason: str) -> None:
        """The end of this end, whatever the cause; the first reason counts."""
        if self.closed:
            return
        self.closed = True
        for item in (self._leaving, *self._queue):
            if item is not None and item.timer is not None:
                item.timer.cancel()
        self._queue.clear()
        self.end.forget(self)
        self.gone(reason)


Tamper = Callable[[str, str, bytes], Sequence[bytes]]
"""A lying peer: (receiver, protocol, honest frame) -> the frames that it sends instead."""


class FramedEnd(StreamEnd):
    """A stream of whole frames, read by credit."""

    def __init__(self, end: ConnectionEnd, number: int, protocol: str, frame_max: int, inbound: bool) -> None:
        super().__init__(end, number, protocol, inbound)
        self.frame_max = frame_max
        self.credit = READ_CREDIT.value
        self._inbox: deque[bytes] = deque()
        self._end_waits = False

    def send_frame(self, frame: bytes, timeout_s: float) -> None:
        """Queue one frame, through this host's lies if it tells any."""
        tamper = self.end.network.host.tamper
        pieces = (frame,) if tamper is None else tuple(tamper(self.peer, self.protocol, frame))
        self.send(len(frame), pieces, timeout_s)

    def grant(self, size: int) -> None:
        """More reading credit."""
        self.credit += size
        self._deliver()

    def data_arrived(self, data: bytes) -> None:
        if len(data) > self.frame_max:
            detail = f"a frame of {len(data)} bytes, at most {self.frame_max}"
            self._post("remote_fault", self.peer, "frame-size", detail)
            self.abort(detail)
            return
        if data and not self.ending:  # an empty frame says nothing, and costs nothing
            self._inbox.append(data)
            self._deliver()

    def end_arrived(self) -> None:
        self._end_waits = True
        self._deliver()

    def end_left(self) -> None:
        self.finish("")

    def piece_left(self, reported: int) -> None:
        self._post("frame_sent", self.id, reported)

    def gone(self, reason: str) -> None:
        self._inbox.clear()
        self.end.network.stream_gone(self.id)
        self._post("stream_closed", self.id, reason)

    def _deliver(self) -> None:
        """A frame is read while there is credit at all, so that one above the credit left cannot stop the stream."""
        while self._inbox and self.credit > 0 and not self.ending and not self.closed:
            data = self._inbox.popleft()
            self.credit -= len(data)
            self._post("frame", self.id, memoryview(data))
            self.took(len(data))
        if self._end_waits and not self._inbox:
            self.finish("")

    def _post(self, name: str, *arguments: Any) -> None:
        self.end.network.post(name, *arguments)
