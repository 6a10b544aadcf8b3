"""Frames of filters: what was said is heard, and any bytes are something said or a RemoteError."""

import random
import struct

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.adverts import wire
from shoal.messages import bloom
from shoal.messages.bloom import Bloom
from shoal.messages.errors import RemoteError
from shoal.messages.limits import BLOOM_BYTES_MAX, FILTER_NEWS_MAX

U64 = st.integers(0, 2**64 - 1)
U32 = st.integers(0, 2**32 - 1)


def filled(names: int, size: int = 0) -> Bloom:
    one = Bloom.sized(size or names, b"x" * 16)
    one.add_marks(random.Random(names).getrandbits(64) for _ in range(names))
    return one


@pytest.mark.parametrize(("names", "size"), [(0, 1), (5, 1), (819, 819), (0, 10**6), (200_000, 209_000)])
def test_a_whole_filter_is_heard_as_it_was_said(names: int, size: int) -> None:
    one = filled(names, size)
    frame = wire.encode_whole(77, names, True, one)
    assert len(frame) <= wire.FRAME_BYTES_MAX
    assert wire.decode(memoryview(frame)) == wire.Whole(77, names, True, one.packed())


def test_a_filter_with_few_bits_set_is_sent_small() -> None:
    assert len(wire.encode_whole(1, 0, True, Bloom.sized(10**6, b"x" * 16))) < 200


@given(U64, U32, st.booleans(), st.lists(U64, max_size=30))
def test_news_are_heard_as_they_were_said(generation: int, names: int, complete: bool, marks: list[int]) -> None:
    frame = wire.encode_news(generation, names, complete, marks)
    assert wire.decode(frame) == wire.News(generation, names, complete, tuple(marks))


def test_news_have_a_bound() -> None:
    assert len(wire.encode_news(1, 1, True, [7] * FILTER_NEWS_MAX.value)) <= wire.FRAME_BYTES_MAX
    with pytest.raises(ValueError, match="marks"):
        wire.encode_news(1, 1, True, [7] * (FILTER_NEWS_MAX.value + 1))
    with pytest.raises(RemoteError):
        wire.decode(wire.HEAD.pack(wire.NEWS, 0, 1, 1) + bytes(8 * (FILTER_NEWS_MAX.value + 1)))


def test_that_there_is_nothing_is_one_byte() -> None:
    assert wire.decode(wire.encode_nothing()) == wire.Nothing()


@given(st.binary(max_size=300))
def test_any_bytes_say_something_or_are_a_remote_error(frame: bytes) -> None:
    try:
        wire.decode(frame)
    except RemoteError:
        pass


@given(st.data())
def test_a_damaged_frame_says_something_or_is_a_remote_error(data: st.DataObject) -> None:
    frame = bytearray(wire.encode_whole(5, 300, True, filled(300, 800)))
    for _ in range(data.draw(st.integers(1, 5))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(frame)))
    for damaged in (bytes(frame), bytes(frame[:cut])):
        try:
            said = wire.decode(damaged)
            if isinstance(said, wire.Whole):
                Bloom.parse(said.filter)
        except RemoteError:
            pass


def whole(flags: int, log2: int, body: bytes) -> bytes:
    return wire.HEAD.pack(wire.WHOLE, flags, 1, 1) + bytes((bloom.VERSION, log2)) + bytes(16) + body


@pytest.mark.parametrize(
    "body",
    [
        zstd.compress(bytes(1 << 30), 1),  # a gigabyte in some 30 KiB
        zstd.compress(bytes(1025), 1),
        zstd.compress(bytes(1023), 1),
        zstd.compress(bytes(1024), 1)[:-3],
        zstd.compress(bytes(1024), 1) + b"more",
        b"",
        b"\xff" * 50,
    ],
    ids=["bomb", "a byte more", "a byte less", "cut short", "followed by something", "empty", "no zstd"],
)
def test_compressed_bits_must_be_exactly_those_of_the_header(body: bytes) -> None:
    with pytest.raises(RemoteError):
        wire.decode(whole(wire.PACKED, 13, body))


def test_a_frame_larger_than_any_is_refused() -> None:
    with pytest.raises(RemoteError):
        wire.decode(whole(0, bloom.LOG2_MAX, bytes(BLOOM_BYTES_MAX.value + 1)))
    assert isinstance(wire.decode(whole(0, bloom.LOG2_MAX, bytes(BLOOM_BYTES_MAX.value))), wire.Whole)


def test_a_zstd_window_larger_than_a_filter_is_not_allocated() -> None:
    # Frame header: no content size, no single segment, window descriptor for 2 GiB; then one empty last block.
    claim = bytes.fromhex("28b52ffd") + bytes((0, 21 << 3)) + struct.pack("<I", 1)[:3]
    with pytest.raises(RemoteError):
        wire.decode(whole(wire.PACKED, 13, claim))
