"""Finding under any sequence of events: bounds hold, no search outlives its use, and nobody is forgotten."""

import random

import hypothesis.stateful as sf
from hypothesis import settings
from hypothesis import strategies as st

from shoal.actors.bitswap.finding import AGAIN_MAX_S, DIALS_EACH, KEPT_S, SEARCHES_MAX, Finding, Found, State
from shoal.actors.bitswap.seeker import Seeker
from shoal.actors.bitswap.session import Phase
from shoal.messages.cid import CID
from shoal.messages.limits import FIND_SEARCHES_MAX, FOUND_DIALS_MAX, FOUND_PEERS_MAX, MIB
from shoal.messages.routing import BITSWAP, DHT, GATEWAY, PUBSUB, Provider
from shoal.tests.support.bitswap import MACHINE_EXAMPLES, block, check_seeker

PEERS = [f"peer-{number}" for number in range(8)]
CIDS = [block(number).cid for number in range(4)]
SESSIONS = range(1, 8)


class FindingMachine(sf.RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.seeker = Seeker(random.Random(1), 4 * MIB)
        self.finding = Finding(100)
        self.now = 50.0
        self.open: dict[int, CID] = {}  # searches that routing is at
        self.dialling: list[Found] = []

    def look(self) -> None:
        """What the hands do after each event."""
        self.seeker.settle(self.now)
        stopped, _ = self.finding.over(self.seeker, self.now)
        for ticket in stopped:
            del self.open[ticket]
        for wanted in self.finding.due(self.seeker, self.now):
            assert wanted.ticket not in self.open
            want = self.seeker.wants[wanted.cid]
            assert want.phase is not Phase.ARRIVED
            assert wanted.session in want.sessions
            self.open[wanted.ticket] = wanted.cid
        for one in self.finding.dials(self.seeker, self.now):
            assert one.peer not in self.seeker.sources, "dialled though it is connected"
            self.dialling.append(one)
        for source in self.seeker.sources_due(self.now):
            self.seeker.take(source, self.now)

    @sf.rule(cids=st.sets(st.sampled_from(CIDS), min_size=1), session=st.sampled_from(SESSIONS))
    def seek(self, cids: set[CID], session: int) -> None:
        self.seeker.seek(sorted(cids), session, 3, self.now)
        self.look()

    @sf.rule(cids=st.sets(st.sampled_from(CIDS), min_size=1), session=st.sampled_from(SESSIONS))
    def stop(self, cids: set[CID], session: int) -> None:
        self.seeker.stop(sorted(cids), session, self.now)
        self.look()

    @sf.rule(peer=st.sampled_from(PEERS))
    def connect(self, peer: str) -> None:
        self.seeker.peer_connected(peer, self.now)
        self.look()

    @sf.rule(peer=st.sampled_from(PEERS))
    def disconnect(self, peer: str) -> None:
        self.seeker.peer_disconnected(peer)
        self.look()

    @sf.rule(peer=st.sampled_from(PEERS), cid=st.sampled_from(CIDS), have=st.booleans())
    def presence(self, peer: str, cid: CID, have: bool) -> None:
        self.seeker.presences(peer, [(cid, have)], self.now)
        self.look()

    @sf.rule(peer=st.sampled_from(PEERS), cid=st.sampled_from(CIDS), kept=st.booleans())
    def block_comes(self, peer: str, cid: CID, kept: bool) -> None:
        if self.seeker.block(peer, cid, 100, self.now) and kept:
            self.seeker.stored(cid, self.now)
        self.look()

    @sf.rule()
    def the_transport_dies(self) -> None:
        for peer in PEERS:
            self.seeker.peer_disconnected(peer)
        self.finding.all_lost(self.now)
        self.look()

    @sf.precondition(lambda self: self.open)
    @sf.rule(
        data=st.data(), numbers=st.lists(st.integers(0, 7), max_size=8), source=st.sampled_from([DHT, PUBSUB]),
        protocol=st.sampled_from(["", BITSWAP, GATEWAY]), where=st.booleans(),
    )  # fmt: skip
    def found(self, data: st.DataObject, numbers: list[int], source: str, protocol: str, where: bool) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.open)))
        addrs = ("/ip4/192.0.2.1/tcp/1",) if where else ()
        protocols = (protocol,) if protocol else ()
        self.finding.found(ticket, [Provider(PEERS[n], addrs, source, protocols) for n in numbers], self.now)
        self.look()

    @sf.precondition(lambda self: self.open)
    @sf.rule(data=st.data(), how=st.sampled_from(["ended", "absent"]))
    def search_ends(self, data: st.DataObject, how: str) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.open)))
        del self.open[ticket]
        if how == "ended":
            self.finding.ended(ticket, [(DHT, 1.0, "")], self.now)
        else:
            self.finding.absent(ticket, self.now)
        self.look()

    @sf.rule(ticket=st.integers(0, 300))
    def an_answer_that_nobody_waits_for(self, ticket: int) -> None:
        if ticket not in self.open:
            self.finding.found(ticket, [Provider(PEERS[0], (), DHT)], self.now)
            self.finding.ended(ticket, [], self.now)
            self.look()

    @sf.rule()
    def routing_is_back(self) -> None:
        for ticket in list(self.open):
            del self.open[ticket]
            self.finding.absent(ticket, self.now)
        self.finding.back()
        self.look()

    @sf.precondition(lambda self: self.dialling)
    @sf.rule(data=st.data(), up=st.booleans())
    def dial_ends(self, data: st.DataObject, up: bool) -> None:
        one = self.dialling.pop(data.draw(st.integers(0, len(self.dialling) - 1)))
        if up:
            self.seeker.peer_connected(one.peer, self.now)
        self.finding.dialled(one, up, self.now)
        self.look()

    @sf.rule(seconds=st.sampled_from([0.1, 1.0, 2.5, 6.0, 70.0, -5.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.seeker.tick(self.now)
        self.look()

    @sf.invariant()
    def indexes_agree(self) -> None:
        check_seeker(self.seeker)
        hunts = self.finding.hunts
        rows = {ticket: row[0] for hunt in hunts.values() for ticket, row in hunt.searches.items()}
        assert rows == self.open
        assert set(self.finding.tickets) == set(self.open)
        assert len(self.open) <= FIND_SEARCHES_MAX.value
        assert all(len(hunt.searches) <= SEARCHES_MAX for hunt in hunts.values())
        assert all(len(hunt.found) <= FOUND_PEERS_MAX.value for hunt in hunts.values())
        assert all(hunt.count(State.DIALLING) <= DIALS_EACH for hunt in hunts.values())
        assert len(self.dialling) <= FOUND_DIALS_MAX.value or not hunts

    @sf.invariant()
    def no_search_outlives_its_use(self) -> None:
        for cid in self.open.values():
            assert self.seeker.wants[cid].phase is not Phase.ARRIVED

    @sf.invariant()
    def there_is_always_a_text(self) -> None:
        for session in SESSIONS:
            assert isinstance(self.finding.explain(session, self.now), str)

    def teardown(self) -> None:
        """A want that nobody has is searched for again within a minute; and when nothing is wanted, nothing is left."""
        for peer in PEERS:
            self.seeker.peer_disconnected(peer)
        self.seeker.seek([block(99).cid], 99, 3, self.now)
        for ticket in list(self.open):
            del self.open[ticket]
            self.finding.ended(ticket, [], self.now)
        self.now += AGAIN_MAX_S + 1
        self.look()
        assert block(99).cid in self.open.values()
        self.seeker.forget_all(self.now)
        self.look()
        assert not self.open
        self.now += KEPT_S + 1
        self.look()
        assert not self.finding.hunts
        assert not self.finding.tickets


TestFinding = FindingMachine.TestCase
TestFinding.settings = settings(max_examples=MACHINE_EXAMPLES, stateful_step_count=30, deadline=None)
