"""Whatever routing and the servers do: every search ends once and in time, and no request outlives its search."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shoal.actors.discovery.delegated.actor import LATE_S, DelegatedActor
from shoal.actors.discovery.delegated.search import RACED
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.limits import DELEGATED_REQUESTS_PER_SERVER
from shoal.messages.routing import SearchPeer, SearchSource, SourceEnded, SourceFound, StopSource
from shoal.tests.actors.delegated.test_delegated_actor import ED, RSA, TCP, record
from shoal.tests.support.context import FakeContext
from shoal.tests.support.hand_http import HandHttp

X = CID.of(b"x")
LINES = [record(ED), record(RSA, TCP), record("nobody"), b"garbage\n", b"\n", record(ED)[:20]]


class Searches(RuleBasedStateMachine):
    """Up to three servers, and searches that overlap."""

    def __init__(self) -> None:
        super().__init__()
        self.ctx = FakeContext("delegated")
        self.http = HandHttp()
        self.actor = DelegatedActor(self.ctx, self.http, ("http://a", "http://b", "http://c"))
        self.asked: dict[int, float] = {}  # envelope -> deadline, of what must still be answered
        self.tickets: dict[int, int] = {}
        self.told: dict[int, set[str]] = {}
        self.next = 1

    def _ask(self, message: SearchSource | SearchPeer, seconds: float) -> None:
        self.next += 1
        deadline = self.ctx.clock + seconds
        envelope = Envelope(self.next, type(message).__name__, "routing", "delegated", b"", deadline=deadline)
        self.asked[self.next] = deadline
        self.told[self.next] = set()
        if isinstance(message, SearchSource):
            self._forget(message.ticket)
            self.tickets[message.ticket] = self.next
        self.actor.receive(message, envelope)
        self._hear()

    def _forget(self, ticket: int) -> None:
        self.asked.pop(self.tickets.pop(ticket, 0), None)

    def _hear(self) -> None:
        for envelope, reply in self.ctx.replies:
            assert envelope.id in self.asked, "told after the end"
            if isinstance(reply, SourceFound):
                peers = [one.peer for one in reply.providers]
                assert not self.told[envelope.id].intersection(peers), "told twice"
                self.told[envelope.id].update(peers)
            else:
                del self.asked[envelope.id]
                if isinstance(reply, SourceEnded):
                    self.tickets = {ticket: id_ for ticket, id_ in self.tickets.items() if id_ != envelope.id}
        self.ctx.replies.clear()

    @rule(ticket=st.integers(1, 4), count=st.integers(0, 3), seconds=st.sampled_from([0.01, 1.0, 10.0, 100.0]))
    def search(self, ticket: int, count: int, seconds: float) -> None:
        self._ask(SearchSource(X, ticket, count), seconds)

    @rule(seconds=st.sampled_from([0.01, 1.0, 10.0]))
    def search_peer(self, seconds: float) -> None:
        self._ask(SearchPeer(ED), seconds)

    @rule(ticket=st.integers(1, 4))
    def stop(self, ticket: int) -> None:
        self._forget(ticket)
        self.ctx.tell(self.actor, StopSource(ticket))
        self._hear()

    @precondition(lambda self: self.http.open)
    @rule(data=st.data(), how=st.sampled_from(["head", "lines", "end", "fail", "404", "500", "429"]))
    def server(self, data: st.DataObject, how: str) -> None:
        get = data.draw(st.sampled_from(self.http.open))
        began = getattr(get.taker, "_head", None) is not None
        if how == "fail" or (began and how == "end"):
            get.fail() if how == "fail" else get.end()
        elif began:
            get.piece(b"".join(data.draw(st.lists(st.sampled_from(LINES), max_size=3))))
        elif how in ("404", "500", "429"):
            get.answer(b"", int(how), retry_after="30")
        else:
            get.head()
        self._hear()

    @rule(seconds=st.sampled_from([0.5, 3.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.ctx.advance(seconds)
        self._hear()

    @invariant()
    def all_is_in_order(self) -> None:
        now = self.ctx.clock
        assert all(deadline > now - LATE_S for deadline in self.asked.values()), "a search outlived its deadline"
        assert len(self.actor.searches) == len(self.asked)
        for server in self.actor.servers.rows:
            under_way = sum(get.server == server.url for get in self.http.open)
            assert server.open == under_way <= DELEGATED_REQUESTS_PER_SERVER.value
        assert sum(len(search.open) for search in self.actor.searches) == len(self.http.open)
        assert all(len(search.open) <= RACED for search in self.actor.searches)
        assert self.ctx.timers == len(self.actor.searches)


TestSearches = Searches.TestCase
