"""What this node thinks of each peer: the score of gossipsub v1.1, from what the peer did.

    score = min(TOPICS_CAP, sum over topics of P1 + P2 + P4) + P6 + P7

P1 time in our mesh, P2 messages that it was the first to bring, P4 messages that it should not have brought, P6 more
peers than usual behind its IP address, P7 breaking the rules of gossip.  Left out, as in go-libp2p-pubsub unless an
application sets them: P3 and P3b (too few deliveries), which need a known rate of messages a topic, and P5 (an
application's own).  The thresholds say what a score costs; ``Scores`` only keeps it.

Times are seconds on the node's clock.  Source: gossipsub v1.1 "Peer Scoring"; the weights follow Lotus's, the
largest network that runs them (lotus, node/modules/lp2p/pubsub.go).
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from shoal.messages.limits import PUBSUB_SCORES_MAX

# What a score costs.
MESH_SCORE: Final = 0.0  # below it a peer is not in our meshes
GOSSIP_SCORE: Final = -500.0  # below it we neither tell it of messages nor believe it about any
PUBLISH_SCORE: Final = -1000.0  # below it our own messages are not flooded to it
GRAYLIST_SCORE: Final = -2500.0  # below it nothing that it says is read
OPPORTUNISTIC_SCORE: Final = 3.5  # of a mesh's median member, below which better ones are looked for

MESH_TIME_WEIGHT: Final = 0.00027  # a second: an hour is worth one message brought first
MESH_TIME_MAX_S: Final = 3600.0  # seconds that count
FIRST_WEIGHT: Final = 0.5  # a message brought first
FIRST_MAX: Final = 100.0  # messages that count
FIRST_HALF_LIFE_S: Final = 600.0
TOPICS_CAP: Final = 100.0  # good deeds outweigh no more than this
INVALID_WEIGHT: Final = -100.0  # of the square of messages that should not have been brought: after five it is over
INVALID_HALF_LIFE_S: Final = 600.0
COLOCATED_FREE: Final = 5  # peers behind one address that are nothing unusual
COLOCATED_WEIGHT: Final = -10.0  # of the square of the surplus
BEHAVIOUR_FREE: Final = 6.0  # broken rules that are forgiven: promises also break with connections
BEHAVIOUR_WEIGHT: Final = -10.0  # of the square of those beyond
BEHAVIOUR_HALF_LIFE_S: Final = 600.0
NOTHING: Final = 0.1  # a counter below it has decayed to zero
RETAIN_S: Final = 3600.0  # that the score of a peer is remembered after it has gone


@dataclass(slots=True)
class TopicRow:
    """One peer in one topic."""

    grafted_at: float | None = None
    first: float = 0.0
    invalid: float = 0.0


@dataclass(slots=True)
class ScoreRow:
    """One peer.  ``gone_at``: when it disconnected, None while it is here."""

    place: str = ""  # what its IP address is counted as; empty: not counted
    behaviour: float = 0.0
    topics: dict[str, TopicRow] = field(default_factory=dict)
    gone_at: float | None = None

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing about the peer that a new row would not say."""
        return not self.topics and self.behaviour == 0.0


