"""Uses: told in batches, in use here until the keeper has answered, and what is lost is told as lost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shoal.actors.placement import uses as module
from shoal.actors.placement.uses import ANSWER_S, RETRY_S, TELL_S, Uses
from shoal.messages import keeping
from shoal.messages.limits import Limit
from shoal.messages.replies import Done, Failed
from shoal.tests.support.bitswap import block
from shoal.tests.support.context import FakeContext, Said

BLOCKS = [block(number, 100) for number in range(6)]
A, B = BLOCKS[:2]


def told(ctx: FakeContext) -> list[Said[keeping.BlocksUsed]]:
    """What the keeper was told and has not answered."""
    return [said for said in ctx.take_said(keeping.BlocksUsed) if not said.ended]


def begun() -> tuple[FakeContext, Uses]:
    """Uses of which the keeper knows that they have begun."""
    ctx = FakeContext("placement")
    uses = Uses(ctx)
    uses.begin()
    (said,) = told(ctx)
    said.answer(Done())
    return ctx, uses


def test_before_the_keeper_knows_of_the_beginning_everything_is_in_use() -> None:
    ctx = FakeContext("placement")
    uses = Uses(ctx)
    uses.begin()
    (said,) = told(ctx)
    assert said.message == keeping.BlocksUsed(()), "a telling of nothing: what came before may be lost"
    assert uses.busy(A.cid)
    said.answer(Failed("BlocksUsed", "Unavailable", "keeper ended"))
    assert uses.busy(A.cid)
    ctx.advance(RETRY_S)
    (said,) = told(ctx)
    said.answer(Done())
    assert not uses.busy(A.cid)
    assert not uses.lost


def test_uses_of_one_block_are_one_row_with_its_last_tier() -> None:
    ctx, uses = begun()
    uses.note([A, B], "disk", put=True)
    ctx.advance(TELL_S / 2)
    uses.note([A], "", put=False)
    uses.note([A], "cold", put=False)
    assert told(ctx) == []
    last = ctx.wall()
    ctx.advance(TELL_S / 2)
    (said,) = told(ctx)
    first = last - TELL_S / 2
    rows = (keeping.BlockUse(A.cid, 100, "cold", True, 2, last), keeping.BlockUse(B.cid, 100, "disk", True, 0, first))
    assert said.message == keeping.BlocksUsed(rows)
    assert uses.busy(A.cid), "told and not yet known"
    said.answer(Done())
    assert not uses.busy(A.cid)
    ctx.advance(10 * TELL_S)
    assert told(ctx) == []


def test_a_keeper_that_fails_or_says_nothing_is_told_the_same_again() -> None:
    ctx, uses = begun()
    uses.note([A], "disk", put=True)
    ctx.advance(TELL_S)
    (first,) = told(ctx)
    first.answer(Failed("BlocksUsed", "StorageFull", "no room"))
    uses.note([A, B], "disk", put=False)
    ctx.advance(RETRY_S)
    (second,) = told(ctx)
    assert second.message == first.message
    ctx.advance(ANSWER_S + RETRY_S)
    (third,) = told(ctx)
    assert third.message == first.message
    assert ctx.counts["uses_untold"] == 2
    third.answer(Done())
    (rest,) = told(ctx)
    assert [use.cid for use in rest.message.uses] == [A.cid, B.cid]
    assert uses.busy(A.cid)
    rest.answer(Done())
    assert not uses.busy(A.cid)


def test_what_is_coming_is_in_use_until_as_often_as_it_came() -> None:
    _, uses = begun()
    uses.coming([A, A, B])
    uses.coming([A])
    uses.came([A, A])
    assert uses.busy(A.cid)
    uses.came([A, B])
    assert not uses.busy(A.cid)
    assert not uses.busy(B.cid)


def test_more_than_is_told_at_one_time_is_told_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CATALOG_BATCH_MAX", Limit(4, "rows", "", ""))
    ctx, uses = begun()
    uses.note(BLOCKS, "disk", put=True)
    ctx.advance(TELL_S)
    (first,) = told(ctx)
    assert len(first.message.uses) == 4
    first.answer(Done())
    assert [uses.busy(one.cid) for one in BLOCKS] == [False] * 4 + [True] * 2
    (second,) = told(ctx)
    assert len(second.message.uses) == 2
    second.answer(Done())
    assert not uses.busy(BLOCKS[5].cid)


class UsesMachine(RuleBasedStateMachine):
    """With room for four rows, told three at a time, by a keeper that fails now and then.

    The model keeps what the keeper knows: a use that it does not know of makes its block busy, unless it knows that
    some uses are lost.
    """

    @initialize()
    def begin(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(module, "CATALOG_BATCH_MAX", Limit(3, "rows", "", ""))
        self.patch.setattr(module, "USES_WAITING_MAX", Limit(5, "blocks", "", ""))
        self.ctx, self.uses = begun()
        self.open: list[Said[keeping.BlocksUsed]] = []
        self.unknown: dict[bytes, int] = {}  # used, by when; the keeper does not know
        self.clock = 0
        self.sent: dict[int, int] = {}  # when each telling was made

    def hear(self) -> None:
        for said in told(self.ctx):
            self.sent[id(said)] = self.clock
            self.open.append(said)
        assert len(self.open) <= 1, "one telling at a time"

    @rule(which=st.sets(st.integers(0, 5)), put=st.booleans())
    def note(self, which: set[int], put: bool) -> None:
        self.clock += 1
        self.uses.note([BLOCKS[number] for number in sorted(which)], "disk", put=put)
        self.unknown.update((BLOCKS[number].cid.multihash, self.clock) for number in which)
        self.hear()

    @rule(seconds=st.sampled_from([0.1, RETRY_S, TELL_S]))
    def time_passes(self, seconds: float) -> None:
        self.clock += 1
        self.ctx.advance(seconds)
        self.hear()

    @precondition(lambda self: self.open)
    @rule(well=st.booleans())
    def answer(self, well: bool) -> None:
        said = self.open.pop()
        if said.ended:
            return
        at = self.sent[id(said)]
        names = [use.cid.multihash for use in said.message.uses]
        if well and not names:
            self.unknown = {name: when for name, when in self.unknown.items() if when > at}
        elif well:
            self.unknown = {name: when for name, when in self.unknown.items() if name not in names or when > at}
        self.clock += 1
        said.answer(Done() if well else Failed("BlocksUsed", "Unavailable", "keeper ended"))
        self.hear()

    @invariant()
    def what_the_keeper_may_not_know_is_in_use(self) -> None:
        if hasattr(self, "uses"):
            for name in self.unknown:
                cid = next(one.cid for one in BLOCKS if one.cid.multihash == name)
                assert self.uses.busy(cid)

    @invariant()
    def no_more_is_kept_than_the_bound(self) -> None:
        if hasattr(self, "uses"):
            assert len(self.uses._rows) < 5
            assert len(self.uses._telling) <= 3

    def teardown(self) -> None:
        """A keeper that answers hears of everything, and then nothing is in use."""
        if not hasattr(self, "uses"):
            return
        for _ in range(20):
            for said in self.open:
                if not said.ended:
                    said.answer(Done())
            self.open.clear()
            self.ctx.advance(TELL_S)
            self.hear()
        assert not any(self.uses.busy(one.cid) for one in BLOCKS)
        self.patch.undo()


TestUses: Any = UsesMachine.TestCase
