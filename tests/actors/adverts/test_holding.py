"""Our own filter: whatever comes while it is listed or grows, it never says no to what is here."""

import random

import hypothesis.stateful as sf
from hypothesis import settings
from hypothesis import strategies as st

from shoal.actors.adverts.holding import GENERATION_S, LOST_SHARE, Draft, Holding
from shoal.messages import bloom
from shoal.tests.support.bitswap import MACHINE_EXAMPLES

NAMES = [b"\x12\x20" + random.Random(n).randbytes(32) for n in range(3000)]
SALT = b"salt of this one"


def worked(draft: Draft) -> None:
    while not draft.work():
        pass


def list_all(holding: Holding, names: list[bytes], now: float, generation: int) -> bool:
    draft = holding.begin_listing()
    holding.page(names)
    draft.size()
    worked(draft)
    holding.page(names)
    worked(draft)
    return holding.listed(generation, now)


def held(count: int) -> Holding:
    holding = Holding(SALT)
    assert list_all(holding, NAMES[:count], 100.0, 7)
    return holding


def test_nothing_is_told_before_the_first_listing() -> None:
    holding = Holding(SALT)
    assert not holding.add(NAMES[0])
    assert holding.names is None


def test_a_listing_has_what_was_listed_once_each_and_what_came_meanwhile() -> None:
    holding = Holding(SALT)
    draft = holding.begin_listing()
    holding.page(NAMES[:1000])
    holding.add(NAMES[1000])
    draft.size()
    worked(draft)
    holding.add(NAMES[1001])
    holding.page(NAMES[:1002])
    worked(draft)
    assert holding.listed(3, 5.0)
    assert holding.names is not None
    assert all(name in holding.names.filter for name in NAMES[:1002])
    assert 995 <= len(holding.names.marks) <= 1002
    assert holding.names.complete


def test_what_comes_later_is_news_once() -> None:
    holding = held(10)
    assert holding.names is not None
    before = len(holding.names.marks)
    assert holding.add(NAMES[20])
    assert not holding.add(NAMES[20])
    assert len(holding.names.marks) == before + 1


def test_a_filter_that_grows_too_small_is_made_larger_of_its_own_marks() -> None:
    holding = held(10)
    for name in NAMES[10:2000]:
        holding.add(name)
        assert holding.names is not None
        if holding.names.too_small and holding.growing is None:
            holding.begin_growth()
        if holding.growing is not None and holding.growing.work():
            holding.grown(holding.generation + 1, 200.0)
    assert holding.names is not None
    assert holding.names.complete
    assert not holding.names.relist
    assert all(name in holding.names.filter for name in NAMES[:2000])
    assert holding.names.filter.rate < 0.02


def test_little_loss_keeps_the_filter_for_a_day_and_much_loss_does_not() -> None:
    holding = held(1000)
    few = 1000 - int(1000 * LOST_SHARE / 4)
    assert not list_all(holding, NAMES[:few], 200.0, 8)
    assert holding.generation == 7
    assert NAMES[999] in (holding.names or held(1)).filter
    assert list_all(holding, NAMES[:few], 100.0 + GENERATION_S, 9)
    assert holding.generation == 9
    assert list_all(holding, NAMES[: few - 100], 300.0 + GENERATION_S, 10)


def test_what_a_listing_finds_that_nobody_told_makes_another_filter() -> None:
    holding = held(1000)
    assert list_all(holding, NAMES[:1001], 200.0, 8)
    assert holding.names is not None
    assert NAMES[1000] in holding.names.filter


def test_a_full_filter_says_that_it_is_not_complete() -> None:
    holding = held(0)
    assert holding.names is not None
    added = [holding.add(name) for name in NAMES]
    assert holding.names.filter.rate < 1.1 * bloom.RATE_MAX
    assert not holding.names.complete
    assert holding.names.relist, "a listing will make a larger one"
    assert any(added)


class HoldingMachine(sf.RuleBasedStateMachine):
    """Blocks come in any order with the steps of listings and growth."""

    def __init__(self) -> None:
        super().__init__()
        self.holding = Holding(SALT)
        self.here: set[bytes] = set()
        self.to_list: list[bytes] = []
        self.second = False
        self.generation = 0

    @sf.rule(start=st.integers(0, 2900), count=st.integers(1, 100))
    def come(self, start: int, count: int) -> None:
        for name in NAMES[start : start + count]:
            self.here.add(name)
            self.holding.add(name)

    @sf.rule()
    @sf.precondition(lambda self: self.holding.listing is None)
    def begin_listing(self) -> None:
        self.holding.begin_listing()
        self.to_list, self.second = sorted(self.here), False

    @sf.rule(count=st.integers(1, 300))
    @sf.precondition(lambda self: self.holding.listing is not None)
    def go_on_listing(self, count: int) -> None:
        draft = self.holding.listing
        assert draft is not None
        if self.to_list:
            self.holding.page(self.to_list[:count])
            del self.to_list[:count]
        elif not self.second:
            draft.size()
            worked(draft)
            self.to_list, self.second = sorted(self.here), True
        elif draft.work():
            self.generation += 1
            self.holding.listed(self.generation, float(self.generation))

    @sf.rule()
    @sf.precondition(lambda self: self.holding.names is not None and self.holding.names.too_small)
    def grow(self) -> None:
        if self.holding.growing is None:
            self.holding.begin_growth()
        elif self.holding.growing.work():
            self.generation += 1
            self.holding.grown(self.generation, float(self.generation))

    @sf.invariant()
    def a_complete_filter_says_yes_to_all_that_is_here(self) -> None:
        names = self.holding.names
        if names is not None and names.complete:
            assert all(name in names.filter for name in self.here)
            assert names.filter.rate < 1.1 * bloom.RATE_MAX
            assert len(names.marks) <= len(self.here)


TestHolding = HoldingMachine.TestCase
TestHolding.settings = settings(max_examples=MACHINE_EXAMPLES, stateful_step_count=40, deadline=None)
