"""Heat: the second use counts, and nothing is remembered without a bound."""

from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.placement.heat import Heat
from shoal.messages.cid import CID
from shoal.messages.limits import HEAT_KEPT_MAX, HEAT_SEEN_MAX


def cid(number: int) -> CID:
    return CID.of(number.to_bytes(4, "big"))


@given(st.lists(st.integers(0, 9), max_size=60))
def test_every_use_but_the_first_is_worth_a_copy(uses: list[int]) -> None:
    heat = Heat()
    for at, number in enumerate(uses):
        again = number in uses[:at]
        assert heat.may_be_kept(cid(number)) == (uses[:at].count(number) > 1)
        assert heat.used(cid(number)) == again


def test_one_pass_over_very_many_blocks_keeps_none_and_a_bounded_memory_of_them() -> None:
    heat = Heat()
    many = HEAT_SEEN_MAX.value + 100
    assert not any(heat.used(cid(number)) for number in range(many))
    assert len(heat._seen) == HEAT_SEEN_MAX.value
    assert not heat.used(cid(0)), "so long ago that it is forgotten"
    assert heat.used(cid(many - 1))


def test_the_names_of_what_memory_was_given_are_bounded() -> None:
    heat = Heat()
    for number in range(HEAT_KEPT_MAX.value + 10):
        heat.used(cid(number))
        heat.used(cid(number))
    assert len(heat._kept) == HEAT_KEPT_MAX.value
    assert not heat.may_be_kept(cid(0))
