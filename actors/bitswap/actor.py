"""The bitswap actor: exchanges blocks with peers.

Frames come in from the transport, are decoded (``wire``) and given to two pure cores: the seeker, which is about our
downloads, and the ledger, which is about theirs.  ``fetching`` and ``serving`` carry out what the cores decide.
After every message the actor pumps: it sends whatever has become due.  A timer runs only while time matters.

Others may die at any time.  A new transport: all peers are gone and will be announced again.  A new placement:
blocks handed in and not confirmed are wanted again.  A new wantlist: all downloads end, those still wanted come back.
"""

from __future__ import annotations

import math
from typing import ClassVar, Final

from shoal.actors.base import Actor, Context, Timer, handles
from shoal.actors.bitswap import filters, wire
from shoal.actors.bitswap.fetching import Fetching
from shoal.actors.bitswap.links import Link, Links
from shoal.actors.bitswap.serving import Serving
from shoal.actors.bitswap.streams import Streams
from shoal.messages import adverts, blocks, exchange, lifecycle, transport, wants
from shoal.messages.base import Message
from shoal.messages.envelope import Envelope
from shoal.messages.errors import RemoteError
from shoal.messages.limits import BITSWAP_MESSAGE_MAX
from shoal.messages.replies import Done

TICK_S: Final = 0.1  # seconds between looks at what is late, while anything is under way
SERVE_RETRY_S: Final = 1.0  # seconds before the transport is asked again to serve our protocols
DEFERRED_MAX: Final = 16  # messages handled in a row before a pump, while more are waiting: what they cause is merged
DEFERRED_S: Final = 0.005  # seconds after which a pump that was put off is made, whatever comes


