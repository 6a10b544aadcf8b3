"""What TieredCacheManager rests on inside: orders to move, forget and evict, with crashes at any step; and their parts.

Whole sets of storage actors with real stores, in one thread of virtual time.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shoal.actors.keeper.collecting import enough
from shoal.actors.keeper.orders import Orders
from shoal.actors.keeper.places import TIERS, plan
from shoal.actors.placement.hot import HotSet
from shoal.actors.placement.uses import RETRY_S, TELL_S, Uses
from shoal.messages import keeping
from shoal.messages.base import Message
from shoal.messages.cid import CID
from shoal.messages.errors import BadInput, DeadlineExceeded, LocalError, Unavailable
from shoal.messages.limits import MOVED_AT_ONCE_MAX, ORDERS_MAX
from shoal.messages.policy import WORKER, Policy
from shoal.messages.replies import Done, Failed
from shoal.runtime.edge import raise_if_no
from shoal.runtime.simulation.scheduler import STEP_S, SimWorld
from shoal.storage.catalog.rows import Usage
from shoal.storage.memory import cost_of
from shoal.tests.simulation.tiers.node import ACTORS, DURABLE, LEAF_BYTES, LEAVES, ROOTS, SHM, TierNode
from shoal.tests.support.bitswap import block
from shoal.tests.support.context import FakeContext

EXAMPLES = 50
SIX = LEAVES[:6]
CIDS = tuple(leaf.cid for leaf in SIX)
ROOMY = msgspec.structs.replace(WORKER, role="roomy", collect_garbage=False)
SMALL = msgspec.structs.replace(
    ROOMY, role="small", disk_bytes=8 * LEAF_BYTES, watermark_low=0.3, watermark_high=0.5, memory_bytes=0
)


@contextmanager
def node(policy: Policy = ROOMY, seed: int = 0) -> Iterator[TierNode]:
    """Running, with six blocks on disk of which the keeper knows."""
    folder = Path(tempfile.mkdtemp(dir=SHM))
    one = TierNode(SimWorld(seed), folder, policy)
    try:
        one.start()
        one.put(*SIX)
        one.world.run_for(5.0)
        yield one
    finally:
        one.stop()
        shutil.rmtree(folder)


def orders(one: TierNode) -> Orders:
    keeper = one.keeper
    assert keeper is not None
    return keeper.orders


def places(one: TierNode, *cids: CID) -> list[tuple[str, ...]]:
    reply = one.ask(keeping.AskPlaces(cids or CIDS))
    assert isinstance(reply, keeping.PlacesFound)
    return [place.tiers for place in reply.places]


def move(one: TierNode, tier: str, up: bool, *cids: CID) -> list[tuple[str, ...]]:
    reply = one.ask(keeping.MoveBlocks(cids or CIDS, tier, up))
    assert isinstance(reply, keeping.PlacesFound)
    return [place.tiers for place in reply.places]


# --- orders ------------------------------------------------------------------------------------------


def test_many_blocks_move_by_one_order() -> None:
    with node() as one:
        assert move(one, "memory", True) == [("memory", "disk")] * 6
        assert move(one, "cold", False, *CIDS[:3]) == [("cold",)] * 3
        assert move(one, "disk", False) == [("cold",)] * 3 + [("disk",)] * 3
        absent = CID.of(b"nowhere")
        assert move(one, "memory", True, absent, CIDS[0]) == [(), ("memory", "cold")]
        assert move(one, "disk", True) == [("memory", "disk")] + [("disk",)] * 5
        assert orders(one).open == 0


ORDER = st.sampled_from(
    [
        keeping.MoveBlocks(CIDS, "cold", False),
        keeping.MoveBlocks(CIDS, "disk", False),
        keeping.MoveBlocks(CIDS, "disk", True),
        keeping.MoveBlocks(CIDS, "memory", True),
        keeping.ForgetBlocks(CIDS[:2]),
        keeping.EvictBlocks(2 * LEAF_BYTES),
    ]
)


@settings(max_examples=EXAMPLES)
@given(
    order=ORDER,
    below=st.integers(0, 6),
    actor=st.sampled_from(ACTORS),
    step=st.integers(0, 150),
    seed=st.integers(0, 100),
)
@example(order=keeping.MoveBlocks(CIDS, "cold", False), below=0, actor="keeper", step=60, seed=0)
def test_a_crash_at_any_step_of_an_order_costs_nothing_that_was_not_to_go(
    order: Message, below: int, actor: str, step: int, seed: int
) -> None:
    with node(seed=seed) as one:
        if below:
            move(one, "cold", False, *CIDS[:below])
        one.crash_in(actor, step)
        try:
            one.ask(order)
        except LocalError:
            pass
        one.world.run_for(300.0)
        assert one.settle()
        found, _ = one.get(*CIDS)
        goes = isinstance(order, keeping.ForgetBlocks | keeping.EvictBlocks)
        assert len(found) >= len(SIX) - (2 if goes else 0)
        assert all(found[leaf.cid] == bytes(leaf.data) for leaf in SIX if leaf.cid in found)
        if isinstance(order, keeping.ForgetBlocks):
            assert set(CIDS[2:]) <= set(found)
        assert orders(one).open == 0, "no order is left behind"
        assert not orders(one).mover.busy
        assert move(one, "cold", False) == [("cold",) if cid in found else () for cid in CIDS], "and it goes on"


def test_what_is_forgotten_while_it_moves_does_not_come_back() -> None:
    """At any step of the keeper's own moves."""
    met = 0
    for seed in range(30):
        with node(seed=seed) as one:
            one.change(SMALL)
            assert one.world.run_until(one.is_moving, 30.0)
            one.world.run_for(seed % 15 * STEP_S)
            met += one.is_moving()
            assert one.ask(keeping.ForgetBlocks(CIDS[:3])) == Done()
            assert one.has(*CIDS[:3]) == dict.fromkeys(CIDS[:3], -1)
            assert one.settle()
            assert one.has(*CIDS[:3]) == dict.fromkeys(CIDS[:3], -1), "it came back"
            assert min(one.has(*CIDS[3:]).values()) == LEAF_BYTES
    assert met > 15, "the moves were met"