class Scores:
    """Rows by peer: those that are here, and for a while those that have gone, as many as the limit says."""

    def __init__(self) -> None:
        self.rows: dict[str, ScoreRow] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()  # the first to go first
        self._places: dict[str, int] = {}
        self._decayed_at: float | None = None

    # --- who is here -----------------------------------------------------------------------------------

    def came(self, peer: str, addr: str) -> None:
        """The peer is connected, by this multiaddr."""
        row = self.rows.setdefault(peer, ScoreRow())
        self._gone.pop(peer, None)
        row.gone_at = None
        self._leave_place(row)
        row.place = place_of(addr)
        if row.place:
            self._places[row.place] = self._places.get(row.place, 0) + 1

    def went(self, peer: str, now: float) -> None:
        """It is not connected any more; what it did is remembered for RETAIN_S."""
        row = self.rows.get(peer)
        if row is None or row.gone_at is not None:
            return
        self._leave_place(row)
        for topic in list(row.topics):
            self.pruned(peer, topic, now)
        if row.is_blank:
            del self.rows[peer]
            return
        row.gone_at = now
        self._gone[peer] = None
        if len(self._gone) > PUBSUB_SCORES_MAX.value:
            self.rows.pop(self._gone.popitem(last=False)[0])

    def _leave_place(self, row: ScoreRow) -> None:
        if row.place:
            left = self._places[row.place] - 1
            if left:
                self._places[row.place] = left
            else:
                del self._places[row.place]
            row.place = ""

    # --- what it did -----------------------------------------------------------------------------------

    def grafted(self, peer: str, topic: str, now: float) -> None:
        """It is in our mesh."""
        self._topic(peer, topic).grafted_at = now

    def pruned(self, peer: str, topic: str, now: float) -> None:  # noqa: ARG002 - beside ``grafted``
        """It is not."""
        row = self.rows.get(peer)
        if row is None or topic not in row.topics:
            return
        row.topics[topic].grafted_at = None
        self._drop_if_blank(row, topic)

    def first(self, peer: str, topic: str) -> None:
        """It brought a good message before anybody else."""
        row = self._topic(peer, topic)
        row.first = min(FIRST_MAX, row.first + 1.0)

    def invalid(self, peer: str, topic: str) -> None:
        """It brought one that it should have dropped."""
        self._topic(peer, topic).invalid += 1.0

    def misbehaved(self, peer: str, times: float = 1.0) -> None:
        """It broke a rule of gossip."""
        row = self.rows.get(peer)
        if row is not None:
            row.behaviour += times

    def _topic(self, peer: str, topic: str) -> TopicRow:
        """Only our own topics come here, so a row has few."""
        return self.rows.setdefault(peer, ScoreRow()).topics.setdefault(topic, TopicRow())

    # --- what comes of it ------------------------------------------------------------------------------

    def of(self, peer: str, now: float) -> float:
        """The peer's score; 0 for one that nothing is known of."""
        row = self.rows.get(peer)
        if row is None:
            return 0.0
        total = 0.0
        for topic in row.topics.values():
            if topic.grafted_at is not None:
                total += MESH_TIME_WEIGHT * min(MESH_TIME_MAX_S, max(0.0, now - topic.grafted_at))
            total += FIRST_WEIGHT * topic.first + INVALID_WEIGHT * topic.invalid**2
        total = min(TOPICS_CAP, total)
        if row.place:
            total += COLOCATED_WEIGHT * max(0, self._places[row.place] - COLOCATED_FREE) ** 2
        return total + BEHAVIOUR_WEIGHT * max(0.0, row.behaviour - BEHAVIOUR_FREE) ** 2

    def decay(self, now: float) -> None:
        """Let what was done fade by the time since the last call, and forget who has long gone."""
        elapsed = 0.0 if self._decayed_at is None else max(0.0, now - self._decayed_at)
        self._decayed_at = now
        for row in self.rows.values():
            row.behaviour = _faded(row.behaviour, elapsed, BEHAVIOUR_HALF_LIFE_S)
            for name, topic in list(row.topics.items()):
                topic.first = _faded(topic.first, elapsed, FIRST_HALF_LIFE_S)
                topic.invalid = _faded(topic.invalid, elapsed, INVALID_HALF_LIFE_S)
                self._drop_if_blank(row, name)
        while self._gone:
            peer = next(iter(self._gone))
            gone_at = self.rows[peer].gone_at
            assert gone_at is not None, "who has gone has gone at some time"
            if now - gone_at < RETAIN_S:
                return
            del self._gone[peer], self.rows[peer]

    def _drop_if_blank(self, row: ScoreRow, name: str) -> None:
        topic = row.topics[name]
        if topic.grafted_at is None and topic.first == 0.0 and topic.invalid == 0.0:
            del row.topics[name]


def _faded(value: float, seconds: float, half_life_s: float) -> float:
    value *= math.exp2(-seconds / half_life_s) if value else 0.0
    return value if value >= NOTHING else 0.0


def place_of(addr: str) -> str:
    """What peers are counted by: the IPv4 address or IPv6 /56 of a multiaddr, empty for any that is not global.

    Loopback and private addresses are of machines that the node's own user runs.
    """
    parts = addr.split("/")
    if len(parts) < 3 or parts[1] not in ("ip4", "ip6") or "p2p-circuit" in parts:
        return ""
    try:
        ip = ipaddress.ip_address(parts[2])
    except ValueError:
        return ""
    if not ip.is_global:
        return ""
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 56), strict=False))
