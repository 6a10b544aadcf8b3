"""Between py-libp2p's layers and the socket: guards without which a connection breaks or stalls.

``GuardedConnection`` stands under the security layer.  It shields every write (a cancelled one leaves half a
Noise or TLS record, after which the connection is dead but looks alive), gives up on a peer that does not take a
record in time and closes the socket, notes when the peer was last heard, and reads through a buffer.
``GuardedYamux`` stands above the security layer and writes whole yamux frames or none.

Two knobs of py-libp2p's yamux are turned here, both for the whole process and both interoperable: data frames that
fit one Noise message (65,519 bytes instead of 65,536, so that none is split over two), and no window update for
each partial read.  Measured with ``tests/runtime/network/speed.py`` (two processes on loopback, one framed stream of
64 x 2 MiB, Noise): 1.5 to 1.9 times as fast as without.
"""

import os
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final, cast

import trio
from libp2p.abc import IMuxedConn, IRawConnection, ISecureConn
from libp2p.connection_types import ConnectionType
from libp2p.custom_types import TMuxerOptions, TProtocol, TSecurityOptions
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.exceptions import RawConnError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.stream.net_stream import NetStream
from libp2p.peer.id import ID
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.stream_muxer.yamux import yamux
from libp2p.transport.upgrader import TransportUpgrader
from multiaddr import Multiaddr

from shoal.messages.limits import RAW_READ_MAX, YAMUX_UNREAD_MAX
from shoal.runtime.network.negotiation import BoundedMultiselect, BoundedMultiselectClient
from shoal.runtime.network.wire_stack.yamux.stream import YamuxStream

NOISE_MESSAGE_MAX: Final = 65519  # bytes of plaintext in one Noise transport message
GATHER_ABOVE: Final = 4096  # bytes; see GuardedConnection.read
UNREAD_CHECK_BYTES: Final = 1024 * 1024  # received between two looks at what streams have not read
WINDOW_POLL_MIN_S: Final = 0.001  # py-libp2p's windows have no event to wait for
WINDOW_POLL_MAX_S: Final = 0.05


def tune() -> None:
    """Turn the two knobs described above.  Idempotent."""
    yamux.MAX_MESSAGE_SIZE = NOISE_MESSAGE_MAX
    os.environ.setdefault("PY_YAMUX_RELEASE_ON_READ", "0")


