"""Bitswap cores talking to each other on a virtual clock: no actors, no network, one thread, the same every time.

Each ``Peer`` is a seeker, a ledger and a dictionary of blocks.  A ``Wire`` between two of them has latency, a rate, and
a chance to lose a frame or to deliver it late (out of order).  Frames are real bitswap bytes.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from shoal.actors.bitswap import wire
from shoal.actors.bitswap.ledger import Ledger
from shoal.actors.bitswap.seeker import Seeker
from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.limits import MIB

TICK_S = 0.1


@dataclass
class Wire:
    """One direction between two peers."""

    latency: float = 0.01  # seconds
    rate: float = 100.0 * MIB  # bytes a second
    loss: float = 0.0  # share of frames that vanish
    jitter: float = 0.0  # seconds by which a frame may come later, so that frames overtake each other
    free_at: float = 0.0


@dataclass
class Peer:
    """One node's cores."""

    name: str
    seeker: Seeker
    ledger: Ledger = field(default_factory=Ledger)
    store: dict[CID, Block] = field(default_factory=dict)
    got_from: dict[str, int] = field(default_factory=dict)
    serves: bool = True  # False: takes wants and says nothing at all
    lies: bool = False  # says HAVE to everything and sends nothing
    queue: list[CID] = field(default_factory=list)  # still to be asked for
    ahead: int = 0
    protocol: str = wire.BITSWAP_1_2

    def hold(self, blocks: Iterable[Block]) -> None:
        """Put blocks into the store."""
        self.store.update((each.cid, each) for each in blocks)


class Pump:
    """The clock, the peers and the wires."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.peers: dict[str, Peer] = {}
        self.wires: dict[tuple[str, str], Wire] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def peer(self, name: str, *, budget: int = 32 * MIB) -> Peer:
        """A new node."""
        one = self.peers[name] = Peer(name, Seeker(random.Random(self.rng.random()), budget))
        return one

    def connect(self, one: str, other: str, **wire_values: float) -> None:
        """Connect two nodes; the wire's values hold both ways."""
        for a, b in ((one, other), (other, one)):
            self.wires[a, b] = Wire(**wire_values)
            self.peers[a].seeker.peer_connected(b, self.now)
            self.peers[a].seeker.stream_up(b, self.peers[b].protocol == wire.BITSWAP_1_2)
        self.settle()

    def disconnect(self, one: str, other: str) -> None:
        """The connection is gone, and what was on it."""
        for a, b in ((one, other), (other, one)):
            self.wires.pop((a, b), None)
            self.peers[a].seeker.peer_disconnected(b)
            self.peers[a].ledger.disconnected(b)
        self.settle()

    def break_stream(self, one: str, other: str) -> None:
        """The stream from ``one`` to ``other`` breaks with what is on it, and is opened again at once."""
        old = self.wires[one, other]
        self.wires[one, other] = Wire(old.latency, old.rate, old.loss, old.jitter)
        self.peers[one].seeker.stream_lost(other)
        self.peers[one].ledger.stream_lost(other, self.now)
        self.settle()

    def fetch(self, name: str, cids: Iterable[CID], *, ahead: int = 32, session: int = 1) -> None:
        """Want these, ``ahead`` of them at a time, as a reader does."""
        peer = self.peers[name]
        peer.queue.extend(cids)
        peer.ahead = ahead
        self._ask(peer, session)
        self.settle()

    def _ask(self, peer: Peer, session: int = 1) -> None:
        while peer.queue and len(peer.seeker.wants) < peer.ahead:
            peer.seeker.seek([peer.queue.pop(0)], session, 3, self.now)

    # --- time ------------------------------------------------------------------------------------------

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> float:
        """Let time pass until ``until`` or for ``seconds``; the time now."""
        end = self.now + seconds
        self._at(self.now, lambda: None)
        next_tick = self.now + TICK_S
        while not until():
            when = self._events[0][0] if self._events else next_tick
            if min(when, next_tick) > end:
                self.now = end
                break
            if when <= next_tick and self._events:
                self.now = max(self.now, when)
                heapq.heappop(self._events)[2]()
            else:
                self.now = next_tick
                next_tick += TICK_S
                for peer in self.peers.values():
                    peer.seeker.tick(self.now)
            self.settle()
        return self.now

    def done(self, name: str) -> Callable[[], bool]:
        """Whether a node has all that it fetches."""
        peer = self.peers[name]
        return lambda: not peer.queue and not peer.seeker.wants

    def _at(self, when: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), call))

    # --- what the actor does -----------------------------------------------------------------------------

    def settle(self) -> None:
        """Send whatever has become due at any node."""
        for peer in self.peers.values():
            peer.seeker.settle(self.now)
            for other in peer.seeker.sources_due(self.now):
                entries, full = peer.seeker.take(other, self.now)
                for parts in wire.encode(self.peers[other].protocol, wants=entries, full=full):
                    self._transmit(peer.name, other, b"".join(parts), 0)
            self._serve(peer)

    def _serve(self, peer: Peer) -> None:
        for lookup in peer.ledger.lookups(self.now):
            sizes = [len(peer.store[cid]) if cid in peer.store else -1 for cid in lookup.cids]
            peer.ledger.located(lookup, sizes, self.now)
        reachable = [b for a, b in self.wires if a == peer.name]
        while peer.serves and (work := peer.ledger.next(self.now, reachable)) is not None:
            read = [peer.store[cid] for cid in work.cids if cid in peer.store]
            given, presences, pending = peer.ledger.filled(work, read, self.now)
            if not given and not presences:
                continue
            protocol = self.peers[work.peer].protocol
            frames = [
                b"".join(parts)
                for parts in wire.encode(protocol, blocks=given, presences=presences, pending_bytes=pending)
            ]
            peer.ledger.queued(work, [len(frame) for frame in frames], given, self.now)
            for frame in frames:
                self._transmit(peer.name, work.peer, frame, len(frame))

    def _transmit(self, sender: str, receiver: str, frame: bytes, credit: int) -> None:
        path = self.wires[sender, receiver]
        path.free_at = max(path.free_at, self.now) + len(frame) / path.rate

        def written() -> None:
            if self.wires.get((sender, receiver)) is path and credit:
                self.peers[sender].ledger.sent(receiver, credit, self.now)

        def arrives() -> None:
            if self.wires.get((sender, receiver)) is path:
                self._receive(self.peers[receiver], sender, frame)

        self._at(path.free_at, written)
        if self.rng.random() >= path.loss:
            self._at(path.free_at + path.latency + self.rng.uniform(0, path.jitter), arrives)

    def _receive(self, peer: Peer, sender: str, frame: bytes) -> None:
        message = wire.decode(memoryview(frame))
        for prefix, data in message.blocks:
            cid = wire.block_cid(prefix, data)
            if peer.seeker.block(sender, cid, len(data), self.now):
                peer.got_from[sender] = peer.got_from.get(sender, 0) + 1
                peer.store[cid] = Block(cid, data)
                peer.seeker.stored(cid, self.now)
                peer.ledger.available(cid, len(data), self.now)
        peer.seeker.presences(sender, message.presences, self.now)
        if peer.lies:
            claimed = [(want.cid, True) for want in message.wants if not want.cancel]
            for parts in wire.encode(self.peers[sender].protocol, presences=claimed):
                self._transmit(peer.name, sender, b"".join(parts), 0)
        else:
            peer.ledger.receive(sender, message.wants, message.full, self.now, 1000)
        self._ask(peer)
