"""A connected peer as a source of blocks: what it has been asked, what it was told, and how it has answered.

``outbox`` is the next message to it: entries are merged by CID while the stream is opened or busy, so nothing
queues up.  ``told`` is what the peer believes that we want.  Not here: which want goes to which peer (seeker).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from shoal.actors.bitswap import timing
from shoal.actors.bitswap.filters import Advert
from shoal.actors.bitswap.timing import Rate, RoundTrip
from shoal.actors.bitswap.wire import WireWant
from shoal.messages.cid import CID
from shoal.messages.limits import WANTS_PER_PEER_MAX

LAZY_CANCELS_MAX: Final = 64  # cancels that wait for a message going out anyway; more make one of their own
LAZY_CANCEL_S: Final = 1.0  # seconds that a lazy cancel waits at most
PROMISE_WEIGHT: Final = 0.8  # how much of a peer's record of keeping its word stays after one more promise


class Say(Enum):
    """What an outbox entry says."""

    BLOCK = 1
    HAVE = 2
    CANCEL = 3


@dataclass(slots=True, eq=False)
class Ask:
    """A want-block that a peer has not answered.  Delivered figures are the peer's when it was asked."""

    at: float
    size: int  # bytes expected
    delivered: int
    blocks: int
    ahead: int  # blocks that were asked for before it
    limited: bool  # the window was not half full: no measure of the peer's full rate
    late: bool = False


