"""Heat: what is used more, used later or known longer is hotter, within the bounds of the formula."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.placement.heat_formula import DAY_S, heat

TIMES = st.floats(0, 1e7)
USES = st.integers(0, 1000)


@pytest.mark.parametrize(
    ("n", "idle_s", "age_days", "expected"),
    [
        (0, 0.0, 0.0, 0.0),
        (1, 0.0, 0.0, 1.0),
        (100, 3600.0, 0.0, 50.0),
        (1000, 3600.0, 0.0, 50.0),
        (10, 3 * 3600.0, 0.0, 2.5),
        (10, 0.0, 10.0, 20.0),
        (10, 0.0, 300.0, 40.0),
    ],
)
def test_heat_by_hand(n: int, idle_s: float, age_days: float, expected: float) -> None:
    now = 1e9
    first = now - age_days * DAY_S
    if idle_s:
        age_bonus = 1 + 0.1 * idle_s / DAY_S
        assert heat(n, now - idle_s, now - idle_s, now) == pytest.approx(expected * age_bonus)
    else:
        assert heat(n, first, now, now) == pytest.approx(expected)


@given(USES, USES, TIMES, TIMES, TIMES)
def test_heat_is_bounded_and_grows_with_uses(n: int, more: int, first: float, last: float, now: float) -> None:
    assert 0 <= heat(n, first, last, now) <= heat(n + more, first, last, now) <= 400


@given(st.integers(1, 100), TIMES, TIMES)
def test_a_clock_that_goes_back_counts_as_one_that_stands_still(n: int, last: float, back: float) -> None:
    assert heat(n, last, last, last - back) == heat(n, last, last, last)
