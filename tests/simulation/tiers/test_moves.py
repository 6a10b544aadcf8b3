"""Moves between the tiers of a whole node: with a crash of any actor at any step no block is in no tier, not for one.

Looked at after every step of the world, as far as the stores are open.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.messages import blocks, keeping
from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.errors import DeadlineExceeded
from shoal.messages.policy import WORKER, Policy
from shoal.runtime.simulation.scheduler import SimWorld
from shoal.tests.simulation.tiers.node import ACTORS, DURABLE, LEAF_BYTES, LEAVES, SHM, TierNode, taken
from shoal.tests.support.bitswap import MACHINE_EXAMPLES

ROOMY = msgspec.structs.replace(WORKER, role="roomy", collect_garbage=False)
SMALL = msgspec.structs.replace(
    ROOMY, role="small", disk_bytes=8 * LEAF_BYTES, watermark_low=0.3, watermark_high=0.5, memory_bytes=0
)
HOT = msgspec.structs.replace(SMALL, role="hot", disk_bytes=0, promotion_heat=0.0)
SIX = LEAVES[:6]
NAMES = [leaf.cid.multihash for leaf in SIX]


@contextmanager
def node(policy: Policy, seed: int = 0) -> Iterator[TierNode]:
    """A node, running."""
    folder = Path(tempfile.mkdtemp(dir=SHM))
    one = TierNode(SimWorld(seed), folder, policy)
    try:
        one.start()
        yield one
    finally:
        one.stop()
        shutil.rmtree(folder)


def check(one: TierNode, names: list[bytes]) -> None:
    """Raise AssertionError when one of ``names`` is in no tier."""
    held = [one.held(tier) for tier in DURABLE]
    if None not in held:
        for name in names:
            assert any(name in (tier or ()) for tier in held), "a block is in no tier"


def run_watched(one: TierNode, until: Callable[[], bool], limit_s: float) -> bool:
    """Let the world run, and look at the blocks after every step."""

    def look() -> bool:
        check(one, NAMES)
        return until()

    return one.world.run_until(look, limit_s)


def fallen(one: TierNode) -> TierNode:
    """Have four of six blocks fall to the cold tier."""
    one.put(*SIX)
    assert one.settle()
    return one


def test_what_is_too_much_goes_down_and_what_is_used_again_comes_up() -> None:
    with node(SMALL) as one:
        fallen(one)
        assert [len(one.held(tier) or ()) for tier in DURABLE] == [2, 4]
        low = next(leaf for leaf in SIX if one.where(leaf.cid.multihash) == ["cold"])
        for _ in range(30):
            found, _ = one.get(low.cid)
            assert found == {low.cid: bytes(low.data)}
        assert one.settle()
        assert one.where(low.cid.multihash) == ["disk"]
        assert len(one.held("disk") or ()) <= 4


@settings(max_examples=MACHINE_EXAMPLES)
@given(
    actor=st.sampled_from(ACTORS),
    step=st.integers(0, 120),
    again=st.none() | st.tuples(st.sampled_from(ACTORS), st.integers(1, 200)),
    up=st.booleans(),
    seed=st.integers(0, 100),
)
def test_a_crash_at_any_step_of_a_move_costs_no_block(
    actor: str, step: int, again: tuple[str, int] | None, up: bool, seed: int
) -> None:
    with node(SMALL if up else ROOMY, seed) as one:
        if up:
            fallen(one)
        else:
            one.put(*SIX)
            one.world.run_for(5.0)
        one.policies["next"] = HOT if up else SMALL
        one.change(one.policies["next"])
        assert run_watched(one, one.is_moving, 30.0), "it begins to move"
        one.crash_in(actor, step)
        if again is not None:
            one.crash_in(*again)
        run_watched(one, lambda: False, 0.01)
        run_watched(one, one.is_quiet, 60.0)
        run_watched(one, lambda: False, 1.0)
        one.sleep(7 * 3600.0)
        assert one.settle()
        check(one, NAMES)
        found, missing = one.get(*(leaf.cid for leaf in SIX))
        assert found == {leaf.cid: bytes(leaf.data) for leaf in SIX}
        assert missing == {}
        assert sum(len(one.held(tier) or ()) for tier in DURABLE) == len(SIX), "one copy of each"
        assert len(one.held("disk") or ()) == (6 if up else 2), "and in the end they are where they belong"


def test_a_reader_between_the_tiers_finds_what_moves() -> None:
    """Reads of every block, begun at any step of moves down and up."""
    for seed in range(40):
        with node(ROOMY, seed) as one:
            one.put(*SIX)
            one.world.run_for(3.0)
            one.change(SMALL)
            assert one.world.run_until(one.is_moving, 30.0)
            reads = []
            while one.is_moving():
                one.world.run_for(3e-6)
                reads.append(one.open(blocks.GetBlocks(tuple(leaf.cid for leaf in SIX), fetch=False)))
            for read in reads:
                found, missing = taken(read)
                assert missing == {}
                assert len(found) == len(SIX)


def test_a_peers_read_does_not_make_a_users_want_a_peers() -> None:
    """A user's request joins a read that was begun for a peer; what it then wants is the user's own doing."""
    with node(ROOMY) as one:
        nowhere = CID.of(b"nobody has this")
        one.serve(nowhere)
        replies = one.open(blocks.GetBlocks((nowhere,)), 5.0)
        with pytest.raises(DeadlineExceeded):  # it goes on waiting; refused, it would have ended
            replies.next()


def test_a_drop_that_waited_for_a_peers_read_is_the_nodes_own() -> None:
    with node(SMALL) as one:
        one.put(*SIX)
        for _ in range(40):
            one.world.run_for(0.05)
            one.serve(*(leaf.cid for leaf in SIX))
        assert one.settle()
        keeper = one.keeper
        assert keeper is not None
        assert keeper.moved_down == 4
        assert sum(len(one.held(tier) or ()) for tier in DURABLE) == len(SIX)


def test_an_empty_block_in_the_cold_tier_is_found_after_a_restart() -> None:
    """Its bytes do not count, but it does."""
    empty = Block(CID.of(b""), b"")
    policy = msgspec.structs.replace(SMALL, disk_bytes=LEAF_BYTES)
    with node(policy) as one:
        one.put(empty, *SIX[:1])
        assert one.settle()
        one.put(SIX[1], priority=1)
        assert one.settle()
        one.ask(keeping.KeeperStat())
        one.power_off()
        one.start()
        one.world.run_for(1.02)
        found, _ = one.get(empty.cid)
        assert found == {empty.cid: b""}


@pytest.mark.parametrize("name", DURABLE)
def test_what_was_in_memory_only_because_its_tier_lost_it_is_stored_by_the_repair(name: str) -> None:
    """A block that rots on its shelf while memory has a copy."""
    warm = msgspec.structs.replace(ROOMY if name == "disk" else SMALL, role="warm", memory_bytes=1 << 20)
    with node(warm) as one:
        one.put(*SIX)
        assert one.settle()
        rotten = next(leaf for leaf in SIX if one.where(leaf.cid.multihash) == [name])
        for _ in range(2):
            one.get(rotten.cid)
        one.rot(name, rotten.cid)
        one.ask(keeping.Scrub())
        one.world.run_for(60.0)
        status = one.ask(keeping.AskScrub())
        assert isinstance(status, keeping.Scrubbed)
        assert (status.damaged, status.repaired) == (1, 1)
        assert one.settle()
        assert len(one.where(rotten.cid.multihash)) == 1, "in a tier, and in one only"
        one.power_off()
        one.start()
        assert one.get(rotten.cid)[0] == {rotten.cid: bytes(rotten.data)}
