"""Both tables of the wantlist: indexes agree, bounds hold, every want ends."""

import hypothesis.stateful as sf
from hypothesis import strategies as st

from shoal.actors.wantlist.demand import Demand
from shoal.actors.wantlist.ours import NOTHING_TRIED, OurWants
from shoal.messages.cid import CID
from shoal.messages.limits import WANTS_PER_PEER_MAX

CIDS = [CID.of(bytes([n])) for n in range(6)]


def test_a_peer_may_want_only_so_many_and_leaves_nothing_behind() -> None:
    demand = Demand()
    many = [(CID.of(n.to_bytes(4, "big")), 1) for n in range(WANTS_PER_PEER_MAX.value + 10)]
    assert demand.wanted("p", many) == 10
    assert len(demand) == WANTS_PER_PEER_MAX.value
    demand.gone("p")
    assert len(demand) == 0
    demand.check()


def test_ten_thousand_peers_that_want_and_vanish_leave_nothing() -> None:
    demand = Demand()
    for number in range(10_000):
        demand.wanted(f"p{number}", [(CID.of(number.to_bytes(4, "big")), 1)])
        demand.gone(f"p{number}")
    assert len(demand) == 0
    assert demand.popular() == {}


def test_popularity_is_the_number_of_peers_and_the_highest_priority() -> None:
    demand = Demand()
    demand.wanted("p", [(CIDS[0], 1)])
    demand.wanted("q", [(CIDS[0], 7)])
    assert demand.popular() == {CIDS[0]: (7, 2)}
    demand.arrived([CIDS[0]])
    assert demand.popular() == {}


def test_an_expired_want_says_what_was_tried() -> None:
    ours = OurWants()
    ours.want([CIDS[0]], 1, 3, 10.0)
    ours.want([CIDS[0]], 2, 3, 20.0)
    ours.note_tried(1, "asked 3 peers")
    assert ours.expire(10.0) == [(CIDS[0], 1, "asked 3 peers")]
    assert ours.expire(20.0) == [(CIDS[0], 2, NOTHING_TRIED)]
    ours.note_tried(1, "too late")
    ours.check()


class OursMachine(sf.RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ours, self.model, self.now = OurWants(), {}, 0.0

    @sf.rule(cids=st.sets(st.sampled_from(CIDS)), session=st.integers(1, 3), wait=st.floats(0, 5))
    def want(self, cids: set[CID], session: int, wait: float) -> None:
        fresh = self.ours.want(sorted(cids), session, 3, self.now + wait)
        assert set(fresh) == {cid for cid in cids if (cid, session) not in self.model}
        for cid in cids:
            self.model[cid, session] = max(self.now + wait, self.model.get((cid, session), 0.0))

    @sf.rule(cids=st.sets(st.sampled_from(CIDS)), session=st.integers(1, 3))
    def cancel(self, cids: set[CID], session: int) -> None:
        dropped = self.ours.cancel(sorted(cids), session)
        assert set(dropped) == {cid for cid in cids if self.model.pop((cid, session), None) is not None}

    @sf.rule(cid=st.sampled_from(CIDS))
    def arrive(self, cid: CID) -> None:
        self.ours.arrived([cid])
        self.model = {key: deadline for key, deadline in self.model.items() if key[0] != cid}

    @sf.rule(seconds=st.floats(0, 4))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        late = {(cid, session) for cid, session, _ in self.ours.expire(self.now)}
        assert late == {key for key, deadline in self.model.items() if deadline <= self.now}
        for key in late:
            del self.model[key]

    @sf.invariant()
    def agree(self) -> None:
        self.ours.check()
        assert len(self.ours) == len(self.model)
        grouped = {(cid, key[0]) for key, cids in self.ours.by_session().items() for cid in cids}
        assert grouped == set(self.model)


class DemandMachine(sf.RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.demand, self.model = Demand(), set()

    @sf.rule(peer=st.sampled_from("pqr"), cids=st.sets(st.sampled_from(CIDS)))
    def want(self, peer: str, cids: set[CID]) -> None:
        assert self.demand.wanted(peer, [(cid, 1) for cid in cids]) == 0
        self.model |= {(peer, cid) for cid in cids}

    @sf.rule(peer=st.sampled_from("pqr"), cids=st.sets(st.sampled_from(CIDS)))
    def end(self, peer: str, cids: set[CID]) -> None:
        self.demand.ended(peer, cids)
        self.model -= {(peer, cid) for cid in cids}

    @sf.rule(peer=st.sampled_from("pqr"))
    def gone(self, peer: str) -> None:
        self.demand.gone(peer)
        self.model = {row for row in self.model if row[0] != peer}

    @sf.invariant()
    def agree(self) -> None:
        self.demand.check()
        assert len(self.demand) == len(self.model)


TestOurs = OursMachine.TestCase
TestDemand = DemandMachine.TestCase
