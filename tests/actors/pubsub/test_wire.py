"""The RPC's bytes: what is written is read, whatever is read is an RPC or a RemoteError."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shoal.actors.discovery.pubsub import wire
from shoal.actors.discovery.pubsub.outbox import Outbox
from shoal.actors.discovery.pubsub.wire import Rpc
from shoal.messages.errors import RemoteError
from shoal.messages.limits import PUBSUB_DATA_MAX, PUBSUB_MESSAGES_PER_RPC, PUBSUB_RPC_MAX
from shoal.messages.protobuf import bytes_field

NAMES = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable())
IDS = st.lists(st.binary(min_size=1, max_size=46), max_size=5)


@given(
    subscriptions=st.dictionaries(NAMES, st.booleans(), max_size=5),
    mesh=st.dictionaries(NAMES, st.none() | st.integers(0, 2**31), max_size=5),
    messages=st.lists(st.binary(max_size=50), max_size=4),
    ihave=st.dictionaries(NAMES, IDS, max_size=4),
    iwant=IDS,
)
def test_what_is_written_is_read(
    subscriptions: dict[str, bool],
    mesh: dict[str, int | None],
    messages: list[bytes],
    ihave: dict[str, list[bytes]],
    iwant: list[bytes],
) -> None:
    outbox = Outbox()
    for topic, on in subscriptions.items():
        outbox.subscription("p", topic, on)
    for topic, backoff_s in mesh.items():
        if backoff_s is None:
            outbox.graft("p", topic)
        else:
            outbox.prune("p", topic, backoff_s)
    bodies = [wire.body(b"author", data, b"12345678", "topic") for data in messages]
    for body in bodies:
        outbox.message("p", body)
    for topic, ids in ihave.items():
        outbox.ihave("p", topic, ids)
    outbox.iwant("p", iwant)
    rpc = wire.decode(b"".join(outbox.take("p")))
    assert rpc.subscriptions == [(on, topic) for topic, on in subscriptions.items()]
    assert rpc.graft == [topic for topic, backoff_s in mesh.items() if backoff_s is None]
    assert rpc.prune == [(topic, backoff_s) for topic, backoff_s in mesh.items() if backoff_s is not None]
    assert [message.raw for message in rpc.messages] == bodies
    assert [message.data for message in rpc.messages] == messages
    assert rpc.ihave == list(ihave.items())
    assert rpc.iwant == iwant
    assert not outbox.pending


@given(author=st.none() | st.binary(max_size=40), data=st.none() | st.binary(max_size=9), key=st.none() | st.just(b"k"))
def test_fields_that_are_not_there_are_told_from_empty_ones(
    author: bytes | None, data: bytes | None, key: bytes | None
) -> None:
    raw = wire.sealed(wire.body(author, data, None, "t"), b"s", key)
    (message,) = wire.decode(wire.message(raw)).messages
    assert (message.author, message.data, message.seqno, message.key) == (author, data, None, key)
    assert (message.topic, message.signature, message.raw) == ("t", b"s", raw)


def pieces() -> st.SearchStrategy[bytes]:
    """Bytes that look like an RPC for a while: fields within fields, of any number."""
    leaf = st.binary(max_size=12)
    return st.recursive(
        leaf,
        lambda inner: st.lists(st.builds(bytes_field, st.integers(1, 7), inner), max_size=4).map(b"".join),
        max_leaves=12,
    )


@settings(max_examples=400)
@given(data=pieces() | st.binary(max_size=200))
@example(data=b"")
@example(data=bytes_field(3, b""))
@example(data=bytes_field(1, b""))
@example(data=bytes_field(2, bytes_field(4, b"t")))
def test_any_bytes_are_an_rpc_or_a_remote_error(data: bytes) -> None:
    try:
        found = wire.decode(data)
    except RemoteError:
        return
    assert isinstance(found, Rpc)
    assert wire.decode(memoryview(data)) == found


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_rpc_is_an_rpc_or_a_remote_error(data: st.DataObject) -> None:
    outbox = Outbox()
    outbox.subscription("p", "topic", True)
    outbox.prune("p", "other", 60)
    outbox.message("p", wire.sealed(wire.body(b"author", b"data", b"12345678", "topic"), b"signature", None))
    outbox.ihave("p", "topic", [b"id" * 20])
    frame = bytearray(outbox.take("p")[0])
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(frame[: data.draw(st.integers(0, len(frame)))])
    for damaged in (bytes(frame), cut):
        try:
            assert isinstance(wire.decode(damaged), Rpc)
        except RemoteError:
            pass


def test_an_rpc_is_bounded_in_bytes_messages_and_junk() -> None:
    junk = bytes_field(9, bytes(100))
    wire.decode(bytes_field(9, bytes(PUBSUB_RPC_MAX.value - 4)))
    with pytest.raises(RemoteError):
        wire.decode(bytes_field(9, bytes(PUBSUB_RPC_MAX.value)))
    with pytest.raises(RemoteError):
        wire.decode(junk[:2] * 20_000)
    one = wire.message(b"")
    assert wire.decode(one * PUBSUB_MESSAGES_PER_RPC.value).messages == []
    with pytest.raises(RemoteError) as caught:
        wire.decode(one * (PUBSUB_MESSAGES_PER_RPC.value + 1))
    assert caught.value.code == "pubsub-messages"


@pytest.mark.parametrize(
    ("number", "most"), [(1, wire.AUTHOR_BYTES_MAX), (2, PUBSUB_DATA_MAX.value), (3, 8), (5, 1024), (6, 1100)]
)
def test_each_field_of_a_message_is_bounded(number: int, most: int) -> None:
    def frame(size: int) -> bytes:
        return wire.message(bytes_field(number, bytes(size)) + bytes_field(4, b"t"))

    assert len(wire.decode(frame(most)).messages) == 1
    with pytest.raises(RemoteError) as caught:
        wire.decode(frame(most + 1))
    assert caught.value.code == "pubsub-message"
    with pytest.raises(RemoteError):
        wire.decode(wire.message(bytes_field(4, b"a") + bytes_field(4, b"b")))


def test_what_is_pending_is_divided_into_rpcs_that_others_take() -> None:
    outbox = Outbox()
    raw = wire.body(b"author", bytes(300_000), b"12345678", "topic")
    for _ in range(10):
        outbox.message("p", raw)
    rpcs = outbox.take("p")
    assert all(len(rpc) <= PUBSUB_RPC_MAX.value for rpc in rpcs)
    assert [len(wire.decode(rpc).messages) for rpc in rpcs] == [3, 3, 3, 1]


def test_the_last_word_counts_and_a_slow_peer_hears_control_alone() -> None:
    outbox = Outbox()
    for _ in range(300):
        outbox.message("p", wire.body(None, b"x", None, "t"))
    assert outbox.dropped == 44
    outbox.graft("p", "t")
    outbox.prune("p", "t", 60)
    outbox.subscription("p", "t", True)
    outbox.subscription("p", "t", False)
    (rpc,) = map(wire.decode, outbox.take("p", control_only=True, v1_1=False))
    assert (rpc.subscriptions, rpc.graft, rpc.prune, rpc.messages) == ([(False, "t")], [], [("t", None)], [])
    assert outbox.dropped == 300
    assert outbox.take("p") == []
