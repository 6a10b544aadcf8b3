"""Framed streams: whose they are, and their passage between the Network and the actors that speak over them.

A protocol belongs to the actor that asked for it with ``ServeProtocol``; its inbound streams and frames go to that
actor, and so do those of the streams that the actor opened.  Reading is by credit: a frame costs credit until
its receiver says ``FrameTaken``, so an actor that falls behind slows its peers and nobody else.  A peer that has
more frames waiting than its share (``backlog``) loses the stream on which the next one comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shoal.actors.base import Context
from shoal.actors.transport.backlog import Backlog
from shoal.actors.transport.connections import ConnectionTable, PeerRow
from shoal.actors.transport.network import Network
from shoal.messages import transport
from shoal.messages.block import Buffer
from shoal.messages.envelope import Envelope, peer_origin
from shoal.messages.replies import Failed

OPEN_TIMEOUT_S: Final = 15.0  # seconds to open a stream and agree on its protocol
SEND_TIMEOUT_S: Final = 30.0  # seconds for one frame to leave; a peer that takes longer for 4 MiB is lost


@dataclass(slots=True)
class StreamRow:
    """One framed stream."""

    peer: str
    owner: str
    protocol: str


class FramedStreams:
    """Rows by stream id; the actor's events of the same names end up here."""

    def __init__(self, ctx: Context, network: Network, table: ConnectionTable) -> None:
        self.ctx = ctx
        self.network = network
        self.table = table
        self.served: dict[str, str] = {}  # protocol -> actor
        self.rows: dict[int, StreamRow] = {}
        self.opening: dict[int, tuple[str, Envelope]] = {}  # ticket -> (owner, request)
        self.backlog = Backlog()

    def serve(self, owner: str, message: transport.ServeProtocol) -> None:
        """From now on these protocols belong to ``owner``, and no others."""
        for protocol in [name for name, other in self.served.items() if other == owner]:
            if protocol not in message.protocols:
                del self.served[protocol]
                self.network.unserve_framed(protocol)
        for protocol in message.protocols:
            self.served[protocol] = owner
            self.network.serve_framed(protocol, message.frame_max)

    def open(self, ticket: int, message: transport.OpenStream, envelope: Envelope) -> None:
        """Open a stream for the actor that asks."""
        self.opening[ticket] = (envelope.sender, envelope)
        self.network.open_stream(ticket, message.peer, message.protocols, message.frame_max, OPEN_TIMEOUT_S)

    def opened(self, ticket: int, stream: int, peer: str, protocol: str) -> None:
        """The stream is there; if its owner has died meanwhile it is closed again."""
        owner, envelope = self.opening.pop(ticket, ("", None))
        if envelope is None:
            self.network.close_stream(stream, reset=True)
            return
        self._enter(stream, StreamRow(peer, owner, protocol))
        self.ctx.reply(envelope, transport.StreamOpened(peer, stream, protocol))

    def open_failed(self, ticket: int, reason: str) -> None:
        """Tell the actor that asked, if it is still the same."""
        _, envelope = self.opening.pop(ticket, ("", None))
        if envelope is not None:
            self.ctx.reply(envelope, Failed(envelope.kind, "NotFound", reason))

    def accepted(self, stream: int, peer: str, protocol: str) -> None:
        """A peer opened a stream of a protocol that somebody here serves."""
        owner = self.served.get(protocol)
        if owner is None:  # it was opened just before nobody served it any more
            self.network.close_stream(stream, reset=True)
        else:
            self._enter(stream, StreamRow(peer, owner, protocol))

    def received(self, stream: int, data: memoryview) -> PeerRow | None:
        """Pass one frame on; the peer's row, if it is still connected."""
        row = self.rows.get(stream)
        if row is None:
            return None
        if not self.backlog.has_room(row.peer, len(data)):
            self.ctx.count("frames_refused")
            self.ctx.log.info("peer %s sends faster than it can be answered: stream %d is reset", row.peer, stream)
            self.network.close_stream(stream, reset=True)
            return None
        self.backlog.handed_up(stream, row.peer, row.owner, len(data))
        self.ctx.count("bytes_received", len(data))
        message = transport.FrameReceived(row.peer, stream, row.protocol, Buffer(data))
        self.ctx.send(message, to=row.owner, origin=peer_origin(row.peer))
        return self.table.peers.get(row.peer)

    def send(self, message: transport.SendFrame, envelope: Envelope) -> PeerRow | None:
        """Queue one frame; a stream that is gone is said to be closed, again."""
        row = self.rows.get(message.stream)
        if row is None:
            gone = transport.StreamClosed("", message.stream, "the stream is closed")
            self.ctx.send(gone, to=envelope.sender)
            return None
        self.network.send_frame(message.stream, [part.data for part in message.parts], SEND_TIMEOUT_S)
        return self.table.peers.get(row.peer)

    def sent(self, stream: int, size: int) -> None:
        """Credit for the owner."""
        row = self.rows.get(stream)
        if row is not None:
            self.ctx.count("bytes_sent", size)
            self.ctx.send(transport.FrameSent(row.peer, stream, size), to=row.owner)

    def taken(self, stream: int, size: int) -> None:
        """The owner has dealt with a frame of ``size`` bytes: the peer may send as many more."""
        self.backlog.taken(stream, size)
        if stream in self.rows:
            self.network.grant(stream, size)

    def close(self, stream: int, *, reset: bool) -> None:
        """End a stream for its owner; ``stream_closed`` follows from the network."""
        if stream in self.rows:
            self.network.close_stream(stream, reset=reset)

    def closed(self, stream: int, reason: str) -> None:
        """The network's last word on a stream."""
        row = self.rows.pop(stream, None)
        if row is None:
            return
        peer = self.table.peers.get(row.peer)
        if peer is not None:
            peer.streams.discard(stream)
        self.ctx.send(transport.StreamClosed(row.peer, stream, reason), to=row.owner)

    def owner_gone(self, owner: str) -> None:
        """The actor has been restarted and knows nothing of its streams: reset them all."""
        self.backlog.owner_gone(owner)
        self.opening = {ticket: entry for ticket, entry in self.opening.items() if entry[0] != owner}
        for stream in [number for number, row in self.rows.items() if row.owner == owner]:
            self.network.close_stream(stream, reset=True)
            row = self.rows.pop(stream)
            peer = self.table.peers.get(row.peer)
            if peer is not None:
                peer.streams.discard(stream)

    def _enter(self, stream: int, row: StreamRow) -> None:
        self.rows[stream] = row
        peer = self.table.peers.get(row.peer)
        if peer is not None:
            peer.streams.add(stream)
