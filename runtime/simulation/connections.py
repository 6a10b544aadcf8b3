"""One end of a simulated connection: its streams, the streams being opened, pings and identify.

An end exists from the end of the handshake until ``lost``, the one way out, which tells the node's network of
everything that ended with it.  The other end is reached only by parcels over the lane.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shoal.actors.base import Timer
from shoal.actors.transport.network import Connection
from shoal.messages.limits import STREAMS_IN_PER_CONNECTION, STREAMS_OUT_PER_CONNECTION
from shoal.runtime.simulation.streams import CONTROL_BYTES, StreamEnd
from shoal.runtime.simulation.wires import Lane, Wire

if TYPE_CHECKING:
    from shoal.runtime.simulation.network import SimulatedNetwork

IDENTIFY_BYTES: Final = 600  # of a usual identify message
PING_BYTES: Final = 32  # libp2p ping spec
OPENINGS_MAX: Final = 1024  # openings that wait for a slot on one connection; each ends at its timeout


@dataclass(slots=True)
class Opening:
    """A stream being opened.  ``near`` is our end to be; of ``opened`` and ``failed`` one is called, once."""

    protocols: tuple[str, ...]
    near: StreamEnd
    opened: Callable[[StreamEnd], None]
    failed: Callable[[str], None]
    timer: Timer | None = None
    proposed: bool = False  # it counts among the streams that we opened
    over: bool = False
    far: StreamEnd | None = None  # the other end, once it has accepted


class ConnectionEnd:
    """One side of a wire that is up."""

    def __init__(self, network: SimulatedNetwork, wire: Wire, side: int, connection: Connection) -> None:
        self.network = network
        self.wire = wire
        self.side = side
        self.connection = connection
        self.lane: Lane = wire.lanes[side]
        self.up = True
        self.streams: dict[int, StreamEnd] = {}
        self._outbound = 0  # streams that we opened or are opening
        self._inbound = 0
        self._openings: dict[int, Opening] = {}
        self._waiting: deque[Opening] = deque()
        self._pings: dict[int, Timer] = {}
        wire.ends[side] = self

    @property
    def far(self) -> ConnectionEnd | None:
        """The other end, if it is up."""
        end = self.wire.ends[1 - self.side]
        return end if end is not None and end.up else None

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        return self.network.after(seconds, call)

    def to_far(self, size: int, call: Callable[[ConnectionEnd], None]) -> None:
        """Have ``call`` made with the other end when a control parcel gets there; never, if either is gone by then."""

        def arrive() -> None:
            far = self.far
            if far is not None:
                call(far)

        if self.up:
            self.lane.send(size, arrive)

    # --- identify and ping -------------------------------------------------------------------------

    def identify(self) -> None:
        """Tell the other side who we are."""
        facts = self.network.facts(self.connection)
        self.to_far(IDENTIFY_BYTES, lambda far: far.network.post("identified", far.connection.peer, facts))

    def ping(self, ticket: int, timeout_s: float) -> None:
        """One round trip; ends in ``pong`` or ``ping_failed``."""
        started = self.network.now()

        def back(_: ConnectionEnd) -> None:
            timer = self._pings.pop(ticket, None)
            if timer is not None:
                timer.cancel()
                self.network.post("pong", ticket, self.network.now() - started)

        def late() -> None:
            if self._pings.pop(ticket, None) is not None:
                self.network.post("ping_failed", ticket, f"no answer within {timeout_s:g} s")

        self._pings[ticket] = self.after(timeout_s, late)
        self.to_far(PING_BYTES, lambda far: far.to_far(PING_BYTES, back))

    # --- opening streams ---------------------------------------------------------------------------

    def open(self, opening: Opening, timeout_s: float) -> None:
        """Open a stream, now or when one of ours has gone."""
        opening.timer = self.after(timeout_s, lambda: self._give_up(opening, f"not open within {timeout_s:g} s"))
        self._openings[opening.near.id] = opening
        if len(self._waiting) >= OPENINGS_MAX:
            self._give_up(opening, "too many streams are waiting to be opened to this peer")
        elif self._outbound >= STREAMS_OUT_PER_CONNECTION.value:
            self._waiting.append(opening)
        else:
            self._propose(opening)

    def _propose(self, opening: Opening) -> None:
        self._outbound += 1
        opening.proposed = True
        self.to_far(CONTROL_BYTES, lambda far: far._proposed(opening))

    def _proposed(self, opening: Opening) -> None:
        """At the other side: choose the first protocol that is spoken here."""
        protocol = next((name for name in opening.protocols if self.network.speaks(name)), None)
        if protocol is None or self._inbound >= STREAMS_IN_PER_CONNECTION.value:
            reason = "the peer has too many streams" if protocol else "the peer speaks none of these protocols"
            self.to_far(CONTROL_BYTES, lambda near: near._give_up(opening, reason))
            return
        stream = self.network.accept(self, protocol)
        stream.remote = opening.near
        opening.far = stream
        self._inbound += 1
        self.streams[stream.id] = stream
        self.to_far(CONTROL_BYTES, lambda near: near._agreed(opening, stream))
        self.network.accepted(stream)

    def _agreed(self, opening: Opening, far: StreamEnd) -> None:
        """Back at our side: the stream is open, unless we gave it up meanwhile."""
        if opening.over:
            return
        self._settle(opening)
        near = opening.near
        near.protocol = far.protocol
        near.remote = far
        self.streams[near.id] = near
        opening.opened(near)

    def _give_up(self, opening: Opening, reason: str) -> None:
        if opening.over:
            return
        self._settle(opening)
        opening.near.closed = True
        if opening.proposed:
            self.to_far(CONTROL_BYTES, lambda _: withdraw(opening))
            self._outbound -= 1
            self._next_opening()
        else:
            self._waiting = deque(other for other in self._waiting if other is not opening)
        opening.failed(reason)

    def _settle(self, opening: Opening) -> None:
        opening.over = True
        self._openings.pop(opening.near.id, None)
        if opening.timer is not None:
            opening.timer.cancel()

    def _next_opening(self) -> None:
        while self._waiting and self.up and self._outbound < STREAMS_OUT_PER_CONNECTION.value:
            self._propose(self._waiting.popleft())

    def forget(self, stream: StreamEnd) -> None:
        """A stream of this connection is gone."""
        if self.streams.pop(stream.id, None) is None:
            return
        if stream.inbound:
            self._inbound -= 1
        else:
            self._outbound -= 1
            self._next_opening()

    # --- the end -----------------------------------------------------------------------------------

    def close(self, reason: str) -> None:
        """Close from our side; the other hears of it after all that has left already."""
        if self.up:
            self.lane.stop_sending()
            self.to_far(CONTROL_BYTES, lambda far: far.lost("closed by the peer"))
            self.lost(reason)

    def lost(self, reason: str) -> None:
        """This end is gone: everything on it ends, then ``disconnected`` is told."""
        if not self.up:
            return
        self.up = False
        for opening in list(self._openings.values()):
            self._settle(opening)
            opening.near.closed = True
            opening.failed(reason)
        self._waiting.clear()
        for ticket, timer in self._pings.items():
            timer.cancel()
            self.network.post("ping_failed", ticket, reason)
        self._pings.clear()
        for stream in list(self.streams.values()):
            stream.finish(reason)
        self.network.forget(self)
        self.network.post("disconnected", self.connection, reason)
        self.wire.close_if_unused()


def withdraw(opening: Opening) -> None:
    """At the other side: whoever opened this stream has given up waiting for it."""
    if opening.far is not None:
        opening.far.finish("given up by the peer")
