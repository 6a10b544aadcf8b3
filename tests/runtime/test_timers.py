"""Timers come due in order of time, then of making, whatever is cancelled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.runtime.timers import TimerQueue

DELAYS = st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=300)


@given(DELAYS)
def test_what_is_not_cancelled_comes_in_order_and_the_rest_never(plan: list[tuple[int, bool]]) -> None:
    queue, made = TimerQueue(), []
    came: list[int] = []
    for number, (due, _) in enumerate(plan):
        made.append(queue.add(due, lambda number=number: came.append(number)))
    for timer, (_, cancel) in zip(made, plan, strict=True):
        if cancel:
            timer.cancel()
            timer.cancel()
    kept = [number for number, (_, cancel) in enumerate(plan) if not cancel]
    assert len(queue) == len(kept)
    for now in range(21):
        while (call := queue.pop_due(now)) is not None:
            call()
        assert queue.next_due() is None or queue.next_due() > now
    assert came == sorted(kept, key=lambda number: (plan[number][0], number))
    assert len(queue) == 0


def test_cancelled_timers_do_not_pile_up() -> None:
    queue = TimerQueue()
    queue.add(1e9, lambda: None)
    for number in range(10_000):
        queue.add(1e6 + number, lambda: None).cancel()
    assert len(queue) == 1
    assert len(queue._heap) < 300


def test_cancelling_after_the_call_was_taken_is_harmless() -> None:
    queue = TimerQueue()
    first, _ = queue.add(1.0, lambda: None), queue.add(2.0, lambda: None)
    assert queue.pop_due(1.0) is not None
    first.cancel()
    assert len(queue) == 1
    assert queue.next_due() == 2.0


def test_a_cleared_queue_has_forgotten_everything() -> None:
    queue = TimerQueue()
    timer = queue.add(1.0, lambda: None)
    queue.clear()
    timer.cancel()
    assert len(queue) == 0
    assert queue.pop_due(9.0) is None


def test_there_is_a_bound() -> None:
    queue = TimerQueue(2)
    queue.add(1.0, lambda: None)
    queue.add(1.0, lambda: None).cancel()
    queue.add(1.0, lambda: None)
    with pytest.raises(RuntimeError, match="2 timers"):
        queue.add(1.0, lambda: None)