class GuardedConnection(IRawConnection):
    """A raw connection whose writes are whole or fatal.  ``fault`` says why it was broken, if it was."""

    def __init__(self, inner: ReadWriteCloser, *, is_initiator: bool, write_timeout_s: float) -> None:
        self.is_initiator = is_initiator
        self.heard_at = trio.current_time()
        self.fault = ""
        self._raw = inner if isinstance(inner, RawConnection) else RawConnection(inner, is_initiator)
        self._socket = _socket_of(self._raw)
        self._write_timeout_s = write_timeout_s
        self._buffer = b""
        self._at = 0
        self._addr = _remote_addr(self._socket)

    async def read(self, n: int | None = None) -> bytes:
        """Up to ``n`` bytes, b"" at the end.

        More than GATHER_ABOVE bytes are gathered until all are there: the callers that ask for so many want exactly
        that, and py-libp2p's ``read_exactly`` gives a connection up after 100 short reads, which a Noise message
        in small TCP segments needs.
        """
        size = RAW_READ_MAX.value if n is None else n
        if size <= GATHER_ABOVE or n is None:
            if self._at == len(self._buffer):
                await self._fill()
            return self._take(size)
        parts = [self._take(size)]
        missing = size - len(parts[0])
        while missing:
            await self._fill()
            if not self._buffer:
                break
            parts.append(self._take(missing))
            missing -= len(parts[-1])
        return b"".join(parts)

    async def _fill(self) -> None:
        self._buffer, self._at = await self._raw.read(RAW_READ_MAX.value), 0
        if self._buffer:
            self.heard_at = trio.current_time()

    def _take(self, size: int) -> bytes:
        if self._at == 0 and size >= len(self._buffer):
            taken, self._buffer = self._buffer, b""
            return taken
        taken = self._buffer[self._at : self._at + size]
        self._at += len(taken)
        return taken

    async def write(self, data: bytes) -> None:
        """All of ``data``, whoever cancels.  Not taken by the peer in time: the connection is broken."""
        if self.fault:
            raise RawConnError(self.fault)
        timeout_s = self._write_timeout_s * max(1, len(data) // NOISE_MESSAGE_MAX)
        with trio.CancelScope(deadline=trio.current_time() + timeout_s, shield=True) as scope:
            await self._raw.write(data)
        if scope.cancelled_caught:
            self.abort(f"the peer did not take a record within {self._write_timeout_s:g} s")
        if self.fault:
            raise RawConnError(self.fault)

    def abort(self, reason: str = "") -> None:
        """Close the socket now, from anywhere; readers and writers wake up.  The first reason is kept."""
        self.fault = self.fault or reason
        if self._socket is not None:
            self._socket.close()

    async def close(self) -> None:
        await self._raw.close()

    @property
    def addr(self) -> str:
        """The remote multiaddr, "" when it is not known (a relayed connection)."""
        return self._addr or next(map(str, self._raw.get_transport_addresses()), "")

    def get_remote_address(self) -> tuple[str, int] | None:
        return self._raw.get_remote_address()

    def get_transport_addresses(self) -> list[Multiaddr]:
        return [Multiaddr(self._addr)] if self._addr else self._raw.get_transport_addresses()

    def get_connection_type(self) -> ConnectionType:
        return self._raw.get_connection_type()


def _socket_of(raw: RawConnection) -> trio.socket.SocketType | None:
    inner = raw.stream
    return inner.stream.socket if isinstance(inner, TrioTCPStream) else None


def _remote_addr(socket: trio.socket.SocketType | None) -> str:
    """py-libp2p loses the address of IPv6 peers: their getpeername has four parts."""
    if socket is None:
        return ""
    try:
        host, port, *_ = socket.getpeername()
    except OSError:
        return ""
    host = host.split("%")[0].removeprefix("::ffff:")
    return f"/ip6/{host}/tcp/{port}" if ":" in host else f"/ip4/{host}/tcp/{port}"


class GuardedYamux(yamux.Yamux):
    """py-libp2p's yamux that writes whole frames and bounds what its streams have not read."""

    def __init__(self, secured_conn: ISecureConn, peer_id: ID) -> None:
        super().__init__(secured_conn, peer_id, is_initiator=secured_conn.is_initiator)
        self._unchecked = 0

    async def _write_frame(self, data: bytes) -> None:
        # The shield ends with the frame; GuardedConnection bounds each record in it.
        async with self._write_lock:
            with trio.CancelScope(shield=True):
                try:
                    await self.secured_conn.write(data)
                except Exception as fault:
                    # The one error, and the two words in it, that py-libp2p's yamux takes for the end of the
                    # connection everywhere; after another it goes on with what it has buffered, 10 ms a frame.
                    raise RawConnError(f"connection closed: {fault}") from fault
        await trio.lowlevel.checkpoint()

    async def _read_data_body(self, length: int) -> bytes:
        # py-libp2p only logs a peer that overruns its windows.
        self._unchecked += length
        if self._unchecked > UNREAD_CHECK_BYTES:
            self._unchecked = 0
            if sum(map(len, self.stream_buffers.values())) > YAMUX_UNREAD_MAX.value:
                guard = guard_of(self)
                if guard is not None:
                    guard.abort("the peer sent more than its windows allow")
        return await super()._read_data_body(length)


class Muxers(MuxerMultistream):
    """py-libp2p's muxer choice that honours the class given for ``/yamux/1.0.0``."""

    async def new_conn(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        protocol, muxer = await self._selector.select(conn, conn.is_initiator, self.negotiate_timeout)
        make: Any = muxer  # a muxer class takes (connection, peer id); IMuxedConn does not say so
        return self._annotate_connection(make(conn, peer_id), conn, protocol)


_GUARD: Final = "shoal_guard"
_NOTHING: Final = SimpleNamespace()
MUXERS: Final[TMuxerOptions] = {TProtocol(yamux.PROTOCOL_ID): GuardedYamux}


class GuardedUpgrader(TransportUpgrader):
    """py-libp2p's upgrader with bounded negotiation; remembers on a secured connection which guard it stands on."""

    def __init__(self, security: TSecurityOptions, muxers: TMuxerOptions, negotiate_timeout_s: float) -> None:
        super().__init__(security, muxers, int(negotiate_timeout_s) or 1)
        self.muxer_multistream = Muxers(muxers, int(negotiate_timeout_s) or 1)
        for layer in (self.security_multistream, self.muxer_multistream):
            layer._selector.multiselect = BoundedMultiselect(layer.multiselect.handlers)
            layer._selector.multiselect_client = BoundedMultiselectClient()

    async def upgrade_security(
        self, raw_conn: IRawConnection, is_initiator: bool, peer_id: ID | None = None
    ) -> ISecureConn:
        secured = await super().upgrade_security(raw_conn, is_initiator, peer_id)
        vars(secured)[_GUARD] = raw_conn
        return secured


def guard_of(muxed: IMuxedConn) -> GuardedConnection | None:
    """The guard under a multiplexed connection; None over QUIC and other transports without one."""
    guard = vars(getattr(muxed, "secured_conn", _NOTHING)).get(_GUARD)
    return guard if isinstance(guard, GuardedConnection) else None


async def write_pieces(stream: NetStream, pieces: Sequence[bytes | memoryview]) -> None:
    """Write all of ``pieces`` as ``write_all`` does; together, where the multiplexer can."""
    muxed = stream.muxed_stream
    if isinstance(muxed, YamuxStream):
        await muxed.write_pieces(pieces)
        return
    for piece in pieces:
        await write_all(stream, piece)


async def write_all(stream: NetStream, piece: bytes | memoryview) -> None:
    """Write ``piece``; waits for the peer's window as long as it takes.

    py-libp2p's own wait for a window ends the stream after 5 s, with part of the data sent; so it is never left to
    wait.  Cancelling is safe for the connection, and leaves the stream of no use.
    """
    muxed = stream.muxed_stream
    if isinstance(muxed, YamuxStream):
        await muxed.write_pieces([piece])
        return
    if not isinstance(muxed, yamux.YamuxStream):
        await stream.write(bytes(piece))
        return
    rest = memoryview(piece)
    pause = WINDOW_POLL_MIN_S
    while rest:
        if muxed.send_window <= 0 and not muxed.closed:
            await trio.sleep(pause)
            pause = min(2 * pause, WINDOW_POLL_MAX_S)
            continue
        pause = WINDOW_POLL_MIN_S
        step = max(1, min(len(rest), muxed.send_window))
        await stream.write(cast(bytes, rest[:step]))  # yamux slices it and joins it to a header: any buffer will do
        rest = rest[step:]
