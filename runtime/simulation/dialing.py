"""Making simulated connections: one address, one attempt, one event.

Two round trips: TCP's, then the handshake's, of which the listener knows the dialler after one and a half.  The
listener's actor is asked to admit before the handshake, as in the real network.  A host that is not there is silent;
one that is there and does not listen refuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shoal.actors.base import Timer
from shoal.actors.transport.network import Connection
from shoal.messages.errors import LocalError
from shoal.runtime.simulation.connections import ConnectionEnd
from shoal.runtime.simulation.internet import parse_addr
from shoal.runtime.simulation.wires import Wire

if TYPE_CHECKING:
    from shoal.runtime.simulation.network import SimulatedNetwork

HANDSHAKE_BYTES: Final = 300  # of one Noise message with its key and signature
SECURITY: Final = "simulated"


@dataclass(slots=True)
class Attempt:
    """One attempt in progress."""

    number: int
    peer: str
    addr: str
    timer: Timer | None = None
    wire: Wire | None = None
    over: bool = False


class Dials:
    """The attempts of one network."""

    def __init__(self, network: SimulatedNetwork) -> None:
        self._network = network
        self._attempts: dict[int, Attempt] = {}

    def dial(self, number: int, peer: str, addr: str, timeout_s: float) -> None:
        """Begin; ends in ``dialed`` or ``dial_failed``."""
        if number in self._attempts:
            raise LocalError(f"attempt {number} is being made already")
        attempt = Attempt(number, peer, addr)
        self._attempts[number] = attempt
        network = self._network
        attempt.timer = network.after(timeout_s, lambda: self._fail(attempt, f"no answer within {timeout_s:g} s"))
        try:
            ip, _, _ = parse_addr(addr)
        except LocalError as fault:
            self._fail(attempt, fault.message)
            return
        host = network.internet.hosts.get(ip)
        if host is None or host.crashed:
            return  # nobody answers, nobody refuses: the timeout ends it
        if host is network.host:
            self._fail(attempt, "that is this host itself")
            return
        attempt.wire = wire = network.internet.make_wire(network.host, host)
        wire.lanes[0].send(HANDSHAKE_BYTES, lambda: self._knock(attempt, wire))

    def cancel(self, number: int) -> None:
        """Give up; an attempt that is over already is left alone."""
        attempt = self._attempts.get(number)
        if attempt is not None:
            self._fail(attempt, "given up")

    def stop(self) -> None:
        """Drop every attempt; no event."""
        for attempt in list(self._attempts.values()):
            self._fail(attempt, "stopped")

    # --- at the listener ---------------------------------------------------------------------------

    def _knock(self, attempt: Attempt, wire: Wire) -> None:
        network = self._network
        listener = network.internet.listeners.get(attempt.addr)
        origin = network.host.ephemeral_addr()
        back = wire.lanes[1]
        if listener is None:
            host = network.internet.hosts[wire.hosts[1]]
            if not host.crashed:
                back.send(HANDSHAKE_BYTES, lambda: self._fail(attempt, "connection refused"))
        elif not listener.admit(origin):
            back.send(HANDSHAKE_BYTES, lambda: self._fail(attempt, "closed before the handshake"))
        else:
            back.send(HANDSHAKE_BYTES, lambda: self._hello(attempt, wire, listener, origin))

    def _authenticated(self, attempt: Attempt, wire: Wire, listener: SimulatedNetwork, origin: str) -> None:
        if not listener.running:
            wire.lanes[1].send(HANDSHAKE_BYTES, lambda: self._fail(attempt, "closed during the handshake"))
            return
        connection = Connection(listener.number(), self._network.peer_id, origin, True, SECURITY)
        end = ConnectionEnd(listener, wire, 1, connection)
        wire.lanes[1].send(HANDSHAKE_BYTES, lambda: self._done(attempt, wire))
        listener.enter(end)

    # --- at the dialler ----------------------------------------------------------------------------

    def _hello(self, attempt: Attempt, wire: Wire, listener: SimulatedNetwork, origin: str) -> None:
        if attempt.over:
            return
        if listener.peer_id != attempt.peer:
            self._fail(attempt, f"the peer there is {listener.peer_id}")
            return
        wire.lanes[0].send(HANDSHAKE_BYTES, lambda: self._authenticated(attempt, wire, listener, origin))

    def _done(self, attempt: Attempt, wire: Wire) -> None:
        if attempt.over:
            return
        self._settle(attempt)
        network = self._network
        connection = Connection(network.number(), attempt.peer, attempt.addr, False, SECURITY)
        end = ConnectionEnd(network, wire, 0, connection)
        network.enter(end)
        network.post("dialed", attempt.number, connection)
        network.internet.established(wire)

    def _fail(self, attempt: Attempt, reason: str) -> None:
        if attempt.over:
            return
        self._settle(attempt)
        self._network.post("dial_failed", attempt.number, reason)
        wire = attempt.wire
        if wire is None:
            return
        listener_end = wire.ends[1]
        if listener_end is None or not listener_end.up:
            wire.close()
        else:  # the listener believes that the connection is up

            def hang_up() -> None:
                listener_end.lost("closed by the peer")
                wire.close()

            wire.lanes[0].send(HANDSHAKE_BYTES, hang_up)

    def _settle(self, attempt: Attempt) -> None:
        attempt.over = True
        self._attempts.pop(attempt.number, None)
        if attempt.timer is not None:
            attempt.timer.cancel()
