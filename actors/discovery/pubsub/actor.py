"""The pubsub actor: gossipsub v1.1 with every peer that speaks it, for users' topics and for the swarm's own.

Frames come in from the transport, are decoded (``wire``) and given to the pure ``router``; what it wants said is sent
at the end of every message handled (``streaming``).  ``swarm`` deals with announcements, which are a source of
hints for routing.  The heartbeat runs only while there is somebody to gossip with.

Others may die at any time.  A new transport: all peers are gone and will be announced again.  When this actor dies its
subscribers hear so; the next generation takes part in the swarm's topic anew, and has only its hints to gather.
"""

from __future__ import annotations

import math
from typing import ClassVar, Final

from shoal.actors.base import Actor, Context, handles
from shoal.actors.discovery.keys import Keys
from shoal.actors.discovery.pubsub import wire
from shoal.actors.discovery.pubsub.announcements import TOPIC
from shoal.actors.discovery.pubsub.links import Links
from shoal.actors.discovery.pubsub.router import Delivery, Router
from shoal.actors.discovery.pubsub.streaming import Streaming
from shoal.actors.discovery.pubsub.subscribers import Subscribers, check_topic
from shoal.actors.discovery.pubsub.swarm import SwarmTopic
from shoal.messages import lifecycle, pubsub, routing, transport
from shoal.messages.base import Message
from shoal.messages.block import Buffer
from shoal.messages.envelope import Envelope
from shoal.messages.errors import BadInput, LocalError, RemoteError
from shoal.messages.limits import PUBSUB_DATA_MAX
from shoal.messages.replies import Done, Failed, Overloaded

HEARTBEAT_S: Final = 1.0  # seconds, gossipsub v1.0
LINGER_S: Final = 60.0  # seconds that a node without topics stays open after it published


