"""The DHT's messages on the wire: what is written is read, and any bytes give a message or a RemoteError."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from shoal.actors.discovery.dht import wire
from shoal.actors.discovery.dht.keys import peer_bytes
from shoal.messages import limits
from shoal.messages.errors import RemoteError
from shoal.messages.protobuf import bytes_field, int32_field
from shoal.messages.routing import PeerAddrs
from shoal.tests.support import dht_keys
from shoal.tests.support.dht_keys import at, peer

FIND = wire.Message(wire.Kind.FIND_NODE, b"key")


def entry(number: int) -> bytes:
    return bytes_field(1, peer_bytes(peer(number)))


@hypothesis.given(dht_keys.messages)
def test_what_is_written_is_read(message: wire.Message) -> None:
    assert wire.decode(wire.encode(message)) == message


@hypothesis.given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_remote_error(data: bytes) -> None:
    try:
        message = wire.decode(data)
    except RemoteError:
        return
    assert isinstance(message, wire.Message)


@hypothesis.given(dht_keys.messages, st.data())
def test_a_damaged_message_is_a_message_or_a_remote_error(message: wire.Message, draw: st.DataObject) -> None:
    data = bytearray(wire.encode(message) or b"\x08\x04")
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    del data[draw.draw(st.integers(0, len(data))) :]
    try:
        assert isinstance(wire.decode(bytes(data)), wire.Message)
    except RemoteError:
        pass


def test_every_field_may_be_absent() -> None:
    assert wire.decode(b"") == wire.Message(wire.Kind.PUT_VALUE)
    empty = wire.decode(int32_field(1, 4) + bytes_field(3, b""))
    assert empty == wire.Message(wire.Kind.FIND_NODE, record=wire.Record())


def test_the_bytes_of_go_libp2p_are_read() -> None:
    """Written by go-libp2p-kad-dht: FIND_NODE with an empty record slot, clusterLevelRaw and connection types."""
    id_ = peer_bytes(peer(3))
    addr = bytes.fromhex("04010203040610e1")
    listed = bytes_field(1, id_) + bytes_field(2, addr) + int32_field(3, 1)
    data = int32_field(1, 4) + bytes_field(2, id_) + bytes_field(8, listed) + int32_field(10, 0)
    assert wire.decode(data).closer == (PeerAddrs(peer(3), ("/ip4/1.2.3.4/tcp/4321",)),)


def test_a_peers_own_id_at_the_end_of_an_address_is_left_out() -> None:
    named = PeerAddrs(peer(1), (f"/ip4/1.2.3.4/tcp/1/p2p/{peer(1)}", "/ip4/1.2.3.4/tcp/1"))
    decoded = wire.decode(wire.encode(wire.Message(wire.Kind.FIND_NODE, closer=(named,))))
    assert decoded.closer[0].addrs == ("/ip4/1.2.3.4/tcp/1",)


def test_61_an_answer_of_many_peers_is_cut_and_one_of_ten_thousand_refused() -> None:
    def answer(count: int) -> bytes:
        return wire.encode(FIND) + b"".join(bytes_field(8, entry(number % 50)) for number in range(count))

    assert len(wire.decode(answer(limits.DHT_CLOSER_REFUSED.value)).closer) == limits.DHT_CLOSER_MAX.value
    for count in (limits.DHT_CLOSER_REFUSED.value + 1, 10_000):
        with pytest.raises(RemoteError) as caught:
            wire.decode(answer(count))
        assert caught.value.code == "closer-peers"


def test_providers_are_cut_and_fields_are_counted() -> None:
    def answer(count: int) -> bytes:
        return wire.encode(FIND) + bytes_field(9, entry(1)) * count

    assert len(wire.decode(answer(1000)).providers) == limits.DHT_PROVIDERS_TAKEN.value
    for field in (answer(limits.DHT_FIELDS_MAX.value), int32_field(15, 1) * (limits.DHT_FIELDS_MAX.value + 1)):
        with pytest.raises(RemoteError):
            wire.decode(field)


def test_addresses_of_a_peer_are_cut() -> None:
    crowd = PeerAddrs(peer(1), tuple(f"/ip4/10.0.0.{number}/tcp/1" for number in range(200)))
    raw = bytes_field(1, peer_bytes(crowd.peer)) + b"".join(
        bytes_field(2, b"\x04\x0a\x00\x00" + bytes([number]) + b"\x06\x00\x01") for number in range(200)
    )
    named = wire.decode(int32_field(1, 4) + bytes_field(8, raw)).closer[0]
    assert len(named.addrs) == limits.DHT_ADDRS_PER_PEER.value
    written = wire.decode(wire.encode(wire.Message(wire.Kind.FIND_NODE, closer=(crowd,)))).closer[0]
    assert len(written.addrs) == limits.DHT_ADDRS_PER_PEER.value


def test_addresses_that_nobody_understands_are_left_out() -> None:
    raw = bytes_field(1, peer_bytes(peer(1)))
    raw += bytes_field(2, b"\xff\xff\xff\xff\x00") + bytes_field(2, b"") + bytes_field(2, b"\x04" * 400)
    assert wire.decode(int32_field(1, 4) + bytes_field(8, raw)).closer == (PeerAddrs(peer(1)),)


def test_an_entry_whose_id_is_none_spoils_no_answer() -> None:
    data = int32_field(1, 4) + bytes_field(8, bytes_field(1, b"not an id")) + bytes_field(8, entry(2))
    assert wire.decode(data).closer == (PeerAddrs(peer(2)),)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(int32_field(1, 6), id="kind"),
        pytest.param(int32_field(1, 4) + bytes_field(2, bytes(limits.DHT_VALUE_KEY_MAX.value + 1)), id="key"),
        pytest.param(bytes_field(3, bytes_field(2, bytes(limits.DHT_VALUE_BYTES_MAX.value + 1))), id="value"),
        pytest.param(bytes(limits.DHT_MESSAGE_MAX.value + 1), id="size"),
        pytest.param(bytes_field(1, b"x"), id="wire type"),
        pytest.param(bytes_field(8, b"\x0a\x7f"), id="cut short"),
    ],
)
def test_what_is_too_much_or_malformed_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteError):
        wire.decode(data)


def test_an_answer_of_our_own_making_is_never_too_large() -> None:
    long = "/dns4/" + "a" * 200 + ".org"
    crowd = tuple(PeerAddrs(peer(n), tuple(f"{long}/tcp/{port}" for port in range(1, 17))) for n in range(64))
    answer = wire.Message(wire.Kind.GET_PROVIDERS, bytes(80), closer=crowd[:20], providers=crowd)
    assert len(wire.encode(answer)) <= limits.DHT_MESSAGE_MAX.value
    assert len(wire.decode(wire.encode(answer)).providers) == 64
    assert at(1).addrs == ("/ip4/10.0.0.1/tcp/4001",)
