"""The adverts actor: tells peers of the swarm in Bloom filters what this node holds, and bitswap what they hold.

Peers that speak /shoal/filter/1.0.0 are sent our filter when it has changed, as far as the policy lets us serve blocks
and advertise (a leecher listens only).  Theirs go to bitswap, which then asks nobody for what it does not have.  Three
pure cores: ``holding`` (what we hold), ``telling`` (who is told when), ``hearing`` (what peers told us); ``gathering``
lists the tiers.  ``wire`` has the frames.  Everything that is sent is sent by ``_pump``, from a timer.

A filter tells whoever receives it which of the CIDs that it knows this node holds: what any peer could learn by asking
for them one by one, which bitswap answers.  Who does not want that leaves ``filters`` out of ``sources``, or sets the
policy's ``advertise_filters`` to false.

It may die at any time: bitswap then asks as if there were no filters.
"""

from __future__ import annotations

import math
from typing import ClassVar, Final

from shoal.actors.adverts import wire
from shoal.actors.adverts.gathering import Gathering
from shoal.actors.adverts.hearing import Hearing
from shoal.actors.adverts.holding import Holding
from shoal.actors.adverts.telling import EDGE_S, Row, Telling
from shoal.actors.base import Actor, Context, Timer, handles
from shoal.messages import adverts, blocks, lifecycle, transport
from shoal.messages.base import Message
from shoal.messages.block import Buffer
from shoal.messages.bloom import SALT_BYTES
from shoal.messages.envelope import Envelope
from shoal.messages.errors import RemoteError
from shoal.messages.policy import Policy
from shoal.messages.replies import Done

SERVE_RETRY_S: Final = 1.0  # seconds before the transport is asked again to serve our protocol
WORD_S: Final = 0.01  # seconds from a frame to what follows from it, so that several are dealt with at once
TELL_S: Final = 0.05  # seconds between looks at filters that wait to be told on
LOOK_EVERY_S: Final = 30.0  # seconds between looks at what nothing reminds us of


