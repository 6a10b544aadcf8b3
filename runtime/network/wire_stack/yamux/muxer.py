"""A yamux connection on trio: the thin shell between a secured connection and ``session``.

Four tasks meet here.  The reader feeds the session and wakes streams; it never writes, so that two peers which both
write cannot block each other.  Writers of data send under one lock, up to four records a turn, with what control bytes
there are before them.  The flusher sends control bytes that no data takes along.  The keeper pings: it measures the
round trip, notices a peer that went silent, and resets streams that the peer never ends.

Every write is shielded: half a record would end the connection.  How long one may take is decided underneath
(``wire.GuardedConnection``).  A peer's fault is kept in ``fault`` and ends the connection, with a GO_AWAY.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import trio
from libp2p.abc import IMuxedConn, ISecureConn
from libp2p.connection_types import ConnectionType
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamReset
from multiaddr import Multiaddr

from shoal.messages.errors import RemoteError
from shoal.runtime.network.config import NetworkConfig
from shoal.runtime.network.wire_stack.noise import RECORDS_A_WRITE, NoiseSession
from shoal.runtime.network.wire_stack.yamux.accounts import Account, Node
from shoal.runtime.network.wire_stack.yamux.buffers import Rope
from shoal.runtime.network.wire_stack.yamux.frames import GONE_NORMAL, GONE_PROTOCOL
from shoal.runtime.network.wire_stack.yamux.halves import StreamState
from shoal.runtime.network.wire_stack.yamux.session import Session
from shoal.runtime.network.wire_stack.yamux.stream import YamuxStream

log = logging.getLogger(__name__)

SILENT: Final = "the peer went silent"
GONE: Final = "the connection has ended"

Abort = Callable[[IMuxedConn, str], None]


class YamuxConnection(IMuxedConn):
    """``/yamux/1.0.0`` on a secured connection.  ``abort`` closes the socket underneath at once, with a reason."""

    def __init__(self, conn: ISecureConn, peer_id: ID, config: NetworkConfig, node: Node, abort: Abort) -> None:
        self.secured_conn = conn
        self.peer_id = peer_id
        self.event_started = trio.Event()
        self.event_closed = trio.Event()
        self.on_close: Callable[[], Awaitable[None]] | None = None
        self.fault: RemoteError | None = None
        now = trio.current_time()
        self._config = config
        self._abort = abort
        self._account = Account(node, self._give_up)
        self._session = Session(
            client=conn.is_initiator, window_max=config.stream_window_max, account=self._account, now=now
        )
        self._session.changed = self._note_change
        self._heard_at = now
        self._writing = trio.Lock()
        self._changed = trio.lowlevel.ParkingLot()  # who waits to take a stream, or to open one
        self._control = trio.lowlevel.ParkingLot()  # the flusher
        self._scope = trio.CancelScope()
        self._over = False

    # --- its life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Run until the connection ends, whoever ends it."""
        self.event_started.set()
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._keep)
                    nursery.start_soon(self._flush)
                    await self._read()
                    nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await self._end()

    async def close(self, error_code: int = GONE_NORMAL) -> None:
        """Say goodbye, if that goes quickly, and close.  Safe to call again."""
        if not self._over:
            await self._say_goodbye(error_code)
        with trio.CancelScope(shield=True):
            await self._end()

    async def _say_goodbye(self, reason: int) -> None:
        self._session.go_away(reason)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._lose_patience)
            try:
                async with self._writing:
                    await self._write([self._session.take_control()])
            except MuxedStreamReset as fault:
                log.debug("saying goodbye to %s: %s", self.peer_id, fault)
            nursery.cancel_scope.cancel()

    async def _lose_patience(self) -> None:
        """A write is shielded, so that only the socket's end can end it."""
        await trio.sleep(self._config.close_grace_s)
        self._abort(self, "")

    async def _end(self) -> None:
        if self._over:
            return
        self._over = True
        self._session.abandon(GONE)
        self._scope.cancel()
        try:
            await self.secured_conn.close()
        except Exception as fault:  # it is gone, whatever its layers say to that
            log.debug("closing the connection with %s: %r", self.peer_id, fault)
        self.event_closed.set()
        self._note_change()
        if self.on_close is not None:
            await self.on_close()

    def _give_up(self, reason: str) -> None:
        """End the connection from outside of its tasks."""
        self._abort(self, reason)
        self._scope.cancel()

    # --- its tasks ---------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Until the end of the connection, or the peer's fault."""
        try:
            while await self._read_some():
                pass
        except RemoteError as fault:
            self.fault = fault
            await self._say_goodbye(GONE_PROTOCOL)
            self._abort(self, str(fault))
        except (BaseLibp2pError, OSError, trio.BrokenResourceError, trio.ClosedResourceError) as fault:
            log.debug("the connection with %s broke: %r", self.peer_id, fault)

    async def _read_some(self) -> bool:
        """Deal with what came, all of it; False at the end."""
        records = await self._records()
        now = self._heard_at = trio.current_time()
        session = self._session
        for record in records:
            session.receive(record, now)
        self._kick()
        if not records or session.peer_gone or (session.peer_gone is not None and not session.streams):
            return False
        pause = session.pause(now)
        if pause:
            await trio.sleep(pause)
            self._heard_at = trio.current_time()
        return True

    async def _records(self) -> list[bytes]:
        if isinstance(self.secured_conn, NoiseSession):
            return await self.secured_conn.read_records()
        data = await self.secured_conn.read()
        return [data] if data else []

    async def _flush(self) -> None:
        """Send control bytes that no data took along."""
        while not self._over:
            while not self._session.has_control:
                await self._control.park()
            async with self._writing:
                control = self._session.take_control()
                if control:
                    try:
                        await self._write([control])
                    except MuxedStreamReset:
                        return  # the reader sees the end of the connection, too

    async def _keep(self) -> None:
        """Ping now and then.  Any byte is an answer."""
        config = self._config
        while True:
            asked_at = trio.current_time()
            self._session.ping(asked_at)
            self._kick()
            await trio.sleep(config.idle_probe_timeout_s)
            if self._heard_at < asked_at:
                # If it was we who did not run, the answer has come and only waits for the reader's turn.
                await trio.sleep(config.idle_probe_timeout_s / 10)
            if self._heard_at < asked_at:
                self._give_up(SILENT)
            if self._session.peer_gone is not None and not self._session.streams:
                self._give_up("")
            for state in self._session.overdue(trio.current_time() - config.half_closed_s):
                self.reset(state, "the peer did not end it")
            await trio.sleep(max(0.0, config.idle_probe_s / 2 - config.idle_probe_timeout_s))

    def _note_change(self) -> None:
        self._changed.unpark_all()

    def _kick(self) -> None:
        """There may be something for the flusher."""
        if self._session.stuck:
            self._give_up("the peer causes answers and does not take them")
        elif self._session.has_control:
            self._control.unpark_all()

    # --- for its streams ---------------------------------------------------------------------------

    async def send(self, state: StreamState, rope: Rope) -> None:
        """Send of ``rope`` what one turn and the window allow.  Raises MuxedStreamReset when the connection broke."""
        async with self._writing:
            if not (state.broken or state.finished):
                records = self._session.records_of(state, rope, RECORDS_A_WRITE)
                if records:
                    await self._write(records)

    async def _write(self, records: list[bytes]) -> None:
        """Under the lock."""
        try:
            with trio.CancelScope(shield=True):
                if isinstance(self.secured_conn, NoiseSession):
                    await self.secured_conn.write_records(records)
                else:
                    await self.secured_conn.write(b"".join(records))
        except Exception as fault:  # of whatever layer: what was written by halves cannot be mended
            self._give_up("")
            raise MuxedStreamReset(str(fault) or GONE) from fault

    def take(self, state: StreamState, most: int) -> list[memoryview]:
        """What came for a stream."""
        pieces = self._session.take(state, most, trio.current_time())
        self._kick()
        return pieces

    def introduce(self, state: StreamState) -> None:
        """Somebody waits for the peer's bytes: it must know of the stream."""
        self._session.introduce(state)
        self._kick()

    def finish(self, state: StreamState) -> None:
        """End our half of a stream."""
        self._session.finish(state, trio.current_time())
        self._kick()

    def reset(self, state: StreamState, reason: str) -> None:
        """Drop a stream."""
        self._session.reset(state, reason)
        self._kick()

    # --- for py-libp2p -----------------------------------------------------------------------------

    async def open_stream(self) -> YamuxStream:
        """A new stream, once the peer has acknowledged enough of the others.  Raises MuxedConnUnavailable."""
        await trio.lowlevel.checkpoint()
        while not self._over and self._session.peer_gone is None and not self._session.may_open():
            await self._changed.park()
        if self._over:
            raise MuxedConnUnavailable(GONE)
        try:
            return YamuxStream(self, self._session.open(trio.current_time()))
        except RemoteError as fault:
            raise MuxedConnUnavailable(str(fault)) from None

    async def accept_stream(self) -> YamuxStream:
        """The next stream that the peer opens.  Raises MuxedConnUnavailable at the end."""
        await trio.lowlevel.checkpoint()
        while not self._over:
            state = self._session.accept()
            if state is not None:
                self._kick()
                return YamuxStream(self, state)
            await self._changed.park()
        raise MuxedConnUnavailable(GONE)

    @property
    def is_initiator(self) -> bool:
        return self.secured_conn.is_initiator

    @property
    def is_established(self) -> bool:
        return self.event_started.is_set() and not self._over

    @property
    def is_closed(self) -> bool:
        return self.event_closed.is_set()

    def rtt(self) -> float:
        """Seconds of a round trip, 0 while none has been measured."""
        return self._session.rtt_s

    def get_remote_address(self) -> tuple[str, int] | None:
        return self.secured_conn.get_remote_address()

    def get_transport_addresses(self) -> list[Multiaddr]:
        return self.secured_conn.get_transport_addresses()

    def get_connection_type(self) -> ConnectionType:
        return self.secured_conn.get_connection_type()
