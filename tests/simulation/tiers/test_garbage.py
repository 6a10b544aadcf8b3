"""Garbage collections of a whole node while others pin, hold and put, and while actors end: one story each."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from shoal.messages import keeping
from shoal.messages.errors import LocalError, Unavailable
from shoal.messages.replies import Done
from shoal.tests.simulation.tiers.node import DURABLE, LEAF_BYTES, LEAVES, ROOTS, TierNode, below, collected
from shoal.tests.simulation.tiers.test_moves import ROOMY, SMALL, node

ROOT = ROOTS[2]
BELOW = below([ROOT.cid.multihash])
DAG = [one for one in (*LEAVES, *ROOTS) if one.cid.multihash in BELOW]
GARBAGE = LEAVES[7]


def hold(one: TierNode) -> int:
    held = one.ask(keeping.Hold())
    assert isinstance(held, keeping.Held)
    return held.hold


def all_here(one: TierNode) -> bool:
    return all(one.where(name) for name in BELOW)


def until_sweeping(one: TierNode) -> None:
    assert one.world.run_until(lambda: one.keeper is not None and one.keeper.collector.state == "sweeping", 10.0)


def put_pin_release(one: TierNode, number: int) -> None:
    one.ask(keeping.AddPin(ROOT.cid))
    one.ask(keeping.Release(number))


def test_what_is_being_added_stays_when_its_pin_comes_during_the_sweep() -> None:
    """Its blocks are older than the collection, and at the time of the marks nothing pinned them."""
    for steps in range(0, 60, 2):
        with node(ROOMY, steps) as one:
            number = hold(one)
            one.put(*DAG, GARBAGE)
            one.world.run_for(5.0)
            replies = one.open(keeping.CollectGarbage())
            until_sweeping(one)
            one.world.run_for(steps * 1e-6)
            put_pin_release(one, number)
            gone, _ = collected(replies)
            assert all_here(one)
            assert set(gone) <= {GARBAGE.cid.multihash}


def test_what_is_held_from_the_middle_of_a_sweep_on_is_not_touched_by_it() -> None:
    """Whoever holds looks at what is there by then, and may rely on it."""
    kept_whole = 0
    for steps in range(24):
        with node(ROOMY, steps) as one:
            one.put(*DAG, GARBAGE)
            one.world.run_for(10.0)
            replies = one.open(keeping.CollectGarbage())
            until_sweeping(one)
            one.world.run_for(0.001 * steps / 4)
            held = one.ask(keeping.Hold((ROOT.cid,)))
            assert isinstance(held, keeping.Held)
            here = {cid.multihash for cid, size in one.has(*(made.cid for made in DAG)).items() if size >= 0}
            collected(replies)
            assert here == {name for name in BELOW if one.where(name)}
            kept_whole += here == BELOW
            one.ask(keeping.Release(held.hold))
    assert kept_whole, "no hold came in time"


def without_telling(one: TierNode) -> None:
    """Placement ends before the keeper has heard of what it was given last."""
    one.crash_in("placement", 0)
    one.world.run_for(1.0)


@pytest.mark.parametrize("end", [without_telling, lambda one: one.world.run_for(0.0)])
def test_what_is_put_under_a_hold_stays_also_when_nobody_has_told_of_it(end: Callable[[TierNode], None]) -> None:
    """The blocks were here before, so that the keeper knows of an old put only."""
    with node(ROOMY) as one:
        one.put(*DAG)
        one.world.run_for(10.0)
        number = hold(one)
        one.put(*DAG)
        end(one)
        one.collect()
        assert all_here(one)
        put_pin_release(one, number)
        one.collect()
        assert all_here(one)
        assert one.ask(keeping.RemovePin(ROOT.cid)) == Done()
        one.world.run_for(10.0)
        gone, _ = one.collect()
        assert set(gone) == BELOW, "and nothing is kept for ever"


def test_what_is_put_while_a_collection_runs_stays_also_when_placement_ends_before_it_tells() -> None:
    with node(ROOMY) as one:
        one.put(*DAG, GARBAGE)
        one.world.run_for(10.0)
        replies = one.open(keeping.CollectGarbage())
        one.world.run_for(0.004)
        one.put(*DAG)
        without_telling(one)
        with pytest.raises(Unavailable):
            collected(replies)
        assert all_here(one)


@pytest.mark.parametrize("actor", ["disk", "cold", "keeper", "placement"])
def test_a_collection_whose_actors_end_ends_and_the_next_one_takes_the_rest(actor: str) -> None:
    for steps in (0, 5, 10, 20, 5000, 5010, 10_010):
        with node(ROOMY, steps) as one:
            one.put(*DAG, GARBAGE)
            one.ask(keeping.AddPin(ROOT.cid))
            one.world.run_for(10.0)
            one.crash_in(actor, steps)
            try:
                one.collect()
            except LocalError:
                pass
            one.world.run_for(5.0)
            assert all_here(one)
            gone, end = one.collect()
            assert set(gone) <= {GARBAGE.cid.multihash}
            assert end.kept == len(DAG)
            assert one.where(GARBAGE.cid.multihash) == []


def test_a_full_node_takes_what_is_new_once_its_garbage_has_gone() -> None:
    small = msgspec.structs.replace(
        SMALL, role="full", collect_garbage=True, cold_bytes=3 * LEAF_BYTES, disk_bytes=6 * LEAF_BYTES
    )
    with node(small) as one:
        one.put(*DAG)
        one.ask(keeping.AddPin(ROOT.cid))
        for turn in range(12):
            one.world.run_for(15.0)
            one.put(LEAVES[5 + turn % 3])
        assert all_here(one)
        held = [sum((one.held(tier) or {}).values()) for tier in DURABLE]
        assert held[0] <= 6 * LEAF_BYTES
        assert held[1] <= 3 * LEAF_BYTES


def test_a_dry_run_tells_what_the_real_one_then_does() -> None:
    with node(SMALL) as one:
        one.put(*LEAVES)
        one.put(*ROOTS)
        one.ask(keeping.AddPin(ROOT.cid))
        assert one.settle()
        before = [one.held(tier) for tier in DURABLE]
        _, told = one.collect(dry=True)
        assert [one.held(tier) for tier in DURABLE] == before
        gone, done = one.collect()
        assert told == done
        assert len(gone) == done.blocks == len(LEAVES) + len(ROOTS) - len(DAG)
        assert {name for tier in DURABLE for name in one.held(tier) or ()} == BELOW