class AdvertsActor(Actor):
    """Our filter and those of our peers."""

    NAME: ClassVar[str] = "adverts"

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.holding = Holding(ctx.random.randbytes(SALT_BYTES))
        self.gathering = Gathering(ctx, self.holding, self._soon)
        self.telling = Telling(ctx.random)
        self.hearing = Hearing()
        self.peers: set[str] = set()  # connected
        self.advertises = False
        self._timer: Timer | None = None
        self._timer_at = math.inf

    def on_start(self) -> None:
        self._serve_protocols()
        self._obey(self.ctx.policy)

    # --- what we hold ----------------------------------------------------------------------------------

    @handles(blocks.BlocksAvailable)
    def on_available(self, message: blocks.BlocksAvailable, _: Envelope) -> None:
        if self.advertises:
            told = [self.holding.add(block.cid.multihash) for block in message.blocks]
            if any(told):
                self._soon()

    @handles(lifecycle.PolicyChanged)
    def on_policy_changed(self, message: lifecycle.PolicyChanged, _: Envelope) -> None:
        self._obey(message.policy)

    def _obey(self, policy: Policy) -> None:
        advertises = policy.serve_blocks and policy.advertise_filters
        if advertises != self.advertises:
            self.advertises = advertises
            if advertises:
                self.gathering.start()
            else:
                self.gathering.stop()
        self._soon()

    # --- peers -----------------------------------------------------------------------------------------

    @handles(transport.PeerConnected)
    def on_connected(self, message: transport.PeerConnected, _: Envelope) -> None:
        self.peers.add(message.peer)

    @handles(transport.PeerIdentified)
    def on_identified(self, message: transport.PeerIdentified, _: Envelope) -> None:
        if wire.FILTER_1_0 not in message.protocols:
            self._stop_telling(message.peer)
        elif message.peer in self.peers:
            self.telling.speaks(message.peer, self.ctx.now())
            self._soon()

    @handles(transport.PeerDisconnected)
    def on_disconnected(self, message: transport.PeerDisconnected, _: Envelope) -> None:
        self.peers.discard(message.peer)
        self.telling.gone(message.peer)
        self.hearing.gone(message.peer)

    def _stop_telling(self, peer: str) -> None:
        stream = self.telling.gone(peer)
        if stream:
            self.ctx.send(transport.CloseStream(stream), deadline=math.inf)

    # --- streams and frames ----------------------------------------------------------------------------

    @handles(transport.FrameReceived)
    def on_frame(self, message: transport.FrameReceived, _: Envelope) -> None:
        peer, stream, frame = message.peer, message.stream, message.data.data
        if peer in self.peers:
            try:
                self.hearing.take(peer, frame, self.ctx.now())
            except RemoteError as fault:
                self._fault(peer, stream, fault)
        self.ctx.send(transport.FrameTaken(stream, len(frame)), deadline=math.inf)
        if self.hearing.waiting:
            self._wake_in(WORD_S)

    @handles(transport.FrameSent)
    def on_frame_sent(self, message: transport.FrameSent, _: Envelope) -> None:
        self.telling.written(message.stream, message.size)
        self._soon()

    @handles(transport.StreamClosed)
    def on_stream_closed(self, message: transport.StreamClosed, _: Envelope) -> None:
        self.telling.closed(message.stream, self.ctx.now())
        self._soon()

    def _fault(self, peer: str, stream: int, fault: RemoteError) -> None:
        self.ctx.count("remote_faults")
        self.ctx.send(transport.RemoteFault(peer, stream, fault.code, str(fault)), deadline=math.inf)

    # --- others come back --------------------------------------------------------------------------------

    @handles(lifecycle.ActorRestarted)
    def on_actor_restarted(self, message: lifecycle.ActorRestarted, _: Envelope) -> None:
        if message.name == "transport":
            for peer in self.peers:
                self.telling.gone(peer)
                self.hearing.gone(peer)
            self.peers.clear()
            self._serve_protocols()
        elif message.name == "placement" and self.advertises:
            self.gathering.soon()  # what it would have said of the last blocks before its end was not said
        elif message.name == "bitswap":
            self.hearing.tell_all()
        self._soon()

    def _serve_protocols(self) -> None:
        def answered(reply: Message) -> None:
            if not isinstance(reply, Done):
                self.ctx.after(SERVE_RETRY_S, self._serve_protocols)

        message = transport.ServeProtocol((wire.FILTER_1_0,), wire.FRAME_BYTES_MAX)
        self.ctx.request(message, answered, deadline=math.inf)

    # --- figures -----------------------------------------------------------------------------------------

    @handles(adverts.AdvertStat)
    def on_stat(self, _: adverts.AdvertStat, envelope: Envelope) -> None:
        names, telling, hearing = self.holding.names, self.telling, self.hearing
        stats = adverts.AdvertStats(
            count=len(names.marks) if names else 0,
            bytes=len(names.filter) if names else 0,
            false_positive_rate=names.filter.rate if names else 0.0,
            peers=hearing.filters,
            sent=telling.sent,
            sent_bytes=telling.sent_bytes,
            received=hearing.received,
            received_bytes=hearing.received_bytes,
            refused=hearing.refused,
        )
        self.ctx.reply(envelope, stats)

    # --- the pump ----------------------------------------------------------------------------------------

    def _pump(self) -> None:
        now = self.ctx.now()
        wait = min(LOOK_EVERY_S, self.gathering.tend())
        for row in list(self.telling.rows.values()):
            wait = min(wait, self._tell(row, now))
        self.hearing.forget(now)
        for peer in self.hearing.ready(now):
            try:
                self.ctx.send(self.hearing.tell(peer, now), deadline=math.inf)
            except RemoteError as fault:
                self._fault(peer, 0, fault)
        if self.hearing.waiting:
            wait = min(wait, TELL_S)
        self._wake_in(max(wait, EDGE_S))

    def _tell(self, row: Row, now: float) -> float:
        due = self.telling.due(row, self.holding, now)
        if due.frame:
            self.ctx.count("bytes_told", len(due.frame))
            self.ctx.send(transport.SendFrame(row.stream, (Buffer(due.frame),)), deadline=math.inf)
        elif due.open:
            self._open(row.peer)
        return due.wait_s

    def _open(self, peer: str) -> None:
        def answered(reply: Message) -> None:
            now = self.ctx.now()
            if not isinstance(reply, transport.StreamOpened):
                self.telling.not_opened(peer, now)
            elif not self.telling.opened(peer, reply.stream, now):
                self.ctx.send(transport.CloseStream(reply.stream, reset=True), deadline=math.inf)
            self._wake_in(0.0)

        message = transport.OpenStream(peer, (wire.FILTER_1_0,), wire.FRAME_BYTES_MAX)
        self.ctx.request(message, answered, deadline=math.inf)

    def _soon(self) -> None:
        """Something has changed: look at it once what comes with it is here too."""
        self._wake_in(EDGE_S)

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
        self._pump()
