"""Who speaks pubsub with us and what each is subscribed to: a pure table, bounded in every direction.

Peers say what they are subscribed to when a stream opens and never again, so topics that are not ours are remembered
too: they may become ours.  A peer may fill its own share with names; our own topics always have room.
Sets are dicts without values here and beside: their order is that of insertion, in every run.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Final

from shoal.actors.discovery.pubsub import wire
from shoal.messages.limits import PUBSUB_TOPIC_BYTES_ALL, PUBSUB_TOPIC_BYTES_PER_PEER, PUBSUB_TOPICS_PER_PEER

ROW_BYTES: Final = 100  # bytes counted for a subscription besides its name


@dataclass(slots=True)
class PeerRow:
    """One connected peer.  ``protocol`` is that of our stream to it, empty while none is open."""

    peer: str
    outbound: bool  # we dialled it: it did not choose us
    protocol: str = ""
    topics: dict[str, None] = field(default_factory=dict)
    topic_bytes: int = 0  # of topics that are not ours
    ihaves: int = 0  # heeded since the last heartbeat
    ihave_ids: int = 0
    asked: int = 0  # ids in our IWANTs since the last heartbeat
    served: int = 0  # messages given for its IWANTs since the last heartbeat

    @property
    def ready(self) -> bool:
        """Whether we can tell it anything."""
        return bool(self.protocol)

    @property
    def gossips(self) -> bool:
        """Whether it speaks gossipsub, and can be in a mesh."""
        return self.protocol in (wire.MESHSUB_1_1, wire.MESHSUB_1_0)


class PeerTable:
    """Rows by peer, and peers by topic.  ``ours``: the topics that this node is subscribed to."""

    def __init__(self, ours: Container[str]) -> None:
        self.ours = ours
        self.rows: dict[str, PeerRow] = {}
        self.topic_bytes = 0  # of all rows
        self.refused = 0  # subscriptions that found no room
        self._subscribers: dict[str, dict[str, None]] = {}

    def connected(self, peer: str, *, outbound: bool) -> None:
        """A row for the peer."""
        if peer not in self.rows:
            self.rows[peer] = PeerRow(peer, outbound)

    def disconnected(self, peer: str) -> None:
        """The row goes, with all that it was subscribed to."""
        if peer in self.rows:
            self.forget_topics(peer)
            del self.rows[peer]

    def subscribers(self, topic: str) -> list[PeerRow]:
        """Peers subscribed to ``topic``, in the order in which they said so."""
        return [self.rows[peer] for peer in self._subscribers.get(topic, ())]

    def subscribe(self, peer: str, topic: str) -> bool:
        """The peer is subscribed; False when its share, or all, is full of names that mean nothing to us."""
        row = self.rows[peer]
        if topic in row.topics:
            return True
        if topic not in self.ours:
            cost = _cost(topic)
            if (
                len(row.topics) >= PUBSUB_TOPICS_PER_PEER.value
                or row.topic_bytes + cost > PUBSUB_TOPIC_BYTES_PER_PEER.value
                or self.topic_bytes + cost > PUBSUB_TOPIC_BYTES_ALL.value
            ):
                self.refused += 1
                return False
            self._charge(row, cost)
        row.topics[topic] = None
        self._subscribers.setdefault(topic, {})[peer] = None
        return True

    def unsubscribe(self, peer: str, topic: str) -> None:
        """The peer is not subscribed any more."""
        row = self.rows[peer]
        if topic not in row.topics:
            return
        del row.topics[topic]
        if topic not in self.ours:
            self._charge(row, -_cost(topic))
        subscribers = self._subscribers[topic]
        del subscribers[peer]
        if not subscribers:
            del self._subscribers[topic]

    def forget_topics(self, peer: str) -> None:
        """The peer begins anew: what it is subscribed to it will say again."""
        for topic in list(self.rows[peer].topics):
            self.unsubscribe(peer, topic)

    def becomes_ours(self, topic: str) -> None:
        """Call before ``topic`` is added to ``ours``: it is no longer at its subscribers' charge."""
        for row in self.subscribers(topic):
            self._charge(row, -_cost(topic))

    def no_longer_ours(self, topic: str) -> None:
        """Call before ``topic`` is taken from ``ours``: it is at its subscribers' charge, be it too much."""
        for row in self.subscribers(topic):
            self._charge(row, _cost(topic))

    def _charge(self, row: PeerRow, cost: int) -> None:
        row.topic_bytes += cost
        self.topic_bytes += cost


def _cost(topic: str) -> int:
    return len(topic.encode()) + ROW_BYTES
