"""An iterative lookup: whom to ask next on the way to a key, and when to stop.  A pure state machine.

It begins with the nearest peers that we know; each answer names nearer ones.  Asked next is always the nearest that has
not been asked, among the ``K`` nearest that have not failed; ALPHA requests are out at a time, not counting those that
are slow.  It ends when the ``wanted`` nearest have answered, when nobody is left to ask, or at its bounds.

Liars cannot hold it: a peer that is named is one hop further than who named it, beyond DHT_LOOKUP_ROUNDS hops nobody is
asked, nor more than DHT_LOOKUP_REQUESTS in all; and who has named only peers that do not answer is not believed.

Source: libp2p kad-dht spec, "Peer routing"; go-libp2p-kad-dht query.go.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from shoal.actors.discovery.dht.keys import peer_kad_id
from shoal.actors.discovery.dht.table import K
from shoal.messages.limits import (
    DHT_ADDRS_PER_PEER,
    DHT_CLOSER_MAX,
    DHT_LOOKUP_REQUESTS,
    DHT_LOOKUP_ROUNDS,
    DHT_LOOKUP_ROWS,
)
from shoal.messages.routing import PeerAddrs

ALPHA: Final = 10  # requests out at a time (kad-dht spec)
RESILIENCY: Final = 3  # nearest peers that must answer where the K nearest are not needed (kad-dht spec)
SLOW_S: Final = 1.5  # seconds after which a request no longer counts among the ALPHA: most answer in less
LOST_MAX: Final = 4  # times that a peer is asked again since the way to it broke on our side
LOST_WAIT_S: Final = 0.5  # seconds before that, doubled each time: a small node must first let go of other peers
DECEIVED_MAX: Final = 6  # failures of what one peer named, with not one success, before it is not believed


class State(enum.Enum):
    """What became of a peer."""

    HEARD = enum.auto()
    ASKED = enum.auto()
    ANSWERED = enum.auto()
    FAILED = enum.auto()
    DOUBTED = enum.auto()  # named by a deceiver only


@dataclass(slots=True)
class Step:
    """One peer of a lookup."""

    peer: str
    distance: int
    addrs: tuple[str, ...]
    hops: int
    by: str  # who named it; empty: we knew it
    state: State = State.HEARD
    asked: float = 0.0
    lost: int = 0
    not_before: float = 0.0


class Lookup:
    """One lookup towards the kad id ``target``; ``me`` is the peer that asks, which is never asked."""

    def __init__(self, target: int, me: str, known: Iterable[PeerAddrs], wanted: int = K) -> None:
        self.target = target
        self.me = me
        self.wanted = min(wanted, K)
        self.requests = 0
        self._steps: dict[str, Step] = {}
        self._order: list[Step] = []  # nearest first
        self._out: dict[str, Step] = {}
        self._named: dict[str, list[int]] = {}  # who names -> [of these have answered, have failed]
        for one in known:
            self._hear(one, "", 0)

    # --- what to do ----------------------------------------------------------------------------------------

    def ask(self, now: float) -> list[Step]:
        """The peers to ask now; they count as asked."""
        if self.over:
            return []
        busy = sum(now - step.asked < SLOW_S for step in self._out.values())
        chosen: list[Step] = []
        for step in self._window(K):
            if busy >= ALPHA or self.requests >= DHT_LOOKUP_REQUESTS.value:
                break
            if step.state is State.HEARD and step.not_before <= now:
                step.state, step.asked = State.ASKED, now
                self._out[step.peer] = step
                self.requests += 1
                busy += 1
                chosen.append(step)
        return chosen

    def wake_in(self, now: float) -> float | None:
        """Seconds until ``ask`` may have more to say though nothing has come; None: never."""
        waits = [step.asked + SLOW_S - now for step in self._out.values() if now - step.asked < SLOW_S]
        waits += [
            step.not_before - now for step in self._window(K) if step.state is State.HEARD and step.not_before > now
        ]
        return max(0.001, min(waits)) if waits else None

    @property
    def over(self) -> bool:
        """Nothing more will come of it."""
        nearest = self._window(self.wanted)
        if any(step.state is State.ASKED for step in nearest):
            return False
        if all(step.state is State.ANSWERED for step in nearest):
            return True
        if self.requests >= DHT_LOOKUP_REQUESTS.value:
            return not self._out
        return False

    # --- what came -----------------------------------------------------------------------------------------

    def answered(self, peer: str, named: Iterable[PeerAddrs]) -> None:
        """``peer`` has answered and named these; their addresses are those that this DHT has a use for."""
        step = self._out.pop(peer, None)
        if step is None:
            return
        step.state = State.ANSWERED
        self._judge(step, 0)
        if step.hops >= DHT_LOOKUP_ROUNDS.value or self._is_deceiver(peer):
            return
        for count, one in enumerate(named):
            if count >= DHT_CLOSER_MAX.value:
                break
            self._hear(one, peer, step.hops + 1)

    def failed(self, peer: str) -> None:
        """``peer`` cannot be reached, or has not answered in time."""
        step = self._out.pop(peer, None)
        if step is None:
            return
        step.state = State.FAILED
        self._judge(step, 1)
        if step.by and self._is_deceiver(step.by):
            for other in self._order:
                if other.by == step.by and other.state is State.HEARD:
                    other.state = State.DOUBTED

    def lost(self, peer: str, now: float) -> None:
        """The way to ``peer`` broke on our side: it may be asked again in a while, and is not to blame."""
        step = self._out.pop(peer, None)
        if step is None:
            return
        step.not_before = now + LOST_WAIT_S * 2**step.lost
        step.lost += 1
        step.state = State.HEARD if step.lost <= LOST_MAX else State.FAILED

    # --- what was found --------------------------------------------------------------------------------------

    def nearest(self, most: int = K) -> list[Step]:
        """Those that answered, nearest first."""
        return [step for step in self._order if step.state is State.ANSWERED][:most]

    def addrs_of(self, peer: str) -> tuple[str, ...]:
        """Where ``peer`` is said to be."""
        step = self._steps.get(peer)
        return step.addrs if step else ()

    @property
    def out(self) -> frozenset[str]:
        """Who has been asked and has not answered yet."""
        return frozenset(self._out)

    @property
    def heard(self) -> int:
        """How many peers it remembers."""
        return len(self._order)

    # --- within ------------------------------------------------------------------------------------------

    def _window(self, size: int) -> list[Step]:
        """The nearest peers that are in question."""
        window: list[Step] = []
        for step in self._order:
            if step.state is not State.FAILED and step.state is not State.DOUBTED:
                window.append(step)
                if len(window) == size:
                    break
        return window

    def _hear(self, named: PeerAddrs, by: str, hops: int) -> None:
        if named.peer == self.me:
            return
        step = self._steps.get(named.peer)
        if step is not None:
            if step.state is State.DOUBTED and step.by != by:
                step.state, step.by, step.hops, step.addrs = State.HEARD, by, hops, named.addrs
            elif step.state is State.HEARD:
                step.hops = min(step.hops, hops)
                step.addrs = tuple(dict.fromkeys((*step.addrs, *named.addrs)))[: DHT_ADDRS_PER_PEER.value]
            return
        step = Step(named.peer, peer_kad_id(named.peer) ^ self.target, named.addrs, hops, by)
        self._order.insert(bisect_left(self._order, step.distance, key=lambda one: one.distance), step)
        self._steps[named.peer] = step
        if len(self._order) > DHT_LOOKUP_ROWS.value:
            self._forget_farthest()

    def _forget_farthest(self) -> None:
        for index in range(len(self._order) - 1, -1, -1):
            step = self._order[index]
            if step.state is not State.ASKED:
                del self._order[index]
                del self._steps[step.peer]
                return

    def _judge(self, step: Step, index: int) -> None:
        """Count for who named ``step``, by its answer (0) or failure (1)."""
        if step.by:
            self._named.setdefault(step.by, [0, 0])[index] += 1

    def _is_deceiver(self, peer: str) -> bool:
        answered, failed = self._named.get(peer, (0, 0))
        return not answered and failed >= DECEIVED_MAX