class PubsubActor(Actor):
    """Topics, messages and announcements."""

    NAME: ClassVar[str] = "pubsub"

    def __init__(self, ctx: Context, keys: Keys) -> None:
        super().__init__(ctx)
        self.router = Router(ctx.random, keys)
        self.links = Links(ctx.random)
        self.streaming = Streaming(ctx, self.router, self.links, self._handled)
        self.subscribers = Subscribers()
        self.swarm = SwarmTopic(ctx, self.router, self._handled)
        self._beating = False
        self._published_at = -math.inf

    def on_start(self) -> None:
        self.swarm.follow_policy()
        self.streaming.serve()

    def receive(self, message: Message, envelope: Envelope) -> None:
        super().receive(message, envelope)
        self._handled()

    # --- peers -------------------------------------------------------------------------------------------

    @handles(transport.PeerConnected)
    def on_connected(self, message: transport.PeerConnected, _: Envelope) -> None:
        self.links.connected(message.peer)
        self.router.connected(message.peer, message.addr, outbound=not message.inbound)

    @handles(transport.PeerIdentified)
    def on_identified(self, message: transport.PeerIdentified, _: Envelope) -> None:
        self.links.identified(message.peer, message.protocols)

    @handles(transport.PeerDisconnected)
    def on_disconnected(self, message: transport.PeerDisconnected, _: Envelope) -> None:
        self._peer_gone(message.peer)

    def _peer_gone(self, peer: str) -> None:
        self.links.disconnected(peer)
        self.router.disconnected(peer, self.ctx.now())

    @handles(transport.FrameReceived)
    def on_frame(self, message: transport.FrameReceived, _: Envelope) -> None:
        peer, stream, frame = message.peer, message.stream, message.data.data
        if peer in self.links.rows:
            self._heard(peer, stream)
            self._read(peer, stream, frame)
        self.ctx.send(transport.FrameTaken(stream, len(frame)), deadline=math.inf)

    def _heard(self, peer: str, stream: int) -> None:
        """Note on which stream a peer speaks; when it is another than before, the peer has begun anew."""
        before = self.links.heard(peer, stream)
        if before:
            self.ctx.send(transport.CloseStream(before, reset=True), deadline=math.inf)
            self.router.restarted(peer, self.ctx.now())

    def _read(self, peer: str, stream: int, frame: memoryview) -> None:
        now = self.ctx.now()
        if self.router.is_graylisted(peer, now):
            self.ctx.count("graylisted_frames")
            return
        try:
            rpc = wire.decode(frame)
        except RemoteError as fault:
            self.ctx.count("remote_faults")
            self.router.broke_rule(peer)
            self.ctx.send(transport.RemoteFault(peer, stream, fault.code, str(fault)), deadline=math.inf)
            return
        for delivery in self.router.receive(peer, rpc, now):
            self._deliver(delivery)

    @handles(transport.FrameSent)
    def on_frame_sent(self, message: transport.FrameSent, _: Envelope) -> None:
        self.links.sent(message.stream, message.size)

    @handles(transport.StreamClosed)
    def on_stream_closed(self, message: transport.StreamClosed, _: Envelope) -> None:
        peer, ours = self.links.closed(message.stream, self.ctx.now())
        if peer and ours:
            self.router.closed(peer, self.ctx.now())
        elif peer:
            self.router.restarted(peer, self.ctx.now())

    # --- users -------------------------------------------------------------------------------------------

    @handles(pubsub.Subscribe)
    def on_subscribe(self, message: pubsub.Subscribe, envelope: Envelope) -> None:
        try:
            self.subscribers.add(message.topic, message.ticket, envelope)
        except LocalError as fault:
            self._failed(envelope, fault)
            return
        self.router.subscribe(message.topic, self.ctx.now())

    @handles(pubsub.Unsubscribe)
    def on_unsubscribe(self, message: pubsub.Unsubscribe, envelope: Envelope) -> None:
        ended = self.subscribers.end(envelope.sender, message.ticket)
        if ended is not None:
            self.ctx.reply(ended.envelope, Done())
            self._leave_unused(ended.topic)
        self.ctx.reply(envelope, Done())

    @handles(pubsub.Publish)
    def on_publish(self, message: pubsub.Publish, envelope: Envelope) -> None:
        try:
            check_topic(message.topic)
            if message.topic == TOPIC:
                raise BadInput(f"{TOPIC} is for announcements", "announce content instead")
            if len(message.data) > PUBSUB_DATA_MAX.value:
                raise BadInput(f"a message of {len(message.data)} bytes", f"send {PUBSUB_DATA_MAX.value} at most")
        except LocalError as fault:
            self._failed(envelope, fault)
            return
        now, wall_s = self.ctx.now(), self.ctx.wall()
        data = bytes(message.data.data)
        delivery, peers = self.router.publish(message.topic, data, now, wall_s, flood=True)
        self._published_at = now
        self._deliver(delivery)
        self.ctx.reply(envelope, pubsub.Published(peers))

    @handles(pubsub.AnnounceByPubsub)
    def on_announce(self, message: pubsub.AnnounceByPubsub, envelope: Envelope) -> None:
        try:
            peers = self.swarm.announce(message)
        except LocalError as fault:
            self._failed(envelope, fault)
            return
        if peers is None:
            self.ctx.reply(envelope, Overloaded(envelope.kind, self.NAME))
            return
        self._published_at = self.ctx.now()
        self.ctx.reply(envelope, pubsub.Published(peers))

    @handles(pubsub.ListTopics)
    def on_list_topics(self, _: pubsub.ListTopics, envelope: Envelope) -> None:
        self.ctx.reply(envelope, pubsub.TopicsListed(tuple(sorted(self.router.topics))))

    @handles(pubsub.TopicPeers)
    def on_topic_peers(self, message: pubsub.TopicPeers, envelope: Envelope) -> None:
        if message.topic:
            peers = tuple(row.peer for row in self.router.table.subscribers(message.topic))
        else:
            peers = tuple(link.peer for link in self.links.rows.values() if link.speaks)
        self.ctx.reply(envelope, pubsub.TopicPeersListed(peers))

    @handles(pubsub.PubsubStat)
    def on_stat(self, _: pubsub.PubsubStat, envelope: Envelope) -> None:
        totals = self.router.totals
        self.ctx.reply(
            envelope,
            pubsub.PubsubStats(
                topics=len(self.router.topics),
                peers=sum(bool(link.speaks) for link in self.links.rows.values()),
                mesh=self.router.links,
                received=totals.received,
                duplicates=totals.duplicates,
                rejected=totals.rejected,
                published=totals.published,
                announcements=len(self.swarm.hints),
                announcements_refused=self.swarm.refused,
            ),
        )

    def _deliver(self, delivery: Delivery) -> None:
        rows = self.subscribers.of(delivery.topic)
        if rows:
            message = pubsub.TopicMessage(delivery.topic, delivery.author, delivery.seqno, Buffer(delivery.data))
            for row in rows:
                self.ctx.reply(row.envelope, message)

    def _leave_unused(self, topic: str) -> None:
        """Take part no more in a topic that nobody here reads."""
        kept = topic == TOPIC and self.ctx.policy.find_by_pubsub
        if not kept and topic not in self.subscribers.topics:
            self.router.unsubscribe(topic, self.ctx.now())

    def _failed(self, envelope: Envelope, fault: LocalError) -> None:
        self.ctx.reply(envelope, Failed(envelope.kind, type(fault).__name__, str(fault)))

    # --- routing -----------------------------------------------------------------------------------------

    @handles(routing.SearchSource)
    def on_search(self, message: routing.SearchSource, envelope: Envelope) -> None:
        self.swarm.search(message, envelope)

    @handles(routing.StopSource)
    def on_stop_search(self, message: routing.StopSource, envelope: Envelope) -> None:
        self.swarm.stop_search(envelope.sender, message.ticket)

    @handles(routing.SearchPeer)
    def on_search_peer(self, message: routing.SearchPeer, envelope: Envelope) -> None:
        addrs = self.swarm.hints.addrs(message.peer, self.ctx.now())
        if addrs:
            self.ctx.reply(envelope, routing.PeerFound(message.peer, addrs, routing.PUBSUB))
        else:
            self.ctx.reply(envelope, Failed(envelope.kind, "NotFound", f"{message.peer} has announced no address"))

    # --- others come back, policy changes ----------------------------------------------------------------

    @handles(lifecycle.ActorRestarted)
    def on_actor_restarted(self, message: lifecycle.ActorRestarted, _: Envelope) -> None:
        if message.name == "transport":
            for peer in list(self.links.rows):
                self._peer_gone(peer)
            self.streaming.serve()

    @handles(lifecycle.PolicyChanged)
    def on_policy_changed(self, _: lifecycle.PolicyChanged, __: Envelope) -> None:
        self.swarm.follow_policy()
        if TOPIC in self.subscribers.topics:
            self.router.subscribe(TOPIC, self.ctx.now())

    # --- the pump ----------------------------------------------------------------------------------------

    @property
    def _active(self) -> bool:
        """Whether this node has any business with those who speak pubsub."""
        return bool(self.router.topics) or self.ctx.now() - self._published_at < LINGER_S

    def _handled(self) -> None:
        """After each message: open streams, send what is pending, have the heartbeat run if there is need."""
        if self._active:
            self.streaming.open_due()
        self.streaming.flush()
        if not self._beating and self._needs_beat():
            self._beating = True
            self.ctx.after(HEARTBEAT_S * self.ctx.random.uniform(0.1, 1.0), self._beat)

    def _needs_beat(self) -> bool:
        speakers = any(link.speaks for link in self.links.rows.values())
        return (
            (self._active and speakers)
            or len(self.subscribers) > 0
            or not self.router.gossip.is_idle
            or self.swarm.is_busy
        )

    def _beat(self) -> None:
        self._beating = False
        now = self.ctx.now()
        for late in self.subscribers.expire(now):
            self._leave_unused(late.topic)
        self.router.heartbeat(now)
        self.swarm.beat()
        self.ctx.gauge("mesh_links", self.router.links)
        self.ctx.gauge("announcements", len(self.swarm.hints))
        if self._active:
            self.streaming.open_due()
        self.streaming.flush()
        if self._needs_beat():
            self._beating = True
            self.ctx.after(HEARTBEAT_S, self._beat)
