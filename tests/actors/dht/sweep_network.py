"""A network of peers in the key space, for the provide sweep: who is nearest to a key, and what each was given.

Lookups here find the true nearest, or, as real ones do now and then, pass some over (``missed``).  Not a simulation of
messages: that is the actors' (tests of the dht actor).
"""

import heapq
import math
import random
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence

from shoal.actors.discovery.dht.delivery import Sent
from shoal.actors.discovery.dht.keys import BITS, kad_id, peer_kad_id, peer_text
from shoal.actors.discovery.dht.rates import Rates
from shoal.actors.discovery.dht.regions import Regions
from shoal.actors.discovery.dht.sweep import Looked, Sweep
from shoal.actors.discovery.dht.table import K
from shoal.messages.routing import PeerAddrs


def peers_of(count: int, rng: random.Random) -> list[PeerAddrs]:
    """Peers at random places."""
    return [PeerAddrs(peer_text(b"\x12\x20" + rng.randbytes(32)), ("/ip4/192.0.2.1/tcp/1",)) for _ in range(count)]


def keys_of(count: int, rng: random.Random) -> list[bytes]:
    """Multihashes of as many blocks."""
    return [b"\x12\x20" + rng.randbytes(32) for _ in range(count)]


class Network:
    """Calls are made in the order in which they were asked for, by ``run``."""

    def __init__(self, peers: Sequence[PeerAddrs], rng: random.Random, missed: float = 0.0) -> None:
        self.rng = rng
        self.missed = missed
        self.clock = 0.0
        self.lookups = 0
        self.sends = 0
        self.open = 0
        self.open_most = 0
        self.dead: set[str] = set()
        self.given: dict[bytes, list[str]] = {}
        self._calls: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = sorted((peer_kad_id(peer.peer), peer) for peer in peers)
        self._ids = [at for at, _ in self._order]

    def nearest(self, key: bytes, most: int = K) -> list[PeerAddrs]:
        """The nearest, by growing a block around the key until it has enough."""
        at = kad_id(key)
        for free in range(BITS - len(self._ids).bit_length(), BITS + 1):
            low = (at >> free) << free
            first, behind = bisect_left(self._ids, low), bisect_left(self._ids, low + (1 << free))
            if behind - first >= most or free == BITS:
                near = sorted(self._order[first:behind], key=lambda row: row[0] ^ at)
                return [peer for _, peer in near[:most]]
        raise AssertionError("unreachable")

    def lookup(self, key: bytes, done: Looked) -> None:
        self.lookups += 1
        near = [peer for peer in self.nearest(key, 4 * K) if peer.peer not in self.dead]
        found = [peer for peer in near if not self.missed or self.rng.random() >= self.missed][:K]
        self.soon(lambda: done(found, True))

    def send(self, peer: PeerAddrs, key: bytes, done: Sent) -> None:
        self.sends += 1
        self.open += 1
        self.open_most = max(self.open_most, self.open)

        def written() -> None:
            self.open -= 1
            if peer.peer not in self.dead:
                self.given.setdefault(key, []).append(peer.peer)
            done(peer.peer not in self.dead)

        self.soon(written)

    def soon(self, call: Callable[[], None]) -> None:
        self._calls.append(call)

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        if seconds:
            heapq.heappush(self._timers, (self.clock + seconds, len(self._timers), call))
        else:
            self.soon(call)

    def run(self, calls: float = math.inf) -> None:
        """Until nothing more happens, or so many calls were made; waiting takes no time."""
        while (self._calls or self._timers) and calls > 0:
            calls -= 1
            if not self._calls:
                at, _, call = heapq.heappop(self._timers)
                self.clock = max(self.clock, at)
                self._calls.append(call)
            self._calls.popleft()()


class Telling:
    """A sweep over ``network``, and what it has told."""

    def __init__(self, network: Network, regions: Regions | None = None, rates: Rates | None = None) -> None:
        self.records: dict[bytes, int] = {}
        self.placed: dict[bytes, tuple[str, ...]] = {}
        self.overs = 0
        self.sweep = Sweep(
            network.lookup,
            network.send,
            self._told,
            self._over,
            regions=regions if regions is not None else Regions(),
            rates=rates if rates is not None else Rates(1e9, 1.0, 1_000),
            placed=lambda key, near: self.placed.update({key: tuple(peer.peer for peer in near)}),
            after=network.after,
            now=lambda: network.clock,
        )

    def _told(self, key: bytes, records: int) -> None:
        assert key not in self.records, "told twice"
        self.records[key] = records

    def _over(self) -> None:
        self.overs += 1


def share_of_true(network: Network, keys: Sequence[bytes]) -> float:
    """Which part of the records is with one of the K peers that are truly nearest to their key."""
    right = total = 0
    for key in keys:
        true = {peer.peer for peer in network.nearest(key)}
        given = set(network.given.get(key, ()))
        right += sum(peer in true for peer in given)
        total += len(true)
    return right / total if total else 1.0
