"""Handing provider records to peers: to each in turn, to many at once, and no more to who does not take them.

Not whom a key's record is for (``sweep``).  Begin at ``Delivery.give``.  Pure: it is driven by ``send``'s callbacks and
by the clock that it is given.  Each peer is given records no faster than another shoal takes them.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from shoal.actors.discovery.dht.rates import Rates
from shoal.messages.routing import PeerAddrs

SENDS_MAX: Final = 128  # records on their way: an eighth of the requests that the DHT has under way at one time
SENDS_PER_PEER: Final = 4  # of them to one peer: its stream takes one at a time, and its time runs from the start
FAILURES_MAX: Final = 2  # in a row, after which a peer is given no more

WAIT_MIN_S: Final = 0.05  # before another look at peers whose rate is spent

After = Callable[[float, Callable[[], None]], object]
"""``after(seconds, call)``: have ``call`` made later."""
Sent = Callable[[bool], None]
Send = Callable[[PeerAddrs, bytes, Sent], None]
"""``send(peer, key, done)``: give ``peer`` our record of ``key``; ``done`` gets whether it was written."""


@dataclass(slots=True)
class Box:
    """What one peer is to be given."""

    peer: PeerAddrs
    keys: deque[bytes] = field(default_factory=deque)
    open: int = 0
    failures: int = 0  # in a row


@dataclass(slots=True)
class Parcel:
    """One key's records."""

    left: int
    took: int = 0


class Delivery:
    """``told(key, records)`` is called once for each key given; ``lost(peer)`` when a peer is given up."""

    def __init__(
        self,
        send: Send,
        told: Callable[[bytes, int], None],
        lost: Callable[[str], None],
        *,
        rates: Rates,
        after: After,
        now: Callable[[], float],
    ) -> None:
        self.send = send
        self.told = told
        self.lost = lost
        self.rates = rates
        self.after = after
        self.now = now
        self._boxes: OrderedDict[str, Box] = OrderedDict()  # with keys or sends; whose turn it is stands first
        self._parcels: dict[bytes, Parcel] = {}
        self._open = 0
        self._pumping = False
        self._timer = False  # one is set

    @property
    def keys(self) -> int:
        """How many have been given and not told."""
        return len(self._parcels)

    def give(self, key: bytes, peers: Sequence[PeerAddrs]) -> None:
        """Hand ``key``'s record to each of ``peers``, of which there is at least one."""
        self._parcels[key] = Parcel(len(peers))
        for peer in peers:
            box = self._boxes.get(peer.peer)
            if box is None:
                box = self._boxes[peer.peer] = Box(peer)
            box.keys.append(key)
        self._pump()

    def stop(self) -> None:
        """Send nothing more, tell nothing more."""
        self._boxes.clear()
        self._parcels.clear()

    def _pump(self) -> None:
        """As many sends as there may be, a peer's turn each."""
        if self._pumping:
            return  # a send that ended at once: the loop below goes on
        self._pumping = True
        now, idle, wait = self.now(), 0, 0.0
        while self._open < SENDS_MAX and idle < len(self._boxes):
            name, box = next(iter(self._boxes.items()))
            self._boxes.move_to_end(name)
            idle += 1
            if not box.keys or box.open >= SENDS_PER_PEER:
                continue
            if not self.rates.take(name, now):
                due = self.rates.wait(name, now)
                wait = min(wait, due) if wait else due
                continue
            idle = 0
            key = box.keys.popleft()
            box.open += 1
            self._open += 1
            self.send(box.peer, key, partial(self._sent, box, key))
        self._pumping = False
        if wait and not self._timer and self._open < SENDS_MAX:
            self._timer = True
            self.after(max(wait, WAIT_MIN_S), self._waited)

    def _waited(self) -> None:
        self._timer = False
        self._pump()

    def _sent(self, box: Box, key: bytes, written: bool) -> None:
        self._open -= 1
        box.open -= 1
        box.failures = 0 if written else box.failures + 1
        ended = [key]
        if box.failures >= FAILURES_MAX:
            ended.extend(box.keys)
            box.keys.clear()
            self.lost(box.peer.peer)
        if not box.keys and not box.open and self._boxes.get(box.peer.peer) is box:
            del self._boxes[box.peer.peer]
        for one in ended:
            self._count(one, written and one is key)
        self._pump()

    def _count(self, key: bytes, took: bool) -> None:
        parcel = self._parcels.get(key)
        if parcel is None:
            return
        parcel.left -= 1
        parcel.took += took
        if not parcel.left:
            del self._parcels[key]
            self.told(key, parcel.took)
