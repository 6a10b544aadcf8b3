"""How full a tier may get, the bucket, and the holds: pure parts of the keeper."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.keeper import holds as holds_module
from shoal.actors.keeper.bucket import BURST_S, Bucket
from shoal.actors.keeper.holds import Holds
from shoal.actors.keeper.levels import Level, demotions, promotions
from shoal.messages.cid import CID
from shoal.messages.errors import Unavailable
from shoal.messages.limits import Limit
from shoal.messages.policy import WORKER
from shoal.storage.catalog.rows import Usage

NOW = 1e9
POLICY = msgspec.structs.replace(WORKER, watermark_low=0.5, watermark_high=0.8)
UNBOUNDED = Level(0, 0)
SIZE = st.integers(0, 400)
HEAT = st.integers(1, 100)
QUOTA = st.integers(0, 3000)


def usage(number: int, size: int, uses: int, tier: str = "disk", idle_s: float = 0.0) -> Usage:
    return Usage(CID.of(number.to_bytes(4, "big")), size, tier, uses, NOW - idle_s, NOW - idle_s, 0)


def coldest(blocks: list[Usage]) -> list[Usage]:
    return sorted(blocks, key=lambda one: one.heat(NOW))


USAGES = st.lists(st.tuples(SIZE, HEAT, st.sampled_from([0.0, 1800.0, 36_000.0])), max_size=12).map(
    lambda rows: [usage(number, size, uses, idle_s=idle) for number, (size, uses, idle) in enumerate(rows)]
)


# --- levels ----------------------------------------------------------------------------------------------


@given(st.integers(0, 5000), QUOTA)
def test_a_level_against_its_watermarks(size: int, quota: int) -> None:
    level = Level(size, quota)
    if not quota:
        assert (level.above_low(POLICY), level.is_high(POLICY), level.takes(10**9)) == (0, False, True)
        assert level.room(POLICY) > 10**15
        return
    assert level.above_low(POLICY) == max(0, size - int(quota * 0.5))
    assert level.is_high(POLICY) == (size > quota * 0.8)
    assert level.room(POLICY) == max(0, int(quota * 0.8) - size)
    assert level.takes(1) == (size + 1 <= quota)


@given(USAGES, QUOTA, st.integers(0, 4000), QUOTA, st.integers(0, 4000))
def test_no_more_goes_down_than_brings_the_disk_to_its_low_mark_and_the_cold_tier_to_its_high_one(
    blocks: list[Usage], quota: int, more: int, cold_quota: int, cold_size: int
) -> None:
    disk, cold = Level(sum(one.size for one in blocks) + more, quota), Level(cold_size, cold_quota)
    ordered = coldest(blocks)
    falling = list(demotions(disk, cold, ordered, POLICY, NOW))
    size = disk.size
    low = int(quota * 0.5) if quota else math.inf
    for one in falling:
        assert size > low, "the last one that went was needed"
        size -= one.size
    assert sum(one.size for one in falling) <= cold.room(POLICY)
    assert [one for one in ordered if one in falling] == falling, "the coldest first"
    if not disk.is_high(POLICY):
        assert all(one.heat(NOW) < POLICY.demotion_heat for one in falling)
    elif size > low:
        assert len(falling) == len(blocks) or any(
            one.size > cold.room(POLICY) - sum(gone.size for gone in falling) for one in blocks if one not in falling
        ), "it stopped although there was something to move and room for it"


def test_what_is_large_does_not_keep_what_is_small_from_going_down() -> None:
    blocks = [usage(1, 400, 1), usage(2, 50, 2)]
    falling = demotions(Level(1000, 1000), Level(0, 100), blocks, POLICY, NOW)
    assert list(falling) == blocks[1:]


def test_what_is_hot_comes_up_while_there_is_room() -> None:
    hot = [usage(1, 100, 50, "cold"), usage(2, 100, 5, "cold"), usage(3, 100, 3, "cold")]
    assert promotions(Level(0, 1000), hot, [], POLICY, NOW) == hot[:2], "the third is below the promotion heat"
    assert promotions(UNBOUNDED, hot, [], POLICY, NOW) == hot[:2]
    assert promotions(Level(400, 1000), hot, [], POLICY, NOW) == hot[:1], "the second would be above the low mark"


def test_above_the_low_mark_only_what_is_twice_as_hot_as_what_goes_for_it_comes_up() -> None:
    here = [usage(10, 100, 10), usage(11, 100, 20), usage(12, 300, 90)]
    full = Level(500, 1000)
    assert promotions(full, [usage(1, 100, 20, "cold")], here, POLICY, NOW) != []
    assert promotions(full, [usage(1, 100, 19, "cold")], here, POLICY, NOW) == []
    assert promotions(full, [usage(1, 200, 39, "cold")], here, POLICY, NOW) == [], "two have to go"
    assert promotions(full, [usage(1, 200, 40, "cold")], here, POLICY, NOW) != []
    assert promotions(full, [usage(1, 501, 99, "cold")], here, POLICY, NOW) == [], "it is refused by the tier"


@given(USAGES, QUOTA, st.data())
def test_left_alone_with_no_new_use_blocks_do_not_take_turns(
    blocks: list[Usage], quota: int, data: st.DataObject
) -> None:
    """As the keeper looks: down when the disk is too full, else up, else down.

    What goes down last may make more room than was needed, by less than its size; what fits there comes back, once.
    """
    up = {one.cid for one in blocks if data.draw(st.booleans())}
    moved: list[CID] = []
    for _ in range(2 * len(blocks) + 2):
        here = coldest([one for one in blocks if one.cid in up])
        there = coldest([one for one in blocks if one.cid not in up])[::-1]
        disk = Level(sum(one.size for one in here), quota)
        cold = Level(sum(one.size for one in there), 0)
        rising = [] if disk.is_high(POLICY) else promotions(disk, there, here, POLICY, NOW)
        falling = [] if rising else list(demotions(disk, cold, here, POLICY, NOW))
        assert disk.size + sum(one.size for one in rising) <= quota or not rising or not quota
        if not rising and not falling:
            again = [one for one in blocks if moved.count(one.cid) > 1]
            assert all(moved.count(one.cid) == 2 for one in again), "a block went up and down by turns"
            assert not again or sum(one.size for one in again) < max(one.size for one in blocks)
            return
        up |= {one.cid for one in rising}
        up -= {one.cid for one in falling}
        moved += [one.cid for one in (*rising, *falling)]
    raise AssertionError("it does not come to rest")


# --- the bucket ------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.floats(0.0, 100.0)), max_size=30),
    st.floats(1.0, 1e6),
)
def test_no_more_is_spent_than_the_rate_and_one_burst(spends: list[tuple[int, float]], rate: float) -> None:
    bucket = Bucket()
    now = spent = last = 0.0
    for size, pause in spends:
        wait = bucket.spend(size, rate, now)
        spent, last = spent + size, float(size)
        assert wait >= 0.0
        now += wait + pause
        assert spent - last <= rate * now + BURST_S * rate + 1e-3 * (1 + spent)


def test_a_bucket_without_a_rate_waits_for_nothing_and_owes_nothing() -> None:
    bucket = Bucket()
    assert bucket.spend(10**9, 0, 0.0) == 0.0
    assert bucket.spend(10, 10, 1.0) == 0.0
    assert bucket.spend(10, 10, 1.0) == pytest.approx(1.0)
    assert bucket.spend(0, 10, 0.5) == pytest.approx(1.0), "a clock that goes back earns nothing"


# --- holds -----------------------------------------------------------------------------------------------

A, B = CID.of(b"a"), CID.of(b"b")


def test_holds_are_bounded_and_released_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holds_module, "HOLDS_MAX", Limit(2, "requests", "", ""))
    holds = Holds()
    holds.add(7, (A, B), 10.0)
    holds.add(8, (B,), 20.0)
    with pytest.raises(Unavailable, match="2 requests"):
        holds.add(9, (), 30.0)
    assert holds.roots() == (A, B)
    assert holds.since(5.0) == holds.since(50.0) == 10.0
    holds.release(7)
    holds.release(7)
    assert (holds.roots(), holds.since(50.0)) == ((B,), 20.0)
    holds.release(8)
    assert (holds.roots(), holds.since(50.0)) == ((), 50.0)


def test_a_hold_whose_puts_are_not_all_known_keeps_everything_until_its_end() -> None:
    holds = Holds()
    holds.add(7, (A,), 10.0)
    holds.distrust()
    assert (holds.roots(), holds.since(50.0)) == ((A,), -math.inf)
    holds.add(8, (), 20.0)
    holds.release(7)
    assert holds.since(50.0) == 20.0, "later ones are trusted"
