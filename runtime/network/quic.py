"""QUIC v1 through py-libp2p, for peers that offer nothing else.

TODO what interoperates
"""

from collections.abc import Callable
from typing import Final

from aioquic.quic.connection import QuicConnection
from libp2p.abc import IMuxedStream
from libp2p.crypto.keys import PrivateKey
from libp2p.custom_types import TQUICConnHandlerFn
from libp2p.transport.quic.config import QUICTransportConfig
from libp2p.transport.quic.listener import QUICListener, QUICPacketInfo
from libp2p.transport.quic.stream import QUICStream
from libp2p.transport.quic.transport import QUICTransport

from shoal.messages.limits import QUIC_UNREAD_MAX

Admit = Callable[[str], bool]

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
    config = QUICTransportConfig(
        enable_draft29=False,
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


def guard_stream(stream: IMuxedStream) -> None:
    """Reset a QUIC stream whose buffer overflows.

    aioquic widens the peer's window as bytes arrive, read or not, and py-libp2p drops what its buffer has no room
    for: the stream would go on with a hole in it.
    """
    if not isinstance(stream, QUICStream):
        return
    receive = stream.handle_data_received

    async def receive_whole(data: bytes, end_stream: bool) -> None:
        if len(stream._receive_buffer) + len(data) > stream.MAX_RECEIVE_BUFFER_SIZE:
            await stream.reset()
            await stream.handle_reset(0)
            return
        await receive(data, end_stream)

    vars(stream)["handle_data_received"] = receive_whole
