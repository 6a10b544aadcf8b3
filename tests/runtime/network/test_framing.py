"""The frame decoder: whole frames however the bytes are cut, RemoteError for the rest, nothing else."""

import itertools
import tracemalloc
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages import varint
from shoal.messages.errors import RemoteError
from shoal.runtime.network.framing import JOIN_BELOW, FrameDecoder, encode

FRAME_MAX = 70_000
sizes = st.one_of(st.integers(0, 300), st.sampled_from([127, 128, 16_383, 16_384, 16_385, FRAME_MAX]))
frames = st.lists(st.builds(lambda size, byte: bytes((byte,)) * size, sizes, st.integers(0, 255)), max_size=8)


def decode(pieces: list[bytes], frame_max: int = FRAME_MAX) -> tuple[list[bytes], FrameDecoder]:
    """All frames in ``pieces``, fed one after another."""
    decoder, out = FrameDecoder(frame_max), []
    for piece in pieces:
        decoder.feed(piece)
        while (frame := decoder.next_frame()) is not None:
            out.append(frame)
    return out, decoder


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(edge % (len(data) + 1) for edge in at), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(frames, st.lists(st.integers(0, 1 << 20), max_size=12))
def test_frames_come_out_whole_however_they_are_cut(sent: list[bytes], at: list[int]) -> None:
    wire = b"".join(varint.encode(len(frame)) + frame for frame in sent)
    got, decoder = decode(cut(wire, at))
    assert got == [frame for frame in sent if frame]
    assert not decoder.partial


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_byte_by_byte_is_the_same(sent: list[bytes]) -> None:
    wire = b"".join(varint.encode(len(frame)) + frame for frame in sent)
    got, _ = decode([bytes((byte,)) for byte in wire])
    assert got == decode([wire])[0]


@given(st.lists(st.one_of(st.binary(max_size=JOIN_BELOW * 2), st.binary(min_size=1).map(memoryview)), max_size=6))
def test_encode_gives_one_frame_of_all_parts(parts: list[bytes | memoryview]) -> None:
    whole = b"".join(parts)
    wire = b"".join(encode(parts))
    assert wire == varint.encode(len(whole)) + whole


def test_encode_does_not_copy_large_parts() -> None:
    block = memoryview(bytes(2 * 1024 * 1024))
    pieces = encode([b"head", block, b"tail"])
    assert [len(piece) for piece in pieces] == [8, len(block), 4]
    assert pieces[1] is block


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6))
def test_any_bytes_give_frames_or_a_remote_error(data: bytes, at: list[int]) -> None:
    def outcome(pieces: list[bytes]) -> object:
        try:
            return decode(pieces, 100)[0]
        except RemoteError as fault:
            return fault.code

    assert outcome([data]) == outcome(cut(data, at))


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        pytest.param(b"\xff" * 9, "varint", id="ten bytes and more"),
        pytest.param(b"\x80\x00", "varint", id="not minimal"),
        pytest.param(b"\xff" * 8 + b"\x7f", "frame-size", id="2^63 - 1"),
        pytest.param(varint.encode(4 * 1024 * 1024 + 1), "frame-size", id="4 MiB and one"),
    ],
)
def test_bad_lengths(wire: bytes, code: str) -> None:
    for pieces in ([wire], [bytes((byte,)) for byte in wire]):
        with pytest.raises(RemoteError) as caught:
            decode(pieces, 4 * 1024 * 1024)
        assert caught.value.code == code


def test_partial_says_whether_the_end_would_cut_a_frame() -> None:
    decoder = FrameDecoder(1000)
    for wire, partial, announced in (
        (b"", False, 0),
        (b"\x00\x00", False, 0),
        (b"\x81", True, 0),
        (b"\x01", True, 129),
        (bytes(128), True, 129),
    ):
        decoder.feed(wire)
        assert decoder.next_frame() is None
        assert (decoder.partial, decoder.announced) == (partial, announced)
    decoder.feed(b"x")
    assert decoder.next_frame() == bytes(128) + b"x"
    assert not decoder.partial


def test_an_announced_length_allocates_nothing_and_a_drip_little() -> None:
    decoder = FrameDecoder(1 << 30)
    tracemalloc.start()
    try:
        decoder.feed(varint.encode(1 << 30))
        assert decoder.next_frame() is None
        assert tracemalloc.get_traced_memory()[1] < 100_000
        for _ in range(100_000):
            decoder.feed(b"x")
            assert decoder.next_frame() is None
        assert tracemalloc.get_traced_memory()[0] < 400_000, "kept byte by byte it would be 25 MB"
    finally:
        tracemalloc.stop()


def test_a_flood_of_empty_frames_is_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Counter[str]()

    def counted(data: bytes, offset: int = 0) -> tuple[int, int]:
        steps["lengths read"] += 1
        return decode_varint(data, offset)

    decode_varint = varint.decode
    monkeypatch.setattr(varint, "decode", counted)
    decoder = FrameDecoder(10)
    decoder.feed(bytes(256 * 1024) + b"\x01x")
    assert decoder.next_frame() == b"x"
    assert decoder.next_frame() is None
    assert steps["lengths read"] == 1


def test_feeding_before_taking_is_a_mistake_of_ours() -> None:
    decoder = FrameDecoder(10)
    decoder.feed(b"\x01x")
    with pytest.raises(ValueError, match="left to take"):
        decoder.feed(b"\x01y")
