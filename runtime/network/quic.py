"""QUIC v1 through py-libp2p: for compatibility, with peers that offer nothing else.

What interoperates, tried with Kubo 0.22 both ways (``tests/interop/test_transport_kubo.py``): dialling,
being dialled, identify, ping, and bitswap blocks both ways; 4.7 MB/s from Kubo, 2 MB/s between two of ours, where TCP
does 64 and 235.  Not supported: draft-29, connection migration, WebTransport, 0-RTT.  Reading credit does not reach
the wire: aioquic grants the peer more as bytes arrive, so a stream that is not read costs up to ``QUIC_UNREAD_MAX`` and
is then reset.  A peer's RESET_STREAM ends both directions of ours, as on yamux.

Why py-libp2p alone cannot fetch a file from Kubo over QUIC.  boxo opens a stream for each message, writes the
multistream header, the protocol and the message at once (lazy negotiation), and then closes the stream and stops
reading: FIN and STOP_SENDING arrive with, or before, the first bytes that we read.

1. py-libp2p answers each line of the negotiation with one of its own.  After STOP_SENDING such a write fails: with
   QUICStreamClosedError, or when aioquic knew first with a RuntimeError, at which py-libp2p resets the stream with the
   block unread in its buffer.  ``negotiation.choose`` reads on when it cannot answer.
2. On streams that we opened, STOP_SENDING is taken for the end of both directions, so that identify's answer is lost.
3. A FIN that comes while a reader is between its two looks at the buffer hides the bytes that came with it: one
   identify in seven failed.

``GuardedQUICStream`` answers the RuntimeError, 2 and 3.
"""

import logging
from collections.abc import Callable
from typing import Final

from aioquic.quic.connection import QuicConnection
from libp2p.crypto.keys import PrivateKey
from libp2p.custom_types import TQUICConnHandlerFn
from libp2p.stream_muxer.exceptions import MuxedStreamEOF
from libp2p.transport.quic import connection
from libp2p.transport.quic.config import QUICTransportConfig
from libp2p.transport.quic.exceptions import QUICStreamClosedError
from libp2p.transport.quic.listener import QUICListener, QUICPacketInfo
from libp2p.transport.quic.stream import QUICStream, StreamState
from libp2p.transport.quic.transport import QUICTransport

from shoal.messages.limits import QUIC_UNREAD_MAX

log = logging.getLogger(__name__)

Admit = Callable[[str], bool]

# Twice what passes between two probes of ours (`idle_probe_s`); go-libp2p sends something every 15 s.
IDLE_TIMEOUT_S: Final = 60.0
# py-libp2p resets a stream that nothing was read from for this long; ours may be idle, and have their own deadlines.
NEVER_S: Final = 10.0 * 365 * 24 * 3600


class AdmittingListener(QUICListener):
    """A listener that asks before it answers a stranger's first packet."""

    admit: Admit

    async def _handle_new_connection(
        self, data: bytes, addr: tuple[str, int], packet_info: QUICPacketInfo
    ) -> QuicConnection | None:
        if not self.admit(quic_addr(addr)):
            return None
        return await super()._handle_new_connection(data, addr, packet_info)


class AdmittingTransport(QUICTransport):
    """py-libp2p's transport with listeners that ask ``admit``."""

    admit: Admit

    def create_listener(self, handler_function: TQUICConnHandlerFn) -> QUICListener:
        listener = AdmittingListener(
            transport=self,
            handler_function=handler_function,
            quic_configs={name: config for name, config in self._quic_configs.items() if name.endswith("_server")},
            config=self._config,
            security_manager=self._security_manager,
        )
        listener.admit = self.admit
        self._listeners.append(listener)
        return listener


