"""The book of uses: what it counts, how it fades, and that it is bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.placement.book import FADE_S, Book, Use
from shoal.messages.limits import HEAT_AGAIN_MAX, HEAT_ONCE_MAX
from shoal.storage.heat import heat


def name(number: int) -> bytes:
    return number.to_bytes(4, "big")


def test_the_first_use_is_remembered_and_the_second_is_a_use() -> None:
    book = Book()
    assert book.used(b"a", 100, 5.0) is None
    use = book.used(b"a", 100, 5.0)
    assert use is not None
    assert (use.uses, use.first, use.last) == (2.0, 5.0, 5.0)
    assert book.used(b"a", 100, 5.0 + FADE_S) is use
    assert use.uses == pytest.approx(2.0 / 2 + 1)
    assert (use.first, use.last, len(book)) == (5.0, 5.0 + FADE_S, 1)
    book.forget(b"a")
    assert book.used(b"a", 100, 9.0) is None


@given(st.integers(1, 100))
def test_uses_at_one_time_are_worth_their_heat_until_the_count_of_heat_ends(count: int) -> None:
    use = Use(100, 0.0)
    for _ in range(count - 1):
        use.again(0.0)
    assert use.worth(0.0) == heat(count, 0.0, 0.0, 0.0)


def test_what_is_used_very_often_is_worth_more_than_what_is_used_often() -> None:
    often, very = Use(100, 0.0), Use(100, 0.0)
    for number in range(100_000):
        very.again(0.01 * number)
        if number % 100 == 0:
            often.again(0.01 * number)
    assert very.worth(1000.0) > 50 * often.worth(1000.0)


@given(st.lists(st.floats(-1e6, 1e6), max_size=30), st.floats(-1e6, 1e6))
def test_worth_is_never_negative_whatever_the_clock_does(times: list[float], now: float) -> None:
    use = Use(100, 0.0)
    for time in times:
        before = use.last
        use.again(time)
        assert use.last >= before
    assert 0 <= use.worth(now) <= 4 * (len(times) + 1)
    assert use.worth(use.last + 1) <= use.worth(use.last) * (1 + 1e-4), "idle, nothing gains but by a day's age"


def test_one_pass_over_very_many_blocks_names_a_bounded_number_of_them() -> None:
    book = Book()
    many = HEAT_ONCE_MAX.value + 100
    assert all(book.used(name(number), 1, 0.0) is None for number in range(many))
    assert len(book) == HEAT_ONCE_MAX.value
    assert book.used(name(many - 1), 1, 0.0) is not None
    assert book.used(name(0), 1, 0.0) is None, "so long ago that it is forgotten"


def test_the_names_of_what_is_used_again_are_bounded_and_the_oldest_goes() -> None:
    book = Book()
    book.used(name(0), 1, 0.0)
    for number in range(HEAT_AGAIN_MAX.value + 2):
        book.used(name(number), 1, 0.0)
        book.used(name(number), 1, 0.0)
        assert book.used(name(0), 1, 0.0) is not None, "used all the time"
    assert len(book) == HEAT_AGAIN_MAX.value
    assert book.used(name(1), 1, 0.0) is None