class Source:
    """One connected peer."""

    def __init__(self, peer: str, now: float, advert: Advert | None = None) -> None:
        self.peer = peer
        self.advert = advert  # what its filter says; None: it has told of none
        self.usable = True  # it speaks bitswap, as far as we know
        self.presences = True  # it speaks want-have (1.2.0), as far as we know
        self.asks: dict[CID, Ask] = {}  # want-blocks under way, in the order asked
        self.probes: dict[CID, float] = {}  # want-haves under way, with the time asked
        self.told: dict[CID, Say] = {}
        self.outbox: dict[CID, tuple[Say, int]] = {}
        self.lazy: dict[CID, None] = {}
        self.lazy_since = now
        self.passed_over = False  # some want has counted it as tried without telling it
        self.full = False  # the next message carries the whole wantlist
        self.in_flight = 0  # bytes
        self.delivered = 0  # bytes, ever
        self.blocks = 0  # blocks, ever
        self.progress_at = now  # seconds; last sign of life on a want-block
        self.timeouts = 0  # in a row
        self.missed_ever = 0  # looks at which a want-block was found unanswered
        self.honesty = 1.0  # share of promised blocks that came, recent ones counting most
        self.rtt = RoundTrip()
        self.rate = Rate()

    # --- asking ------------------------------------------------------------------------------------------

    def room(self, block: int) -> int:
        """Bytes that may be asked of it now; 0 or less: none."""
        if len(self.told) + len(self.outbox) >= WANTS_PER_PEER_MAX.value:
            return 0
        return timing.window(self.rtt, self.rate, block) - self.in_flight

    def ask(self, cid: CID, priority: int, size: int, now: float) -> None:
        """Ask for the block."""
        limited = 2 * self.in_flight < timing.window(self.rtt, self.rate, size)
        if not self.asks:
            self.progress_at = now
        self.asks[cid] = Ask(now, size, self.delivered, self.blocks, len(self.asks), limited)
        self.in_flight += size
        self.probes.pop(cid, None)
        self._say(cid, Say.BLOCK, priority)

    def probe(self, cid: CID, priority: int, now: float) -> bool:
        """Ask whether it has the block; False when it cannot be asked or has been."""
        full = len(self.told) + len(self.outbox) >= WANTS_PER_PEER_MAX.value
        if not self.presences or full or cid in self.probes or cid in self.asks:
            return False
        self.probes[cid] = now
        self._say(cid, Say.HAVE, priority)
        return True

    def _say(self, cid: CID, say: Say, priority: int) -> None:
        self.lazy.pop(cid, None)
        self.outbox.pop(cid, None)
        self.outbox[cid] = (say, priority)

    def cancel(self, cid: CID, now: float, *, lazily: bool = False) -> None:
        """We want it no more.  ``lazily`` when the peer knows, having sent it: the next message will do."""
        self.drop(cid)
        self.probes.pop(cid, None)
        self.outbox.pop(cid, None)
        if cid not in self.told:
            return
        if lazily:
            if not self.lazy:
                self.lazy_since = now
            self.lazy[cid] = None
        else:
            self.outbox[cid] = (Say.CANCEL, 0)

    def drop(self, cid: CID) -> Ask | None:
        """Wait for the block no longer, whatever the peer believes."""
        ask = self.asks.pop(cid, None)
        if ask is not None:
            self.in_flight -= ask.size
        return ask

    # --- answers -----------------------------------------------------------------------------------------

    def block_came(self, cid: CID, size: int, now: float) -> None:
        """A block that we wanted came from this peer."""
        self.delivered += size
        self.blocks += 1
        self.timeouts = 0
        self.progress_at = now
        if self.advert is not None:
            self.advert.judge(cid, True, now)
        probed = self.probes.pop(cid, None)
        ask = self.drop(cid)
        if ask is not None:
            self.rtt.sample(now - ask.at, now)
            self.rate.sample(self.delivered - ask.delivered, now - ask.at, ask.limited, now)
        elif probed is not None:
            self.rtt.sample(now - probed, now)

    def said(self, cid: CID, have: bool, now: float) -> bool:
        """HAVE or DONT_HAVE came; whether we had asked."""
        probed = self.probes.pop(cid, None)
        ask = self.asks.get(cid)
        at = probed if probed is not None else ask.at if ask is not None else None
        if at is None:
            return False
        if self.advert is not None:
            self.advert.judge(cid, have, now)
        self.rtt.sample(now - at, now)
        if ask is not None:
            self.progress_at = now
        return True

    def judged(self, kept: bool) -> None:
        """It said HAVE, and the block came or did not."""
        self.honesty = self.honesty * PROMISE_WEIGHT + (1.0 - PROMISE_WEIGHT) * kept

    def missed(self) -> None:
        """A want-block was not answered in time."""
        self.timeouts += 1
        self.missed_ever += 1
        self.rtt.missed()

    # --- estimates -----------------------------------------------------------------------------------------

    def delay(self, now: float) -> float | None:
        """Seconds that an answer takes besides waiting in line; None when that is not known any more."""
        return None if self.rtt.stale(now) and not self.asks else self.rtt.least

    def eta(self, size: int, delay: float, rate: float) -> float:
        """Seconds until a block asked for now would be here, at ``rate`` bytes a second; worse for the unreliable."""
        seconds = delay + (self.in_flight + size) / rate
        return seconds * (1 + self.timeouts) / max(self.honesty, 0.05) ** 2

    def age(self, ask: Ask, now: float) -> float:
        """Seconds that a want-block has waited since the peer last made progress."""
        return now - max(ask.at, self.progress_at)

    # --- messages ----------------------------------------------------------------------------------------

    def due(self, now: float) -> bool:
        """Whether there is something to say now."""
        if self.outbox or self.full:
            return True
        return len(self.lazy) >= LAZY_CANCELS_MAX or (bool(self.lazy) and now - self.lazy_since >= LAZY_CANCEL_S)

    def take(self, now: float) -> tuple[list[WireWant], bool]:
        """The entries to send now, and whether they are the whole wantlist.  Clocks start: they leave now."""
        wants: list[WireWant] = []
        for cid in self.lazy:
            self.told.pop(cid, None)
            if not self.full:
                wants.append(WireWant(cid, 0, True, True))
        self.lazy.clear()
        for cid, (say, priority) in self.outbox.items():
            if say is Say.CANCEL:
                if self.told.pop(cid, None) is not None and not self.full:
                    wants.append(WireWant(cid, 0, True, True))
                continue
            self.told[cid] = say
            wants.append(WireWant(cid, priority, say is Say.BLOCK, False, True))
            ask = self.asks.get(cid)
            if ask is not None:
                ask.at = now
            elif cid in self.probes:
                self.probes[cid] = now
        self.outbox.clear()
        full, self.full = self.full, False
        return wants, full

    def start_over(self, priority_of: dict[CID, int]) -> None:
        """The stream is new: say everything that is still wanted again, as the whole wantlist."""
        over = {cid for cid, (say, _) in self.outbox.items() if say is Say.CANCEL} | self.lazy.keys()
        wanted = [cid for cid in {**self.told, **self.outbox} if cid not in over]
        self.outbox = {cid: (Say.BLOCK if cid in self.asks else Say.HAVE, priority_of.get(cid, 1)) for cid in wanted}
        self.told.clear()
        self.lazy.clear()
        self.full = bool(self.outbox)