def test_an_order_does_not_wait_for_all_that_the_keeper_moves() -> None:
    slow = msgspec.structs.replace(SMALL, role="slow", move_bytes_per_s=LEAF_BYTES // 60)
    with node() as one:
        one.change(slow)
        assert one.world.run_until(one.is_moving, 30.0)
        began = one.world.clock.monotonic()
        one.ask(keeping.ForgetBlocks(CIDS[:1]), timeout_s=1000.0)
        assert one.world.clock.monotonic() - began < 900.0, "the batch under way, not the rest"
        assert one.settle(2000.0)


def test_an_order_waits_for_what_is_under_way_until_its_deadline() -> None:
    with node() as one:
        busy = orders(one)
        busy.mover.pause()
        busy.moving = True
        for order in (keeping.MoveBlocks(CIDS, "cold", False), keeping.ForgetBlocks(CIDS), keeping.EvictBlocks(1)):
            with pytest.raises(DeadlineExceeded):
                one.ask(order, timeout_s=2.0)
        one.world.run_for(1.0)
        assert busy.open == 0
        busy.mover.resume()
        busy.moving = False
        assert places(one) == [("disk",)] * 6, "nothing was done"


def test_orders_are_bounded_and_all_end() -> None:
    with node() as one:
        asked = [one.open(keeping.MoveBlocks(CIDS[:1], "cold", False)) for _ in range(ORDERS_MAX.value + 5)]
        refused = 0
        for stream in asked:
            try:
                reply = stream.next()
                assert isinstance(reply, keeping.PlacesFound)
            except Unavailable as fault:
                assert "in a moment" in str(fault)  # noqa: PT017 - either is right, and they are counted
                refused += 1
        assert 0 < refused <= 5
        assert orders(one).open == 0


def test_orders_that_cannot_be_are_refused() -> None:
    many = tuple(CID.of(number.to_bytes(4, "big")) for number in range(MOVED_AT_ONCE_MAX.value + 1))
    wrong = [
        keeping.MoveBlocks(CIDS, "cold", True),
        keeping.MoveBlocks(CIDS, "memory", False),
        keeping.MoveBlocks(CIDS, "tape", True),
        keeping.MoveBlocks(many, "disk", True),
        keeping.AskPlaces(many),
        keeping.ForgetBlocks(many),
    ]
    with node(msgspec.structs.replace(ROOMY, use_cold_tier=False)) as one:
        for order in [*wrong, keeping.MoveBlocks(CIDS, "cold", False)]:
            with pytest.raises(BadInput):
                one.ask(order)
        assert orders(one).open == 0


def test_what_was_put_just_before_the_power_went_can_be_evicted() -> None:
    with node() as one:
        one.put(LEAVES[6], LEAVES[7])
        one.power_off()
        one.start()
        reply = one.ask(keeping.EvictBlocks(8 * LEAF_BYTES))
        assert reply == keeping.BlocksEvicted(0, 8, 8 * LEAF_BYTES)
        assert [one.held(tier) for tier in DURABLE] == [{}, {}]


def test_what_a_request_holds_or_a_pin_keeps_is_not_evicted() -> None:
    with node() as one:
        one.ask(keeping.AddPin(CIDS[0], recursive=False))
        held = one.ask(keeping.Hold((CIDS[1],)))
        one.put(LEAVES[6])
        assert isinstance(held, keeping.Held)
        assert one.ask(keeping.EvictBlocks(100 * LEAF_BYTES)) == keeping.BlocksEvicted(0, 4, 4 * LEAF_BYTES)
        one.ask(keeping.Release(held.hold))
        assert one.ask(keeping.EvictBlocks(100 * LEAF_BYTES)) == keeping.BlocksEvicted(0, 2, 2 * LEAF_BYTES)
        assert set(one.get(*CIDS)[0]) == {CIDS[0]}


def test_a_pin_that_is_not_whole_keeps_everything_and_says_why() -> None:
    with node() as one:
        one.put(ROOTS[1])
        one.ask(keeping.AddPin(ROOTS[1].cid))
        with one.open(keeping.EvictBlocks(10**6)) as replies:
            reply = replies.take() if replies.waiting else None
            while reply is None:
                one.world.run_for(0.1)
                reply = replies.take() if replies.waiting else None
        assert isinstance(reply, Failed)
        assert reply.error == "NotFound"
        with pytest.raises(LocalError, match="part of what is pinned"):
            raise_if_no(reply)
        assert len(one.get(*CIDS)[0]) == 6


# --- where to ----------------------------------------------------------------------------------------

HELD = st.sets(st.sampled_from(TIERS)).map(lambda held: held if held & {"disk", "cold"} else set())


@given(
    st.lists(HELD, max_size=6), st.sampled_from([("memory", True), ("disk", True), ("disk", False), ("cold", False)])
)
def test_a_plan_brings_every_block_where_it_was_ordered_to(where: list[set[str]], order: tuple[str, bool]) -> None:
    tier, up = order
    cids = [CID.of(bytes([number])) for number in range(len(where))]
    before = {
        cid: keeping.BlockPlaces(tuple(tier for tier in TIERS if tier in held), 5 if held else -1)
        for cid, held in zip(cids, where, strict=True)
    }
    what = plan(before, tier, up)
    assert len(what.move) == len(set(what.move))
    for cid, held in zip(cids, where, strict=True):
        after = set(held)
        after -= {"memory"} if cid in what.cool else set()
        after |= {"memory"} if cid in what.warm else set()
        if cid in what.move:
            assert what.source in held, "it is moved from where it is"
            after = (after - {what.source}) | ({"disk", "cold"} - {what.source})
        if not held:
            assert not after
        elif up:
            assert tier in after
            assert ("memory" in after) == ("memory" in held or tier == "memory"), "no copy is lost"
        else:
            assert "memory" not in after
            assert tier == "disk" or after == {"cold"}


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(0, 300), st.integers(0, 5))
def test_enough_is_no_more_than_it_takes(sizes: list[int], size: int, more: int) -> None:
    page = [Usage(CIDS[0], one, "disk", 1, 0.0, 0.0, 0) for one in sizes]
    some = enough(page, size, more)
    assert some == page[: len(some)]
    assert sum(one.size for one in some) >= size or some == page
    assert not page or some, "a page of something is never made one of nothing, which would end a sweep"
    assert len(some) <= more + 1 or sum(sizes[: len(some) - more - 1]) < size


