"""Where a block belongs."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.placement.choice import belongs_in_memory, goes_to_disk
from shoal.messages.limits import BLOCK_BYTES_MAX, MIB
from shoal.messages.policy import LEECHER, MASTER, POLICIES, WORKER, Policy

SIZE = st.integers(0, BLOCK_BYTES_MAX.value)
PRIORITY = st.integers(1, 5)
POLICY = st.sampled_from(sorted(POLICIES.values(), key=lambda policy: policy.role))
PINNED = 4  # the priority of what is to be pinned


@given(SIZE, PRIORITY, POLICY)
def test_a_disk_with_room_takes_everything(size: int, priority: int, policy: Policy) -> None:
    assert goes_to_disk(size, priority, False, policy)


@given(SIZE, PRIORITY, st.booleans())
def test_without_a_cold_tier_the_disk_takes_everything(size: int, priority: int, pressed: bool) -> None:
    assert goes_to_disk(size, priority, pressed, LEECHER)


@given(SIZE, SIZE, PRIORITY, PRIORITY, POLICY)
def test_the_smaller_and_the_more_wanted_is_never_worse_off(
    size: int, other: int, priority: int, less: int, policy: Policy
) -> None:
    smaller, larger = sorted((size, other))
    more, less = max(priority, less), min(priority, less)
    assert goes_to_disk(smaller, more, True, policy) >= goes_to_disk(larger, less, True, policy)


def test_a_pressed_disk_takes_what_matters() -> None:
    assert goes_to_disk(256 * 1024, 3, True, WORKER), "a usual leaf, usually"
    assert not goes_to_disk(MIB, 3, True, WORKER)
    assert goes_to_disk(MIB, PINNED, True, WORKER)
    assert goes_to_disk(MIB, 3, True, MASTER)
    assert not goes_to_disk(256 * 1024, 1, True, MASTER)


@given(SIZE, st.integers(0, 64 * MIB))
def test_memory_is_for_blocks_of_which_it_holds_many(size: int, memory: int) -> None:
    policy = msgspec.structs.replace(WORKER, memory_bytes=memory)
    assert belongs_in_memory(size, policy) == (0 < size <= memory / 16)
