"""One yamux connection as a state machine: bytes in, bytes out, no I/O and no clock.

Source: hashicorp/yamux spec.md, with the bounds of ``messages/limits.py``.  Feed what was read to ``receive``; take
what has to leave from ``take_control`` (answers, window updates, ends) and ``records_of`` (data).  Whatever a peer
sends ends in RemoteError, after which the connection must be closed, or in a state within the bounds.

Control bytes may overtake data, and do: that is harmless, since a stream's end is only queued (``finish``) when its
data has left.  Their queue is bounded; a peer that causes answers and does not take them is at fault.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from shoal.messages.errors import RemoteError
from shoal.messages.limits import (
    STREAMS_IN_PER_CONNECTION,
    YAMUX_BACKLOG_MAX,
    YAMUX_CONTROL_BYTES,
    YAMUX_SMALL_FRAME_BYTES,
    YAMUX_STREAMS_OUT_MAX,
    YAMUX_UNACKED_MAX,
)
from shoal.runtime.network.wire_stack.records import PLAINTEXT_MAX
from shoal.runtime.network.wire_stack.yamux.accounts import Account
from shoal.runtime.network.wire_stack.yamux.buffers import Rope
from shoal.runtime.network.wire_stack.yamux.frames import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER_BYTES,
    PING,
    RST,
    SYN,
    U32_MAX,
    WINDOW,
    FrameParser,
    Head,
    header,
)
from shoal.runtime.network.wire_stack.yamux.halves import StreamState
from shoal.runtime.network.wire_stack.yamux.nuisance import SmallFrames
from shoal.runtime.network.wire_stack.yamux.windows import START, ReceiveWindow

RTTS_KEPT: Final = 8  # round trips, of which the shortest counts: a busy moment must not look like a long way
SMALL: Final = YAMUX_SMALL_FRAME_BYTES.value


def _nobody() -> None:
    """Nobody is waiting."""


class Session:
    """The streams of one connection.  ``window_max`` bounds each stream's receive window, bytes."""

    def __init__(self, *, client: bool, window_max: int, account: Account, now: float) -> None:
        self.streams: dict[int, StreamState] = {}
        self.backlog: deque[StreamState] = deque()  # opened by the peer, taken by nobody yet
        self.inbound = 0
        self.unacknowledged = 0
        self.peer_gone: int | None = None  # the reason of the peer's GO_AWAY
        self.stuck = False  # answers were dropped, since the peer takes none
        self.changed: Callable[[], None] = _nobody  # a stream may be taken, or opened, or the peer has gone away
        self._next = 1 if client else 2
        self._peers_parity = 0 if client else 1
        self._window_max = window_max
        self._account = account
        self._parser = FrameParser()
        self._small = SmallFrames(now)
        self._into: StreamState | None = None  # whose payload is under way
        self._left = 0
        self._flags = 0
        self._control = bytearray()
        self._pings = 0
        self._ping: tuple[int, float] | None = None
        self._rtts: deque[float] = deque(maxlen=RTTS_KEPT)

    # --- what comes --------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """Bytes of the peer, however they are cut.  Raises RemoteError."""
        small = 0
        for event in self._parser.feed(data):
            if isinstance(event, Head):
                if event.kind != DATA or event.length < SMALL:
                    small += 1
                self._on_head(event, now)
            else:
                self._on_payload(event)
        self._small.charge(small or len(data) < SMALL)
        if self.stuck:
            raise RemoteError("the peer causes answers and does not take them", "flood")

    def pause(self, now: float) -> float:
        """Seconds for which nothing should be read of a peer that sends too many small frames."""
        return self._small.pause(now)

    def _on_head(self, head: Head, now: float) -> None:
        if head.kind == PING:
            self._on_ping(head, now)
        elif head.kind == GO_AWAY:
            self.peer_gone = head.length
            self.changed()
        else:
            state = self._stream_of(head, now)
            if head.kind == DATA:
                self._begin_payload(state, head)
                return
            if state is not None:
                state.send.widen(head.length)
                state.changed()
                self._on_flags(state, head.flags)

    def _stream_of(self, head: Head, now: float) -> StreamState | None:
        """The stream that a frame is for; None when it is refused, closed or never was, and the frame is ignored."""
        if not head.stream:
            raise RemoteError("a yamux stream without a number", "yamux")
        if head.flags & SYN:
            return self._opened_by_peer(head, now)
        state = self.streams.get(head.stream)
        if state is not None and head.flags & ACK:
            self._acknowledge(state)
        return state

    def _opened_by_peer(self, head: Head, now: float) -> StreamState | None:
        if head.stream & 1 != self._peers_parity:
            raise RemoteError("a yamux stream numbered as ours are", "yamux")
        if head.stream in self.streams:
            raise RemoteError("a yamux stream opened twice", "yamux")
        if head.kind == DATA and head.length > START:
            raise RemoteError("the peer sent more than its windows allow", "flow-control")
        if head.flags & RST:
            return None
        if self.inbound >= STREAMS_IN_PER_CONNECTION.value or len(self.backlog) >= YAMUX_BACKLOG_MAX.value:
            self._answer(WINDOW, RST, head.stream, 0)
            return None
        state = StreamState(head.stream, self._window(now), outbound=False)
        self.streams[state.id] = state
        self.inbound += 1
        self.backlog.append(state)
        self.changed()
        return state

    def _begin_payload(self, state: StreamState | None, head: Head) -> None:
        if state is not None and state.peer_finished:
            if head.flags & RST:
                self._break(state, "reset by the peer")
            state = None
        if state is not None:
            state.receive.announced(head.length)
        if head.length:
            self._into, self._left, self._flags = state, head.length, head.flags
        elif state is not None:
            self._on_flags(state, head.flags)

    def _on_payload(self, piece: memoryview) -> None:
        state = self._into
        self._left -= len(piece)
        if state is None:
            return
        if not state.broken:
            self._account.received(len(piece))
            state.buffer.append(piece)
            state.changed()
        if not self._left:
            self._on_flags(state, self._flags)

    def _on_flags(self, state: StreamState, flags: int) -> None:
        if flags & RST:
            self._break(state, "reset by the peer")
        elif flags & FIN:
            state.peer_finished = True
            state.changed()
            self._forget_if_over(state)

    def _on_ping(self, head: Head, now: float) -> None:
        if head.flags & SYN:
            self._answer(PING, ACK, 0, head.length)
        elif self._ping is not None and head.length == self._ping[0]:
            self._rtts.append(max(0.0, now - self._ping[1]))
            self._ping = None

    def _acknowledge(self, state: StreamState) -> None:
        if not state.acknowledged:
            state.acknowledged = True
            self.unacknowledged -= 1
            self.changed()

    # --- opening and taking ------------------------------------------------------------------------

    def may_open(self) -> bool:
        """Whether ``open`` need not wait for the peer to acknowledge other streams first."""
        return self.unacknowledged < YAMUX_UNACKED_MAX.value

    def open(self, now: float) -> StreamState:
        """A new stream of ours, when ``may_open``.  The peer hears of it with its first frame.  Raises RemoteError."""
        if self.peer_gone is not None:
            raise RemoteError("the peer takes no more streams", "go-away")
        if len(self.streams) - self.inbound >= YAMUX_STREAMS_OUT_MAX.value:
            raise RemoteError(f"{YAMUX_STREAMS_OUT_MAX.value} streams are open on its connection", "streams")
        if self._next > U32_MAX:
            raise RemoteError("the connection has used up its stream numbers", "streams")
        state = StreamState(self._next, self._window(now), outbound=True)
        self._next += 2
        self.streams[state.id] = state
        self.unacknowledged += 1
        return state

    def accept(self) -> StreamState | None:
        """The oldest stream that the peer opened and nobody has taken; it is acknowledged now."""
        if not self.backlog:
            return None
        state = self.backlog.popleft()
        self._answer(WINDOW, ACK, state.id, 0)
        return state

    def introduce(self, state: StreamState) -> None:
        """Have the peer hear of ``state`` though nothing was written to it yet."""
        if not state.introduced and not state.broken:
            state.introduced = True
            self._answer(WINDOW, SYN, state.id, 0)

    def _window(self, now: float) -> ReceiveWindow:
        return ReceiveWindow(self._window_max, now, self._account.reserve)

    # --- reading and writing -----------------------------------------------------------------------

    def take(self, state: StreamState, most: int, now: float) -> list[memoryview]:
        """Up to ``most`` bytes that have come for ``state``; the peer is told of the room that this makes."""
        pieces = state.buffer.take(most)
        if self._knows(state):
            self._account.read(sum(map(len, pieces)))
            if not state.peer_finished:
                increment = state.receive.update(state.buffer.size, now, self.rtt_s)
                if increment:
                    self._answer(WINDOW, 0, state.id, increment)
        return pieces

    def records_of(self, state: StreamState, rope: Rope, most: int) -> list[bytes]:
        """Up to ``most`` records off ``rope``, as far as the peer's window goes, with all control bytes before them.

        Each is one frame and fits one Noise record.  Nothing is taken when there is no room.
        """
        records: list[bytes] = []
        before = b""
        if rope.size and state.send.room:
            self.introduce(state)
            before = self.take_control()
        while rope.size and state.send.room and len(records) < most:
            size = min(rope.size, state.send.room, PLAINTEXT_MAX - HEADER_BYTES - len(before))
            state.send.room -= size
            records.append(b"".join((before, header(DATA, 0, state.id, size), *rope.take(size))))
            before = b""
        return records

    def finish(self, state: StreamState, now: float) -> None:
        """End our half; all data must have left.  Of no effect on a stream that is over, or ended before."""
        if state.finished or state.broken:
            return
        self.introduce(state)
        state.finished, state.ended_at = True, now
        self._answer(WINDOW, FIN, state.id, 0)
        state.changed()
        self._forget_if_over(state)

    def reset(self, state: StreamState, reason: str) -> None:
        """Drop both halves now, and what came."""
        if self._knows(state) and state.introduced:
            self._answer(WINDOW, RST, state.id, 0)
        self._break(state, reason)

    def overdue(self, before: float) -> list[StreamState]:
        """Streams that we ended before then, and whose peer has not ended its half."""
        return [state for state in self.streams.values() if state.finished and state.ended_at < before]

    # --- the connection ----------------------------------------------------------------------------

    @property
    def rtt_s(self) -> float:
        """Seconds of a round trip, 0 while none has been measured."""
        return min(self._rtts, default=0.0)

    def ping(self, now: float) -> None:
        """Ask for a sign of life, which measures the round trip.  An older ping that was not answered is forgotten."""
        self._pings = (self._pings + 1) & U32_MAX
        self._ping = (self._pings, now)
        self._answer(PING, SYN, 0, self._pings)

    def go_away(self, reason: int) -> None:
        """Tell the peer that this is the end; ``reason`` is one of frames.GONE_*."""
        self._control += header(GO_AWAY, 0, 0, reason)

    @property
    def has_control(self) -> bool:
        return bool(self._control)

    def take_control(self) -> bytes:
        """All that has to leave besides data; it fits one record."""
        control = bytes(self._control)
        self._control.clear()
        return control

    def abandon(self, reason: str) -> None:
        """The connection is gone: break every stream, with no word to the peer."""
        for state in list(self.streams.values()):
            self._break(state, reason)
        self._account.close()
        self._control.clear()
        self.changed()

    def _answer(self, kind: int, flags: int, stream: int, length: int) -> None:
        if len(self._control) < YAMUX_CONTROL_BYTES.value:
            self._control += header(kind, flags, stream, length)
        else:
            self.stuck = True

    def _knows(self, state: StreamState) -> bool:
        """Whether it is in the books: a peer may use the number of a stream that is over again."""
        return self.streams.get(state.id) is state

    def _break(self, state: StreamState, reason: str) -> None:
        known = self._knows(state)
        unread = state.buffer.clear()
        state.broken = state.broken or reason
        if known:
            self._account.read(unread)
            self._forget(state)
        state.changed()

    def _forget_if_over(self, state: StreamState) -> None:
        if state.finished and state.peer_finished and self._knows(state):
            # From here on what is unread is its reader's alone, and is no longer counted.
            self._account.read(state.buffer.size)
            self._forget(state)

    def _forget(self, state: StreamState) -> None:
        del self.streams[state.id]
        self._account.release(state.receive.grown)
        if state.outbound:
            self._acknowledge(state)
            return
        self.inbound -= 1
        # Ended in order, a stream may still be taken and read; broken, there is nothing to take.
        if state.broken and state in self.backlog:
            self.backlog.remove(state)
