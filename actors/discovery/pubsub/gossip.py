"""Gossip: telling peers outside of the mesh which messages there are, and fetching those that the mesh did not bring.

Once a heartbeat some peers are told the ids of the last messages (IHAVE); whoever lacks one asks for it (IWANT).
Who says that it has a message and does not send it has broken a promise, which its score remembers.  What a peer may
make us ask for, send and remember is bounded for each heartbeat.

Source: gossipsub v1.0 "Control messages", v1.1 "Adaptive Gossip Dissemination", "Spam Protection Measures".
"""

from __future__ import annotations

import random
from typing import Final

from shoal.actors.discovery.pubsub.cache import MessageCache
from shoal.actors.discovery.pubsub.mesh import Mesh
from shoal.actors.discovery.pubsub.outbox import Outbox
from shoal.actors.discovery.pubsub.peers import PeerRow, PeerTable
from shoal.actors.discovery.pubsub.scoring import GOSSIP_SCORE, Scores
from shoal.actors.discovery.pubsub.seen import Seen
from shoal.messages.limits import (
    PUBSUB_IHAVE_IDS,
    PUBSUB_IHAVE_MESSAGES,
    PUBSUB_IWANT_IDS,
    PUBSUB_IWANT_SERVED,
    PUBSUB_PROMISES_MAX,
)

D_LAZY: Final = 6  # peers of a topic told in one heartbeat, at least
GOSSIP_FACTOR: Final = 0.25  # of the peers of a topic told in one heartbeat, at least
PROMISE_S: Final = 3.0  # seconds to send a message that was said to be there (go: IWantFollowupTime)


class Gossip:
    """IHAVE and IWANT, both ways.  ``now`` in seconds on the node's clock."""

    def __init__(
        self, rng: random.Random, table: PeerTable, mesh: Mesh, scores: Scores, seen: Seen, outbox: Outbox
    ) -> None:
        self.rng = rng
        self.table = table
        self.mesh = mesh
        self.scores = scores
        self.seen = seen
        self.outbox = outbox
        self.cache = MessageCache()
        self.broken = 0  # promises, since start
        self._promises: dict[tuple[bytes, str], float] = {}  # (id, peer) -> until when; the first due first
        self._promised: dict[bytes, list[str]] = {}

    def on_ihave(self, row: PeerRow, said: list[tuple[str, list[bytes]]], now: float) -> None:
        """The peer has these; ask for what we lack, of our topics."""
        if not said or not row.ready or self.scores.of(row.peer, now) < GOSSIP_SCORE:
            return
        row.ihaves += 1
        if row.ihaves > PUBSUB_IHAVE_MESSAGES.value:
            return
        wanted: dict[bytes, None] = {}
        for topic, ids in said:
            if topic not in self.mesh.links:
                continue
            heeded = ids[: PUBSUB_IHAVE_IDS.value - row.ihave_ids]
            row.ihave_ids += len(heeded)
            wanted.update(dict.fromkeys(one for one in heeded if one not in self.seen))
        chosen = list(wanted)
        self.rng.shuffle(chosen)
        chosen = chosen[: PUBSUB_IWANT_IDS.value - row.asked]
        if chosen:
            row.asked += len(chosen)
            self.outbox.iwant(row.peer, chosen)
            self._promise(chosen[0], row.peer, now)

    def on_iwant(self, row: PeerRow, ids: list[bytes], now: float) -> None:
        """The peer asks for these; give what is here, to one that is not in disgrace."""
        if not row.ready or self.scores.of(row.peer, now) < GOSSIP_SCORE:
            return
        for identifier in ids:
            if row.served >= PUBSUB_IWANT_SERVED.value:
                return
            raw = self.cache.give(identifier, row.peer)
            if raw is not None:
                row.served += 1
                self.outbox.message(row.peer, raw)

    def arrived(self, identifier: bytes) -> None:
        """The message has come, from whomever: nobody owes it any more."""
        for peer in self._promised.pop(identifier, ()):
            self._promises.pop((identifier, peer), None)

    def heartbeat(self, now: float) -> None:
        """Count broken promises, tell of messages, begin new allowances."""
        self._break_promises(now)
        for topic, ids in self.cache.ids().items():
            self._tell(topic, ids, now)
        self.cache.shift()
        for row in self.table.rows.values():
            row.ihaves = row.ihave_ids = row.asked = row.served = 0

    @property
    def is_idle(self) -> bool:
        """Whether a heartbeat has nothing to do here."""
        return not self.cache and not self._promises

    def _tell(self, topic: str, ids: list[bytes], now: float) -> None:
        fanout = self.mesh.fanout.get(topic)
        inside = self.mesh.links.get(topic, fanout.peers if fanout else {})
        rows = [
            row
            for row in self.table.subscribers(topic)
            if row.gossips and row.peer not in inside and self.scores.of(row.peer, now) >= GOSSIP_SCORE
        ]
        count = max(D_LAZY, int(GOSSIP_FACTOR * len(rows)))
        for row in rows if len(rows) <= count else self.rng.sample(rows, count):
            told = ids if len(ids) <= PUBSUB_IHAVE_IDS.value else self.rng.sample(ids, PUBSUB_IHAVE_IDS.value)
            self.outbox.ihave(row.peer, topic, told)

    def _promise(self, identifier: bytes, peer: str, now: float) -> None:
        """One id of each IWANT, chosen by chance, is watched for."""
        key = (identifier, peer)
        if key not in self._promises and len(self._promises) < PUBSUB_PROMISES_MAX.value:
            self._promises[key] = now + PROMISE_S
            self._promised.setdefault(identifier, []).append(peer)

    def _break_promises(self, now: float) -> None:
        while self._promises:
            (identifier, peer), until = next(iter(self._promises.items()))
            if now < until:
                return
            del self._promises[identifier, peer]
            owing = self._promised[identifier]
            owing.remove(peer)
            if not owing:
                del self._promised[identifier]
            self.broken += 1
            self.scores.misbehaved(peer)
