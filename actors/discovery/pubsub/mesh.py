"""The mesh: for each of our topics a few peers that are sent every message, kept between D_LOW and D_HIGH.

Links are made by GRAFT and ended by PRUNE, after which both sides leave each other alone for a while.  For topics that
we only publish to there is a fanout instead, which nobody is told of.  ``heartbeat`` repairs all that.

Not here: who sees which message (``router``) and who is told of it (``gossip``).  Peer exchange is neither
sent nor believed: this node has other ways to find peers.  Source: gossipsub v1.0, v1.1; go-libp2p-pubsub gossipsub.go.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from shoal.actors.discovery.pubsub.outbox import Outbox
from shoal.actors.discovery.pubsub.peers import PeerRow, PeerTable
from shoal.actors.discovery.pubsub.scoring import MESH_SCORE, OPPORTUNISTIC_SCORE, PUBLISH_SCORE, Scores
from shoal.messages.limits import PUBSUB_BACKOFF_S_MAX, PUBSUB_BACKOFFS_MAX

D: Final = 6  # links of a topic that the heartbeat aims at
D_LOW: Final = 5  # links below which it makes more
D_HIGH: Final = 12  # links above which it ends some
D_SCORE: Final = 4  # of those kept then, the best
D_OUT: Final = 2  # of a mesh's members, peers that we dialled: those that dial us may all be one
PRUNE_BACKOFF_S: Final = 60  # seconds, gossipsub v1.1
UNSUBSCRIBE_BACKOFF_S: Final = 10  # seconds: who leaves may come back soon
BACKOFF_SLACK_S: Final = 1.0  # seconds that we wait longer than we were told: a heartbeat
GRAFT_FLOOD_S: Final = 10.0  # seconds after a PRUNE within which a GRAFT is twice as bad
FANOUT_S: Final = 60.0  # seconds that a fanout outlives the last message
OPPORTUNISTIC_EVERY: Final = 60  # heartbeats between looks for better members
OPPORTUNISTIC_PEERS: Final = 2  # that are grafted then


@dataclass(slots=True)
class Fanout:
    """Peers that our messages to a topic go to while we are not subscribed to it."""

    peers: dict[str, None] = field(default_factory=dict)
    used_at: float = 0.0


class Mesh:
    """Links by topic.  ``now`` in seconds on the node's clock."""

    def __init__(self, rng: random.Random, table: PeerTable, scores: Scores, outbox: Outbox) -> None:
        self.rng = rng
        self.table = table
        self.scores = scores
        self.outbox = outbox
        self.links: dict[str, dict[str, None]] = {}
        self.fanout: dict[str, Fanout] = {}
        self.backoffs: dict[tuple[str, str], float] = {}  # (topic, peer) -> until when; the oldest row first
        self._beats = 0

    # --- our own coming and going ------------------------------------------------------------------------

    def join(self, topic: str, now: float) -> None:
        """We are subscribed: link up with those of the fanout, and more."""
        if topic in self.links:
            return
        self.links[topic] = {}
        fanout = self.fanout.pop(topic, None)
        known = [row for peer in (fanout.peers if fanout else ()) if (row := self.table.rows.get(peer)) is not None]
        chosen = [row for row in known if self._may_graft(row, topic, now)][:D]
        chosen += self._candidates(topic, D - len(chosen), now, besides={row.peer for row in chosen})
        for row in chosen:
            self._graft(row, topic, now)

    def leave(self, topic: str, now: float) -> None:
        """We are no longer subscribed: part from all members."""
        for peer in list(self.links.get(topic, ())):
            self._prune(peer, topic, now, UNSUBSCRIBE_BACKOFF_S)
        self.links.pop(topic, None)

    # --- what peers say ----------------------------------------------------------------------------------

    def on_graft(self, row: PeerRow, topic: str, now: float) -> None:
        """The peer has us in its mesh.  Not for topics that are not ours: an answer would help to probe us."""
        members = self.links.get(topic)
        if members is None or row.peer in members:
            return
        until = self.backoffs.get((topic, row.peer), 0.0)
        refused = False
        if now < until:
            refused = True
            self.scores.misbehaved(row.peer)
            if now < until - PRUNE_BACKOFF_S + GRAFT_FLOOD_S:
                self.scores.misbehaved(row.peer)
        elif (
            not row.gossips
            or self.scores.of(row.peer, now) < MESH_SCORE
            or (len(members) >= D_HIGH and not row.outbound)
            or not self.table.subscribe(row.peer, topic)
        ):
            refused = True
        if refused:
            self._back_off(topic, row.peer, now, PRUNE_BACKOFF_S)
            if row.ready:
                self.outbox.prune(row.peer, topic, PRUNE_BACKOFF_S)
            return
        members[row.peer] = None
        self.scores.grafted(row.peer, topic, now)

    def on_prune(self, row: PeerRow, topic: str, backoff_s: int | None, now: float) -> None:
        """The peer has us no longer in its mesh; whatever it says, we leave it alone for an hour at most."""
        members = self.links.get(topic)
        if members is None:
            return
        if row.peer in members:
            del members[row.peer]
            self.scores.pruned(row.peer, topic, now)
        self._back_off(topic, row.peer, now, PRUNE_BACKOFF_S if backoff_s is None else backoff_s)

    def unsubscribed(self, peer: str, topic: str, now: float) -> None:
        """The peer has left the topic."""
        fanout = self.fanout.get(topic)
        if fanout is not None:
            fanout.peers.pop(peer, None)
        members = self.links.get(topic)
        if members is not None and peer in members:
            del members[peer]
            self.scores.pruned(peer, topic, now)

    def lost(self, peer: str, now: float) -> None:
        """We cannot tell the peer anything any more."""
        for topic in (*self.links, *self.fanout):
            self.unsubscribed(peer, topic, now)

    # --- where messages go -------------------------------------------------------------------------------

    def forward_to(self, topic: str) -> list[str]:
        """Whom others' messages are forwarded to: the mesh, and peers that know no mesh."""
        flooded = [row.peer for row in self.table.subscribers(topic) if row.ready and not row.gossips]
        return [*self.links.get(topic, ()), *flooded]

    def publish_to(self, topic: str, now: float, *, flood: bool) -> list[str]:
        """Whom our own message goes to.  ``flood``: every subscriber that is not in disgrace (v1.1)."""
        if flood:
            rows = [row for row in self.table.subscribers(topic) if row.ready]
            return [row.peer for row in rows if self.scores.of(row.peer, now) >= PUBLISH_SCORE]
        if topic in self.links:
            return self.forward_to(topic)
        fanout = self.fanout.setdefault(topic, Fanout())
        fanout.used_at = now
        self._fill_fanout(topic, fanout, now)
        return [*fanout.peers, *self.forward_to(topic)]

    def _fill_fanout(self, topic: str, fanout: Fanout, now: float) -> None:
        def fit(row: PeerRow) -> bool:
            good = self.scores.of(row.peer, now) >= PUBLISH_SCORE
            return row.gossips and good and row.peer not in fanout.peers

        for row in self._sample(self.table.subscribers(topic), D - len(fanout.peers), fit):
            fanout.peers[row.peer] = None

    # --- the heartbeat -----------------------------------------------------------------------------------

    def heartbeat(self, now: float) -> None:
        """Once a second: part from those in disgrace, make links where there are few, end some where there are many."""
        self._beats += 1
        for topic, members in self.links.items():
            for peer in list(members):
                if self.scores.of(peer, now) < MESH_SCORE:
                    self._prune(peer, topic, now, PRUNE_BACKOFF_S)
            if len(members) < D_LOW:
                self._graft_all(self._candidates(topic, D - len(members), now), topic, now)
            if len(members) > D_HIGH:
                self._thin_out(topic, now)
            outbound = sum(self.table.rows[peer].outbound for peer in members)
            if len(members) >= D_LOW and outbound < D_OUT:
                count = min(D_OUT - outbound, D_HIGH - len(members))
                more = self._candidates(topic, count, now, lambda row: row.outbound)
                self._graft_all(more, topic, now)
            if self._beats % OPPORTUNISTIC_EVERY == 0 and len(members) > 1:
                self._graft_opportunistically(topic, now)
        for topic, fanout in list(self.fanout.items()):
            if now - fanout.used_at >= FANOUT_S:
                del self.fanout[topic]
            else:
                self._fill_fanout(topic, fanout, now)
        self._clear_backoffs(now)

    def _thin_out(self, topic: str, now: float) -> None:
        """Keep D: the best D_SCORE, the rest by chance, of all at least D_OUT that we dialled."""
        members = list(self.links[topic])
        self.rng.shuffle(members)
        members.sort(key=lambda peer: -self.scores.of(peer, now))
        rest = members[D_SCORE:]
        self.rng.shuffle(rest)
        order = [*members[:D_SCORE], *rest]
        short = D_OUT - sum(self.table.rows[peer].outbound for peer in order[:D])
        raised = [peer for peer in order[D:] if self.table.rows[peer].outbound][: max(0, short)]
        # Who is raised takes the place of one that was kept by chance and did not come by our dial.
        replaceable = [peer for peer in reversed(order[:D]) if not self.table.rows[peer].outbound][: len(raised)]
        kept = {*order[:D], *raised} - set(replaceable)
        for peer in order:
            if peer not in kept:
                self._prune(peer, topic, now, PRUNE_BACKOFF_S)

    def _graft_opportunistically(self, topic: str, now: float) -> None:
        """A mesh that delivers little: add some that are better than its median."""
        scores = sorted(self.scores.of(peer, now) for peer in self.links[topic])
        median = scores[len(scores) // 2]
        if median < OPPORTUNISTIC_SCORE:
            count = min(OPPORTUNISTIC_PEERS, D_HIGH - len(scores))
            better = self._candidates(topic, count, now, lambda row: self.scores.of(row.peer, now) > median)
            self._graft_all(better, topic, now)

    # --- within ------------------------------------------------------------------------------------------

    def _may_graft(self, row: PeerRow, topic: str, now: float) -> bool:
        return (
            row.gossips
            and row.peer not in self.links[topic]
            and now >= self.backoffs.get((topic, row.peer), -BACKOFF_SLACK_S) + BACKOFF_SLACK_S
            and self.scores.of(row.peer, now) >= MESH_SCORE
        )

    def _candidates(
        self,
        topic: str,
        count: int,
        now: float,
        fit: Callable[[PeerRow], bool] = lambda _: True,
        besides: Iterable[str] = (),
    ) -> list[PeerRow]:
        """Up to ``count`` subscribers that may be grafted, by chance."""
        out = set(besides)
        return self._sample(
            self.table.subscribers(topic),
            count,
            lambda row: row.peer not in out and self._may_graft(row, topic, now) and fit(row),
        )

    def _sample(self, rows: list[PeerRow], count: int, fit: Callable[[PeerRow], bool]) -> list[PeerRow]:
        if count <= 0:
            return []
        fitting = [row for row in rows if fit(row)]
        return fitting if len(fitting) <= count else self.rng.sample(fitting, count)

    def _graft_all(self, rows: list[PeerRow], topic: str, now: float) -> None:
        for row in rows:
            self._graft(row, topic, now)

    def _graft(self, row: PeerRow, topic: str, now: float) -> None:
        self.links[topic][row.peer] = None
        self.scores.grafted(row.peer, topic, now)
        self.outbox.graft(row.peer, topic)

    def _prune(self, peer: str, topic: str, now: float, backoff_s: int) -> None:
        del self.links[topic][peer]
        self.scores.pruned(peer, topic, now)
        self._back_off(topic, peer, now, backoff_s)
        self.outbox.prune(peer, topic, backoff_s)

    def _back_off(self, topic: str, peer: str, now: float, seconds: int) -> None:
        """Leave each other alone; never for longer than an hour, and never for less than was agreed before."""
        until = now + min(seconds, PUBSUB_BACKOFF_S_MAX.value)
        until = max(until, self.backoffs.pop((topic, peer), until))
        self.backoffs[topic, peer] = until
        if len(self.backoffs) > PUBSUB_BACKOFFS_MAX.value:
            del self.backoffs[next(iter(self.backoffs))]

    def _clear_backoffs(self, now: float) -> None:
        over = [key for key, until in self.backoffs.items() if now >= until + BACKOFF_SLACK_S]
        for key in over:
            del self.backoffs[key]
