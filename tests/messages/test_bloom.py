"""Bloom filters: never a false no, false yeses as rare as stated, and any bytes are a filter or a RemoteError."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages import bloom
from shoal.messages.bloom import Bloom
from shoal.messages.cid import CID, IDENTITY, RAW
from shoal.messages.errors import RemoteError
from shoal.messages.limits import BLOOM_BYTES_MAX

SALTS = st.binary(min_size=16, max_size=16)
NAMES = st.one_of(
    st.integers(0, 2**64).map(lambda n: CID.of(n.to_bytes(9, "big")).multihash),
    st.binary(max_size=30).map(lambda data: CID(1, RAW, IDENTITY, data).multihash),
)


def names(count: int, seed: int = 1) -> list[bytes]:
    """Multihashes as SHA-256 makes them."""
    rng = random.Random(seed)
    return [b"\x12\x20" + rng.randbytes(32) for _ in range(count)]


def filled(count: int, salt: bytes, size: int = 0) -> Bloom:
    one = Bloom.sized(size or count, salt)
    for name in names(count):
        one.add(name)
    return one


@given(st.sets(NAMES, max_size=200), SALTS, st.integers(0, 300))
def test_what_was_put_in_is_in_it(held: set[bytes], salt: bytes, size: int) -> None:
    one = Bloom.sized(size, salt)
    for name in held:
        one.add(name)
        assert not one.add(name), "a second time changes nothing"
    again = Bloom.parse(one.packed()) if one.rate <= bloom.RATE_REFUSED else one
    assert all(name in one and name in again for name in held)
    assert again.ones == one.ones == int.from_bytes(one.bits, "little").bit_count()
    assert len(one) == len(one.packed())


@pytest.mark.parametrize("log2", [13, 17, bloom.LOG2_MAX])
@pytest.mark.parametrize(("share", "rate"), [(1.0, 0.01), (1.5, bloom.RATE_MAX)])
def test_false_positives_are_as_rare_as_stated(log2: int, share: float, rate: float) -> None:
    count = int(share * bloom.capacity(log2))
    one = filled(count, b"s" * 16, bloom.capacity(log2))
    assert one.log2 == log2
    assert one.rate < 1.05 * rate
    strangers = names(30_000, seed=2)
    measured = sum(name in one for name in strangers) / len(strangers)
    assert measured < 1.2 * rate
    assert 0.8 * one.rate < measured < 1.2 * one.rate + 0.001, "and the filter knows its own rate"
    assert all(name in one for name in names(count))


def test_the_largest_filter_is_full_at_the_stated_number_of_names() -> None:
    assert len(Bloom.sized(10**9, bytes(16)).bits) == BLOOM_BYTES_MAX.value
    assert bloom.capacity(bloom.LOG2_MAX) == 209_715
    assert bloom.NAMES_MAX == 314_572
    one = filled(bloom.NAMES_MAX - 3000, bytes(16))
    assert not one.full
    more = names(6000, seed=3)
    for name in more:
        one.add(name)
    assert one.full


def test_what_one_salt_is_wrong_about_another_is_not() -> None:
    one, two = filled(20_000, b"a" * 16), filled(20_000, b"b" * 16)
    strangers = names(100_000, seed=2)
    wrong = [name for name in strangers if name in one]
    assert len(wrong) > 10
    assert sum(name in two for name in wrong) <= max(3, 0.05 * len(wrong))


@given(SALTS, st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_marks_say_the_same_as_names_whatever_the_size(salt: bytes, marks: list[int]) -> None:
    small, large = Bloom.sized(1, salt), Bloom.sized(5000, salt)
    held = names(30)
    assert [small.mark(name) for name in held] == [large.mark(name) for name in held]
    copy = small.writable()
    for name in held:
        small.add(name)
    copy.add_marks([large.mark(name) for name in held])
    assert copy.bits == small.bits
    copy.add_marks(marks)
    assert all(copy.holds(mark) for mark in marks)


@given(st.sets(NAMES, max_size=40), st.sets(NAMES, max_size=40), SALTS)
def test_a_union_has_what_either_has(some: set[bytes], others: set[bytes], salt: bytes) -> None:
    one, two = Bloom.sized(100, salt), Bloom.sized(100, salt)
    for name in some:
        one.add(name)
    for name in others:
        two.add(name)
    both = one.union(two)
    assert all(name in both for name in some | others)
    assert one.lost(both) == two.lost(both) == 0
    assert both.lost(one) == both.ones - one.ones
    assert (one.lost(two) == 0) == (one.union(two).bits == two.bits)


def test_filters_of_another_salt_or_size_are_not_compared() -> None:
    one = Bloom.sized(100, b"a" * 16)
    for other in (Bloom.sized(100, b"b" * 16), Bloom.sized(5000, b"a" * 16)):
        with pytest.raises(ValueError, match="another size or salt"):
            one.union(other)
        with pytest.raises(ValueError, match="another size or salt"):
            one.lost(other)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_filter_or_a_remote_error(data: bytes) -> None:
    try:
        one = Bloom.parse(data)
    except RemoteError:
        return
    assert one.packed() == data


@given(st.integers(0, 255), st.integers(0, 255), SALTS, st.integers(0, 600))
def test_a_header_that_lies_about_the_size_is_refused(version: int, log2: int, salt: bytes, size: int) -> None:
    data = bytes((version, log2)) + salt + bytes(size)
    fits = version == bloom.VERSION and bloom.LOG2_MIN <= log2 <= bloom.LOG2_MAX and size == 1 << (log2 - 3)
    if fits:
        assert Bloom.parse(data).ones == 0
    else:
        with pytest.raises(RemoteError):
            Bloom.parse(data)


def test_a_filter_that_says_yes_to_everything_is_refused() -> None:
    with pytest.raises(RemoteError) as refused:
        Bloom.parse(bytes((bloom.VERSION, 13)) + bytes(16) + b"\xff" * 1024)
    assert refused.value.code == "filter-full"


def test_a_chosen_salt_does_not_make_all_names_alike() -> None:
    for salt in (bytes(16), b"\0" * 15 + b"\1", b"\xff" * 16):
        one = filled(500, salt)
        assert one.ones > 2500