def quic_transport(key: PrivateKey, admit: Admit) -> AdmittingTransport:
    """The QUIC transport of a host with this key."""
    tune()
    config = QUICTransportConfig(
        enable_draft29=False,
        idle_timeout=IDLE_TIMEOUT_S,
        STREAM_READ_TIMEOUT=NEVER_S,
        MAX_STREAM_RECEIVE_BUFFER=QUIC_UNREAD_MAX.value,
    )
    transport = AdmittingTransport(key, config)
    transport.admit = admit
    return transport


def quic_addr(remote: tuple[str, int]) -> str:
    """The multiaddr of a remote UDP endpoint."""
    host, port = remote[0].split("%")[0].removeprefix("::ffff:"), remote[1]
    return f"/ip6/{host}/udp/{port}/quic-v1" if ":" in host else f"/ip4/{host}/udp/{port}/quic-v1"


class GuardedQUICStream(QUICStream):
    """py-libp2p's stream without five faults, each of which loses data or breaks what Kubo does.

    * Bytes that its buffer has no room for are dropped, with the rest of the stream going on: aioquic widens the
      peer's window as bytes arrive, read or not.  Here the stream is reset.
    * STOP_SENDING, by which the peer says that it reads no more, is taken for the end of both directions.  Kubo sends
      it as soon as it has what it needs (identify, and each bitswap message), before its own bytes have been read.
    * Bytes that arrive together with the end, while a reader is between its two looks, are overtaken by the end.
    * Once both directions have ended, the end of the stream is reported as a broken stream.
    * A write after STOP_SENDING, which aioquic has answered before we hear of it, resets the stream with what is unread
      in it: py-libp2p expects an AssertionError there, and aioquic raises RuntimeError.
    """

    _peer_finished = False

    async def handle_data_received(self, data: bytes, end_stream: bool) -> None:
        if len(self._receive_buffer) + len(data) > self.MAX_RECEIVE_BUFFER_SIZE:
            await self.reset()
            await self.handle_reset(0)
            return
        self._peer_finished = self._peer_finished or end_stream
        await super().handle_data_received(data, end_stream)

    async def handle_stop_sending(self, error_code: int) -> None:
        self._write_closed = True
        self._backpressure_event.set()  # wakes a writer, which then finds its side closed
        if self._state == StreamState.OPEN:
            self._state = StreamState.WRITE_CLOSED
        elif self._state == StreamState.READ_CLOSED:
            self._state = StreamState.CLOSED
        try:
            self._connection._quic.reset_stream(self._stream_id, error_code)
            await self._connection._transmit()
        except (AssertionError, RuntimeError, ValueError) as fault:  # aioquic: our side has ended already
            log.debug("answering STOP_SENDING on stream %s: %r", self.stream_id, fault)

    async def write(self, data: bytes) -> None:
        stream = self._connection._quic._streams.get(self._stream_id)
        if stream is not None and stream.sender._reset_error_code is not None:
            self._write_closed = True  # told here: py-libp2p logs an error for each
            raise QUICStreamClosedError(f"the peer reads stream {self.stream_id} no more")
        try:
            await super().write(data)
        except RuntimeError as fault:
            if self._write_closed:
                raise QUICStreamClosedError(f"the peer reads stream {self.stream_id} no more") from fault
            raise

    async def _handle_stream_error(self, error: Exception) -> None:
        if isinstance(error, RuntimeError) and "Cannot send data after" in str(error):
            self._write_closed = True
        else:
            await super()._handle_stream_error(error)

    async def read(self, n: int | None = None) -> bytes:
        try:
            return await super().read(n)
        except (MuxedStreamEOF, QUICStreamClosedError):
            if self._receive_buffer:
                return self._extract_data_from_buffer(-1 if n is None else n)
            if self._peer_finished and not self.is_reset():
                raise MuxedStreamEOF("the peer has ended the stream") from None
            raise


def tune() -> None:
    """Have py-libp2p make its QUIC streams of the class above.  Idempotent; for the whole process."""
    vars(connection)["QUICStream"] = GuardedQUICStream