# --- memory by order ---------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.sampled_from(["use", "bring", "shed"]), st.integers(0, 9)), max_size=60),
    st.sampled_from([0, 3000, 20_000]),
)
def test_memory_by_order_holds_what_fits_and_never_more(steps: list[tuple[str, int]], capacity: int) -> None:
    hot = HotSet(capacity)
    sizes = [500 * number for number in range(10)]
    cids = [CID.of(bytes([number])) for number in range(10)]
    shelf: dict[CID, int] = {}
    for now, (what, number) in enumerate(steps):
        if what == "shed":
            leaving, freed = hot.shed(500 * number, float(now))
            assert freed == sum(shelf.pop(cid) for cid in leaving)
            assert freed >= 500 * number or not shelf
            assert number or not leaving
            continue
        decision = (hot.bring if what == "bring" else hot.used)(cids[number], sizes[number], float(now))
        for cid in decision.leave:
            del shelf[cid]
        if decision.keep:
            shelf[cids[number]] = cost_of(sizes[number])
        if what == "bring":
            assert (cids[number] in shelf) == (cost_of(sizes[number]) <= capacity)
        assert all(hot.holds(cid) == (cid in shelf) for cid in cids)
        assert sum(shelf.values()) <= capacity


# --- telling of uses ---------------------------------------------------------------------------------


