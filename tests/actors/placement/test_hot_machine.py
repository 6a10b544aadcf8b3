"""The hot set against a shelf that does as it is told: what it believes is there is there, and fits."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shoal.actors.placement.hot import Decision, HotSet
from shoal.messages.cid import CID, DAG_PB
from shoal.storage.memory import cost_of

SIZES = (0, 1, 500, 500, 2000, 2000, 6000, 9000, 20_000, 500, 500, 500, 500, 500, 500, 500, 500, 500, 500, 500)
CIDS = [CID.of(bytes([number])) for number in range(len(SIZES))]
OLD_CIDS = [CID.of(bytes([number]), DAG_PB, 0) for number in range(len(SIZES))]
NUMBERS = st.integers(0, len(SIZES) - 1)
CAPACITIES = st.sampled_from([0, 1024, 5000, 20_000, 60_000])


class HotMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.shelf: dict[int, int] = {}  # block -> its cost: what memory holds when it does what it is told
        self.used_since: dict[int, int] = {}  # block -> uses since it was last deleted
        self.now = 0.0

    @initialize(capacity=CAPACITIES)
    def start(self, capacity: int) -> None:
        self.capacity = capacity
        self.hot, self.twin = HotSet(capacity), HotSet(capacity)

    def remove(self, cids: tuple[CID, ...]) -> None:
        """Every victim is there, once."""
        for cid in cids:
            del self.shelf[CIDS.index(cid)]

    @rule(number=NUMBERS, old=st.booleans(), times=st.sampled_from([1, 1, 2, 30]))
    def use(self, number: int, old: bool, times: int) -> None:
        cid = (OLD_CIDS if old else CIDS)[number]
        for _ in range(times):
            was_held, had_room = number in self.shelf, sum(self.shelf.values()) + cost_of(SIZES[number])
            before = self.used_since.get(number, 0)
            decision = self.hot.used(cid, SIZES[number], self.now)
            assert decision == self.twin.used(cid, SIZES[number], self.now), "the same again"
            self.used_since[number] = before + 1
            if was_held or before == 0:
                assert decision == Decision(False)
            elif had_room <= self.capacity:
                assert decision == Decision(True)
            self.remove(decision.leave)
            if decision.keep:
                assert number not in self.shelf
                self.shelf[number] = cost_of(SIZES[number])

    @rule(number=NUMBERS)
    def forget(self, number: int) -> None:
        for hot in (self.hot, self.twin):
            hot.forget([CIDS[number]])
        self.shelf.pop(number, None)
        self.used_since.pop(number, None)
        assert not self.hot.holds(CIDS[number])

    @rule(number=NUMBERS)
    def lose(self, number: int) -> None:
        for hot in (self.hot, self.twin):
            hot.lost([OLD_CIDS[number]])
        self.shelf.pop(number, None)

    @rule()
    def begin_anew(self) -> None:
        for hot in (self.hot, self.twin):
            hot.empty()
        self.shelf.clear()

    @precondition(lambda self: self.shelf)
    @rule(capacity=CAPACITIES)
    def resize(self, capacity: int) -> None:
        self.capacity = capacity
        leave = self.hot.resize(capacity, self.now)
        assert leave == self.twin.resize(capacity, self.now)
        self.remove(leave)

    @rule(seconds=st.sampled_from([-100.0, 0.1, 60.0, 3600.0, 1e6, 1e9]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def it_knows_what_is_there_and_that_fits(self) -> None:
        if not hasattr(self, "hot"):
            return
        assert sum(self.shelf.values()) == self.hot._bytes <= self.capacity
        assert {number for number, cid in enumerate(CIDS) if self.hot.holds(cid)} == set(self.shelf)
        assert len(self.hot) == len(self.shelf) == len(self.hot._row)
        for place, name in enumerate(self.hot._row):
            assert self.hot._held[name].place == place
        known = {number for number, uses in self.used_since.items() if uses}
        assert len(self.hot._book) == len(known - set(self.shelf)), "each is in the book or in memory, never in both"


TestHotMachine: Any = HotMachine.TestCase
TestHotMachine.settings = settings(stateful_step_count=40)
