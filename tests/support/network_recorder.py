"""A NetworkEvents that writes everything down and notices every broken promise of the Network interface.

Begin with ``Node``: a network, its ``Recorder``, and shorthands that keep both in step.  A fault is collected and not
raised, because the network under test would swallow or die of it; ``Node.check`` raises them all.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from shoal.actors.transport.network import Connection, Network, PeerFacts
from shoal.messages.limits import READ_CREDIT

FRAME_MAX: Final = 4 * 1024 * 1024
"""What nodes serve and open with, unless a scenario says otherwise."""

Event = tuple[Any, ...]


class Recorder:
    """Events as tuples in ``log``; the first element is the event's name."""

    def __init__(self) -> None:
        self.log: list[Event] = []
        self.faults: list[str] = []
        self.admits = True
        self.inside: str | None = None  # the method of the network that is running
        self.stopped = False
        self.connections: dict[int, Connection] = {}
        self.gone: set[int] = set()
        self.facts: dict[str, PeerFacts] = {}
        self.streams: dict[int, str] = {}  # stream -> "open" or "closed"
        self.ended: dict[tuple[str, int], str] = {}  # ("dial" | "open" | "ping", ticket) -> how
        self.frames: dict[int, list[bytes]] = defaultdict(list)
        self.unsent: dict[int, deque[int]] = defaultdict(deque)  # sizes of frames not yet reported
        self.granted: dict[int, int] = defaultdict(int)
        self.read: dict[int, int] = defaultdict(int)
        self.largest: dict[int, int] = defaultdict(int)

    def named(self, name: str) -> list[Event]:
        """All events of one name."""
        return [event for event in self.log if event[0] == name]

    def fault(self, text: str) -> None:
        self.faults.append(text)

    def _enter(self, name: str, *arguments: Any) -> None:
        if self.inside is not None:
            self.fault(f"{name} was called from within {self.inside}")
        if self.stopped:
            self.fault(f"{name}{arguments} came after stop")
        self.log.append((name, *arguments))

    def _end(self, kind: str, ticket: int, how: str) -> None:
        if (kind, ticket) in self.ended:
            self.fault(f"{kind} {ticket} ended in {self.ended[kind, ticket]} and again in {how}")
        self.ended[kind, ticket] = how

    def _new_stream(self, stream: int) -> None:
        if stream in self.streams:
            self.fault(f"stream {stream} was told of twice")
        self.streams[stream] = "open"

    def _of_stream(self, name: str, stream: int) -> None:
        if self.streams.get(stream) != "open":
            self.fault(f"{name} names stream {stream}, which is {self.streams.get(stream, 'unknown')}")

    # --- NetworkEvents -----------------------------------------------------------------------------

    def admit(self, addr: str) -> bool:
        self._enter("admit", addr)
        return self.admits

    def connected(self, connection: Connection) -> None:
        self._enter("connected", connection)
        if connection.id in self.connections:
            self.fault(f"connection id {connection.id} was used twice")
        if "/p2p/" in connection.addr:
            self.fault(f"{connection.addr} ends in a peer id")
        self.connections[connection.id] = connection

    def disconnected(self, connection: Connection, reason: str) -> None:
        self._enter("disconnected", connection, reason)
        if connection.id not in self.connections or connection.id in self.gone:
            self.fault(f"connection {connection.id} ended twice, or was never up")
        self.gone.add(connection.id)

    def identified(self, peer: str, facts: PeerFacts) -> None:
        self._enter("identified", peer, facts)
        self.facts[peer] = facts

    def dialed(self, attempt: int, connection: Connection) -> None:
        before = self.log[-1] if self.log else ("nothing",)
        self._enter("dialed", attempt, connection)
        if before != ("connected", connection):
            self.fault(f"just before dialed came {before[0]}")
        self._end("dial", attempt, "dialed")

    def dial_failed(self, attempt: int, reason: str) -> None:
        self._enter("dial_failed", attempt, reason)
        self._end("dial", attempt, "dial_failed")

    def stream_opened(self, ticket: int, stream: int, peer: str, protocol: str) -> None:
        self._enter("stream_opened", ticket, stream, peer, protocol)
        self._end("open", ticket, "stream_opened")
        self._new_stream(stream)

    def stream_failed(self, ticket: int, reason: str) -> None:
        self._enter("stream_failed", ticket, reason)
        self._end("open", ticket, "stream_failed")

    def stream_accepted(self, stream: int, peer: str, protocol: str) -> None:
        self._enter("stream_accepted", stream, peer, protocol)
        self._new_stream(stream)

    def frame(self, stream: int, data: memoryview) -> None:
        self._enter("frame", stream, len(data))
        self._of_stream("frame", stream)
        if not isinstance(data, memoryview) or not data.readonly:
            self.fault("a frame is not a read-only view")
        if self.read[stream] >= READ_CREDIT.value + self.granted[stream]:
            self.fault(f"stream {stream} read {len(data)} bytes more with its credit used up")
        self.read[stream] += len(data)
        self.frames[stream].append(bytes(data))

    def frame_sent(self, stream: int, size: int) -> None:
        self._enter("frame_sent", stream, size)
        self._of_stream("frame_sent", stream)
        expected = self.unsent[stream].popleft() if self.unsent[stream] else None
        if expected != size:
            self.fault(f"frame_sent of {size} bytes, the oldest frame has {expected}")

    def stream_closed(self, stream: int, reason: str) -> None:
        self._enter("stream_closed", stream, reason)
        self._of_stream("stream_closed", stream)
        self.streams[stream] = "closed"

    def pong(self, ticket: int, rtt_s: float) -> None:
        self._enter("pong", ticket, rtt_s)
        self._end("ping", ticket, "pong")

    def ping_failed(self, ticket: int, reason: str) -> None:
        self._enter("ping_failed", ticket, reason)
        self._end("ping", ticket, "ping_failed")

    def remote_fault(self, peer: str, code: str, detail: str) -> None:
        self._enter("remote_fault", peer, code, detail)