def test_when_told_is_when_the_keeper_knows_of_all_before_and_not_of_what_comes_after() -> None:
    ctx = FakeContext("placement")
    uses = Uses(ctx)
    heard: list[str] = []
    uses.when_told(lambda: heard.append("begun"))
    assert heard == ["begun"], "nothing was noted"
    uses.begin()
    uses.when_told(lambda: heard.append("known"))
    (said,) = [one for one in ctx.take_said(keeping.BlocksUsed) if not one.ended]
    assert heard == ["begun"], "what came before may be lost"
    said.answer(Done())
    assert heard == ["begun", "known"]

    uses.note([block(1, 100)], "disk", put=True)
    uses.when_told(lambda: heard.append("first"))
    (said,) = [one for one in ctx.take_said(keeping.BlocksUsed) if not one.ended]
    assert [use.cid for use in said.message.uses] == [block(1, 100).cid], "at once, not in a while"
    uses.note([block(2, 100)], "disk", put=True)
    uses.when_told(lambda: heard.append("second"))
    said.answer(Failed("BlocksUsed", "Unavailable", "keeper ended"))
    assert heard == ["begun", "known"]
    ctx.advance(RETRY_S)
    (said,) = [one for one in ctx.take_said(keeping.BlocksUsed) if not one.ended]
    said.answer(Done())
    assert heard[2:] == ["first"]
    uses.note([block(3, 100)], "disk", put=True)
    (said,) = [one for one in ctx.take_said(keeping.BlocksUsed) if not one.ended]
    assert [use.cid for use in said.message.uses] == [block(2, 100).cid]
    said.answer(Done())
    assert heard[2:] == ["first", "second"], "what was noted later is not waited for"
    ctx.advance(TELL_S)
    (said,) = [one for one in ctx.take_said(keeping.BlocksUsed) if not one.ended]
    said.answer(Done())
    uses.when_told(lambda: heard.append("nothing owed"))
    assert heard[-1] == "nothing owed"


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["note", "ask", "Done", "fail", "wait"]), max_size=40))
def test_every_call_is_made_once_and_in_order(steps: list[str]) -> None:
    ctx = FakeContext("placement")
    uses = Uses(ctx)
    uses.begin()
    heard: list[int] = []
    asked = noted = 0
    waiting = list(ctx.take_said(keeping.BlocksUsed))
    for step in [*steps, *["Done", "wait"] * (len(steps) + 2)]:
        if step == "note":
            noted += 1
            uses.note([block(noted % 5, 100)], "disk", put=False)
        elif step == "ask":
            uses.when_told(lambda number=asked: heard.append(number))  # type: ignore[misc]  # bound at once
            asked += 1
        elif step == "wait":
            ctx.advance(TELL_S)
        else:
            waiting = [one for one in waiting if not one.ended]
            if waiting:
                waiting[0].answer(Done() if step == "Done" else Failed("BlocksUsed", "Unavailable", "no"))
        waiting += ctx.take_said(keeping.BlocksUsed)
        assert heard == sorted(set(heard))
    assert heard == list(range(asked)), "each of them, in the end"