class BitswapActor(Actor):
    """Our downloads and what we serve."""

    NAME: ClassVar[str] = "bitswap"

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.links = Links(ctx.random)
        self.streams = Streams(ctx, self.links, self._stream_open, self._stream_failed)
        self.fetching = Fetching(ctx, self.links, self.streams, self._handled)
        self.serving = Serving(ctx, self.links, self.streams, self._handled)
        self.messages_received = 0
        self._deferred = 0
        self._timer: Timer | None = None
        self._timer_at = math.inf

    def on_start(self) -> None:
        self._serve_protocols()

    def receive(self, message: Message, envelope: Envelope) -> None:
        super().receive(message, envelope)
        self._handled()

    # --- peers -----------------------------------------------------------------------------------------

    @handles(transport.PeerConnected)
    def on_connected(self, message: transport.PeerConnected, _: Envelope) -> None:
        self.links.connected(message.peer)
        self.fetching.connected(message.peer)

    @handles(transport.PeerDisconnected)
    def on_disconnected(self, message: transport.PeerDisconnected, _: Envelope) -> None:
        self.fetching.lost(message.peer, message.reason)
        self._peer_gone(message.peer)

    @handles(transport.PeerIdentified)
    def on_identified(self, message: transport.PeerIdentified, _: Envelope) -> None:
        link = self.links.rows.get(message.peer)
        if link is not None:
            link.speaks = any(protocol in wire.PROTOCOLS for protocol in message.protocols)
            if link.speaks:
                link.retry_at = 0.0
            self.fetching.seeker.peer_usable(message.peer, link.speaks, self.ctx.now())

    def _peer_gone(self, peer: str) -> None:
        self.links.disconnected(peer)
        self.fetching.seeker.peer_disconnected(peer)
        self.serving.peer_gone(peer)

    # --- frames ----------------------------------------------------------------------------------------

    @handles(transport.FrameReceived)
    def on_frame(self, message: transport.FrameReceived, _: Envelope) -> None:
        peer, stream, frame = message.peer, message.stream, message.data.data
        link = self.links.rows.get(peer)
        if link is None:  # a frame of a connection that has gone
            self.ctx.send(transport.FrameTaken(stream, len(frame)), deadline=math.inf)
            return
        link.speaks = True
        self.fetching.seeker.peer_usable(peer, True, self.ctx.now())
        self.messages_received += 1
        try:
            decoded = wire.decode(frame)
            self.fetching.receive(peer, decoded)
            self.serving.receive(peer, decoded)
        except RemoteError as fault:
            self.ctx.count("remote_faults")
            self.ctx.send(transport.RemoteFault(peer, stream, fault.code, str(fault)), deadline=math.inf)
        self.fetching.credit(stream, len(frame))

    @handles(transport.FrameSent)
    def on_frame_sent(self, message: transport.FrameSent, _: Envelope) -> None:
        peer, served = self.links.sent(message.stream, message.size)
        if served:
            self.serving.ledger.sent(peer, served, self.ctx.now())

    @handles(transport.StreamClosed)
    def on_stream_closed(self, message: transport.StreamClosed, _: Envelope) -> None:
        peer = self.links.closed(message.stream, self.ctx.now())
        if peer is not None:
            self.fetching.seeker.stream_lost(peer)
            self.serving.ledger.stream_lost(peer, self.ctx.now())

    def _stream_open(self, link: Link) -> None:
        self.fetching.seeker.stream_up(link.peer, link.protocol == wire.BITSWAP_1_2)
        self._handled()

    def _stream_failed(self, peer: str, hopeless: bool) -> None:
        """A peer that we cannot talk to is not asked until it says by identify, or by a frame, that it can be."""
        if hopeless:
            self.fetching.seeker.peer_usable(peer, False, self.ctx.now())
            self.serving.ledger.disconnected(peer)
        self._handled()

    # --- our wants -------------------------------------------------------------------------------------

    @handles(wants.SeekBlocks)
    def on_seek(self, message: wants.SeekBlocks, _: Envelope) -> None:
        self.fetching.seek(message)

    @handles(wants.StopSeeking)
    def on_stop_seeking(self, message: wants.StopSeeking, _: Envelope) -> None:
        self.fetching.stop(message)

    @handles(blocks.BlocksAvailable)
    def on_available(self, message: blocks.BlocksAvailable, _: Envelope) -> None:
        for block in message.blocks:
            self.fetching.stored(block)
            self.serving.available(block)

    @handles(adverts.PeerFilter)
    def on_filter(self, message: adverts.PeerFilter, _: Envelope) -> None:
        if filters.told(self.fetching.seeker, message, self.ctx.now()):
            self.streams.open(message.peer)  # one of our swarm: the first that is asked of it need not wait for this

    # --- others come back, policy changes -----------------------------------------------------------------

    @handles(lifecycle.ActorRestarted)
    def on_actor_restarted(self, message: lifecycle.ActorRestarted, _: Envelope) -> None:
        if message.name == "transport":
            for peer in list(self.links.rows):
                self._peer_gone(peer)
            self.fetching.held.clear()
            self.fetching.protected.clear()
            self.fetching.hunting.transport_lost()
            self._serve_protocols()
        elif message.name == "placement":
            self.fetching.store_lost()
            self.serving.paused_until = -math.inf
        elif message.name == "wantlist":
            self.fetching.forget_all()
            self.serving.ledger.retell()
        elif message.name == "routing":
            self.fetching.hunting.routing_back()
        elif message.name == "adverts":
            filters.forget(self.fetching.seeker)

    @handles(lifecycle.PolicyChanged)
    def on_policy_changed(self, message: lifecycle.PolicyChanged, _: Envelope) -> None:
        if not message.policy.serve_blocks:
            self.serving.ledger.stop_serving(self.ctx.now())

    def _serve_protocols(self) -> None:
        def answered(reply: Message) -> None:
            if not isinstance(reply, Done):
                self.ctx.after(SERVE_RETRY_S, self._serve_protocols)

        message = transport.ServeProtocol(wire.PROTOCOLS, BITSWAP_MESSAGE_MAX.value)
        self.ctx.request(message, answered, deadline=math.inf)

    # --- figures -----------------------------------------------------------------------------------------

    @handles(exchange.BitswapStat)
    def on_stat(self, message: exchange.BitswapStat, envelope: Envelope) -> None:
        self.ctx.reply(envelope, self._stats(message.peer))

    def _stats(self, peer: str) -> exchange.BitswapStats:
        seeker, ledger = self.fetching.seeker, self.serving.ledger
        stats = seeker.stats
        received, data = stats.blocks, stats.data
        sent, data_sent = ledger.blocks_sent, ledger.bytes_sent
        outstanding = ledger.outstanding
        if peer:
            source, link, partner = seeker.sources.get(peer), self.links.rows.get(peer), ledger.partners.get(peer)
            received, data = (source.blocks, source.delivered) if source else (0, 0)
            sent, data_sent = (link.blocks_sent, link.bytes_sent) if link else (0, 0)
            outstanding = partner.outstanding if partner else 0
        return exchange.BitswapStats(
            blocks_received=received,
            blocks_sent=sent,
            data_received=data,
            data_sent=data_sent,
            dup_blocks_received=stats.duplicates,
            dup_data_received=stats.duplicate_data,
            messages_received=self.messages_received,
            unasked_blocks=stats.unasked,
            wants=len(seeker.wants),
            sessions=sum(bool(session.wants) for session in seeker.sessions.values()),
            peers=(peer,) if peer in self.links.rows else () if peer else tuple(self.links.rows),
            outstanding=outstanding,
        )

    # --- the pump ----------------------------------------------------------------------------------------

    def _handled(self) -> None:
        """After each message: pump, or put it off while more messages wait, so that what they cause is merged."""
        self._deferred += 1
        if self.ctx.queued == 0 or self._deferred >= DEFERRED_MAX:
            self._pump()
        else:
            self._wake_in(DEFERRED_S)

    def _pump(self) -> None:
        self._deferred = 0
        self.fetching.pump()
        self.serving.pump()
        waits = (self.fetching.seeker.wake_in(TICK_S), self.serving.wake_in(TICK_S), self.fetching.dial_in())
        soonest = min((wait for wait in waits if wait is not None), default=None)
        if soonest is not None:
            self._wake_in(soonest)

    def _wake_in(self, seconds: float) -> None:
        at = self.ctx.now() + seconds
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self.ctx.after(seconds, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        self.fetching.tick()
        self._pump()
