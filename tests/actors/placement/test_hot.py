"""What comes into memory and what leaves for it, one case each."""

import math

from shoal.actors.placement.book import FADE_S
from shoal.actors.placement.hot import MARGIN, Decision, HotSet
from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_PB
from shoal.messages.limits import BLOCK_BYTES_MAX, HEAT_ONCE_MAX
from shoal.storage.memory import cost_of

SIZE = 1000
STAY = Decision(False)


def cid(number: int) -> CID:
    return CID.of(number.to_bytes(4, "big", signed=True))


def use(hot: HotSet, number: int, times: int = 1, now: float = 0.0, size: int = SIZE) -> Decision:
    """Use a block some times; the last decision."""
    decision = STAY
    for _ in range(times):
        decision = hot.used(cid(number), size, now)
    return decision


def room_for(blocks: int, size: int = SIZE) -> int:
    return blocks * cost_of(size)


def test_while_there_is_room_the_second_use_admits() -> None:
    hot = HotSet(room_for(3))
    for number in range(3):
        assert use(hot, number) == STAY
        assert not hot.holds(cid(number))
        assert use(hot, number) == Decision(True)
        assert hot.holds(cid(number))
        assert use(hot, number) == STAY, "it is there"


def test_when_it_is_full_the_worthier_comes_in_and_the_least_worthy_leaves() -> None:
    hot = HotSet(room_for(3))
    for number, times in ((0, 5), (1, 3), (2, 4)):
        use(hot, number, times)
    assert use(hot, 9, 3) == STAY, "no better than the least"
    assert use(hot, 9) == Decision(True, (cid(1),))
    assert not hot.holds(cid(1))
    assert use(hot, 1, 1) == STAY, "nor is that one now: they do not take turns"


def test_a_margin_keeps_two_of_much_the_same_worth_from_taking_turns() -> None:
    hot = HotSet(room_for(1))
    use(hot, 0, 1000)
    moves = sum(use(hot, number % 2).keep for number in range(1000))
    assert moves == 0
    needed = int(1500 * MARGIN)
    assert sum(use(hot, 1).keep for _ in range(needed - 500 + 1)) == 1


def test_a_large_block_must_be_worth_all_that_leaves_for_it() -> None:
    hot = HotSet(room_for(10))
    for number in range(10):
        use(hot, number, 2)
    size = cost_of(SIZE) * 9  # and its own entry: all ten have to leave
    assert use(hot, 99, int(20 * MARGIN) - 1, size=size) == STAY
    assert not hot.holds(cid(99))
    decision = use(hot, 99, 1, size=size)
    assert decision.keep
    assert set(decision.leave) == {cid(number) for number in range(10)}
    assert use(hot, 100, 9, size=room_for(10)) == STAY, "larger than memory"
    assert len(hot) == 1


def test_a_large_block_does_not_push_out_hot_ones_because_one_among_them_is_cool() -> None:
    hot = HotSet(room_for(10))
    for number in range(10):
        use(hot, number, 50 if number else 2)
    assert not any(use(hot, 99, size=cost_of(SIZE) * 9).keep for _ in range(400)), "450 and more would leave for it"
    assert use(hot, 98, 3).leave == (cid(0),)