class Node:
    """A network under test and its recorder.  Every call goes through ``call``, which is how re-entry is noticed."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.events = Recorder()
        self._tickets = 0

    @property
    def peer_id(self) -> str:
        return self.network.peer_id

    @contextmanager
    def _inside(self, name: str) -> Iterator[None]:
        before, self.events.inside = self.events.inside, name
        try:
            yield
        finally:
            self.events.inside = before

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of the network; an event from within it is a fault."""
        method: Callable[..., Any] = getattr(self.network, name)
        with self._inside(name):
            return method(*arguments, **options)

    def dial(self, other: "Node", timeout_s: float = 10.0, *, peer: str = "", addr: str = "") -> int:
        """Begin to dial another node; the attempt's number."""
        ticket = self._ticket()
        target = addr or other.network.listen_addrs()[0]
        self.call("dial", ticket, peer or other.peer_id, target, timeout_s)
        return ticket

    def open(self, peer: str, protocols: Sequence[str], timeout_s: float = 10.0, frame_max: int = FRAME_MAX) -> int:
        """Begin to open a stream; the ticket."""
        ticket = self._ticket()
        self.call("open_stream", ticket, peer, protocols, frame_max, timeout_s)
        return ticket

    def send(self, stream: int, *parts: bytes | memoryview, timeout_s: float = 30.0) -> None:
        """Send one frame made of ``parts``."""
        if self.events.streams.get(stream) == "open":
            self.events.unsent[stream].append(sum(map(len, parts)))
        self.call("send_frame", stream, parts, timeout_s)

    def grant(self, stream: int, size: int) -> None:
        self.events.granted[stream] += size
        self.call("grant", stream, size)

    def ping(self, peer: str, timeout_s: float = 10.0) -> int:
        ticket = self._ticket()
        self.call("ping", ticket, peer, timeout_s)
        return ticket

    def stop(self) -> None:
        self.call("stop")
        self.events.stopped = True

    def check(self) -> None:
        """Raise AssertionError when a promise was broken."""
        assert not self.events.faults, "\n".join(self.events.faults)

    # --- what has happened -------------------------------------------------------------------------

    def outcome(self, kind: str, ticket: int) -> str:
        """How a dial, an open or a ping ended; "" while it goes on."""
        return self.events.ended.get((kind, ticket), "")

    def opened(self, ticket: int) -> int:
        """The stream that an open led to."""
        return next(int(event[2]) for event in self.events.named("stream_opened") if event[1] == ticket)

    def accepted(self) -> list[int]:
        """The streams that peers opened, oldest first."""
        return [int(event[1]) for event in self.events.named("stream_accepted")]

    def closed_reason(self, stream: int) -> str | None:
        """Why a stream was closed; None while it is open."""
        return next((str(event[2]) for event in self.events.named("stream_closed") if event[1] == stream), None)

    def connection_to(self, peer: str) -> Connection | None:
        """A connection that is up."""
        known = self.events.connections.items()
        return next((c for number, c in known if c.peer == peer and number not in self.events.gone), None)

    def _ticket(self) -> int:
        self._tickets += 1
        return self._tickets
