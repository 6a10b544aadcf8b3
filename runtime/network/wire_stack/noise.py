"""Noise for py-libp2p: its own handshake, then a transport session of ours.

``Noise`` takes the place of py-libp2p's transport.  It lets that one shake hands, takes over the two keys, and reads
256 KiB at a time where py-libp2p reads two bytes and then one record.  The cutting and the cryptography are in
``records``; what a write may and may not do to the connection is ``wire.GuardedConnection``'s business, underneath.
"""

from collections.abc import Sequence
from typing import Final

from libp2p.abc import IRawConnection, ISecureConn
from libp2p.connection_types import ConnectionType
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.peer.id import ID
from libp2p.security.base_session import BaseSession
from libp2p.security.noise.io import NoiseTransportReadWriter
from libp2p.security.noise.transport import Transport
from libp2p.security.secure_session import SecureSession
from multiaddr import Multiaddr

from shoal.messages.errors import RemoteError
from shoal.runtime.network.wire_stack.records import PLAINTEXT_MAX, Buffer, Opener, Sealer

RECORDS_A_WRITE: Final = 8  # sealed at once and handed to the socket together: 512 KiB, what its buffer holds


class NoiseSession(BaseSession):
    """A secured connection.  One task reads, one task at a time writes."""

    def __init__(self, handshaken: SecureSession) -> None:
        super().__init__(
            local_peer=handshaken.local_peer,
            local_private_key=handshaken.local_private_key,
            remote_peer=handshaken.remote_peer,
            remote_permanent_pubkey=handshaken.remote_permanent_pubkey,
            is_initiator=handshaken.is_initiator,
        )
        transport = handshaken.conn
        if not isinstance(transport, NoiseTransportReadWriter):
            raise TypeError("not a session of py-libp2p's Noise")
        state = transport.noise_state.noise_protocol
        sending, receiving = state.cipher_state_encrypt, state.cipher_state_decrypt
        self._sealer = Sealer(sending.k, sending.n)
        self._opener = Opener(receiving.k, receiving.n)
        self._raw: ReadWriteCloser = transport.read_writer.read_write_closer
        self._session = handshaken
        self._unread = b""

    async def read_records(self) -> list[bytes]:
        """All plaintexts that have come, at least one of them; [] at the end.  Raises RemoteError."""
        if self._unread:
            rest, self._unread = self._unread, b""
            return [rest]
        while True:
            chunk = await self._raw.read(None)
            if not chunk:
                if self._opener.partial:
                    raise RemoteError("the connection ended inside a Noise record", "noise")
                return []
            opened = self._opener.feed(chunk)
            if opened:
                return opened

    async def write_records(self, plaintexts: Sequence[Buffer]) -> None:
        """Seal each of ``plaintexts`` and hand all to the socket at once.  Not to be cancelled within."""
        await self._raw.write(self._sealer.seal(plaintexts))

    async def read(self, n: int | None = None) -> bytes:
        """1 to ``n`` bytes, for the negotiation of a muxer; raises ConnectionClosedError at the end."""
        if n == 0:
            return b""
        while not self._unread:
            records = await self.read_records()
            if not records:
                raise ConnectionClosedError("Connection closed")
            self._unread = b"".join(records)
        size = len(self._unread) if n is None else n
        data, self._unread = self._unread[:size], self._unread[size:]
        return data

    async def write(self, data: bytes) -> None:
        """All of ``data``, in as few writes as its records allow."""
        view = memoryview(data)
        step = RECORDS_A_WRITE * PLAINTEXT_MAX
        for at in range(0, len(view), step):
            end = min(len(view), at + step)
            await self.write_records([view[i : min(end, i + PLAINTEXT_MAX)] for i in range(at, end, PLAINTEXT_MAX)])

    async def close(self) -> None:
        await self._raw.close()

    def get_remote_address(self) -> tuple[str, int] | None:
        return self._session.get_remote_address()

    def get_transport_addresses(self) -> list[Multiaddr]:
        return self._session.get_transport_addresses()

    def get_connection_type(self) -> ConnectionType:
        return self._session.get_connection_type()


class Noise(Transport):
    """py-libp2p's Noise with sessions of ours; made with the same arguments."""

    async def secure_inbound(self, conn: IRawConnection) -> ISecureConn:
        return _taken_over(await super().secure_inbound(conn))

    async def secure_outbound(self, conn: IRawConnection, peer_id: ID) -> ISecureConn:
        return _taken_over(await super().secure_outbound(conn, peer_id))


def _taken_over(session: ISecureConn) -> NoiseSession:
    if not isinstance(session, SecureSession):
        raise TypeError("py-libp2p's Noise gives another kind of session than it did")
    return NoiseSession(session)
