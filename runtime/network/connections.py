"""The table of live connections: their ids, their end, and peers that went silent.

``Connections.adopt`` is the one way in, whoever opened the connection.  A ``Link`` is one row.  When a connection
ends, by whatever cause, its streams are ended first, then ``disconnected`` is called, once.

Not here: opening connections (``dialing``, ``listening``) and streams (``streams``).
"""

import itertools
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import trio
from libp2p.abc import IMuxedConn
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.rcmgr import Direction
from libp2p.transport.quic.connection import QUICConnection

from shoal.actors.transport.network import Connection
from shoal.messages.errors import RemoteError
from shoal.messages.limits import STREAMS_OUT_PER_CONNECTION
from shoal.runtime.network.quic import quic_addr
from shoal.runtime.network.state import State
from shoal.runtime.network.wire import guard_of

log = logging.getLogger(__name__)


class Ending(Protocol):
    """A stream, as its connection sees it."""

    def connection_ended(self, reason: str) -> None: ...

    def close(self) -> None: ...


class Link:
    """One live connection.  ``row`` is what the transport actor sees of it."""

    def __init__(self, row: Connection, conn: SwarmConn) -> None:
        self.row = row
        self.conn = conn
        self.guard = guard_of(conn.muxed_conn)
        self._answered_at = trio.current_time()
        # Streams that the actor and users opened; py-libp2p's own semaphore blocks for ever at 256.
        self.slots = trio.Semaphore(STREAMS_OUT_PER_CONNECTION.value)
        self.inbound = 0  # streams of the peer that are open
        self.held = 0  # bytes of frames that have begun to arrive
        self.streams: dict[int, Ending] = {}
        self.half_closed: list[Ending] = []  # ended by the peer, kept a moment for our reply; oldest first
        self.closing = ""  # why we are closing it
        self.speaks: set[str] = set()  # the protocols that the peer said it knows
        self.alive = True
        self._scopes: set[trio.CancelScope] = set()

    @property
    def quic(self) -> bool:
        return self.row.security == "quic"

    @property
    def heard_at(self) -> float:
        """When the last byte came; over QUIC, which does not tell, when the last probe was answered."""
        return self.guard.heard_at if self.guard else self._answered_at

    def answered(self) -> None:
        """The peer has answered a probe."""
        self._answered_at = trio.current_time()

    def abort(self, reason: str) -> None:
        """Drop the connection at its socket, if it has one of its own."""
        self.closing = self.closing or reason
        if self.guard is not None:
            self.guard.abort(reason)

    @contextmanager
    def scope(self) -> Iterator[trio.CancelScope]:
        """Whatever runs within is cancelled when the connection ends."""
        with trio.CancelScope() as scope:
            if not self.alive:
                scope.cancel()
            self._scopes.add(scope)
            try:
                yield scope
            finally:
                self._scopes.discard(scope)

    def end(self) -> str:
        """Mark the end, end what runs on the connection, and say why it ended."""
        self.alive = False
        reason = self.closing or (self.guard.fault if self.guard else "") or "closed by the peer"
        for stream in list(self.streams.values()):
            stream.connection_ended(f"connection ended: {reason}")
        for scope in list(self._scopes):
            scope.cancel()
        return reason


