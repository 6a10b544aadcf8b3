"""The codec: what goes in comes out, and any bytes give a message or RemoteError (invariants 8 and 9)."""

import math
import types
import typing
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.messages import codec, limits
from shoal.messages.base import Message
from shoal.messages.block import Block, Buffer
from shoal.messages.blocks import BlocksFound, GetBlocks, PutBlocks
from shoal.messages.cid import CID, RAW
from shoal.messages.envelope import Envelope
from shoal.messages.errors import RemoteError
from shoal.messages.lifecycle import ChangeRole
from shoal.messages.policy import POLICIES
from shoal.messages.registry import KINDS
from shoal.messages.transport import FrameTaken, SendFrame

CIDS = st.binary(max_size=40).map(lambda data: CID.of(data, RAW))
DATA = st.binary(max_size=64)
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**63), 2**64 - 1),
    bool: st.booleans(),
    str: st.text(st.characters(exclude_categories=("Cs",)), max_size=40),
    float: st.floats(allow_nan=False),
    bytes: DATA,
    CID: CIDS,
    Block: st.builds(Block, CIDS, DATA),
    Buffer: st.builds(Buffer, DATA),
}


def of_type(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a message field's type."""
    if hint in PLAIN:
        return PLAIN[hint]
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)
        if inner[1:] == (...,):
            return st.lists(of_type(inner[0]), max_size=4).map(tuple)
        return st.tuples(*(of_type(part) for part in inner))
    if isinstance(hint, type) and hint in map(type, POLICIES.values()):
        return st.sampled_from(sorted(POLICIES.values(), key=lambda policy: policy.role))
    if isinstance(hint, type) and issubclass(hint, Message):
        return of_kind(hint)
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return st.one_of(*(of_type(part) for part in typing.get_args(hint)))
    if hint is type(None):
        return st.none()
    raise AssertionError(f"no strategy for {hint}: add one")


def of_kind(kind: type[Message]) -> st.SearchStrategy[Message]:
    """Messages of one kind, from its type hints."""
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{name: of_type(hints[name]) for name in kind.__struct_fields__})


MESSAGES = st.one_of(*(of_kind(kind) for kind in KINDS.values()))


@pytest.mark.parametrize("name", sorted(KINDS))
def test_decode_undoes_encode_for_every_kind(name: str) -> None:
    @settings(max_examples=15)
    @given(of_kind(KINDS[name]))
    def check(message: Message) -> None:
        body, buffers = codec.encode(message)
        assert codec.decode(body, buffers) == message

    check()


@given(MESSAGES)
def test_the_header_says_the_kind_and_buffers_stay_outside(message: Message) -> None:
    body, buffers = codec.encode(message)
    assert msgpack.unpackb(body)["type"] == type(message).__name__
    assert all(view.readonly for view in buffers)


def test_blocks_travel_by_reference() -> None:
    data = bytes(300_000)
    block = Block(CID.of(data), data)
    body, buffers = codec.encode(BlocksFound((block,)))
    assert len(body) < 200
    found = codec.decode(body, buffers)
    assert isinstance(found, BlocksFound)
    assert found.blocks[0].data.obj is data


@settings(max_examples=400)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_remote_error(data: bytes) -> None:
    try:
        assert isinstance(codec.decode(data), Message)
    except RemoteError:
        pass


JSONISH = st.recursive(
    st.none() | st.booleans() | PLAIN[int] | st.floats() | st.text(max_size=9) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=400)
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_fields_of_wrong_types_are_a_message_or_a_remote_error(name: str, data: st.DataObject) -> None:
    """Input 88: the right tag, anything in the fields."""
    fields = {field: data.draw(JSONISH) for field in KINDS[name].__struct_fields__}
    try:
        assert type(codec.decode(msgpack.packb({"type": name, **fields}))) is KINDS[name]
    except RemoteError:
        pass


@given(MESSAGES, st.data())
def test_a_message_cut_short_or_damaged_is_a_message_or_a_remote_error(message: Message, data: st.DataObject) -> None:
    body, buffers = codec.encode(message)
    at = data.draw(st.integers(0, len(body) - 1))
    flipped = bytearray(body)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    for damaged in (body[:at], bytes(flipped)):
        try:
            assert isinstance(codec.decode(damaged, buffers), Message)
        except RemoteError:
            pass


# --- inputs 85 to 91 of the list of bad inputs ----------------------------------------------------

