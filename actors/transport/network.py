"""What the transport actor needs of a network, as two small interfaces.

``Network`` is the lower half: it listens, dials ONE address at a time, multiplexes streams and cuts them
into frames.  It decides nothing: which address to try next, whom to admit, whom to drop and when to give
up are questions for the pure cores beside this file.  Two implementations exist: ``runtime/network`` (py-libp2p
on trio, in the transport actor's own thread) and ``runtime/simulation`` (a virtual network, one thread).

``NetworkEvents`` is the upper half: the transport actor.  A Network calls it only on the actor's own
thread and never from within one of its own methods, so neither side needs a lock or fears re-entry.

Every method returns at once.  Work that takes time ends in exactly one event: ``dial`` in ``dialed`` or
``dial_failed``, ``open_stream`` in ``stream_opened`` or ``stream_failed``, ``send_frame`` in ``frame_sent`` or
in the stream's ``stream_closed``, ``ping`` in ``pong`` or ``ping_failed``.  After ``disconnected`` no event names
that connection again, and after ``stream_closed`` none names that stream.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec


class Connection(msgspec.Struct, frozen=True):
    """A connection that is up: secured, multiplexed, its peer id proven."""

    id: int  # unique for the life of the Network
    peer: str  # peer id, base58
    addr: str  # remote multiaddr without /p2p
    inbound: bool
    security: str  # "noise", "tls", "quic" or "simulated"


class PeerFacts(msgspec.Struct, frozen=True):
    """What identify told of a peer.  Bounded and cleaned: all of it is the peer's own claim."""

    agent: str
    protocols: tuple[str, ...]
    listen_addrs: tuple[str, ...]
    observed_addr: str  # how the peer sees us, "" when it did not say


class UserStream(Protocol):
    """A stream handed to a user's own protocol handler.  Deadlines are in seconds from the call."""

    protocol: str
    peer: str

    async def read(self, n: int = 65536, timeout: float | None = None) -> bytes:
        """1 to ``n`` bytes, or b"" at the end of the stream.  Raises RemoteError on reset or timeout."""

    async def read_exactly(self, n: int, timeout: float | None = None) -> bytes:
        """Exactly ``n`` bytes.  Raises RemoteError when the stream ends before."""

    async def write(self, data: bytes, timeout: float | None = None) -> None:
        """All of ``data``.  A write that times out resets the stream; it never leaves half a record behind."""

    async def close_write(self) -> None:
        """No more writes from us; reading goes on."""

    async def close(self) -> None:
        """Both directions closed, in order."""

    async def reset(self) -> None:
        """Both directions dropped at once."""


StreamHandler = Callable[[UserStream], Awaitable[Any]]


class NetworkEvents(Protocol):
    """The transport actor, as the network sees it."""

    def admit(self, addr: str) -> bool:
        """May a connection from this remote multiaddr go on to its handshake?  Called before any crypto."""

    def connected(self, connection: Connection) -> None: ...

    def disconnected(self, connection: Connection, reason: str) -> None: ...

    def identified(self, peer: str, facts: PeerFacts) -> None: ...

    def dialed(self, attempt: int, connection: Connection) -> None:
        """Attempt ``attempt`` reached its peer; ``connected`` has been called just before."""

    def dial_failed(self, attempt: int, reason: str) -> None: ...

    def stream_opened(self, ticket: int, stream: int, peer: str, protocol: str) -> None: ...

    def stream_failed(self, ticket: int, reason: str) -> None: ...

    def stream_accepted(self, stream: int, peer: str, protocol: str) -> None: ...

    def frame(self, stream: int, data: memoryview) -> None:
        """One whole frame, without its length prefix; read-only.  Costs ``len(data)`` of the reading credit."""

    def frame_sent(self, stream: int, size: int) -> None:
        """The oldest frame not yet reported, of ``size`` bytes, has been written to the connection."""

    def stream_closed(self, stream: int, reason: str) -> None:
        """The stream is gone.  ``reason`` is "" after an orderly end, else what broke."""

    def pong(self, ticket: int, rtt_s: float) -> None: ...

    def ping_failed(self, ticket: int, reason: str) -> None: ...

    def remote_fault(self, peer: str, code: str, detail: str) -> None:
        """A peer broke a rule (RemoteError.code); for the counters."""


class Network(Protocol):
    """A network that a transport actor can stand on."""

    peer_id: str

    def start(self, events: NetworkEvents, listen: Sequence[str]) -> None:
        """Begin.  ``listen`` are multiaddrs.  Raises LocalError when an address cannot be listened on."""

    def listen(self, addrs: Sequence[str]) -> None:
        """Listen on these too.  What cannot be listened on is logged, and changes nothing else."""

    def stop(self) -> None:
        """Close every connection and listener; events end."""

    def listen_addrs(self) -> tuple[str, ...]:
        """The multiaddrs that others can dial now: real ports, concrete addresses, without /p2p."""

    def dial(self, attempt: int, peer: str, addr: str, timeout_s: float) -> None:
        """Try one address.  The peer must prove that it is ``peer``."""

    def cancel_dial(self, attempt: int) -> None:
        """Give an attempt up.  It may still end in ``dialed``; otherwise it ends in ``dial_failed``."""

    def close_connection(self, connection: int) -> None: ...

    def serve_framed(self, protocol: str, frame_max: int) -> None:
        """Accept streams of ``protocol`` that carry varint-prefixed frames of up to ``frame_max`` bytes."""

    def unserve_framed(self, protocol: str) -> None:
        """Accept no more streams of ``protocol``; those that are open go on."""

    def open_stream(self, ticket: int, peer: str, protocols: Sequence[str], frame_max: int, timeout_s: float) -> None:
        """Open a framed stream; the first of ``protocols`` that the peer speaks is chosen."""

    def send_frame(self, stream: int, parts: Sequence[bytes | memoryview], timeout_s: float) -> None:
        """Queue one frame made of ``parts``.  Not written within ``timeout_s``: the stream is reset."""

    def grant(self, stream: int, size: int) -> None:
        """Let the stream read ``size`` more bytes of frames.  A stream starts with READ_CREDIT bytes."""

    def close_stream(self, stream: int, *, reset: bool) -> None: ...

    def ping(self, ticket: int, peer: str, timeout_s: float) -> None: ...

    def serve_user(self, protocol: str, handler: StreamHandler | None) -> None:
        """Hand streams of ``protocol`` to a user's coroutine, or stop (None).  A raise ends only its stream."""

    async def run_user(self, peer: str, protocol: str, handler: StreamHandler, timeout_s: float) -> Any:
        """Open a stream of ``protocol`` to a connected peer, run ``handler`` on it, give its result."""
