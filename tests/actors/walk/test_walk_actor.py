"""The walk: when it asks what is due, that it walks one after the other, and that nothing makes it hurry or stop."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.discovery.walk.actor import (
    CATCH_UP_ROUNDS_MAX,
    CATCH_UP_S,
    EMPTY_S,
    FIRST_S,
    JITTER,
    ROUND_S,
    STALE_S,
    TARGETS_TIMEOUT_S,
    WALK_TIMEOUT_S,
    WALKS_A_ROUND,
    WalkActor,
)
from shoal.messages import dht, lifecycle
from shoal.messages.policy import WORKER, Policy
from shoal.messages.replies import Failed, Overloaded
from shoal.tests.support.context import FakeContext, Said

REST = msgspec.structs.replace(WORKER, walk_randomly=False)


def started(policy: Policy = WORKER) -> tuple[FakeContext, WalkActor]:
    ctx = FakeContext("walk", policy)
    actor = WalkActor(ctx)
    actor.on_start()
    return ctx, actor


def targets(count: int, lan: bool = False) -> dht.WalkTargetsFound:
    return dht.WalkTargetsFound(tuple(dht.WalkTarget(b"key %d" % number, lan, number) for number in range(count)))


def look(ctx: FakeContext, seconds: float) -> Said[dht.WalkTargets]:
    """The one question of the next ``seconds``, with jitter, and none sooner."""
    began, asked = ctx.clock, ctx.take_said(dht.WalkTargets)
    assert asked == []
    while not asked:
        ctx.advance(0.25)
        assert ctx.clock - began <= seconds * (1 + JITTER) + 0.25
        asked = ctx.take_said(dht.WalkTargets)
    assert ctx.clock - began >= seconds * (1 - JITTER)
    (said,) = asked
    assert said.message == dht.WalkTargets(STALE_S, WALKS_A_ROUND)
    return said


def walk(ctx: FakeContext, count: int) -> None:
    """As many walks as that, each begun when the one before has ended."""
    for number in range(count):
        (said,) = ctx.take_said(dht.ClosestPeers)
        assert said.message.key == b"key %d" % number
        said.answer(dht.ClosestFound((), 40, 2.0))
    assert ctx.take(dht.ClosestPeers) == []


def test_it_asks_until_a_table_has_peers_then_every_ten_minutes() -> None:
    ctx, _ = started()
    look(ctx, FIRST_S).answer(targets(0))
    for _ in range(3):
        look(ctx, EMPTY_S).answer(targets(0))
    look(ctx, EMPTY_S).answer(targets(2))
    walk(ctx, 2)
    assert (ctx.counts["walks"], ctx.counts["messages"]) == (2, 80)
    for _ in range(3):
        look(ctx, ROUND_S).answer(targets(0))
    look(ctx, ROUND_S).answer(targets(1))
    walk(ctx, 1)


def test_after_a_start_it_catches_up_and_not_for_ever() -> None:
    ctx, _ = started()
    look(ctx, FIRST_S).answer(targets(WALKS_A_ROUND))
    walk(ctx, WALKS_A_ROUND)
    for _ in range(CATCH_UP_ROUNDS_MAX - 1):
        look(ctx, CATCH_UP_S).answer(targets(WALKS_A_ROUND))
        walk(ctx, WALKS_A_ROUND)
    for _ in range(3):
        look(ctx, ROUND_S).answer(targets(WALKS_A_ROUND))
        walk(ctx, WALKS_A_ROUND)


def test_it_walks_in_the_dht_that_the_target_is_of() -> None:
    ctx, _ = started()
    look(ctx, FIRST_S).answer(targets(1, lan=True))
    assert ctx.take(dht.ClosestPeers) == [dht.ClosestPeers(b"key 0", True)]


@pytest.mark.parametrize(
    "reply", [Overloaded("WalkTargets", "dht"), Failed("WalkTargets", "Unavailable", "the transport is starting")]
)
def test_a_dht_that_cannot_say_is_asked_again(reply: Failed | Overloaded) -> None:
    ctx, _ = started()
    look(ctx, FIRST_S).answer(reply)
    look(ctx, EMPTY_S).answer(reply)
    look(ctx, EMPTY_S).answer(targets(1))
    walk(ctx, 1)


def test_a_dht_that_never_answers_is_asked_again() -> None:
    ctx, _ = started()
    look(ctx, FIRST_S)
    ctx.advance(TARGETS_TIMEOUT_S)
    look(ctx, EMPTY_S).answer(targets(2))
    assert len(ctx.take_said(dht.ClosestPeers)) == 1
    ctx.advance(WALK_TIMEOUT_S)
    (second,) = ctx.take_said(dht.ClosestPeers)
    assert second.message.key == b"key 1"
    second.answer(Failed("ClosestPeers", "Unavailable", ""))
    assert ctx.counts["failures"] == 2
    look(ctx, ROUND_S)


def test_it_rests_while_the_policy_says_so() -> None:
    for resting in (REST, msgspec.structs.replace(WORKER, find_by_dht=False)):
        ctx, actor = started(resting)
        ctx.advance(10 * ROUND_S)
        assert ctx.said == []
        assert ctx.timers == 0
        ctx.policy = WORKER
        ctx.tell(actor, lifecycle.PolicyChanged(WORKER))
        look(ctx, FIRST_S).answer(targets(3))
        ctx.policy = resting  # in the middle of a round: the walk under way is the last
        (said,) = ctx.take_said(dht.ClosestPeers)
        said.answer(dht.ClosestFound((), 40, 2.0))
        ctx.advance(10 * ROUND_S)
        assert ctx.said == []


def test_a_policy_that_changes_something_else_changes_no_wait() -> None:
    ctx, actor = started()
    look(ctx, FIRST_S).answer(targets(1))
    walk(ctx, 1)
    ctx.tell(actor, lifecycle.PolicyChanged(WORKER))
    look(ctx, ROUND_S)


@pytest.mark.parametrize("name", ["dht", "transport"])
def test_a_new_dht_or_transport_is_looked_at_soon(name: str) -> None:
    ctx, actor = started()
    look(ctx, FIRST_S).answer(targets(2))
    (old,) = ctx.take_said(dht.ClosestPeers)
    ctx.tell(actor, lifecycle.ActorRestarted(name, 2))
    old.answer(Failed("ClosestPeers", "Unavailable", "dht died"))
    assert ctx.take(dht.ClosestPeers) == []  # the round of the old one has ended
    look(ctx, FIRST_S).answer(targets(0))
    look(ctx, EMPTY_S)


def test_another_actors_restart_is_nothing_to_it() -> None:
    ctx, actor = started()
    look(ctx, FIRST_S).answer(targets(1))
    walk(ctx, 1)
    ctx.tell(actor, lifecycle.ActorRestarted("disk", 2))
    look(ctx, ROUND_S)


@given(st.lists(st.integers(0, WALKS_A_ROUND), min_size=20, max_size=60), st.integers(0, 2**32))
def test_whatever_is_due_the_walks_of_an_hour_are_bounded(due: list[int], seed: int) -> None:
    ctx = FakeContext("walk", seed=seed)
    WalkActor(ctx).on_start()
    begun: list[float] = []
    for count in due:
        while not (asked := ctx.take_said(dht.WalkTargets)):
            ctx.advance(1.0)
        asked[0].answer(targets(count))
        while walks := ctx.take_said(dht.ClosestPeers):
            assert len(walks) == 1
            begun.append(ctx.clock)
            ctx.advance(0.5)
            walks[0].answer(dht.ClosestFound((), 40, 0.5))
    # Rounds come every ten minutes less a fifth; eight more after the start.
    most = WALKS_A_ROUND * (3600.0 / (ROUND_S * (1 - JITTER)) + 1 + CATCH_UP_ROUNDS_MAX)
    assert all(sum(at <= other < at + 3600.0 for other in begun) <= most for at in begun)
