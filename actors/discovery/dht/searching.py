"""A search: one ``Lookup`` carried out, with a deadline, over one DHT.

Begin with ``Searches.start``.  A search asks one question of every peer on its way; its owner hears of each answer and,
exactly once, of the end.  So many run at one time, the others wait in order, and their deadlines run meanwhile.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shoal.actors.base import Context, Timer
from shoal.actors.discovery.dht import wire
from shoal.actors.discovery.dht.keys import kad_id
from shoal.actors.discovery.dht.lines import Outcome
from shoal.actors.discovery.dht.lookup import Lookup, Step
from shoal.actors.discovery.dht.table import K
from shoal.messages.limits import DHT_LOOKUPS_MAX, DHT_LOOKUPS_WAITING

if TYPE_CHECKING:
    from shoal.actors.discovery.dht.kad import Kad

SEARCH_TIMEOUT_S: Final = 60.0  # seconds for one search, whoever asked for it (go-libp2p-kad-dht: one minute)

OnAnswer = Callable[["Kad", str, wire.Message], None]

# How a search may end, besides in order ("").
DEADLINE: Final = "deadline"
NOBODY: Final = "no peers"
OVERLOADED: Final = "overloaded"
STOPPED: Final = "stopped"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of every peer on the way to ``key``, and how near the search must come."""

    kind: wire.Kind
    key: bytes
    wanted: int = K

    def message(self) -> wire.Message:
        """As it is sent."""
        return wire.Message(self.kind, self.key)


class Search:
    """One search in one DHT.  ``on_answer(kad, peer, message)``; ``on_end(search)`` with ``outcome`` set."""

    def __init__(
        self,
        searches: Searches,
        kad: Kad,
        question: Question,
        on_answer: OnAnswer,
        on_end: Callable[[Search], None],
        deadline: float,
    ) -> None:
        self.searches = searches
        self.kad = kad
        self.question = question
        self.target = kad_id(question.key)
        self.on_answer = on_answer
        self.on_end = on_end
        self.began = searches.ctx.now()
        self.deadline = min(deadline, self.began + SEARCH_TIMEOUT_S)
        self.outcome = ""
        self.ended = False
        self.messages = 0
        self._lookup: Lookup | None = None
        self._wake: Timer | None = None
        self._end_timer: Timer | None = None

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return self.searches.ctx.now() - self.began

    def nearest(self, most: int = K) -> list[Step]:
        """The nearest peers that answered, nearest first."""
        return self._lookup.nearest(most) if self._lookup else []

    def addrs_of(self, peer: str) -> tuple[str, ...]:
        """Where ``peer`` is said to be."""
        return self._lookup.addrs_of(peer) if self._lookup else ()

    def stop(self) -> None:
        """It is not needed any more; ``on_end`` hears of it unless it has ended."""
        self._finish(STOPPED)

    # --- within ------------------------------------------------------------------------------------------

    def wait(self) -> None:
        """Begin the clock."""
        left = max(0.0, self.deadline - self.searches.ctx.now())
        self._end_timer = self.searches.ctx.after(left, lambda: self._finish(DEADLINE))

    def run(self) -> None:
        """Its turn has come."""
        known = self.kad.nearest(self.target)
        self._lookup = Lookup(self.target, self.kad.me, known, self.question.wanted)
        self.kad.lookups += 1
        if known:
            self._pump()
        else:
            self._finish(NOBODY)

    def _pump(self) -> None:
        if self.ended or self._lookup is None:
            return
        ctx = self.searches.ctx
        for step in self._lookup.ask(ctx.now()):
            self._ask(step)
        if self._lookup.over:
            self._finish("")
            return
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        wait = self._lookup.wake_in(ctx.now())
        if wait is not None:
            self._wake = ctx.after(wait, self._pump)

    def _ask(self, step: Step) -> None:
        peer = step.peer

        def ended(outcome: Outcome) -> None:
            if self.ended or self._lookup is None:
                return
            answer = outcome.answer
            if answer is not None:
                self._lookup.answered(peer, self.kad.useful(answer.closer))
                self.on_answer(self.kad, peer, answer)
            elif outcome.ours:
                self._lookup.lost(peer, self.searches.ctx.now())
            else:
                self._lookup.failed(peer)
            self._pump()

        self.messages += 1
        self.kad.ask(peer, step.addrs, self.question.message(), ended)

    def _finish(self, outcome: str) -> None:
        if self.ended:
            return
        self.ended, self.outcome = True, outcome
        for timer in (self._wake, self._end_timer):
            if timer is not None:
                timer.cancel()
        if not outcome:
            self.kad.table.walked(self.target, self.searches.ctx.now())
        self.searches.ended(self)
        self.on_end(self)


class Searches:
    """The searches of both DHTs: DHT_LOOKUPS_MAX at a time."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.running: set[Search] = set()
        self.waiting: deque[Search] = deque()

    def start(
        self,
        kad: Kad,
        question: Question,
        *,
        on_end: Callable[[Search], None],
        on_answer: OnAnswer = lambda *_: None,
        deadline: float = math.inf,
    ) -> Search:
        """A search that begins now or when there is room; ``on_end`` is never called from within this call."""
        search = Search(self, kad, question, on_answer, on_end, deadline)
        if len(self.waiting) >= DHT_LOOKUPS_WAITING.value:
            self.ctx.after(0.0, lambda: search._finish(OVERLOADED))
            return search
        search.wait()
        self.waiting.append(search)
        self.ctx.after(0.0, self._next)
        return search

    def ended(self, search: Search) -> None:
        """A search has ended: the next one may begin."""
        self.running.discard(search)
        if self.waiting:
            self.ctx.after(0.0, self._next)

    def stop_all(self) -> None:
        """End them all."""
        for search in [*self.running, *self.waiting]:
            search.stop()

    def _next(self) -> None:
        while self.waiting and len(self.running) < DHT_LOOKUPS_MAX.value:
            search = self.waiting.popleft()
            if not search.ended:
                self.running.add(search)
                search.run()
