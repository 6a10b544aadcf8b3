"""Open requests: both indexes agree after any sequence, and every request can be ended."""

import hypothesis.stateful as sf
from hypothesis import strategies as st

from shoal.actors.placement.choice import belongs_in_memory
from shoal.actors.placement.gets import Gets
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.policy import LEECHER, WORKER

CIDS = [CID.of(bytes([n])) for n in range(6)]


def test_memory_takes_small_blocks_only() -> None:
    assert belongs_in_memory(2 * 1024 * 1024, WORKER)
    assert not belongs_in_memory(2 * 1024 * 1024, LEECHER)
    assert not belongs_in_memory(0, WORKER)


class GetsMachine(sf.RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.gets, self.next, self.model = Gets(), 0, {}

    @sf.rule(cids=st.sets(st.sampled_from(CIDS), min_size=1), session=st.integers(1, 2))
    def ask(self, cids: set[CID], session: int) -> None:
        self.next += 1
        envelope = Envelope(self.next, "GetBlocks", "edge", "placement", b"", deadline=float(self.next))
        self.gets.add(envelope, cids, session, True)
        self.model[self.next] = (session, set(cids))

    @sf.precondition(lambda self: self.model)
    @sf.rule(data=st.data(), cids=st.sets(st.sampled_from(CIDS)))
    def want(self, data: st.DataObject, cids: set[CID]) -> None:
        number = data.draw(st.sampled_from(sorted(self.model)))
        assert set(self.gets.want(number, sorted(cids))) == cids & self.model[number][1]

    @sf.rule(cid=st.sampled_from(CIDS))
    def arrive(self, cid: CID) -> None:
        for number in self.gets.waiting_for(cid):
            assert self.gets.answered(number, cid) is not None
            self.model[number][1].discard(cid)
        assert self.gets.waiting_for(cid) == []

    @sf.precondition(lambda self: self.model)
    @sf.rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.model)))
        session, left = self.model.pop(number)
        get, orphans = self.gets.close(number)
        assert get is not None
        assert get.remaining == left
        for cid in orphans:
            assert cid in left
            assert self.gets.waiting_for(cid, session) == []
        assert self.gets.close(number) == (None, [])

    @sf.invariant()
    def indexes_agree(self) -> None:
        self.gets.check()
        assert set(self.gets.open) == set(self.model)
        assert set(self.gets.overdue(2.5)) == {number for number in self.model if number <= 2}


TestGets = GetsMachine.TestCase
