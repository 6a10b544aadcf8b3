"""What is asked of the tiers under reads by Zipf's law: the real actors on real stores, a twentieth of the blocks.

All on a virtual clock: nothing here depends on how quick the machine is, and one seed has one result.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.policy import Policy
from shoal.tests.bench import __main__ as bench
from shoal.tests.bench import tiers_zipf
from shoal.tests.bench.tiers_node import PUT_BLOCKS, PUT_BYTES, TierNode, parts, running
from shoal.tests.bench.tiers_zipf import Pace, Window, data, made, played

SEED = 1
NEAR = 0.9  # of the best
BEFORE, HOUR = 3, 6  # windows of ten minutes
TINY = ["zipf", "--blocks", "200", "--reads", "340", "--window", "20"]


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Window]:
    """Half an hour of one pattern and an hour of another."""
    blocks = made(2_500, SEED)
    cids: list[CID] = []
    with running(tmp_path_factory.mktemp("zipf"), tiers_zipf.policy(blocks), SEED) as node:
        node.put(data(blocks, SEED, cids))
        legs = [(blocks.moved(SEED), BEFORE), (blocks.moved(SEED + 1), HOUR)]
        return played(node, cids, legs, Pace(1_500, 600.0, 60.0), SEED)


def test_memory_finds_nearly_as_much_as_the_best_placement_and_more_than_lru(windows: Sequence[Window]) -> None:
    last = windows[BEFORE - 1]
    assert last["shoal"] >= NEAR * last["best"]
    assert last["shoal"] >= last["LRU"] > 0


def test_the_new_hot_blocks_are_in_memory_within_the_hour_that_halves_heat(windows: Sequence[Window]) -> None:
    before, *after = windows[BEFORE - 1 :]
    assert after[0]["shoal"] < NEAR * before["shoal"], "else nothing has changed"
    assert after[-1]["placed"] >= NEAR
    assert after[-1]["shoal"] >= NEAR * after[-1]["best"]


def test_what_is_read_again_and_again_comes_up_from_the_cold_tier(windows: Sequence[Window]) -> None:
    up = sum(one["up"] for one in windows)
    assert up > 0
    assert sum(one["moved_bytes"] for one in windows) >= 1024 * up
    first, last = windows[BEFORE], windows[-1]
    assert last["near"] > first["near"]


# --- the node ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Intruder:
    """Reads behind the table's back, as a contestant."""

    node: TierNode
    block: Block

    def read(self, number: int, now: float) -> bool:
        self.node.read(self.block.cid, len(self.block))
        return True

    def holds(self, number: int) -> bool:
        return True


@pytest.fixture
def node(tmp_path: Path) -> Iterator[TierNode]:
    with running(tmp_path, Policy(role="worker", memory_bytes=100_000, disk_bytes=10_000), SEED) as one:
        yield one


def blocks_of(*sizes: int) -> list[Block]:
    held = [number.to_bytes(2, "big") * (size // 2) for number, size in enumerate(sizes)]
    return [Block(CID.of(one), one) for one in held]


def test_every_read_is_counted_by_the_tier_that_answered_it(node: TierNode) -> None:
    held = blocks_of(4_000, 4_500, 5_000)
    node.put(held)
    node.rest(node.now + 60.0)
    assert sum(node.sizes()[tier] for tier in ("disk", "cold")) == 13_500
    assert node.sizes()["disk"] <= 10_000
    for _ in range(2):
        for block in held:
            node.read(block.cid, len(block))
    assert not node.hits()["memory"]
    assert all(node.in_memory(block.cid) for block in held), "used twice"
    node.read(held[0].cid, 4_000)
    hits = node.hits()
    assert hits["memory"] == 1
    assert sum(hits.values()) == 7


def test_what_is_not_here_or_of_another_size_is_no_read(node: TierNode) -> None:
    here, absent = blocks_of(100, 200)
    node.put([here])
    with pytest.raises(RuntimeError, match="not found"):
        node.read(absent.cid, 200)
    with pytest.raises(RuntimeError, match="of 99 bytes was not found"):
        node.read(here.cid, 99)


def test_a_count_that_is_not_that_of_the_reads_is_told(node: TierNode) -> None:
    (block,) = blocks_of(100)
    node.put([block])
    trace = [(node.now + at, 0) for at in (1.0, 2.0)]
    assert tiers_zipf.window(node, [block.cid], [100], trace, node.now + 5.0, {})["shoal"] == 0
    again = [(now + 10.0, number) for now, number in trace]
    with pytest.raises(RuntimeError, match="2 reads, and the tiers answered"):
        tiers_zipf.window(node, [block.cid], [100], again, node.now, {"intruder": Intruder(node, block)})


def test_puts_are_in_bounded_parts() -> None:
    held = blocks_of(*[PUT_BYTES // 3] * 8, *[2] * (PUT_BLOCKS + 1))
    put = list(parts(held))
    assert [block for part in put for block in part] == held
    assert [len(part) for part in put] == [4, 4, PUT_BLOCKS, 1]


# --- the table ---------------------------------------------------------------------------------------


def test_the_first_put_are_not_the_most_read() -> None:
    """Else the disk tier, which is filled first, would hold the right ones by chance."""
    blocks = made(1_000, SEED)
    legs = tiers_zipf.patterns(blocks, SEED)
    for pattern in legs:
        assert pattern.sizes == blocks.sizes
        assert sum(number < 200 for number in pattern.ranked[:100]) < 50
    assert len(set(legs[0].ranked[:100]) & set(legs[1].ranked[:100])) < 50


def test_one_seed_has_one_result(tmp_path: Path) -> None:
    options = bench.parser().parse_args(TINY)
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        found.append(tiers_zipf.measure(options, tmp_path / name))
    assert found[0] == found[1]
    told = tiers_zipf.text(found[0])
    assert "in memory or on disk" in told
    assert "other blocks become the hot ones after 3 min" in told
    assert "-2 min" in told
    assert len(found[0]["windows"]) == tiers_zipf.BEFORE + tiers_zipf.AFTER
