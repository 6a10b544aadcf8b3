"""What a server answers, what it keeps, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence

import hypothesis
import pytest
from hypothesis import strategies as st

from shoal.actors.discovery.dht.keys import kad_id, peer_bytes
from shoal.actors.discovery.dht.records import (
    PROVIDER_ADDRS_S,
    PROVIDER_EXPIRY_S,
    VALUE_EXPIRY_S,
    MemoryRecords,
)
from shoal.actors.discovery.dht.server import PROVIDERS_TOLD, Server
from shoal.actors.discovery.dht.table import K, Table
from shoal.actors.discovery.dht.values import Validators
from shoal.actors.discovery.dht.wire import Kind, Message, Record
from shoal.messages import limits
from shoal.messages.errors import RemoteError
from shoal.messages.routing import PeerAddrs
from shoal.tests.support import dht_keys
from shoal.tests.support.dht_keys import at, peer, private, public

ME, ASKER = peer(0), peer(1)
KEY = b"\x12\x20" + bytes(32)
NOW = 1_700_000_000.0


class Numbered:
    """Values are decimal numbers, and the greatest is the best; a number past its time is written with a minus."""

    def validate(self, key: bytes, value: bytes, now: float) -> None:
        if not value.isdigit() or (len(value) > 3 and now > NOW):
            raise RemoteError("no number", "value")

    def select(self, key: bytes, values: Sequence[bytes], now: float) -> int:
        return max(range(len(values)), key=lambda index: int(values[index]))


VALIDATORS = Validators({"n": Numbered()})


def server(peers: int = 50, *, lan: bool = True, connected: Sequence[PeerAddrs] = ()) -> Server:
    table = Table(ME, diverse=not lan)
    for number in range(1, peers + 1):
        table.answered(peer(number), (private(number) if lan else public(number),), 1.0)
    where = {one.peer: one.addrs for one in connected}
    return Server(table, MemoryRecords(), VALIDATORS, lambda who: where.get(who, ()), lan=lan)


def provide(to: Server, key: bytes, who: str, *addrs: str, wall: float = NOW) -> None:
    assert to.answer(Message(Kind.ADD_PROVIDER, key, providers=(PeerAddrs(who, addrs),)), who, wall) is None


def providers(of: Server, key: bytes, wall: float = NOW) -> tuple[PeerAddrs, ...]:
    answer = of.answer(Message(Kind.GET_PROVIDERS, key), ASKER, wall)
    assert answer is not None
    return answer.providers


@hypothesis.given(dht_keys.messages)
def test_any_message_is_answered_or_refused(message: Message) -> None:
    for one in (server(), server(0)):
        try:
            answer = one.answer(message, ASKER, NOW)
        except RemoteError:
            continue
        assert (answer is None) == (message.kind is Kind.ADD_PROVIDER)
        assert answer is None or answer.kind is message.kind


def test_the_nearest_are_named_without_the_asker() -> None:
    one = server()
    key = peer_bytes(ASKER)
    answer = one.answer(Message(Kind.FIND_NODE, key), ASKER, NOW)
    assert answer is not None
    rows = [row.peer for row in one.table.nearest(kad_id(key), K + 1) if row.peer != ASKER]
    assert [closer.peer for closer in answer.closer] == rows[:K]
    assert all(closer.addrs for closer in answer.closer)


def test_a_connected_peer_that_is_no_server_is_found() -> None:
    client = PeerAddrs(peer(900), ("/ip4/10.9.9.9/tcp/1",))
    one = server(connected=[client])
    answer = one.answer(Message(Kind.FIND_NODE, peer_bytes(client.peer)), ASKER, NOW)
    assert answer is not None
    assert answer.closer[0] == client
    assert len(answer.closer) == K
    own = one.answer(Message(Kind.FIND_NODE, peer_bytes(client.peer)), client.peer, NOW)
    assert own is not None
    assert client.peer not in [closer.peer for closer in own.closer], "nobody is told about itself"


def test_a_key_that_is_no_peer_id_can_be_walked_to() -> None:
    answer = server().answer(Message(Kind.FIND_NODE, b"any key"), ASKER, NOW)
    assert answer is not None
    assert len(answer.closer) == K


def test_ping_is_answered() -> None:
    assert server().answer(Message(Kind.PING), ASKER, NOW) == Message(Kind.PING)


def test_providers_are_kept_and_told_latest_first() -> None:
    one = server()
    provide(one, KEY, peer(5), private(5))
    provide(one, KEY, peer(6), private(6))
    assert providers(one, KEY) == (at(6), at(5))
    assert providers(one, KEY[:-1] + b"x") == ()


def test_63_a_provider_record_for_another_peer_is_refused() -> None:
    one = server()
    forged = Message(Kind.ADD_PROVIDER, KEY, providers=(at(5), at(6)))
    with pytest.raises(RemoteError) as caught:
        one.answer(forged, peer(7), NOW)
    assert caught.value.code == "foreign-provider"
    assert providers(one, KEY) == ()
    mixed = Message(Kind.ADD_PROVIDER, KEY, providers=(at(5), at(7)))
    assert one.answer(mixed, peer(7), NOW) is None
    assert providers(one, KEY) == (at(7),)


def test_a_provider_that_nobody_could_dial_is_not_kept() -> None:
    for one, addr in ((server(lan=False), private(5)), (server(), public(5)), (server(), "/ip4/127.0.0.1/tcp/1")):
        provide(one, KEY, peer(5), addr)
        assert providers(one, KEY) == ()
        assert one.served["unreachable_providers"] == 1


def test_a_connected_provider_without_addresses_is_kept_where_it_listens() -> None:
    one = server(connected=[at(5)])
    provide(one, KEY, peer(5))
    assert providers(one, KEY) == (at(5),)


def test_64_records_expire() -> None:
    one = server()
    provide(one, KEY, peer(5), private(5))
    assert providers(one, KEY, NOW + PROVIDER_ADDRS_S - 1) == (at(5),)
    assert providers(one, KEY, NOW + PROVIDER_ADDRS_S + 1) == (PeerAddrs(peer(5)),)
    assert providers(one, KEY, NOW + PROVIDER_EXPIRY_S + 1) == ()
    assert one.records.counts() == (0, 0)
    one.records.put_value(b"/n/x", b"1", NOW)
    assert one.value(b"/n/x", NOW + VALUE_EXPIRY_S - 1) is not None
    assert one.value(b"/n/x", NOW + VALUE_EXPIRY_S + 1) is None


def test_64_a_value_past_its_own_end_is_not_told_and_may_be_replaced() -> None:
    one = server()
    one.store(b"/n/x", b"1000", NOW)
    assert one.value(b"/n/x", NOW + 1) is None
    one.store(b"/n/x", b"1", NOW + 1)
    kept = one.value(b"/n/x", NOW + 1)
    assert kept is not None
    assert kept.value == b"1"


@pytest.mark.parametrize("key", [b"", b"x", bytes(limits.DHT_PROVIDER_KEY_MAX.value + 1)])
def test_a_key_that_is_no_multihash_has_no_providers(key: bytes) -> None:
    for kind in (Kind.ADD_PROVIDER, Kind.GET_PROVIDERS):
        with pytest.raises(RemoteError):
            server().answer(Message(kind, key, providers=(at(1),)), ASKER, NOW)


def put(key: bytes, value: bytes, of: bytes | None = None) -> Message:
    return Message(Kind.PUT_VALUE, key, Record(key if of is None else of, value))


def test_a_value_is_kept_echoed_and_told() -> None:
    one = server()
    assert one.answer(put(b"/n/x", b"7"), ASKER, NOW) == put(b"/n/x", b"7")
    answer = one.answer(Message(Kind.GET_VALUE, b"/n/x"), ASKER, NOW)
    assert answer is not None
    assert answer.record == Record(b"/n/x", b"7", "2023-11-14T22:13:20Z")
    assert len(answer.closer) == K


def test_a_worse_value_does_not_replace_a_better_one() -> None:
    one = server()
    one.answer(put(b"/n/x", b"7"), ASKER, NOW)
    with pytest.raises(RemoteError) as caught:
        one.answer(put(b"/n/x", b"6"), ASKER, NOW)
    assert caught.value.code == "old-value"
    one.answer(put(b"/n/x", b"7"), ASKER, NOW + 5)
    one.answer(put(b"/n/x", b"8"), ASKER, NOW + 5)
    kept = one.value(b"/n/x", NOW + 5)
    assert kept is not None
    assert kept.value == b"8"


@pytest.mark.parametrize(
    "message",
    [
        put(b"/n/x", b"no number"),
        put(b"/other/x", b"7"),
        put(b"/n/", b"7"),
        put(b"n/x", b"7"),
        put(b"", b"7"),
        put(b"/n/x", b"7", of=b"/n/y"),
        Message(Kind.PUT_VALUE, b"/n/x"),
        Message(Kind.GET_VALUE),
        Message(Kind.FIND_NODE),
    ],
)
def test_what_may_not_be_kept_or_asked(message: Message) -> None:
    with pytest.raises(RemoteError):
        server().answer(message, ASKER, NOW)


def test_values_are_bounded_in_size_and_key() -> None:
    with pytest.raises(RemoteError):
        VALIDATORS.validate(b"/n/x", b"1" * (limits.DHT_VALUE_BYTES_MAX.value + 1), NOW)
    with pytest.raises(RemoteError):
        VALIDATORS.validate(b"/n/" + bytes(limits.DHT_VALUE_KEY_MAX.value), b"1", NOW)
    assert not VALIDATORS.known(b"/other/x")
    assert VALIDATORS.known(b"/n/x")


def key(number: int) -> bytes:
    return b"\x12\x20" + number.to_bytes(32)


def test_67_a_hundred_thousand_keys_of_one_peer_change_nothing_but_a_counter() -> None:
    one = server()
    provide(one, KEY, peer(5), private(5))
    for number in range(1, 100_001):
        provide(one, key(number), peer(6), private(6))
    assert one.records.counts()[0] == limits.DHT_RECORDS_PER_PEER.value + 1
    assert one.served["refused_providers"] == 100_000 - limits.DHT_RECORDS_PER_PEER.value
    assert providers(one, KEY) == (at(5),)


def test_one_key_has_so_many_providers() -> None:
    one = server()
    for number in range(2, 200):
        provide(one, KEY, peer(number), private(number))
    told = providers(one, KEY)
    assert len(told) == PROVIDERS_TOLD == limits.DHT_PROVIDERS_PER_KEY.value
    assert told[0] == at(199)


@hypothesis.given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.floats(0, 1.5)), max_size=60))
def test_records_in_memory_are_as_a_plain_model_has_them(told: list[tuple[int, int, float]]) -> None:
    """Steps are (key, peer, days that pass before)."""
    records = MemoryRecords()
    model: dict[tuple[int, int], float] = {}
    now = NOW
    for number, who, days in told:
        now += days * 86400.0
        if days > 1.2:
            records.maintain(now)
        assert records.add_provider(key(number), peer(who), (private(who),), now)
        model[number, who] = now
        for other in range(6):
            expected = {p for (k, p), at in model.items() if k == other and now - at < PROVIDER_EXPIRY_S}
            assert {one.peer for one in records.providers(key(other), now)} == {peer(p) for p in expected}
    assert records.counts()[0] == sum(now - at < PROVIDER_EXPIRY_S for at in model.values())
