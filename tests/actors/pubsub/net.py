"""Routers joined by queues: a network of pubsub cores with a clock by hand, delays by chance, and nothing lost.

What the actor does with a router is done here in a few lines: what is pending is encoded, travels, is decoded
and received.  A broken stream is broken at both ends.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from dataclasses import dataclass, field

from shoal.actors.discovery.pubsub import wire
from shoal.actors.discovery.pubsub.mesh import D_HIGH
from shoal.actors.discovery.pubsub.router import Delivery, Router
from shoal.tests.actors.pubsub.keyring import keys, peer

WALL_S = 1.7e9


@dataclass
class Place:
    """One router, what it has received, and what it has sent in bytes."""

    router: Router
    got: Counter[tuple[str, int]] = field(default_factory=Counter)
    sent: int = 0


class Net:
    """Places by number; links are pairs of numbers, of which the first dialled."""

    def __init__(self, count: int, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.now = 1000.0
        self.places = [Place(Router(random.Random(seed * 1000 + number), keys(number))) for number in range(count)]
        self.numbers = {peer(number): number for number in range(count)}
        self.links: dict[tuple[int, int], None] = {}
        self.queues: dict[tuple[int, int], deque[bytes]] = {}  # (from, to)

    def connect(self, a: int, b: int, protocol: str = wire.MESHSUB_1_1) -> None:
        """``a`` dials ``b``; both open their streams."""
        self.links[a, b] = None
        for near, far in ((a, b), (b, a)):
            router = self.places[near].router
            router.connected(peer(far), f"/ip4/10.0.0.{far}/tcp/1", outbound=near == a)
            self.queues[near, far] = deque()
        for near, far in ((a, b), (b, a)):
            self.places[near].router.opened(peer(far), protocol)
            self.flush(near)

    def disconnect(self, a: int, b: int) -> None:
        """The connection that ``a`` made is gone, with all that was on its way."""
        del self.links[a, b]
        for near, far in ((a, b), (b, a)):
            self.places[near].router.disconnected(peer(far), self.now)
            del self.queues[near, far]
            self.flush(near)

    def reopen(self, a: int, b: int) -> None:
        """The streams between two connected places break, with what was on its way, and are opened again."""
        for near, far in ((a, b), (b, a)):
            router = self.places[near].router
            self.queues[near, far].clear()
            router.closed(peer(far), self.now)
            router.restarted(peer(far), self.now)
            self.flush(near)
        for near, far in ((a, b), (b, a)):
            self.places[near].router.opened(peer(far), wire.MESHSUB_1_1)
            self.flush(near)

    def reborn(self, number: int) -> None:
        """The actor of a place dies; another begins with nothing but its connections."""
        old = self.places[number]
        self.places[number] = Place(Router(random.Random(self.rng.random()), keys(number)))
        self.places[number].got = old.got
        for a, b in self.links:
            if number in (a, b):
                far = b if a == number else a
                self.places[number].router.connected(peer(far), f"/ip4/10.0.0.{far}/tcp/1", outbound=a == number)
        for a, b in self.links:
            if number in (a, b):
                self.reopen(a, b)

    def linked(self, a: int, b: int) -> bool:
        """Whether the two are connected."""
        return (a, b) in self.links or (b, a) in self.links

    def flush(self, number: int) -> None:
        """Put what a router wants said on its way."""
        place = self.places[number]
        for far in list(place.router.outbox.pending):
            queue = self.queues.get((number, self.numbers[far]))
            row = place.router.table.rows.get(far)
            if queue is None or row is None or not row.ready:
                place.router.outbox.forget(far)
                continue
            for rpc in place.router.outbox.take(far, v1_1=row.protocol == wire.MESHSUB_1_1):
                queue.append(rpc)
                place.sent += len(rpc)

    def step(self) -> bool:
        """Let one RPC arrive, of any link; False when none is on its way."""
        busy = [key for key, queue in self.queues.items() if queue]
        if not busy:
            return False
        near, far = self.rng.choice(busy)
        frame = self.queues[near, far].popleft()
        place = self.places[far]
        for delivery in place.router.receive(peer(near), wire.decode(frame), self.now):
            place.got[delivery.author, delivery.seqno] += 1
        self.flush(far)
        return True

    def settle(self) -> None:
        """Let all arrive."""
        while self.step():
            pass

    def beat(self, seconds: float = 1.0, *, settle: bool = True) -> None:
        """Time passes, and every heart beats."""
        self.now += seconds
        for number, place in enumerate(self.places):
            place.router.heartbeat(self.now)
            self.flush(number)
        if settle:
            self.settle()

    def subscribe(self, number: int, topic: str) -> None:
        """One takes part."""
        self.places[number].router.subscribe(topic, self.now)
        self.flush(number)

    def unsubscribe(self, number: int, topic: str) -> None:
        """One takes part no more."""
        self.places[number].router.unsubscribe(topic, self.now)
        self.flush(number)

    def publish(self, number: int, topic: str, data: bytes, *, flood: bool = False) -> Delivery:
        """One says something."""
        router = self.places[number].router
        delivery, _ = router.publish(topic, data, self.now, WALL_S + self.now, flood=flood)
        self.flush(number)
        return delivery

    def check(self) -> None:
        """What holds at any time."""
        for number, place in enumerate(self.places):
            router = place.router
            assert all(count == 1 for count in place.got.values()), "a message was delivered twice"
            assert set(router.mesh.links) == set(router.topics)
            for topic, members in router.mesh.links.items():
                outbound = 0
                for member in members:
                    row = router.table.rows[member]
                    assert row.ready, "a member that cannot be told anything"
                    assert topic in row.topics, "a member that is not subscribed"
                    assert self.linked(number, self.numbers[member])
                    outbound += row.outbound
                assert len(members) <= D_HIGH + outbound
            for topic, fanout in router.mesh.fanout.items():
                assert topic not in router.topics
                assert all(router.table.rows[member].ready for member in fanout.peers)
            check_table(router)


def check_table(router: Router) -> None:
    """The peers' subscriptions and their two indexes agree."""
    total = 0
    for row in router.table.rows.values():
        foreign = [topic for topic in row.topics if topic not in router.topics]
        assert row.topic_bytes == sum(len(topic.encode()) + 100 for topic in foreign)
        total += row.topic_bytes
        for topic in row.topics:
            assert row in router.table.subscribers(topic)
    assert router.table.topic_bytes == total


def random_links(rng: random.Random, count: int, each: int) -> list[tuple[int, int]]:
    """A connected graph: every place dials a few of those before it."""
    links = []
    for number in range(1, count):
        links += [(number, other) for other in rng.sample(range(number), min(each, number))]
    return links
