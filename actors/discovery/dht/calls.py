"""Requests to peers: dials where needed, keeps one stream a peer and DHT for several requests, ends every call.

A call ends in exactly one ``Outcome``.  On a stream one call is under way at a time, as others' servers expect it; the
rest wait in order.  A peer may end a stream between two calls, and a connection may have to make room for another: the
call that met the end is made again on a new stream, once.  A call that is long under way keeps its stream for itself
when others wait behind it: those get a new one.  Streams of ours without a call are closed after IDLE_S.

All is done through the context, so the same code runs in the simulation.  Not here: what is asked and why.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from shoal.actors.base import Context
from shoal.actors.discovery.dht import wire
from shoal.actors.discovery.dht.lines import Call, Line, OnEnd, Outcome
from shoal.messages import transport
from shoal.messages.base import Message
from shoal.messages.envelope import as_buffers
from shoal.messages.errors import RemoteError
from shoal.messages.limits import DHT_CALLS_MAX, DHT_DIALS_MAX, DHT_MESSAGE_MAX, DHT_STREAMS_IDLE
from shoal.messages.replies import Failed

CALL_TIMEOUT_S: Final = 10.0  # seconds for one call with its dial and stream (go-libp2p-kad-dht reads for 10 s)
IDLE_S: Final = 10.0  # seconds that a stream is kept without a call: a connection without streams is the first to go
OVERTAKEN_S: Final = 1.5  # seconds after which a call no longer holds up those behind it
FAIR_S: Final = 3.0  # seconds that a peer must have had to be reached before it is to blame for a call's end
SWEEP_S: Final = 5.0  # seconds between looks at idle streams


class Calls:
    """All lines.  ``on_fault`` hears of what peers answer against the rules: peer, stream, fault."""

    def __init__(self, ctx: Context, on_fault: Callable[[str, int, RemoteError], None]) -> None:
        self.ctx = ctx
        self.on_fault = on_fault
        self.connected: set[str] = set()
        self.lines: OrderedDict[tuple[str, str], Line] = OrderedDict()  # the least recently used first
        self.streams: dict[int, Line] = {}
        self.open = 0  # calls that have not ended
        self.dialling = 0
        self._to_dial: deque[Line] = deque()
        self._sweeping = False

    # --- asked ---------------------------------------------------------------------------------------------

    def call(
        self,
        peer: str,
        addrs: tuple[str, ...],
        protocol: str,
        message: wire.Message,
        on_end: OnEnd,
        *,
        answered: bool = True,
    ) -> None:
        """Send ``message`` to ``peer`` and have ``on_end`` called once, later.  ``answered``: it has an answer."""
        if self.open >= DHT_CALLS_MAX.value:
            full = Outcome(failure=f"{DHT_CALLS_MAX.value} requests are under way", ours=True)
            self.ctx.after(0.0, lambda: on_end(full))
            return
        self.open += 1
        key = (peer, protocol)
        line = self.lines.get(key)
        if line is None:
            line = self.lines[key] = Line(peer, protocol)
        self.lines.move_to_end(key)
        line.addrs = addrs or line.addrs
        call = Call(wire.encode(message), message.kind, answered, on_end)
        call.timer = self.ctx.after(CALL_TIMEOUT_S, lambda: self._late(line, call))
        line.waiting.append(call)
        self._advance(line)

    def is_asking(self, peer: str, protocol: str) -> bool:
        """Whether a call to ``peer`` is under way or waits."""
        line = self.lines.get((peer, protocol))
        return line is not None and (line.call is not None or bool(line.waiting))

    # --- told by the transport -------------------------------------------------------------------------------

    def frame(self, stream: int, data: memoryview) -> bool:
        """A frame came; False: it is of no stream of ours."""
        line = self.streams.get(stream)
        if line is None:
            return False
        call = line.call
        if call is None or not call.answered:
            self._fault(line, RemoteError("an answer that nobody waits for", "unasked"))
            return True
        try:
            message = wire.decode(data)
            if message.kind is not call.kind:
                raise RemoteError(f"{message.kind.name} in answer to {call.kind.name}", "kind")
        except RemoteError as fault:
            self._fault(line, fault)
            return True
        self._end_current(line, Outcome(message))
        return True

    def frame_sent(self, stream: int, size: int) -> bool:
        """``size`` bytes were written; False: to no stream of ours."""
        line = self.streams.get(stream)
        if line is None:
            return False
        line.written += size
        call = line.call
        if call is not None and not call.answered and line.written >= call.ends_at:
            self._end_current(line, Outcome())
        return True

    def stream_closed(self, stream: int, reason: str) -> bool:
        """A stream is gone; False: it is none of ours."""
        line = self.streams.pop(stream, None)
        if line is None:
            return False
        self._lose_stream(line, reason or "the peer ended the stream")
        return True

    def disconnected(self, peer: str) -> None:
        """The peer's last connection is gone, and with it its streams."""
        self.connected.discard(peer)
        for stream, line in [(stream, line) for stream, line in self.streams.items() if line.peer == peer]:
            del self.streams[stream]
            self._lose_stream(line, "the connection is gone")

    def begin_anew(self) -> None:
        """No stream is left, and who is connected will be told again; whoever waits hears that it was our doing."""
        self.connected.clear()
        lines = {id(line): line for line in (*self.lines.values(), *self.streams.values())}
        self.streams.clear()
        self.lines.clear()
        for line in lines.values():
            self._fail_all(line, "the streams were reset", ours=True)

    # --- within ------------------------------------------------------------------------------------------

    def _advance(self, line: Line) -> None:
        """The next call, when nothing stands in its way."""
        if line.call is not None and line.waiting:
            self._overtake_later(line)
        if line.call is not None or line.busy:
            return
        if not line.waiting:
            line.idle_since = self.ctx.now()
            self._sweep_soon()
            if line.stream and not self._is_current(line):  # one that was overtaken: nobody needs it again
                self._close(line, reset=False)
        elif line.stream:
            self._send(line)
        elif line.peer in self.connected:
            self._open(line)
        else:
            self._dial(line)

    def _dial(self, line: Line) -> None:
        """Dial when fewer than DHT_DIALS_MAX are being dialled: the transport has a bound too, for all actors."""
        line.busy, line.tried = True, math.inf
        self._to_dial.append(line)
        self._dial_next()

    def _dial_next(self) -> None:
        while self._to_dial and self.dialling < DHT_DIALS_MAX.value:
            line = self._to_dial.popleft()
            if line.waiting and self._is_current(line):
                self.dialling += 1
                self._dial_now(line)
            else:
                line.busy = False

    def _dial_now(self, line: Line) -> None:
        def answered(reply: Message) -> None:
            line.busy = False
            self.dialling -= 1
            self._dial_next()
            if not self._is_current(line):
                return
            if isinstance(reply, transport.Dialed):
                self._open(line)
            else:
                self._fail_all(line, *_why(reply))

        line.tried = self.ctx.now()
        dial = transport.Dial(line.peer, line.addrs)
        self.ctx.request(dial, answered, deadline=math.inf, timeout_s=CALL_TIMEOUT_S)

    def _open(self, line: Line) -> None:
        def answered(reply: Message) -> None:
            line.busy = False
            if not self._is_current(line):
                if isinstance(reply, transport.StreamOpened):
                    self.ctx.send(transport.CloseStream(reply.stream, reset=True), deadline=math.inf)
                return
            if isinstance(reply, transport.StreamOpened):
                line.stream, line.queued, line.written = reply.stream, 0, 0
                self.streams[reply.stream] = line
                self._advance(line)
            else:
                reason, ours = _why(reply)
                self._fail_all(line, reason, ours or line.peer not in self.connected)

        line.busy, line.tried = True, min(line.tried, self.ctx.now())
        opening = transport.OpenStream(line.peer, (line.protocol,), DHT_MESSAGE_MAX.value)
        self.ctx.request(opening, answered, deadline=math.inf, timeout_s=CALL_TIMEOUT_S)

    def _send(self, line: Line) -> None:
        call = line.call = line.waiting.popleft()
        call.sent = self.ctx.now()
        line.queued += len(call.payload)
        call.ends_at = line.queued
        self.ctx.send(transport.SendFrame(line.stream, as_buffers((call.payload,))), deadline=math.inf)

    def _overtake_later(self, line: Line) -> None:
        if line.overtaking or line.call is None:
            return
        line.overtaking = True
        left = line.call.sent + OVERTAKEN_S - self.ctx.now()
        self.ctx.after(max(0.0, left), lambda: self._overtake(line))

    def _overtake(self, line: Line) -> None:
        """Let the call that holds others up go on alone, on its stream."""
        line.overtaking = False
        call = line.call
        if call is None or not line.waiting or not self._is_current(line):
            return
        if self.ctx.now() - call.sent < OVERTAKEN_S:
            self._overtake_later(line)
            return
        call.again = True
        alone = Line(line.peer, line.protocol, line.addrs, line.stream, queued=line.queued, written=line.written)
        alone.call, line.call = call, None
        self.streams[line.stream] = alone
        line.stream = 0
        self._advance(line)

    def _lose_stream(self, line: Line, reason: str) -> None:
        """The stream went; the call on it is made again, once, on a new one: the fault may be that of the old."""
        call = line.call
        line.stream, line.call = 0, None
        if call is not None and not call.again:
            call.again = True
            line.waiting.appendleft(call)
        elif call is not None:
            self._end(call, Outcome(failure=reason))
        self._advance(line)

    def _fault(self, line: Line, fault: RemoteError) -> None:
        """The peer broke a rule: its stream goes (the transport resets it), and the call has failed."""
        stream, call = line.stream, line.call
        self.streams.pop(stream, None)
        line.stream, line.call = 0, None
        self.on_fault(line.peer, stream, fault)
        if call is not None:
            self._end(call, Outcome(failure=str(fault)))
        self._advance(line)

    def _late(self, line: Line, call: Call) -> None:
        """Its time is over.  A stream on which an answer is outstanding cannot be used for the next call."""
        call.timer = None
        if call in line.waiting:
            line.waiting.remove(call)
        else:  # it is on the line's stream, or alone on one of its own
            line = next((one for one in self.streams.values() if one.call is call), line)
            if line.call is not call:
                return
            line.call = None
            self._close(line, reset=True)
        ours = line.busy and self.ctx.now() - line.tried < FAIR_S
        self._end(call, Outcome(failure="no answer in time", ours=ours))
        self._advance(line)

    def _close(self, line: Line, *, reset: bool) -> None:
        self.streams.pop(line.stream, None)
        self.ctx.send(transport.CloseStream(line.stream, reset=reset), deadline=math.inf)
        line.stream = 0

    def _end_current(self, line: Line, outcome: Outcome) -> None:
        call, line.call = line.call, None
        if call is not None:
            self._end(call, outcome)
        self._advance(line)

    def _fail_all(self, line: Line, reason: str, ours: bool) -> None:
        calls = [*([line.call] if line.call else []), *line.waiting]
        line.call = None
        line.waiting.clear()
        for call in calls:
            self._end(call, Outcome(failure=reason, ours=ours))
        self._advance(line)

    def _end(self, call: Call, outcome: Outcome) -> None:
        if call.timer is not None:
            call.timer.cancel()
        self.open -= 1
        call.on_end(outcome)

    def _is_current(self, line: Line) -> bool:
        """Whether the line is in use; one that was given up may still hear of what it had asked for."""
        return self.lines.get((line.peer, line.protocol)) is line

    # --- streams that nobody needs -----------------------------------------------------------------------

    def _sweep_soon(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            self.ctx.after(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = False
        now = self.ctx.now()
        idle = [line for line in self.lines.values() if not (line.busy or line.call or line.waiting)]
        surplus = sum(line.stream > 0 for line in idle) - DHT_STREAMS_IDLE.value
        for line in idle:
            if line.stream and surplus <= 0 and now - line.idle_since < IDLE_S:
                continue
            if line.stream:
                surplus -= 1
                self._close(line, reset=False)
            del self.lines[(line.peer, line.protocol)]
        if self.lines:
            self._sweep_soon()


def _why(reply: Message) -> tuple[str, bool]:
    """What a reply other than the wanted one says, and whether it is no fault of the peer's."""
    if isinstance(reply, Failed):
        return reply.reason, reply.error == "Unavailable"
    return type(reply).__name__, True
