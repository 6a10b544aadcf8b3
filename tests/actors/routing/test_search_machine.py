"""Searches under any sequence of events: every asker is told each provider once and ended once, in time; sources are
asked only while somebody waits, and stopped when nobody does."""

import hypothesis.stateful as sf
from hypothesis import settings
from hypothesis import strategies as st

from shoal.actors.routing.legs import Action, End, Start, Stop, Tell
from shoal.actors.routing.recall import Recall
from shoal.actors.routing.records import COSTS, Records
from shoal.actors.routing.search import Searches
from shoal.messages.cid import CID
from shoal.messages.limits import SEARCH_S_MAX
from shoal.messages.routing import BOOK, Provider
from shoal.tests.support.bitswap import MACHINE_EXAMPLES, block
from shoal.tests.support.peers import addr, peer

CIDS = [block(n).cid for n in range(3)]
PEERS = [peer(n) for n in range(6)]
KEYS = [(who, ticket) for who in ("bitswap", "edge") for ticket in (1, 2, 3)]


def provider(number: int, source: str) -> Provider:
    return Provider(PEERS[number], (addr(number),), source)


class SearchMachine(sf.RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.records = Records()
        self.searches = Searches(self.records, Recall(), self.rank, self.remembered, self.failed, 5)
        self.asked: dict[tuple[str, int], tuple[CID, int, float, set[str]]] = {}
        self.fresh: set[tuple[str, int]] = set()
        self.running: dict[int, tuple[str, CID]] = {}
        self.over: set[int] = set()

    @staticmethod
    def rank(providers: list[Provider]) -> list[Provider]:
        return sorted(providers, key=lambda one: one.peer)

    @staticmethod
    def remembered(peer_id: str, at: float) -> Provider | None:
        return Provider(peer_id, ("/ip4/10.0.0.1/tcp/1",), BOOK) if peer_id != PEERS[0] else None

    @staticmethod
    def failed(one: Provider) -> bool:
        return one.peer == PEERS[1]

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Start):
                assert action.ticket not in self.running
                assert action.ticket not in self.over, "a ticket that was used"
                assert (action.source, action.cid) not in self.running.values(), "a source asked twice at a time"
                waiting = [row for row in self.asked.values() if row[0] == action.cid]
                assert waiting, "asked while nobody waits"
                assert action.deadline == max(row[2] for row in waiting)
                self.running[action.ticket] = (action.source, action.cid)
            elif isinstance(action, Stop):
                assert self.running.pop(action.ticket)[0] == action.source
                self.over.add(action.ticket)
            elif isinstance(action, Tell):
                cid, count, _, told = self.asked[action.key]
                assert action.cid == cid
                assert action.providers
                names = [one.peer for one in action.providers]
                assert names == sorted(names), "not best first"
                assert not told.intersection(names), "told twice"
                assert PEERS[1] not in names or action.key in self.fresh, "told of one that has just failed"
                told.update(names)
                assert not count or len(told) <= count
            else:
                assert isinstance(action, End)
                cid, _, _, _ = self.asked.pop(action.key)
                assert action.cid == cid
                for report in action.reports:
                    assert 0.0 <= report.began_s <= report.ended_s
                    assert (report.first_s >= 0.0) == (report.providers > 0)

    @sf.rule(
        key=st.sampled_from(KEYS), cid=st.sampled_from(CIDS), count=st.integers(0, 4),
        seconds=st.sampled_from([-1.0, 0.0, 0.5, 5.0, 60.0, 1e9, float("inf"), float("nan")]),
        sources=st.sets(st.sampled_from(sorted(COSTS))), fresh=st.booleans(),
    )  # fmt: skip
    def ask(self, key: tuple[str, int], cid: CID, count: int, seconds: float, sources: set[str], fresh: bool) -> None:
        self.carry_out(self.searches.stop(key, self.now))
        self.asked.pop(key, None)
        (self.fresh.add if fresh else self.fresh.discard)(key)
        self.asked[key] = (cid, count, min(self.now + seconds, self.now + SEARCH_S_MAX.value), set())
        self.carry_out(self.searches.ask(key, cid, count, self.now + seconds, self.now, sources, fresh=fresh))

    @sf.rule(key=st.sampled_from(KEYS))
    def stop(self, key: tuple[str, int]) -> None:
        actions = self.searches.stop(key, self.now)
        self.asked.pop(key, None)
        self.carry_out(actions)

    @sf.rule(who=st.sampled_from(["bitswap", "edge"]))
    def an_asker_dies(self, who: str) -> None:
        for key in [key for key in self.asked if key[0] == who]:
            del self.asked[key]
        self.carry_out(self.searches.forget_asker(who, self.now))

    @sf.precondition(lambda self: self.running)
    @sf.rule(data=st.data(), numbers=st.lists(st.integers(0, 5), max_size=4), lan=st.booleans())
    def source_finds(self, data: st.DataObject, numbers: list[int], lan: bool) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.running)))
        source = self.running[ticket][0]
        name = "lan-dht" if lan and source == "dht" else source
        self.carry_out(self.searches.found(ticket, [provider(n, name) for n in numbers], self.now))

    @sf.precondition(lambda self: self.running)
    @sf.rule(data=st.data(), how=st.sampled_from(["", "broken", "late", "odd"]))
    def source_ends(self, data: st.DataObject, how: str) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[ticket]
        self.over.add(ticket)
        broken, late = how == "broken", how == "late"
        self.carry_out(self.searches.ended(ticket, how, self.now, late=late, broken=broken))

    @sf.precondition(lambda self: self.over)
    @sf.rule(data=st.data())
    def source_speaks_after_its_end(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.over)))
        assert self.searches.found(ticket, [provider(1, "dht")], self.now) == []
        assert self.searches.ended(ticket, "", self.now) == []

    @sf.rule(seconds=st.sampled_from([0.01, 0.1, 1.0, 8.0, 70.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        """As the actor does: it wakes whenever there is something to do, in time."""
        end = self.now + seconds
        for _ in range(100):
            wait = self.searches.wake_in(self.now)
            if wait is None or self.now + wait > end:
                break
            self.now += wait
            self.carry_out(self.searches.tick(self.now))
            assert all(deadline > self.now for _, _, deadline, _ in self.asked.values()), "it outlives its deadline"
        else:
            raise AssertionError("it wakes for ever")
        self.now = end

    @sf.invariant()
    def indexes_agree(self) -> None:
        self.searches.check()
        assert set(self.searches.asked) == set(self.asked)
        assert {cid for _, cid in self.running.values()} <= {row[0] for row in self.asked.values()}
        for _, count, _, told in self.asked.values():
            assert not count or len(told) < count, "satisfied, and not ended"

    def teardown(self) -> None:
        """Whatever the sources do or do not do, all is over at the last deadline."""
        self.time_passes(SEARCH_S_MAX.value)
        assert not self.asked
        assert not self.running
        assert not self.searches.open
        assert not self.searches.load
        assert self.searches.wake_in(self.now) is None


TestSearches = SearchMachine.TestCase
TestSearches.settings = settings(max_examples=MACHINE_EXAMPLES, stateful_step_count=30, deadline=None)
