"""yamux frames: any cut gives the same headers and payload; any bytes give frames or RemoteError."""

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.errors import RemoteError
from shoal.runtime.network.wire_stack.yamux.frames import DATA, FrameParser, Head, header

heads = st.builds(
    Head,
    kind=st.integers(min_value=0, max_value=3),
    flags=st.integers(min_value=0, max_value=0xFFFF),
    stream=st.integers(min_value=0, max_value=0xFFFFFFFF),
    length=st.integers(min_value=0, max_value=0xFFFFFFFF),
)
payloads = st.binary(max_size=100)
frames = st.lists(st.tuples(heads, payloads), max_size=8)


def encoded(wanted: list[tuple[Head, bytes]]) -> tuple[bytes, list[tuple[Head, bytes]]]:
    """The bytes of ``wanted``, with payload on DATA only, and what should come out."""
    out, expected = b"", []
    for head, payload in wanted:
        if head.kind == DATA:
            head = head._replace(length=len(payload))
        else:
            payload = b""
        out += header(*head) + payload
        expected.append((head, payload))
    return out, expected


def parsed(pieces: list[bytes]) -> list[tuple[Head, bytes]]:
    parser = FrameParser()
    out: list[tuple[Head, bytes]] = []
    for piece in pieces:
        for event in parser.feed(piece):
            if isinstance(event, Head):
                out.append((event, b""))
            else:
                assert event
                out[-1] = (out[-1][0], out[-1][1] + bytes(event))
    return out


@given(frames, st.lists(st.integers(min_value=0)))
def test_any_cut_gives_the_same(wanted: list[tuple[Head, bytes]], at: list[int]) -> None:
    data, expected = encoded(wanted)
    edges = [0, *sorted(index % (len(data) + 1) for index in at), len(data)]
    assert parsed([data]) == expected
    assert parsed([data[a:b] for a, b in itertools.pairwise(edges)]) == expected
    assert parsed([data[i : i + 1] for i in range(len(data))]) == expected


@given(st.binary(max_size=300))
def test_any_bytes_give_frames_or_a_remote_error(data: bytes) -> None:
    whole: list[tuple[Head, bytes]] | str
    drip: list[tuple[Head, bytes]] | str
    try:
        whole = parsed([data])
    except RemoteError as fault:
        whole = str(fault)
    try:
        drip = parsed([data[i : i + 1] for i in range(len(data))])
    except RemoteError as fault:
        drip = str(fault)
    assert whole == drip


@pytest.mark.parametrize(("version", "kind"), [(1, 0), (255, 0), (0, 4), (0, 255)])
def test_versions_and_types_that_do_not_exist(version: int, kind: int) -> None:
    with pytest.raises(RemoteError) as caught:
        list(FrameParser().feed(struct.pack("!BBHII", version, kind, 0, 1, 0)))
    assert caught.value.code == "yamux"


def test_payload_is_not_copied() -> None:
    data = header(DATA, 0, 1, 5) + b"hello"
    _, piece = FrameParser().feed(data)
    assert isinstance(piece, memoryview)
    assert piece.obj is data


def test_the_specification_s_own_layout() -> None:
    assert header(1, 0x3, 5, 0x01020304) == bytes.fromhex("00 01 0003 00000005 01020304")
