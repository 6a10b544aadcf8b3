"""What others ask of the DHT, each as a small conversation: providers, a peer, the nearest, a value.

Each begins one search in each DHT that may know, tells what comes as it comes, and ends with one last reply, at the
envelope's deadline at the latest.  What is asked here never stores anything at others but values (``put``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from shoal.actors.base import Context
from shoal.actors.discovery.dht import wire
from shoal.actors.discovery.dht.calls import Outcome
from shoal.actors.discovery.dht.kad import OFF, Kad
from shoal.actors.discovery.dht.keys import kad_id, multihash, peer_bytes
from shoal.actors.discovery.dht.lookup import RESILIENCY
from shoal.actors.discovery.dht.searching import DEADLINE, NOBODY, STOPPED, OnAnswer, Question, Search, Searches
from shoal.actors.discovery.dht.table import K
from shoal.actors.discovery.dht.values import Validators
from shoal.messages import dht, routing, transport
from shoal.messages.base import Message
from shoal.messages.envelope import Envelope
from shoal.messages.errors import RemoteError
from shoal.messages.limits import DHT_VALUES_GATHERED
from shoal.messages.replies import Failed
from shoal.messages.routing import PeerAddrs, Provider

QUORUM: Final = 16  # valid values after which a search for a value ends (go-libp2p-kad-dht)
LEAD_S: Final = 0.05  # seconds before the asker's deadline at which a search ends: an answer after it is lost
DIAL_TIMEOUT_S: Final = 10.0  # seconds for finding out whether a peer is where it is said to be


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


class ProviderSearch:
    """GET_PROVIDERS in every DHT in use.  Each provider is told once."""

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


class PeerSearch:
    """FIND_NODE for a peer in every DHT in use; a dial proves where it is."""

    def __init__(self, owner: Questions, peer: str, envelope: Envelope) -> None:
        self.owner = owner
        self.peer = peer
        self.envelope = envelope
        self.addrs: dict[str, Kad] = {}
        self.open: list[Search] = []
        self.tried: set[str] = set()
        self.dialling = False
        self.ended = False
        try:
            key = peer_bytes(peer)
        except RemoteError as fault:
            owner.failed(envelope, "BadInput", str(fault))
            return
        question = Question(wire.Kind.FIND_NODE, key, RESILIENCY)
        for kad in owner.in_use():
            self._named(kad, [PeerAddrs(peer, kad.where(peer))])
            self.open.append(owner.start(kad, question, envelope, self._searched, self._hear))
        if not self.open:
            owner.ctx.after(0.0, self._end)

    def _hear(self, kad: Kad, _: str, answer: wire.Message) -> None:
        self._named(kad, answer.closer)

    def _named(self, kad: Kad, named: Iterable[PeerAddrs]) -> None:
        for one in named:
            if one.peer == self.peer:
                for addr in kad.of_use(one.addrs):
                    self.addrs.setdefault(addr, kad)
        self._dial()

    def _dial(self) -> None:
        """Try the addresses that have not been tried; the transport authenticates whoever answers there."""
        fresh = tuple(addr for addr in self.addrs if addr not in self.tried)
        if fresh and not self.dialling and not self.ended:
            self.dialling = True
            self.tried.update(fresh)
            dial = transport.Dial(self.peer, fresh)
            self.owner.ctx.request(dial, self._dialled, deadline=math.inf, timeout_s=DIAL_TIMEOUT_S)

    def _dialled(self, reply: Message) -> None:
        self.dialling = False
        if isinstance(reply, transport.Dialed):
            self._end(first=reply.addr)
            return
        self._dial()
        if not self.open and not self.dialling:
            self._end()

    def _searched(self, search: Search) -> None:
        self.open.remove(search)
        if not self.open and (not self.dialling or search.outcome == DEADLINE):
            self._end()

    def _end(self, first: str = "") -> None:
        if self.ended:
            return
        self.ended = True
        for search in list(self.open):
            search.stop()
        if not self.addrs:
            self.owner.failed(self.envelope, "NotFound", f"no DHT knows where {self.peer} is")
            return
        known = sorted(self.addrs, key=lambda addr: addr != first)
        source = self.addrs[known[0]].source
        self.owner.ctx.reply(self.envelope, routing.PeerFound(self.peer, tuple(known), source))


class ValueSearch:
    """GET_VALUE in every DHT in use; the best that was found, which those with a worse one are then told."""

    def __init__(self, owner: Questions, key: bytes, envelope: Envelope) -> None:
        self.owner = owner
        self.key = key
        self.envelope = envelope
        self.values: list[tuple[Kad, str, bytes]] = []  # where, from whom, what; all valid
        self.open: list[Search] = []
        self.invalid = 0
        wall = owner.ctx.wall()
        for kad in owner.kads:
            own = kad.server.value(key, wall)
            if own is not None:
                self.values.append((kad, "", own.value))
        question = Question(wire.Kind.GET_VALUE, key)
        for kad in owner.in_use():
            self.open.append(owner.start(kad, question, envelope, self._ended, self._hear))
        if not self.open:
            owner.ctx.after(0.0, self._end)

    def _hear(self, kad: Kad, peer: str, answer: wire.Message) -> None:
        record = answer.record
        if record is None or not record.value or len(self.values) >= DHT_VALUES_GATHERED.value:
            return
        try:
            if record.key != self.key:
                raise RemoteError("a value of another key", "value")
            self.owner.validators.validate(self.key, record.value, self.owner.ctx.wall())
        except RemoteError:
            self.invalid += 1
            self.owner.ctx.count("invalid_values")
            return
        self.values.append((kad, peer, record.value))
        if len(self.values) >= QUORUM:
            for search in list(self.open):
                search.stop()

    def _ended(self, search: Search) -> None:
        self.open.remove(search)
        if not self.open:
            self._end()

    def _end(self) -> None:
        owner = self.owner
        if not self.values:
            lies = f" ({self.invalid} that were not valid)" if self.invalid else ""
            owner.failed(self.envelope, "NotFound", f"no value was found{lies}")
            return
        found = [value for _, _, value in self.values]
        best = found[owner.validators.select(self.key, found, owner.ctx.wall())]
        kad = next(kad for kad, _, value in self.values if value == best)
        owner.ctx.reply(self.envelope, dht.ValueFound(self.key, best, kad.lan))
        better = wire.Message(wire.Kind.PUT_VALUE, self.key, wire.Record(self.key, best))
        for where, peer, value in self.values:
            if peer and value != best:
                where.ask(peer, (), better, lambda _: None)


def is_among_nearest(kad: Kad, key: bytes, search: Search) -> bool:
    """Whether this node is itself one of the K nearest to ``key``, as far as the search shows."""
    steps = search.nearest(K)
    return len(steps) < K or (kad.table.at ^ kad_id(key)) < steps[-1].distance
