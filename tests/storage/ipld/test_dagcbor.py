"""dag-cbor: round trips with our CIDs, canonical form, and bounds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.cid import CID, DAG_PB, RAW
from shoal.messages.errors import BadInput, RemoteError
from shoal.messages.limits import BLOCK_BYTES_MAX, DAGCBOR_DEPTH_MAX, DAGCBOR_ITEMS_MAX
from shoal.storage.ipld import dagcbor

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
cids = st.one_of(st.binary().map(CID.of), st.binary().map(lambda data: CID.of(data, DAG_PB, 0)))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**64), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
    st.binary(max_size=40),
    cids,
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(texts, inner, max_size=5)),
    max_leaves=20,
)


@given(values)
def test_round_trip(value: dagcbor.Value) -> None:
    encoded = dagcbor.encode(value)
    assert dagcbor.decode(encoded) == value
    assert dagcbor.decode(memoryview(encoded)) == value


@given(st.one_of(st.binary(max_size=60), values.map(dagcbor.encode)), st.data())
def test_any_bytes_give_a_canonical_value_or_a_remote_error(data: bytes, draw: st.DataObject) -> None:
    if data:
        at = draw.draw(st.integers(0, len(data) - 1))
        data = data[:at] + bytes((draw.draw(st.integers(0, 255)),)) + data[at + 1 :]
    try:
        value = dagcbor.decode(data)
    except RemoteError:
        return
    assert dagcbor.encode(value) == data


@given(st.lists(cids, max_size=8))
def test_links_come_in_the_order_of_the_encoding(links: list[CID]) -> None:
    value = {"b": links[::2], "aa": {"x": [links[1::2]]}, "c": 1}
    assert list(dagcbor.links(dagcbor.decode(dagcbor.encode(value)))) == links[::2] + links[1::2]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("1801", id="integer that is not minimal"),
        pytest.param("bf", id="map of indefinite length"),
        pytest.param("7f6161ff", id="text of indefinite length"),
        pytest.param("c101", id="tag other than 42"),
        pytest.param("a2616201616101", id="keys out of order"),
        pytest.param("a2616101616102", id="key twice"),
        pytest.param("a10101", id="key that is no text"),
        pytest.param("f97e00", id="half float"),
        pytest.param("fa3f800000", id="single float"),
        pytest.param("fb7ff8000000000000", id="NaN"),
        pytest.param("fb7ff0000000000000", id="infinity"),
        pytest.param("f7", id="undefined"),
        pytest.param("62c328", id="text that is not UTF-8"),
        pytest.param("a0a0", id="two values"),
        pytest.param("d82a4300015a", id="link that is no CID"),
        pytest.param("d82a582501" + CID.of(b"").raw.hex(), id="link with another multibase"),
        pytest.param("9b0000ffffffffffff", id="array that is announced, not there"),
        pytest.param("1c", id="reserved length"),
    ],
)
def test_what_is_not_canonical_is_refused(text: str) -> None:
    with pytest.raises(RemoteError):
        dagcbor.decode(bytes.fromhex(text))


def test_nested_counts_are_added_up() -> None:
    # Each array claims all bytes that are left: a decoder that allocates level by level takes gigabytes.
    size = BLOCK_BYTES_MAX.value
    bomb = b"".join(b"\x9a" + (size - 5 * level - 5).to_bytes(4, "big") for level in range(200))
    with pytest.raises(RemoteError, match="more than it holds"):
        dagcbor.decode(bomb.ljust(size, b"\x00"))


def test_depth_and_items_are_bounded() -> None:
    deepest = DAGCBOR_DEPTH_MAX.value - 1
    assert dagcbor.decode(b"\x81" * (deepest - 1) + b"\x80") is not None
    with pytest.raises(RemoteError):
        dagcbor.decode(b"\x81" * 100_000 + b"\x80")
    many = DAGCBOR_ITEMS_MAX.value
    assert len(dagcbor.decode(b"\x9a" + (many - 1).to_bytes(4, "big") + b"\x00" * (many - 1))) == many - 1
    with pytest.raises(RemoteError):
        dagcbor.decode(b"\x9a" + many.to_bytes(4, "big") + b"\x00" * many)


def nested(depth: int) -> dagcbor.Value:
    value: dagcbor.Value = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [math.nan, 2**64, -(2**64) - 1, {1: 2}, {2}, object(), "\ud800", nested(DAGCBOR_DEPTH_MAX.value + 1)]
)
def test_what_it_cannot_say_is_bad_input(value: dagcbor.Value) -> None:
    with pytest.raises(BadInput):
        dagcbor.encode(value)


def test_tuples_and_views_are_taken_for_lists_and_bytes() -> None:
    assert dagcbor.decode(dagcbor.encode(((1, 2), memoryview(b"x"), bytearray(b"y")))) == [[1, 2], b"x", b"y"]
    assert dagcbor.encode(CID.of(b"", RAW)).hex().startswith("d82a582500015512")
