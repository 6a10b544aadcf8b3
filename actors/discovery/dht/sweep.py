"""The provide sweep: many keys told with few lookups, because keys that lie near each other go to the same peers.

Not who asked (``providing``): it drives two functions, ``lookup`` and ``send``, and knows nothing of actors.  Begin at
``Sweep.begin``.

Keys are taken in the order of the key space.  A key whose K nearest are known exactly (``regions``) costs no lookup; of
the others one is looked up, which makes the region around it known too, and those that it probably serves wait for it.
First every key gets into a region that is known; where such a region has fewer than K peers and its neighbour is not
known, because no key lies there, the keys left over are looked up one by one.  So there are never more lookups than
keys, and with many keys never many more than a fifteenth of the network's peers: 100,000 keys in a network of 10,000
take 768 (tests/actors/dht/sweep_measure.py).

What is left when it stops is whatever ``told`` has not named: the announcements' backlog keeps that, and a new sweep
goes on there.  When a CID is due again is decided there too: evenly over 22 hours, in the order of the key space, so
that what is due together lies together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from shoal.actors.discovery.dht.delivery import After, Delivery, Send
from shoal.actors.discovery.dht.keys import BITS, common_prefix, kad_id
from shoal.actors.discovery.dht.rates import Rates
from shoal.actors.discovery.dht.regions import Regions
from shoal.messages.routing import PeerAddrs

LOOKUPS_AT_ONCE: Final = 4  # of one sweep; they begin far from each other, and the user's own come between
KEYS_OPEN_MAX: Final = 512  # given to peers and not told: about 10,000 records that wait for their turn
GIVEN_AT_ONCE: Final = 16  # keys of one turn, 0.1 ms each: others' turns come between
BARREN_MAX: Final = 3  # lookups in a row that found nobody, after which there is nobody

Looked = Callable[[Sequence[PeerAddrs], bool], None]
Lookup = Callable[[bytes, Looked], None]
"""``lookup(key, done)``: find the K peers nearest to ``key``.

``done`` gets those that answered, nearest first, and whether the lookup ended in order, so that there are no nearer.
"""


@dataclass(slots=True, eq=False)
class Pending:
    """A lookup under way, and keys that it probably serves."""

    key: bytes
    at: int
    waiting: list[bytes] = field(default_factory=list)


class Sweep:
    """One batch.  ``told(key, records)`` is called once for each key, ``over()`` once at the end.

    ``placed(key, nearest)`` is called before ``told`` when it is known whose the key is.  ``regions`` and ``rates``
    outlive the batch.  ``now()`` is the node's clock, by which ``after(seconds, call)`` has a call made.
    """

    def __init__(
        self,
        lookup: Lookup,
        send: Send,
        told: Callable[[bytes, int], None],
        over: Callable[[], None],
        *,
        regions: Regions,
        rates: Rates,
        placed: Callable[[bytes, Sequence[PeerAddrs]], None],
        after: After,
        now: Callable[[], float],
    ) -> None:
        self.lookup = lookup
        self.told = told
        self.over = over
        self.regions = regions
        self.placed = placed
        self.after = after
        self.now = now
        self.lookups = 0
        self._delivery = Delivery(send, self._delivered, regions.lost, rates=rates, after=after, now=now)
        self._waiting: deque[bytes] = deque()
        self._later: list[bytes] = []  # in a region that is known, but has fewer than K peers
        self._pending: list[Pending] = []
        self._single = False  # the second pass: what is left is looked up one by one
        self._depth = 0  # bits that name the region which the last lookup made known
        self._barren = 0
        self._turn = False  # one is to come
        self._stopped = False

    def begin(self, keys: Sequence[bytes]) -> None:
        """Tell ``keys``, each once."""
        self._waiting.extend(sorted(keys, key=kad_id))
        self._next()

    def stop(self) -> None:
        """Ask for nothing more, tell nothing more."""
        self._stopped = True
        self._waiting.clear()
        self._later.clear()
        self._pending.clear()
        self._delivery.stop()

    # --- within ------------------------------------------------------------------------------------

    def _next(self) -> None:
        """Place some keys; the rest when there is room, or after others' turns."""
        if self._stopped:
            return
        given = 0
        while self._may_place():
            if given == GIVEN_AT_ONCE:
                self._next_soon()
                return
            given += 1
            self._place(self._waiting.popleft())
        if self._waiting or self._pending:
            return
        if self._later:
            self._single = True
            self._waiting.extend(self._later)
            self._later.clear()
            self._next_soon()
        elif not self._delivery.keys:
            self._stopped = True
            self.over()

    def _may_place(self) -> bool:
        room = self._delivery.keys < KEYS_OPEN_MAX and len(self._pending) < LOOKUPS_AT_ONCE
        return bool(self._waiting) and room and not self._stopped

    def _next_soon(self) -> None:
        if not self._turn:
            self._turn = True
            self.after(0.0, self._take_turn)

    def _take_turn(self) -> None:
        self._turn = False
        self._next()

    def _place(self, key: bytes) -> None:
        at, now = kad_id(key), self.now()
        nearest = self.regions.nearest(at, now)
        if nearest:
            self._give(key, nearest)
            return
        if not self._single and self.regions.covers(at, now):
            self._later.append(key)
            return
        # A little more than what the last lookup made known: regions differ in size.
        near = max(0, self._depth - 1)
        for pending in self._pending:
            if common_prefix(pending.at, at) >= near:
                pending.waiting.append(key)
                return
        self._look_up(Pending(key, at))

    def _look_up(self, pending: Pending) -> None:
        self.lookups += 1
        self._pending.append(pending)
        self.lookup(pending.key, partial(self._looked, pending))

    def _looked(self, pending: Pending, nearest: Sequence[PeerAddrs], in_order: bool) -> None:
        if self._stopped:
            return
        self._pending.remove(pending)
        self._waiting.extendleft(reversed(pending.waiting))
        if nearest:
            self._barren = 0
            if in_order:
                depth = self.regions.learn(pending.at, nearest, self.now())
                self._depth = depth if depth < BITS else 0
            self._give(pending.key, nearest)
        else:
            self.told(pending.key, 0)
            self._barren += 1
            if self._barren >= BARREN_MAX:
                self._give_up()
        self._next_soon()

    def _give_up(self) -> None:
        """There is nobody who could be told."""
        for key in [*self._waiting, *self._later, *(key for one in self._pending for key in one.waiting)]:
            self.told(key, 0)
        self._waiting.clear()
        self._later.clear()
        for one in self._pending:
            one.waiting.clear()

    def _give(self, key: bytes, nearest: Sequence[PeerAddrs]) -> None:
        self.placed(key, nearest)
        self._delivery.give(key, nearest)

    def _delivered(self, key: bytes, records: int) -> None:
        self.told(key, records)
        self._next_soon()
