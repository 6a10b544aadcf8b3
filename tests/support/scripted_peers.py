"""A Network whose peers do as a script says: the transport actor stands on it in a real machine, and no socket exists.

Not the simulated internet (``runtime/simulation``), where the peers are nodes: here a peer is a name, and connects,
speaks and vanishes when the script says so.  Begin with ``ScriptedPeers``: its first half is the Network that the
node sees, its second what a ``Script`` does with it.  All of it runs on the transport actor's own thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from shoal.actors.base import Context
from shoal.actors.transport.network import Connection, NetworkEvents, PeerFacts, StreamHandler

PEER_ID: Final = "12D3KooWScriptedNodeScriptedNodeScriptedNodeScripte"


class Script(Protocol):
    """Who plays the peers."""

    def serving(self, network: ScriptedPeers, protocol: str) -> None:
        """The node takes streams of ``protocol`` from now on."""

    def granted(self, peer: str, size: int) -> None:
        """The node has dealt with ``size`` bytes of frames that ``peer`` sent."""

    def heard(self, peer: str, frame: bytes) -> None:
        """The node has sent ``peer`` a frame."""


class ScriptedPeers:
    """Peers by name, their streams by number.  A stream that the node opens is taken, in its first protocol."""

    def __init__(self, ctx: Context, script: Script) -> None:
        self.peer_id = PEER_ID
        self._ctx = ctx
        self._script = script
        self._events: NetworkEvents | None = None
        self._connections: dict[str, Connection] = {}
        self._streams: dict[int, str] = {}  # stream -> peer
        self._next = 0

    # --- the Network that the transport actor stands on -------------------------------------------

    def start(self, events: NetworkEvents, listen: Sequence[str]) -> None:
        self._events = events

    def stop(self) -> None:
        self._events = None

    def listen_addrs(self) -> tuple[str, ...]:
        return ()

    def dial(self, attempt: int, peer: str, addr: str, timeout_s: float) -> None:
        self._event(lambda events: events.dial_failed(attempt, "nobody can be dialled in this script"))

    def cancel_dial(self, attempt: int) -> None:
        """Every dial has failed already."""

    def close_connection(self, connection: int) -> None:
        for peer, row in list(self._connections.items()):
            if row.id == connection:
                self.vanish(peer, "closed by the node")

    def serve_framed(self, protocol: str, frame_max: int) -> None:
        self._later(lambda: self._script.serving(self, protocol))

    def open_stream(self, ticket: int, peer: str, protocols: Sequence[str], frame_max: int, timeout_s: float) -> None:
        def open_it(events: NetworkEvents) -> None:
            if peer in self._connections:
                events.stream_opened(ticket, self._new_stream(peer), peer, protocols[0])
            else:
                events.stream_failed(ticket, "the peer has gone")

        self._event(open_it)

    def send_frame(self, stream: int, parts: Sequence[bytes | memoryview], timeout_s: float) -> None:
        frame = b"".join(parts)

        def sent(events: NetworkEvents) -> None:
            peer = self._streams.get(stream)
            if peer is not None:
                events.frame_sent(stream, len(frame))
                self._script.heard(peer, frame)

        self._event(sent)

    def grant(self, stream: int, size: int) -> None:
        peer = self._streams.get(stream)
        if peer is not None:
            self._later(lambda: self._script.granted(peer, size))

    def close_stream(self, stream: int, *, reset: bool) -> None:
        self._event(lambda events: self._lose(events, stream, "closed by the node"))

    def ping(self, ticket: int, peer: str, timeout_s: float) -> None:
        self._event(lambda events: events.pong(ticket, 0.001))

    def serve_user(self, protocol: str, handler: StreamHandler | None) -> None:
        raise NotImplementedError("scripted peers speak no users' protocols")

    async def run_user(self, peer: str, protocol: str, handler: StreamHandler, timeout_s: float) -> Any:
        raise NotImplementedError("scripted peers speak no users' protocols")

    # --- what a script's peers do -----------------------------------------------------------------

    def connect(self, peer: str, protocols: Sequence[str], addrs: Sequence[str]) -> None:
        """A peer connects, is admitted, and says by identify what it speaks and where it listens."""
        events = self._running()
        self._next += 1
        row = Connection(self._next, peer, f"/ip4/127.0.0.1/tcp/{1024 + self._next % 60000}", True, "scripted")
        if not events.admit(row.addr):
            return
        self._connections[peer] = row
        events.connected(row)
        if peer in self._connections:  # the node may close what is too much at once
            events.identified(peer, PeerFacts("scripted/1", tuple(protocols), tuple(addrs), ""))

    def connected(self, peer: str) -> bool:
        """Whether the peer is."""
        return peer in self._connections

    def open(self, peer: str, protocol: str) -> int:
        """The peer opens a stream to the node; its number."""
        stream = self._new_stream(peer)
        self._running().stream_accepted(stream, peer, protocol)
        return stream

    def say(self, stream: int, frame: bytes) -> None:
        """The peer sends a frame."""
        self._running().frame(stream, memoryview(frame))

    def vanish(self, peer: str, reason: str = "gone") -> None:
        """The peer's streams break, and its connection."""
        row = self._connections.pop(peer, None)
        if row is None:
            return
        events = self._running()
        for stream in [number for number, name in self._streams.items() if name == peer]:
            self._lose(events, stream, reason)
        events.disconnected(row, reason)

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Have ``call`` made in a while, unless the network has stopped."""
        self._ctx.after(seconds, lambda: call() if self._events is not None else None)

    # --- within -----------------------------------------------------------------------------------

    def _running(self) -> NetworkEvents:
        if self._events is None:
            raise RuntimeError("the network does not run")
        return self._events

    def _new_stream(self, peer: str) -> int:
        self._next += 1
        self._streams[self._next] = peer
        return self._next

    def _lose(self, events: NetworkEvents, stream: int, reason: str) -> None:
        if self._streams.pop(stream, None) is not None:
            events.stream_closed(stream, reason)

    def _later(self, call: Callable[[], None]) -> None:
        """Not within the node's own call: the contract of NetworkEvents."""
        self.after(0.0, call)

    def _event(self, tell: Callable[[NetworkEvents], None]) -> None:
        self._later(lambda: tell(self._running()))