def test_a_largest_block_finds_room_among_nothing_but_the_smallest() -> None:
    capacity = 2 * BLOCK_BYTES_MAX.value
    hot = HotSet(capacity)
    for number in range(capacity // cost_of(1)):
        use(hot, number, 2, size=1)
    later = 20 * FADE_S  # they are worth next to nothing by then
    assert use(hot, -2, 9, later, capacity - cost_of(0)) == STAY, "a thing as large as memory is not worth the search"
    assert use(hot, -1, 1, later, BLOCK_BYTES_MAX.value) == STAY
    leave = use(hot, -1, 1, later, BLOCK_BYTES_MAX.value).leave
    free = capacity % cost_of(1)
    assert len(leave) == math.ceil((cost_of(BLOCK_BYTES_MAX.value) - free) / cost_of(1))


def test_one_pass_over_a_large_file_moves_nothing() -> None:
    hot = HotSet(room_for(10))
    for number in range(5):
        use(hot, number, 2)
    for number in range(100, 100 + 2 * HEAT_ONCE_MAX.value):
        assert use(hot, number) == STAY
    assert all(hot.holds(cid(number)) for number in range(5))


def test_a_file_read_twice_moves_nothing_once_memory_is_full() -> None:
    hot = HotSet(room_for(10))
    moves = [use(hot, number, now=0.01 * at).keep for at in range(2) for number in range(1000)]
    assert sum(moves) == 10


def test_what_was_hot_cools_and_makes_way() -> None:
    hot = HotSet(room_for(10))
    for number in range(10):
        use(hot, number, 1000)
    hour = 3600.0
    for number in range(100, 110):
        use(hot, number, 250, now=hour)
    assert not any(hot.holds(cid(number)) for number in range(100, 110)), "1,000 uses, halved twice"
    for number in range(100, 110):
        use(hot, number, 30, now=hour)
    assert all(hot.holds(cid(number)) for number in range(100, 110))


def test_a_hot_set_that_moves_is_in_memory_within_the_hour_that_halves_heat() -> None:
    hot = HotSet(room_for(100))
    first, second = range(80), range(1000, 1080)
    for now in range(0, 3 * 3600, 10):
        for number in first:
            use(hot, number, now=now)
    assert all(hot.holds(cid(number)) for number in first)
    for now in range(3 * 3600, 4 * 3600, 10):
        for number in second:
            use(hot, number, now=now)
    assert all(hot.holds(cid(number)) for number in second)


def test_what_was_lost_or_pushed_out_is_still_known() -> None:
    hot = HotSet(room_for(3))
    use(hot, 0, 9)
    hot.lost([cid(0), cid(1)])
    assert not hot.holds(cid(0))
    assert use(hot, 0) == Decision(True)
    hot.empty()
    assert len(hot) == 0
    assert use(hot, 0) == Decision(True)


def test_what_was_deleted_is_new_again() -> None:
    hot = HotSet(room_for(3))
    use(hot, 0, 9)
    use(hot, 1, 1)
    hot.forget([cid(0), cid(1), cid(2)])
    assert not hot.holds(cid(0))
    assert [use(hot, number) for number in (0, 1)] == [STAY, STAY]


def test_a_smaller_memory_lets_the_least_worthy_go_first() -> None:
    hot = HotSet(room_for(4))
    for number, times in ((0, 5), (1, 3), (2, 9), (3, 2)):
        use(hot, number, times)
    assert hot.resize(room_for(2), 0.0) == (cid(3), cid(1))
    assert use(hot, 4, 2) == STAY, "full"
    assert hot.resize(0, 0.0) == (cid(0), cid(2))
    assert use(hot, 4, 50) == STAY
    assert hot.resize(room_for(9), 0.0) == ()
    assert use(hot, 4) == Decision(True)


def test_several_at_a_time_are_told_in_one_go() -> None:
    hot = HotSet(room_for(2))
    use(hot, 0, 2)
    use(hot, 1, 2)
    data = [number.to_bytes(4, "big") * (SIZE // 4) for number in (7, 8)]
    first, second = (Block(CID.of(one), one) for one in data)
    moves = hot.all_used([first, second, first, second, first, second], 0.0)
    assert set(moves.evict) == {cid(0), cid(1)}
    assert moves.put == (first, second)


def test_what_comes_in_and_leaves_at_one_time_is_not_told() -> None:
    hot = HotSet(room_for(1))
    one, other = (Block(CID.of(data), data) for data in (b"1" * SIZE, b"2" * SIZE))
    moves = hot.all_used([one, one, *[other] * 3], 0.0)
    assert (moves.evict, moves.put) == ((), (other,))


def test_a_v0_and_a_v1_are_one_block() -> None:
    hot = HotSet(room_for(1))
    old, new = CID.of(b"x", DAG_PB, 0), CID.of(b"x")
    assert not hot.used(old, SIZE, 0.0).keep
    assert hot.used(new, SIZE, 0.0).keep
    assert hot.holds(old)
    assert hot.holds(new)
    hot.forget([old])
    assert len(hot) == 0


def test_a_pause_of_any_length_and_a_clock_that_goes_back_harm_nothing() -> None:
    hot = HotSet(room_for(2))
    for now in (0.0, FADE_S * 1e6, -1e12, 1e15):
        for number in range(4):
            use(hot, number, 3, now=now)
    assert len(hot) == 2
    assert not any(math.isnan(held.worth(1e15)) for held in hot._held.values())


def test_what_memory_has_lost_under_several_names_is_lost_once() -> None:
    block = Block(CID.of(b"bytes"), b"bytes")
    hot = HotSet(room_for(3))
    hot.all_used([block, block], 0.0)
    assert hot.holds(block.cid)
    hot.lost([block.cid, CID.of(b"bytes", DAG_PB, 0)])
    assert not hot.holds(block.cid)
    assert len(hot) == 0
