"""What others ask of the DHT, each as a small conversation: providers, a peer, the nearest, a value.

Each begins one search in each DHT that may know, tells what comes as it comes, and ends with one last reply, at the
envelope's deadline at the latest.  What is asked here never stores anything at others but values (``put``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from shoal.actors.base import Context
from shoal.actors.discovery.dht import wire
from shoal.actors.discovery.dht.kad import OFF, Kad
from shoal.actors.discovery.dht.lines import Outcome
from shoal.actors.discovery.dht.peer_search import PeerSearch
from shoal.actors.discovery.dht.provider_search import ProviderSearch
from shoal.actors.discovery.dht.searching import OnAnswer, Question, Search, Searches
from shoal.actors.discovery.dht.value_search import ValueSearch
from shoal.actors.discovery.dht.values import Validators
from shoal.messages import dht, routing
from shoal.messages.envelope import Envelope
from shoal.messages.errors import RemoteError
from shoal.messages.replies import Failed
from shoal.messages.routing import PeerAddrs

LEAD_S: Final = 0.05  # seconds before the asker's deadline at which a search ends: an answer after it is lost


class Questions:
    """All that are open.  ``told(kad, peers)`` hears of peers that answered in a search."""

    def __init__(
        self,
        ctx: Context,
        searches: Searches,
        kads: Sequence[Kad],
        validators: Validators,
        told: Callable[[Kad, Iterable[PeerAddrs]], None],
    ) -> None:
        self.ctx = ctx
        self.searches = searches
        self.kads = kads
        self.validators = validators
        self.told = told
        self._by_ticket: dict[tuple[str, int], ProviderSearch] = {}

    def providers(self, message: routing.SearchSource, envelope: Envelope) -> None:
        """-> SourceFound*, SourceEnded."""
        key = (envelope.sender, message.ticket)
        old = self._by_ticket.pop(key, None)
        if old is not None:
            old.stop()
        self._by_ticket[key] = ProviderSearch(self, message, envelope, lambda: self._by_ticket.pop(key, None))

    def stop(self, sender: str, ticket: int) -> None:
        """No further answer to that search."""
        search = self._by_ticket.pop((sender, ticket), None)
        if search is not None:
            search.stop()

    def stop_of(self, sender: str) -> None:
        """Whoever asked has died."""
        for name, ticket in [key for key in self._by_ticket if key[0] == sender]:
            self.stop(name, ticket)

    def peer(self, message: routing.SearchPeer, envelope: Envelope) -> None:
        """-> PeerFound or Failed."""
        PeerSearch(self, message.peer, envelope)

    def closest(self, message: dht.ClosestPeers, envelope: Envelope) -> None:
        """-> ClosestFound."""
        kad = next(kad for kad in self.kads if kad.lan == message.lan)

        def ended(search: Search) -> None:
            peers = tuple(PeerAddrs(step.peer, step.addrs) for step in search.nearest())
            self.told(kad, peers)
            self.ctx.reply(envelope, dht.ClosestFound(peers, search.messages, search.seconds, kad.lan))

        question = Question(wire.Kind.FIND_NODE, message.key)
        self.start(kad, question, envelope, ended)

    def value(self, message: dht.GetValue, envelope: Envelope) -> None:
        """-> ValueFound or Failed."""
        if not self.validators.known(message.key):
            self._no_rules(envelope, message.key)
        else:
            ValueSearch(self, message.key, envelope)

    def put(self, message: dht.PutValue, envelope: Envelope) -> None:
        """-> ValuePut or Failed."""
        key, value, wall = message.key, message.value, self.ctx.wall()
        try:
            self.validators.validate(key, value, wall)
        except RemoteError as fault:
            self.ctx.reply(envelope, Failed(envelope.kind, "BadInput", f"the value cannot stand there: {fault}"))
            return
        kads = self.in_use()
        if not kads:
            self.failed(envelope, "Unavailable", "this node takes part in no DHT now; connect to a peer that does")
            return
        stored: list[int] = []
        open_ = len(kads)

        def done(count: int) -> None:
            nonlocal open_
            open_ -= 1
            stored.append(count)
            if not open_:
                self.ctx.reply(envelope, dht.ValuePut(sum(stored)))

        for kad in kads:
            self._put_in(kad, key, value, envelope, done)

    def _put_in(self, kad: Kad, key: bytes, value: bytes, envelope: Envelope, done: Callable[[int], None]) -> None:
        def ended(search: Search) -> None:
            steps = search.nearest()
            if not steps:
                done(0)
                return
            left, took = len(steps), 0

            def put(outcome: Outcome) -> None:
                nonlocal left, took
                left -= 1
                took += outcome.answer is not None
                if not left:
                    done(took)

            put_message = wire.Message(wire.Kind.PUT_VALUE, key, wire.Record(key, value))
            for step in steps:
                kad.ask(step.peer, step.addrs, put_message, put)

        self.start(kad, Question(wire.Kind.FIND_NODE, key), envelope, ended)

    # --- for the conversations -----------------------------------------------------------------------------

    def in_use(self) -> list[Kad]:
        """The DHTs that may know something."""
        return [kad for kad in self.kads if kad.mode != OFF and (len(kad.table) or kad.nearest(kad.table.at))]

    def start(
        self,
        kad: Kad,
        question: Question,
        envelope: Envelope,
        on_end: Callable[[Search], None],
        on_answer: OnAnswer = lambda *_: None,
    ) -> Search:
        """A search within the time that the asker has."""
        deadline = envelope.deadline - LEAD_S
        return self.searches.start(kad, question, on_end=on_end, on_answer=on_answer, deadline=deadline)

    def failed(self, envelope: Envelope, error: str, reason: str) -> None:
        """Say no."""
        self.ctx.reply(envelope, Failed(envelope.kind, error, reason))

    def _no_rules(self, envelope: Envelope, key: bytes) -> None:
        self.failed(envelope, "BadInput", f"no rules for a key such as {key[:40]!r}: use /ipns/ or /pk/")
