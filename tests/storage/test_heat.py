"""Heat is bounded, rises with uses, falls with idle time, survives any clock, and is the same number in SQLite."""

import math
import sqlite3

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from shoal.storage.heat import HEAT_MAX, heat, heat_sql, idle_of, idle_within

DAY = 86400.0
YEARS = 100 * 365 * DAY

numbers = st.one_of(st.floats(), st.sampled_from([0.0, -1.0, math.inf, -math.inf, math.nan, 1e308, -1e308]))
times = st.floats(0, YEARS)
spans = st.one_of(st.floats(0, 100), st.floats(0, 2 * DAY), st.floats(0, 70 * DAY), st.floats(0, YEARS))
uses = st.one_of(st.integers(1, 120), st.integers(1, 10**9))


@given(st.integers(), numbers, numbers, numbers)
@example(100, 0.0, 30 * DAY, 30 * DAY)  # the hottest there is
def test_any_arguments_give_a_heat_from_0_to_400(n: int, first: float, last: float, now: float) -> None:
    assert 0.0 <= heat(n, first, last, now) <= HEAT_MAX == 400.0


@given(uses, times, spans, spans, spans)
def test_one_more_use_never_makes_it_colder(n: int, first: float, used: float, idle: float, more: float) -> None:
    last = first + used
    then, now = last + idle, last + idle + more
    assert heat(n + 1, first, then, now) >= heat(n, first, last, now)
    if n < 100 and now - then <= now - last:
        assert heat(n + 1, first, then, now) > heat(n, first, last, now)


@given(uses, times, spans, spans, st.floats(1, YEARS))
@example(1, 0.0, 0.0, 0.0, 30 * DAY)
@example(1, 0.0, 29 * DAY, DAY, 1.0)  # across the cap of age
@example(1, 0.0, 0.0, 30 * DAY - 1.0, 2.0)
def test_a_second_more_of_idle_time_makes_it_colder(
    n: int, first: float, used: float, idle: float, more: float
) -> None:
    last = first + used
    assume(last + idle + more > last + idle)
    assert heat(n, first, last, last + idle + more) < heat(n, first, last, last + idle)


@given(uses, times, spans, spans)
def test_it_is_the_formula_of_the_design(n: int, first: float, used: float, idle: float) -> None:
    last = first + used
    now = last + idle
    age_days = (now - first) / 86400
    expected = min(n, 100) * 1 / (1 + (now - last) / 3600) * (1 + 0.1 * min(age_days, 30))
    assert math.isclose(heat(n, first, last, now), expected, rel_tol=1e-12)


def test_some_heats() -> None:
    assert heat(1, 0, 0, 0) == 1
    assert heat(1, 0, 0, 3600) == pytest.approx(0.5 * (1 + 0.1 / 24))
    assert heat(10, 0, 10 * DAY, 10 * DAY) == 20
    assert heat(1000, 0, 300 * DAY, 300 * DAY) == 400
    assert heat(5, 1000, 2000, 500) == 5, "a clock that went back: neither idle nor aged"
    assert heat(-3, 0, 0, 0) == 0


@given(st.integers(-(2**62), 2**62), *[st.floats(-1e15, 1e15) for _ in range(3)])
def test_sqlite_gives_the_same_number(n: int, first: float, last: float, now: float) -> None:
    conn = sqlite3.connect(":memory:")
    values = {"n": n, "first": first, "last": last, "now": now}
    (found,) = conn.execute(f"SELECT {heat_sql(':n', ':first', ':last')}", values).fetchone()
    conn.close()
    assert found == heat(n, first, last, now)


@given(uses, times, spans, spans)
def test_idle_times_bound_the_heat_from_both_sides(n: int, first: float, used: float, idle: float) -> None:
    last = first + used
    now = last + idle
    found = heat(n, first, last, now)
    idle = now - last
    assert idle_of(found) * (1 - 1e-6) - 1 <= idle <= idle_within(found) * (1 + 1e-6) + 1


@given(st.floats(1e-9, 1.0))
@example(1 / 240)
@example(0.005548)
def test_a_block_used_once_meets_the_bound(most: float) -> None:
    idle = idle_of(most)
    assert math.isclose(heat(1, 0.0, 0.0, idle), most, rel_tol=1e-6)


def test_bounds_beyond_any_heat() -> None:
    assert idle_of(0.0) == idle_of(-1.0) == math.inf
    assert idle_of(1.0) == idle_of(math.inf) == 0.0
    assert idle_within(0.0) == idle_within(-math.inf) == math.inf
    assert idle_within(HEAT_MAX) == 0.0
    assert idle_within(math.inf) < 0.0
