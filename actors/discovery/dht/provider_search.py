"""One question for providers: GET_PROVIDERS in every DHT in use, each provider told once and as it comes.

Part of ``questions``, which keeps it while it is open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from shoal.actors.discovery.dht import wire
from shoal.actors.discovery.dht.kad import Kad
from shoal.actors.discovery.dht.keys import multihash
from shoal.actors.discovery.dht.searching import NOBODY, STOPPED, Question, Search
from shoal.messages import routing
from shoal.messages.envelope import Envelope
from shoal.messages.routing import PeerAddrs, Provider

if TYPE_CHECKING:
    from shoal.actors.discovery.dht.questions import Questions


class ProviderSearch:
    """From SearchSource to SourceEnded; ``over()`` is called at its end."""

    def __init__(
        self, owner: Questions, message: routing.SearchSource, envelope: Envelope, over: Callable[[], object]
    ) -> None:
        self.owner = owner
        self.envelope: Envelope | None = envelope
        self.over = over
        self.key = multihash(message.cid)
        self.count = message.count
        self.found: set[str] = set()
        self.open: list[Search] = []
        self.messages = 0
        self.outcomes: list[str] = []
        question = Question(wire.Kind.GET_PROVIDERS, self.key)
        for kad in owner.kads:
            self._tell(kad, kad.records.providers(self.key, owner.ctx.wall()))
        for kad in owner.in_use():
            self.open.append(owner.start(kad, question, envelope, self._ended, self._answer))
        if not self.open:
            owner.ctx.after(0.0, lambda: self._end(NOBODY))

    def stop(self) -> None:
        """Nobody wants to know any more."""
        self.envelope = None
        for search in list(self.open):
            search.stop()

    def _answer(self, kad: Kad, _: str, answer: wire.Message) -> None:
        self._tell(kad, answer.providers)
        if self.count and len(self.found) >= self.count:
            for search in list(self.open):
                search.stop()

    def _tell(self, kad: Kad, named: Iterable[PeerAddrs]) -> None:
        news = []
        for one in named:
            if one.peer in self.found or one.peer == kad.me or self.envelope is None:
                continue
            if self.count and len(self.found) >= self.count:
                break
            self.found.add(one.peer)
            news.append(Provider(one.peer, kad.of_use(one.addrs), kad.source))
        if news and self.envelope is not None:
            self.owner.ctx.reply(self.envelope, routing.SourceFound(tuple(news)))

    def _ended(self, search: Search) -> None:
        self.open.remove(search)
        self.messages += search.messages
        if search.outcome not in ("", STOPPED):
            self.outcomes.append(search.outcome)
        self.owner.told(search.kad, [PeerAddrs(step.peer, step.addrs) for step in search.nearest()])
        if not self.open:
            self._end(", ".join(dict.fromkeys(self.outcomes)))

    def _end(self, outcome: str) -> None:
        self.over()
        if self.envelope is not None:
            self.owner.ctx.reply(self.envelope, routing.SourceEnded(outcome, self.messages))
