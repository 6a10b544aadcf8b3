"""Gossipsub v1.1 without a network: RPCs in, words for peers out (``outbox``), messages for this node returned.

Begin with ``Router``.  What each part decides is in its module: ``peers`` who is subscribed, ``mesh`` who is sent what,
``gossip`` who is told of what, ``scoring`` what each is worth, ``signing`` and ``seen`` what is believed.  Time and
randomness come in; streams, encoding and users are the actor's.

A message passes these gates, the cheap ones first: its topic is ours, its id is new, its bearer is not over its rate,
it is signed by whom it names, it is no replay, and the topic's validator takes it.  Only then is it remembered,
handed out and forwarded: a bad copy cannot keep the good one out.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from dataclasses import dataclass

from shoal.actors.discovery.keys import Keys
from shoal.actors.discovery.pubsub.bucket import Bucket
from shoal.actors.discovery.pubsub.gossip import Gossip
from shoal.actors.discovery.pubsub.mesh import Mesh
from shoal.actors.discovery.pubsub.outbox import Outbox
from shoal.actors.discovery.pubsub.peers import PeerRow, PeerTable
from shoal.actors.discovery.pubsub.scoring import GRAYLIST_SCORE, Scores
from shoal.actors.discovery.pubsub.seen import Seen
from shoal.actors.discovery.pubsub.signing import Signer, author_of, message_id
from shoal.actors.discovery.pubsub.wire import Rpc, Signed
from shoal.messages.errors import RemoteError
from shoal.messages.limits import PUBSUB_CHECKS_BURST, PUBSUB_CHECKS_RATE


class Verdict(enum.Enum):
    """What a topic's validator says of a message (v1.1 "Extended Validators")."""

    ACCEPT = "handed out and forwarded"
    IGNORE = "neither, and nobody is to blame"
    REJECT = "neither, and whoever brought it should have known"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message for this node."""

    topic: str
    author: str
    seqno: int
    data: bytes


Validator = Callable[[Delivery, str], Verdict]  # the message, and the peer that brought it


@dataclass(slots=True)
class Totals:
    """Since start."""

    received: int = 0
    duplicates: int = 0
    rejected: int = 0
    published: int = 0
    forwarded: int = 0
    throttled: int = 0


class Router:
    """One node's gossipsub.  ``now`` in seconds on the node's clock."""

    def __init__(self, rng: random.Random, keys: Keys) -> None:
        self.keys = keys
        self.signer = Signer(keys)
        self.topics: dict[str, None] = {}  # ours
        self.validators: dict[str, Validator] = {}
        self.outbox = Outbox()
        self.seen = Seen()
        self.scores = Scores()
        self.table = PeerTable(self.topics)
        self.mesh = Mesh(rng, self.table, self.scores, self.outbox)
        self.gossip = Gossip(rng, self.table, self.mesh, self.scores, self.seen, self.outbox)
        self.totals = Totals()
        self._checks: dict[str, Bucket] = {}

    # --- peers -------------------------------------------------------------------------------------------

    def connected(self, peer: str, addr: str, *, outbound: bool) -> None:
        """A peer is connected, by this multiaddr; ``outbound``: we dialled it."""
        self.table.connected(peer, outbound=outbound)
        self.scores.came(peer, addr)

    def disconnected(self, peer: str, now: float) -> None:
        """It is gone."""
        self.closed(peer, now)
        self.table.disconnected(peer)
        self.scores.went(peer, now)
        self._checks.pop(peer, None)

    def opened(self, peer: str, protocol: str) -> None:
        """Our stream to the peer is open: it hears what we are subscribed to."""
        row = self.table.rows.get(peer)
        if row is not None:
            row.protocol = protocol
            for topic in self.topics:
                self.outbox.subscription(peer, topic, True)

    def closed(self, peer: str, now: float) -> None:
        """Our stream to it is gone."""
        row = self.table.rows.get(peer)
        if row is not None:
            self.mesh.lost(peer, now)
            self.outbox.forget(peer)
            row.protocol = ""

    def restarted(self, peer: str, now: float) -> None:
        """Its stream to us is gone or another: what it was subscribed to it will say again."""
        row = self.table.rows.get(peer)
        if row is not None:
            self.mesh.lost(peer, now)
            self.table.forget_topics(peer)

    # --- what this node wants ----------------------------------------------------------------------------

    def subscribe(self, topic: str, now: float) -> None:
        """Take part in ``topic``."""
        if topic in self.topics:
            return
        self.table.becomes_ours(topic)
        self.topics[topic] = None
        self._tell_all(topic, True)
        self.mesh.join(topic, now)

    def unsubscribe(self, topic: str, now: float) -> None:
        """Take part no more."""
        if topic not in self.topics:
            return
        self.mesh.leave(topic, now)
        self.table.no_longer_ours(topic)
        del self.topics[topic]
        self._tell_all(topic, False)

    def _tell_all(self, topic: str, on: bool) -> None:
        for row in self.table.rows.values():
            if row.ready:
                self.outbox.subscription(row.peer, topic, on)

    def publish(self, topic: str, data: bytes, now: float, wall_s: float, *, flood: bool) -> tuple[Delivery, int]:
        """Sign and send; the message, and to how many peers it goes now."""
        message = self.signer.make(topic, data, wall_s)
        assert message.author is not None
        assert message.seqno is not None
        identifier, seqno = message_id(message.author, message.seqno), self.signer.last
        self.seen.add(identifier, message.author, seqno, now)
        self.gossip.cache.put(identifier, topic, message.raw)
        targets = self.mesh.publish_to(topic, now, flood=flood)
        for peer in targets:
            self.outbox.message(peer, message.raw)
        self.totals.published += 1
        return Delivery(topic, self.keys.peer_id, seqno, data), len(targets)

    # --- what peers say ----------------------------------------------------------------------------------

    def is_graylisted(self, peer: str, now: float) -> bool:
        """Whether nothing that the peer says is to be read."""
        return self.scores.of(peer, now) < GRAYLIST_SCORE

    def receive(self, peer: str, rpc: Rpc, now: float) -> list[Delivery]:
        """Deal with one RPC; the messages in it that are for this node."""
        row = self.table.rows.get(peer)
        if row is None:
            return []
        for on, topic in rpc.subscriptions:
            if on:
                self.table.subscribe(peer, topic)
            else:
                self.mesh.unsubscribed(peer, topic, now)
                self.table.unsubscribe(peer, topic)
        for topic in rpc.graft:
            self.mesh.on_graft(row, topic, now)
        for topic, backoff_s in rpc.prune:
            self.mesh.on_prune(row, topic, backoff_s, now)
        self.gossip.on_ihave(row, rpc.ihave, now)
        self.gossip.on_iwant(row, rpc.iwant, now)
        found = (self._take(row, message, now) for message in rpc.messages)
        return [delivery for delivery in found if delivery is not None]

    def broke_rule(self, peer: str) -> None:
        """Its bytes were no RPC."""
        self.scores.misbehaved(peer)

    def _take(self, row: PeerRow, message: Signed, now: float) -> Delivery | None:
        """One message through all gates; None when it is not for this node, or is stopped."""
        if message.topic not in self.topics:
            return None
        identifier = message_id(message.author or b"", message.seqno or b"")
        if identifier in self.seen:
            self.totals.duplicates += 1
            return None
        bucket = self._checks.get(row.peer)
        if bucket is None:
            bucket = self._checks[row.peer] = Bucket(PUBSUB_CHECKS_BURST.value, PUBSUB_CHECKS_RATE.value, now)
        if not bucket.take(1, now):
            self.totals.throttled += 1
            return None
        try:
            author = author_of(message, self.keys)
        except RemoteError:
            self.scores.invalid(row.peer, message.topic)
            self.totals.rejected += 1
            return None
        return self._believe(row, message, Delivery(message.topic, author, _number(message), message.data or b""), now)

    def _believe(self, row: PeerRow, message: Signed, delivery: Delivery, now: float) -> Delivery | None:
        """A message that is signed: is it new, and does its topic want it?"""
        assert message.author is not None
        assert message.seqno is not None
        identifier = message_id(message.author, message.seqno)
        self.gossip.arrived(identifier)
        if delivery.author == self.keys.peer_id or self.seen.is_replay(message.author, delivery.seqno):
            self.totals.rejected += 1  # ours from before a restart, or an old one of somebody's: nobody is to blame
            return None
        validator = self.validators.get(message.topic)
        verdict = validator(delivery, row.peer) if validator is not None else Verdict.ACCEPT
        if verdict is not Verdict.ACCEPT:
            self.totals.rejected += 1
            if verdict is Verdict.REJECT:
                self.scores.invalid(row.peer, message.topic)
            return None
        self.seen.add(identifier, message.author, delivery.seqno, now)
        self.scores.first(row.peer, message.topic)
        self.gossip.cache.put(identifier, message.topic, message.raw)
        for peer in self.mesh.forward_to(message.topic):
            if peer not in (row.peer, delivery.author):
                self.outbox.message(peer, message.raw)
                self.totals.forwarded += 1
        self.totals.received += 1
        return delivery

    # --- time --------------------------------------------------------------------------------------------

    def heartbeat(self, now: float) -> None:
        """Once a second."""
        self.scores.decay(now)
        self.mesh.heartbeat(now)
        self.gossip.heartbeat(now)
        self.seen.expire(now)

    @property
    def links(self) -> int:
        """Of all meshes."""
        return sum(map(len, self.mesh.links.values()))


def _number(message: Signed) -> int:
    assert message.seqno is not None
    return int.from_bytes(message.seqno, "big")
