"""What peers may tell us, and what it costs them: bounds a peer and in all."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.adverts import wire
from shoal.actors.adverts.hearing import REFILL_S, STALE_S, TELL_EVERY_S, Hearing
from shoal.messages import bloom
from shoal.messages.bloom import Bloom
from shoal.messages.errors import RemoteError
from shoal.messages.limits import (
    BLOOM_BYTES_MAX,
    FILTER_FRAME_COST,
    FILTER_TAKEN_PER_PEER,
    FILTERS_BYTES_ALL,
    FILTERS_PEERS_MAX,
)

NAMES = [b"\x12\x20" + random.Random(n).randbytes(32) for n in range(500)]


def a_filter(names: list[bytes], size: int = 500) -> Bloom:
    one = Bloom.sized(size, b"fedcba9876543210")
    for name in names:
        one.add(name)
    return one


def whole(names: list[bytes], generation: int = 1, size: int = 500) -> bytes:
    return wire.encode_whole(generation, len(names), True, a_filter(names, size))


def news(names: list[bytes], generation: int = 1) -> bytes:
    marker = a_filter([])
    return wire.encode_news(generation, len(names), True, [marker.mark(name) for name in names])


def sent_until_refused(hearing: Hearing, peer: str, frame: bytes) -> tuple[int, str]:
    """How many such frames were taken at one moment, and why no more."""
    for taken in range(10_000):
        try:
            hearing.take(peer, frame, 10.0)
        except RemoteError as fault:
            return taken, fault.code
    return 10_000, ""


def test_a_filter_is_told_on_with_its_news() -> None:
    hearing = Hearing()
    hearing.take("a", whole(NAMES[:100]), 10.0)
    assert hearing.ready(10.0) == ["a"]
    told = hearing.tell("a", 10.0)
    assert (told.peer, told.count, told.complete) == ("a", 100, True)
    assert not hearing.waiting
    hearing.take("a", news(NAMES[100:120]), 10.1)
    assert hearing.waiting
    assert hearing.ready(10.1) == [], "not as often as a peer likes to send"
    assert hearing.ready(10.0 + TELL_EVERY_S) == ["a"]
    again = Bloom.parse(hearing.tell("a", 10.3).bits.data)
    assert all(name in again for name in NAMES[:120])
    assert again.bits == a_filter(NAMES[:120]).bits


def test_a_word_that_nothing_has_changed_is_told_on_too() -> None:
    hearing = Hearing()
    hearing.take("a", whole(NAMES[:100]), 10.0)
    first = hearing.tell("a", 10.0)
    hearing.take("a", news([]), 70.0)
    assert hearing.ready(70.0) == ["a"]
    assert hearing.tell("a", 70.0).bits == first.bits


def test_news_of_another_filter_are_passed_over() -> None:
    hearing = Hearing()
    hearing.take("a", news(NAMES[:5]), 9.0)
    assert not hearing.waiting
    hearing.take("a", whole(NAMES[:100], generation=1), 10.0)
    hearing.take("a", news(NAMES[100:200], generation=2), 10.0)
    assert hearing.tell("a", 10.0).bits.data[bloom.HEADER_BYTES :] == a_filter(NAMES[:100]).bits


def test_a_peer_that_has_none_any_more_and_one_that_is_silent_are_told_on_as_such() -> None:
    hearing = Hearing()
    for peer in "ab":
        hearing.take(peer, whole(NAMES[:10]), 10.0)
        hearing.tell(peer, 10.0)
    hearing.take("a", wire.encode_nothing(), 11.0)
    assert len(hearing.tell("a", 12.0).bits) == 0
    hearing.forget(10.0 + STALE_S - 1)
    assert hearing.ready(200.0) == []
    hearing.forget(10.0 + STALE_S + 1)
    assert hearing.ready(200.0) == ["b"]
    assert len(hearing.tell("b", 200.0).bits) == 0
    assert hearing.bytes == 0
    assert hearing.filters == 0


def test_a_flood_of_small_frames_is_refused_and_the_filter_is_gone() -> None:
    hearing = Hearing()
    hearing.take("a", whole(NAMES[:10]), 10.0)
    taken, code = sent_until_refused(hearing, "a", news([]))
    assert code == "filter-flood"
    assert 100 < taken <= FILTER_TAKEN_PER_PEER.value // FILTER_FRAME_COST.value
    assert len(hearing.tell("a", 10.0).bits) == 0
    with pytest.raises(RemoteError):
        hearing.take("a", whole(NAMES[:10]), 10.0)
    hearing.take("a", whole(NAMES[:10]), 10.0 + REFILL_S)
    assert hearing.filters == 1


def test_a_flood_of_filters_that_are_small_only_on_their_way_is_refused() -> None:
    hearing = Hearing()
    frame = whole([], size=10**6)
    assert len(frame) < 300
    taken, code = sent_until_refused(hearing, "a", frame)
    assert code == "filter-flood"
    assert taken <= FILTER_TAKEN_PER_PEER.value // BLOOM_BYTES_MAX.value


def test_to_come_again_does_not_fill_the_budget() -> None:
    hearing = Hearing()
    frame = whole([], size=10**6)
    assert sent_until_refused(hearing, "a", frame)[0] == 2
    hearing.gone("a")
    assert sent_until_refused(hearing, "a", frame)[0] == 0
    assert hearing.bytes == 0


def test_news_that_fill_a_filter_are_refused_when_it_is_told_on() -> None:
    hearing = Hearing()
    hearing.take("a", whole(NAMES[:10]), 10.0)
    rng = random.Random(1)
    hearing.take("a", wire.encode_news(1, 9, True, [rng.getrandbits(64) for _ in range(4000)]), 10.0)
    with pytest.raises(RemoteError) as refused:
        hearing.tell("a", 10.0)
    assert refused.value.code == "filter-full"
    assert hearing.ready(11.0) == ["a"]
    assert len(hearing.tell("a", 11.0).bits) == 0


def test_all_filters_together_have_a_bound_and_the_longest_untold_go_first() -> None:
    hearing = Hearing()
    count = FILTERS_BYTES_ALL.value // BLOOM_BYTES_MAX.value + 5
    for number in range(count):
        hearing.take(f"p{number}", whole([], size=10**6), float(number))
    assert hearing.bytes <= FILTERS_BYTES_ALL.value
    assert hearing.bytes == sum(len(row.form) for row in hearing.rows.values())
    assert [bool(row.form) for row in hearing.rows.values()][:6] == [False] * 6
    assert len(hearing.tell(f"p{count - 1}", 1e6).bits) > 0
    assert len(hearing.tell("p0", 1e6).bits) == 0, "and whoever was told of the first is told that it is gone"


def test_rows_have_a_bound() -> None:
    hearing = Hearing()
    for number in range(FILTERS_PEERS_MAX.value + 100):
        hearing.take(f"p{number}", whole([], size=1), float(number))
        if hearing.waiting:
            hearing.tell(f"p{number}", float(number))
    assert len(hearing.rows) == FILTERS_PEERS_MAX.value
    assert hearing.bytes == sum(len(row.form) for row in hearing.rows.values())


@given(st.lists(st.tuples(st.sampled_from("abc"), st.binary(max_size=60)), max_size=30))
def test_whatever_peers_send_only_their_own_filters_suffer(frames: list[tuple[str, bytes]]) -> None:
    hearing = Hearing()
    hearing.take("honest", whole(NAMES[:50]), 0.0)
    for number, (peer, frame) in enumerate(frames):
        try:
            hearing.take(peer, frame, float(number))
        except RemoteError:
            pass
        for ready in hearing.ready(float(number)):
            hearing.tell(ready, float(number))
    assert all(name in Bloom.parse(hearing.tell("honest", 99.0).bits.data) for name in NAMES[:50])