class Connections:
    """All live connections.  ``greet`` is run on each new one, ``part`` when it has ended."""

    def __init__(self, state: State, greet: Callable[[Link], Awaitable[None]], part: Callable[[Link], None]) -> None:
        self._state = state
        self._greet = greet
        self._part = part
        self._ids = itertools.count(1)
        self._by_id: dict[int, Link] = {}
        self._by_peer: dict[str, list[Link]] = {}
        self._by_conn: dict[SwarmConn, Link] = {}
        # What to call right after `connected` for a connection that is being dialled.
        self.dialling: dict[IMuxedConn, Callable[[Link], None]] = {}

    def __iter__(self) -> Iterator[Link]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def adopt(self, conn: SwarmConn) -> Link:
        """The row of ``conn``; made, and ``connected`` called, when it is new.  Called from tasks only."""
        link = self._by_conn.get(conn)
        if link is not None:
            return link
        link = Link(self._describe(conn), conn)
        self._by_conn[conn] = self._by_id[link.row.id] = link
        self._by_peer.setdefault(link.row.peer, []).append(link)
        self._state.spawn(self._watch, link)
        self._state.events.connected(link.row)
        dialled = self.dialling.pop(conn.muxed_conn, None)
        if dialled is not None:
            dialled(link)
        return link

    def _describe(self, conn: SwarmConn) -> Connection:
        muxed = conn.muxed_conn
        guard = guard_of(muxed)
        if isinstance(muxed, QUICConnection):
            security, addr = "quic", quic_addr(muxed.get_remote_address())
        else:
            security = "tls" if "tls" in (conn.get_negotiated_security_protocol() or "") else "noise"
            addr = guard.addr if guard else next(map(str, conn.get_transport_addresses()), "")
        inbound = conn.direction == Direction.INBOUND
        return Connection(next(self._ids), muxed.peer_id.to_base58(), addr, inbound, security)

    def get(self, connection: int) -> Link | None:
        return self._by_id.get(connection)

    def best(self, peer: str) -> Link | None:
        """The connection to use for a new stream: TCP before QUIC, then the oldest."""
        links = [link for link in self._by_peer.get(peer, ()) if link.alive and not link.closing]
        return min(links, key=lambda link: (link.quic, link.row.id), default=None)

    def to_peer(self, peer: str) -> list[Link]:
        return list(self._by_peer.get(peer, ()))

    async def _watch(self, link: Link) -> None:
        self._state.spawn(self._greet, link)
        await link.conn.event_closed.wait()
        self._forget(link)

    def _forget(self, link: Link) -> None:
        reason = link.end()
        self._part(link)
        del self._by_conn[link.conn], self._by_id[link.row.id]
        rest = self._by_peer[link.row.peer]
        rest.remove(link)
        if not rest:
            del self._by_peer[link.row.peer]
        fault = getattr(link.conn.muxed_conn, "fault", None)
        if isinstance(fault, RemoteError):
            self._state.events.remote_fault(link.row.peer, fault.code, str(fault))
        elif link.guard is not None and "windows" in link.guard.fault:
            self._state.events.remote_fault(link.row.peer, "flow-control", link.guard.fault)
        self._state.events.disconnected(link.row, reason)

    async def close(self, link: Link, reason: str) -> None:
        """Close politely within ``close_grace_s``, then at the socket.  Safe to call again."""
        link.closing = link.closing or reason
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._lose_patience, link)
                try:
                    await link.conn.close()
                except Exception as fault:  # it is going away, whatever its layers say to that
                    log.debug("closing connection %d: %r", link.row.id, fault)
                nursery.cancel_scope.cancel()
        if link.guard is not None:
            link.guard.abort()

    async def _lose_patience(self, link: Link) -> None:
        await trio.sleep(self._state.config.close_grace_s)
        if link.guard is not None:
            link.guard.abort()

    async def probe_silent(self, probe: Callable[[Link], Awaitable[object]]) -> None:
        """For ever: probe each connection that was silent for ``idle_probe_s``; close it when nothing comes back."""
        config = self._state.config
        probing: set[int] = set()

        async def probe_one(link: Link) -> None:
            probing.add(link.row.id)
            try:
                await self._probe(link, probe)
            finally:
                probing.discard(link.row.id)

        while True:
            await trio.sleep(config.idle_probe_s / 4)
            horizon = trio.current_time() - config.idle_probe_s
            for link in self:
                if link.heard_at < horizon and not link.closing and link.row.id not in probing:
                    self._state.spawn(probe_one, link)

    async def _probe(self, link: Link, probe: Callable[[Link], Awaitable[object]]) -> None:
        """Any byte is an answer, so is a refusal of the protocol."""
        timeout_s, before = self._state.config.idle_probe_timeout_s, link.heard_at
        with link.scope(), trio.move_on_after(timeout_s):
            try:
                await probe(link)
                link.answered()
            except RemoteError as fault:
                if fault.code == "unsupported":
                    link.answered()
            while link.heard_at == before:
                await trio.sleep(timeout_s / 20)
        if link.alive and link.heard_at == before:
            link.abort("the peer went silent")
            await self.close(link, link.closing)