HUGE = 2**32 - 1


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xdd" + HUGE.to_bytes(4, "big"), id="array of 2**32-1"),
        pytest.param(b"\xdf" + HUGE.to_bytes(4, "big"), id="map of 2**32-1"),
        pytest.param(b"\xc6" + HUGE.to_bytes(4, "big"), id="bin of 2**32-1"),
        pytest.param(b"\xdb" + HUGE.to_bytes(4, "big"), id="str of 2**32-1"),
        pytest.param(b"\xc9" + HUGE.to_bytes(4, "big") + b"\x01", id="ext of 2**32-1"),
        pytest.param(b"\x91" * 100_000, id="86 nesting of 100,000"),
        pytest.param(b"\x81\xa4type" * 50_000, id="86 maps nested 50,000 times"),
        pytest.param(msgpack.packb({"type": "Nonsense"}), id="87 unknown tag"),
        pytest.param(msgpack.packb({"type": "Message"}), id="87 the root's tag"),
        pytest.param(msgpack.packb({"type": 7}), id="87 a tag that is no text"),
        pytest.param(msgpack.packb({"type": ["a"]}), id="87 a tag that cannot be a key"),
        pytest.param(msgpack.packb({}), id="87 no tag"),
        pytest.param(msgpack.packb([1]), id="not a map"),
        pytest.param(b"", id="nothing"),
        pytest.param(msgpack.packb({"type": "FrameTaken", "stream": "1", "size": 2}), id="88 text for a number"),
        pytest.param(msgpack.packb({"type": "FrameTaken", "stream": 1}), id="88 a field missing"),
        pytest.param(msgpack.packb({"type": "FrameTaken", "stream": 1, "size": 2, "x": 1}), id="88 a field too many"),
        pytest.param(msgpack.packb({"type": "GetBlocks", "cids": [7]}), id="88 a number for a CID"),
        pytest.param(msgpack.packb({"type": "GetBlocks", "cids": [b"\x01\x55"]}), id="88 a CID cut short"),
        pytest.param(msgpack.packb({"type": "SendFrame", "stream": 1, "parts": [0]}), id="88 a buffer not there"),
        pytest.param(msgpack.packb({"type": "SendFrame", "stream": 1, "parts": [-1]}), id="88 a buffer from the end"),
        pytest.param(msgpack.packb({"type": "PutBlocks", "blocks": [[b"", 0, 1]]}), id="88 a block of three parts"),
        pytest.param(codec.encode(FrameTaken(1, 2))[0] + b"\x00", id="90 a trailing byte"),
    ],
)  # fmt: skip
def test_bad_input_is_a_remote_error(data: bytes) -> None:
    with pytest.raises(RemoteError):
        codec.decode(data)


def test_85_counts_are_bounded_before_anything_is_built() -> None:
    items = limits.MESSAGE_ITEMS_MAX.value
    zero = CID.of(b"").raw
    fits = msgpack.packb({"type": "GetBlocks", "cids": [zero] * items})
    assert isinstance(codec.decode(fits), GetBlocks)
    with pytest.raises(RemoteError):
        codec.decode(msgpack.packb({"type": "GetBlocks", "cids": [zero] * (items + 1)}))
    text = "x" * limits.MESSAGE_STR_MAX.value
    assert codec.decode(msgpack.packb({"type": "ChangeRole", "role": text})) == ChangeRole(text)
    with pytest.raises(RemoteError):
        codec.decode(msgpack.packb({"type": "ChangeRole", "role": text + "x"}))
    with pytest.raises(RemoteError, match="header"):
        codec.decode(bytes(limits.ENVELOPE_HEADER_MAX.value + 1))


def test_a_message_cannot_carry_just_anything() -> None:
    with pytest.raises(NotImplementedError):
        codec.encode(SendFrame(1, (object(),)))  # type: ignore[arg-type]  # that is the point


# --- envelopes ------------------------------------------------------------------------------------

TIMES = st.floats(allow_nan=False)
IDS = st.integers(0, 2**63)
ENVELOPES = st.builds(
    Envelope,
    id=IDS,
    kind=st.sampled_from(sorted(KINDS)),
    sender=st.text(max_size=9),
    receiver=st.text(max_size=9),
    body=DATA,
    buffers=st.lists(DATA.map(memoryview), max_size=3).map(tuple),
    trace=IDS,
    reply_to=IDS,
    deadline=TIMES,
    priority=st.integers(1, 5),
    origin=st.sampled_from(["local", "user", "peer:12D3KooW"]),
    sent_at=TIMES,
)


@given(ENVELOPES)
def test_an_envelope_comes_back_without_its_buffers(envelope: Envelope) -> None:
    found, sizes = codec.decode_envelope(codec.encode_envelope(envelope))
    assert found == msgspec.structs.replace(envelope, buffers=())
    assert sizes == tuple(len(view) for view in envelope.buffers)


@settings(max_examples=300)
@given(st.binary(max_size=120))
def test_any_bytes_are_an_envelope_or_a_remote_error(data: bytes) -> None:
    try:
        assert isinstance(codec.decode_envelope(data)[0], Envelope)
    except RemoteError:
        pass


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"deadline": math.nan}, id="89 NaN deadline"),
        pytest.param({"sent_at": math.nan}, id="89 NaN time of sending"),
        pytest.param({"priority": 0}, id="priority 0"),
        pytest.param({"priority": 6}, id="priority 6"),
        pytest.param({"id": -1}, id="negative id"),
        pytest.param({"trace": -1}, id="negative trace"),
        pytest.param({"origin": "root"}, id="an origin that nobody has"),
        pytest.param({"origin": "peer:"}, id="a peer without a name"),
    ],
)
def test_an_envelope_with_senseless_values_is_refused(change: dict[str, Any]) -> None:
    envelope = msgspec.structs.replace(Envelope(1, "FrameTaken", "a", "b", b""), **change)
    with pytest.raises(RemoteError):
        codec.decode_envelope(codec.encode_envelope(envelope))


def test_size_counts_header_and_buffers() -> None:
    body, buffers = codec.encode(PutBlocks((Block(CID.of(b"abc"), b"abc"),)))
    assert Envelope(1, "PutBlocks", "edge", "placement", body, buffers).size == len(body) + 3
