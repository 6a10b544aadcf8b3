"""Varints: round trips, and what must be refused.  "Input N" is the list of bad inputs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages import varint
from shoal.messages.errors import RemoteError


@given(st.integers(0, 2**63 - 1), st.binary(max_size=4), st.binary(max_size=4))
def test_what_is_encoded_is_decoded_from_anywhere(value: int, before: bytes, after: bytes) -> None:
    encoded = varint.encode(value)
    assert len(encoded) == max(1, -(-value.bit_length() // 7))
    assert varint.decode(before + encoded + after, len(before)) == (value, len(before) + len(encoded))
    assert varint.decode(memoryview(encoded)) == (value, len(encoded))


@given(st.binary(max_size=12))
def test_any_bytes_give_a_canonical_value_or_a_remote_error(data: bytes) -> None:
    try:
        value, end = varint.decode(data)
    except RemoteError:
        return
    assert varint.encode(value) == data[:end]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x80" * 9 + b"\x01", id="input 1: ten bytes"),
        pytest.param(b"\xff" * 100, id="input 1: a hundred bytes"),
        pytest.param(b"\x80\x00", id="input 2: zero in two bytes"),
        pytest.param(b"\x81\x80\x00", id="input 2: one in three bytes"),
        pytest.param(b"\x80" * 9 + b"\x01\x00", id="input 3: 2**63"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x80", id="cut short"),
        pytest.param(b"\xff" * 8, id="cut short before the limit"),
    ],
)
def test_malformed_varints_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteError):
        varint.decode(data)


def test_an_offset_behind_the_end_is_cut_short() -> None:
    with pytest.raises(RemoteError):
        varint.decode(b"\x01", 1)


@pytest.mark.parametrize("value", [-1, 2**63])
def test_what_no_varint_holds_is_not_encoded(value: int) -> None:
    with pytest.raises(ValueError, match="varint"):
        varint.encode(value)


def test_the_longest_is_nine_bytes() -> None:
    assert varint.decode(b"\xff" * 8 + b"\x7f") == (2**63 - 1, 9)
