"""The simulated ``Network``: the in-memory twin of the real one, for many nodes in one thread on a virtual clock.

Begin with ``actors/transport/network.py``, whose promises this keeps; ``internet.py`` is the world that it lives in.
``dialing.py`` makes connections, ``connections.py`` and ``streams.py`` are what they consist of.

Every event passes through this network's queue, in the order in which things happened, and is delivered from the
scheduler: never from within a method that the actor calls, and never after ``stop`` or a crash.  Since nothing is
queued for a stream or a connection after its end, "exactly one event" and "no event after the last" follow.

What differs from the real network: a peer is who it says it is (no keys, no crypto), identify arrives one latency
after the connection, users' handlers run on the scheduler and may await nothing but their stream (``user.py``).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from shoal.actors.base import Timer
from shoal.actors.transport.network import Connection, Network, NetworkEvents, PeerFacts, StreamHandler
from shoal.messages.errors import BadInput, LocalError
from shoal.messages.transport import CLOSED_BY_US
from shoal.runtime.simulation.connections import ConnectionEnd, Opening
from shoal.runtime.simulation.dialing import Dials
from shoal.runtime.simulation.internet import FIRST_PORT, SimulatedHost, SimulatedInternet, parse_addr
from shoal.runtime.simulation.streams import RESET_BY_US, FramedEnd, StreamEnd
from shoal.runtime.simulation.user import Task, UserEnd, open_user, serve

log = logging.getLogger(__name__)

WILDCARD_IP = "0.0.0.0"


Around = Callable[[NetworkEvents], NetworkEvents]
"""What is put around the actor that is told of events: ``SimWorld.on_actor``, so that a raise ends only the actor."""


def bare(events: NetworkEvents) -> NetworkEvents:
    """Nothing around it: what the actor raises comes out of the scheduler."""
    return events


class SimulatedNetwork(Network):
    """One node's network, from ``start`` to ``stop``.  A restarted node gets a new one on the same host."""

    def __init__(self, internet: SimulatedInternet, host: SimulatedHost, *, around: Around = bare) -> None:
        self.internet = internet
        self.host = host
        self.peer_id = host.peer_id
        self.running = False
        self._around = around
        self._events: NetworkEvents | None = None
        self._queue: deque[tuple[str, tuple[Any, ...]]] = deque()
        self._delivery: Timer | None = None
        self._listen: tuple[str, ...] = ()
        self._dials = Dials(self)
        self._ends: dict[int, ConnectionEnd] = {}
        self._by_peer: dict[str, list[ConnectionEnd]] = {}
        self._framed: dict[str, int] = {}  # protocol -> largest frame
        self._user: dict[str, StreamHandler] = {}
        self._streams: dict[int, FramedEnd] = {}
        self._next = 0

    # --- life --------------------------------------------------------------------------------------

    def start(self, events: NetworkEvents, listen: Sequence[str]) -> None:
        if self.host.network is not None:
            raise LocalError(f"a network is running on {self.host.ip} already", "stop it first")
        addrs: list[str] = []
        for wanted in listen:
            addrs.append(self._listen_addr(wanted, addrs))
        self.host.crashed = False
        self.host.network = self
        self._listen = tuple(addrs)
        self._events = self._around(events)
        self.running = True
        for addr in addrs:
            self.internet.listeners[addr] = self

    def listen(self, addrs: Sequence[str]) -> None:
        for wanted in addrs:
            try:
                addr = self._listen_addr(wanted, list(self._listen))
            except LocalError as fault:
                log.error("%s", fault)
                continue
            self._listen = (*self._listen, addr)
            self.internet.listeners[addr] = self
        self._identify_anew()

    def stop(self) -> None:
        if self.running:
            self.unplug()
            self._dials.stop()
            for end in list(self._ends.values()):
                end.close("stopped")

    def unplug(self) -> None:
        """No event from now on; nobody can dial us."""
        self.running = False
        self._events = None
        self._queue.clear()
        if self._delivery is not None:
            self._delivery.cancel()
        if self.host.network is self:
            self.host.network = None
        for addr in self._listen:
            self.internet.listeners.pop(addr, None)
        self._listen = ()

    def listen_addrs(self) -> tuple[str, ...]:
        return self._listen

    def _listen_addr(self, wanted: str, taken: list[str]) -> str:
        ip, transport, port = parse_addr(wanted)
        if ip not in (WILDCARD_IP, self.host.ip):
            raise LocalError(f"cannot listen on {wanted}: this host is {self.host.ip}", f"use /ip4/{WILDCARD_IP}/tcp/0")
        tail = "/quic-v1" if transport == "udp" else ""
        for choice in [port] if port else range(FIRST_PORT, FIRST_PORT + len(taken) + 1):
            addr = f"/ip4/{self.host.ip}/{transport}/{choice}{tail}"
            if addr not in taken:
                return addr
        raise LocalError(f"cannot listen on {wanted}: it is in use", "choose another port, or 0 for a free one")

    # --- connections -------------------------------------------------------------------------------

    def dial(self, attempt: int, peer: str, addr: str, timeout_s: float) -> None:
        self._dials.dial(attempt, peer, addr, timeout_s)

    def cancel_dial(self, attempt: int) -> None:
        self._dials.cancel(attempt)

    def close_connection(self, connection: int) -> None:
        end = self._ends.get(connection)
        if end is not None:
            end.close(CLOSED_BY_US)

    def admit(self, addr: str) -> bool:
        """Ask the actor; called from the scheduler only."""
        return self._events is not None and bool(self._events.admit(addr))

    def enter(self, end: ConnectionEnd) -> None:
        """A connection is up."""
        self._ends[end.connection.id] = end
        self._by_peer.setdefault(end.connection.peer, []).append(end)
        self.post("connected", end.connection)
        end.identify()

    def forget(self, end: ConnectionEnd) -> None:
        """A connection has ended."""
        if self._ends.pop(end.connection.id, None) is not None:
            ends = self._by_peer[end.connection.peer]
            ends.remove(end)
            if not ends:
                del self._by_peer[end.connection.peer]

    def facts(self, connection: Connection) -> PeerFacts:
        """What identify tells the peer of ``connection``."""
        protocols = tuple(sorted({*self._framed, *self._user}))
        return PeerFacts(self.internet.config.agent, protocols, self._listen, connection.addr)

    def ping(self, ticket: int, peer: str, timeout_s: float) -> None:
        end = self._end_to(peer)
        if end is None:
            self.post("ping_failed", ticket, f"not connected to {peer}")
        else:
            end.ping(ticket, timeout_s)

    def _end_to(self, peer: str) -> ConnectionEnd | None:
        return next(iter(self._by_peer.get(peer, ())), None)

    # --- framed streams ----------------------------------------------------------------------------

    def serve_framed(self, protocol: str, frame_max: int) -> None:
        self._framed[protocol] = frame_max
        self._identify_anew()

    def unserve_framed(self, protocol: str) -> None:
        self._framed.pop(protocol, None)
        self._identify_anew()

    def open_stream(self, ticket: int, peer: str, protocols: Sequence[str], frame_max: int, timeout_s: float) -> None:
        end = self._end_to(peer)
        if end is None:
            self.post("stream_failed", ticket, f"not connected to {peer}")
            return
        near = FramedEnd(end, self.number(), "", frame_max, inbound=False)

        def opened(stream: StreamEnd) -> None:
            self._streams[near.id] = near
            self.post("stream_opened", ticket, stream.id, stream.peer, stream.protocol)

        def failed(reason: str) -> None:
            self.post("stream_failed", ticket, reason)

        end.open(Opening(tuple(protocols), near, opened, failed), timeout_s)

    def send_frame(self, stream: int, parts: Sequence[bytes | memoryview], timeout_s: float) -> None:
        end = self._streams.get(stream)
        if end is not None:
            end.send_frame(b"".join(parts), timeout_s)

    def grant(self, stream: int, size: int) -> None:
        end = self._streams.get(stream)
        if end is not None:
            end.grant(size)

    def close_stream(self, stream: int, *, reset: bool) -> None:
        end = self._streams.get(stream)
        if end is None:
            return
        if reset:
            end.abort(RESET_BY_US)
        else:
            end.send_end()

    def speaks(self, protocol: str) -> bool:
        """Whether a stream of ``protocol`` is accepted here."""
        return self.running and (protocol in self._framed or protocol in self._user)

    def accept(self, end: ConnectionEnd, protocol: str) -> StreamEnd:
        """Our end of a stream that the peer opens."""
        if protocol in self._framed:
            return FramedEnd(end, self.number(), protocol, self._framed[protocol], inbound=True)
        return UserEnd(end, self.number(), protocol, inbound=True)

    def accepted(self, stream: StreamEnd) -> None:
        """Tell of a stream that the peer has opened, or start the handler."""
        if isinstance(stream, FramedEnd):
            self._streams[stream.id] = stream
            self.post("stream_accepted", stream.id, stream.peer, stream.protocol)
        elif isinstance(stream, UserEnd):
            Task(self.internet.scheduler, serve(stream, self._user[stream.protocol]))

    def stream_gone(self, stream: int) -> None:
        """A framed stream has ended."""
        self._streams.pop(stream, None)

    # --- users' streams ----------------------------------------------------------------------------

    def serve_user(self, protocol: str, handler: StreamHandler | None) -> None:
        if protocol in self._framed:
            raise BadInput(f"{protocol} is spoken by the node itself", "choose a protocol id of your own")
        if handler is None:
            self._user.pop(protocol, None)
        else:
            self._user[protocol] = handler
        self._identify_anew()

    async def run_user(self, peer: str, protocol: str, handler: StreamHandler, timeout_s: float) -> Any:
        return await open_user(self._end_to(peer), self.number(), peer, protocol, handler, timeout_s)

    # --- for the modules beside --------------------------------------------------------------------

    def now(self) -> float:
        return self.internet.scheduler.now()

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        return self.internet.scheduler.after(seconds, call)

    def number(self) -> int:
        """A number that this network has not used for a connection or a stream yet."""
        self._next += 1
        return self._next

    def post(self, name: str, *arguments: Any) -> None:
        """Queue the event ``name`` of NetworkEvents."""
        if self.running:
            self._queue.append((name, arguments))
            self._schedule()

    def _schedule(self) -> None:
        if self._delivery is None and self._queue:
            self._delivery = self.after(0.0, self._deliver)

    def _deliver(self) -> None:
        """What is queued now; what comes of it waits for the next turn, so that others have theirs."""
        self._delivery = None
        try:
            for _ in range(len(self._queue)):
                if self._events is None or not self._queue:
                    return
                name, arguments = self._queue.popleft()
                getattr(self._events, name)(*arguments)
        finally:
            self._schedule()

    def _identify_anew(self) -> None:
        """Identify push: peers that are connected learn of our protocols as they change."""
        for end in list(self._ends.values()):
            end.identify()
