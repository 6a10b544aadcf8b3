"""A DHT server whose records are on disk: the same answers as from memory, through restarts and floods."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.actors.discovery.dht.actor import DhtActor
from shoal.actors.discovery.dht.ipns import make_record
from shoal.actors.discovery.dht.keys import peer_bytes
from shoal.actors.discovery.dht.records import (
    PROVIDER_ADDRS_S,
    PROVIDER_EXPIRY_S,
    VALUE_EXPIRY_S,
    MemoryRecords,
    Records,
)
from shoal.actors.discovery.dht.server import PROVIDERS_TOLD, Server
from shoal.actors.discovery.dht.table import Table
from shoal.actors.discovery.dht.validators import validators
from shoal.actors.discovery.dht.wire import Kind, Message, Record
from shoal.messages import transport
from shoal.messages.errors import RemoteError, StorageFault
from shoal.messages.routing import PeerAddrs
from shoal.storage.records.providers import ProviderBounds
from shoal.storage.records.store import RecordStore
from shoal.storage.records.values import ValueBounds
from shoal.tests.actors.dht.signers import ed25519
from shoal.tests.support.context import FakeContext
from shoal.tests.support.dht_keys import at, peer, private

ME, ASKER = peer(0), peer(1)
NOW = 1_700_000_000.0
PATH = "/ipfs/bafkqaddwgevxmmraojswg33smq"


def key(number: int) -> bytes:
    return b"\x12\x20" + number.to_bytes(32)


def on_disk(folder: Path, bounds: ProviderBounds | None = None, values: ValueBounds | None = None) -> RecordStore:
    store = RecordStore(folder / "records.sqlite", bounds, values)
    store.open()
    return store


@pytest.fixture(params=["memory", "disk"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    one: Records = MemoryRecords() if request.param == "memory" else on_disk(tmp_path)
    yield one
    one.close()


def server(records: Records) -> Server:
    return Server(Table(ME, diverse=False), records, validators(ed25519(9)), lambda _: (), lan=True)


def provide(to: Server, number: int, who: int, wall: float = NOW) -> None:
    message = Message(Kind.ADD_PROVIDER, key(number), providers=(PeerAddrs(peer(who), (private(who),)),))
    assert to.answer(message, peer(who), wall) is None


def providers(of: Server, number: int, wall: float = NOW) -> tuple[PeerAddrs, ...]:
    answer = of.answer(Message(Kind.GET_PROVIDERS, key(number)), ASKER, wall)
    assert answer is not None
    return answer.providers


def put(to: Server, name: bytes, value: bytes, sender: str = ASKER, wall: float = NOW) -> None:
    to.answer(Message(Kind.PUT_VALUE, name, Record(name, value)), sender, wall)


def value(of: Server, name: bytes, wall: float = NOW) -> bytes | None:
    answer = of.answer(Message(Kind.GET_VALUE, name), ASKER, wall)
    assert answer is not None
    return answer.record.value if answer.record is not None else None


def test_both_kinds_of_records_keep_the_same_promises(records: Records) -> None:
    one = server(records)
    provide(one, 1, 5)
    provide(one, 1, 6, NOW + 1)
    assert providers(one, 1, NOW + 2) == (at(6), at(5))
    assert providers(one, 1, NOW + PROVIDER_ADDRS_S) == (at(6), PeerAddrs(peer(5)))
    assert providers(one, 1, NOW + PROVIDER_EXPIRY_S) == (PeerAddrs(peer(6)),)
    assert providers(one, 1, NOW + PROVIDER_EXPIRY_S + 1) == ()
    name = b"/ipns/" + peer_bytes(ed25519().peer_id)
    older, newer = (make_record(ed25519(), PATH, number, NOW, life_s=1e6) for number in (1, 2))
    put(one, name, older)
    put(one, name, newer)
    with pytest.raises(RemoteError, match="better"):
        put(one, name, older)
    assert value(one, name) == newer
    assert value(one, name, NOW + VALUE_EXPIRY_S) is None
    for number in range(10, 10 + 2 * PROVIDERS_TOLD):
        provide(one, 2, number)
    assert len(providers(one, 2)) == PROVIDERS_TOLD


def test_a_value_that_has_come_to_its_end_is_not_told(records: Records) -> None:
    one = server(records)
    name = b"/ipns/" + peer_bytes(ed25519().peer_id)
    put(one, name, make_record(ed25519(), PATH, 2, NOW, life_s=100))
    assert value(one, name, NOW + 99) is not None
    assert value(one, name, NOW + 101) is None
    put(one, name, make_record(ed25519(), PATH, 1, NOW + 101), wall=NOW + 101)
    assert value(one, name, NOW + 101) is not None, "what has ended is no better"


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    name = b"/ipns/" + peer_bytes(ed25519().peer_id)
    record = make_record(ed25519(), PATH, 1, NOW)
    first = on_disk(tmp_path)
    for number in range(50):
        provide(server(first), number, 5 + number % 3)
    put(server(first), name, record)
    first.close()
    again = server(on_disk(tmp_path))
    assert providers(again, 7) == (at(6),)
    assert value(again, name) == record
    again.records.close()


def test_67_a_hundred_thousand_keys_of_one_peer_leave_others_theirs(tmp_path: Path) -> None:
    """With the room for records a hundredth of the real one, which only the flood reaches."""
    store = on_disk(tmp_path, ProviderBounds(records=2_000, per_peer=1_000))
    one = server(store)
    for number in range(900):
        provide(one, number, 5 + number % 9)
    for number in range(1_000, 101_000):
        provide(one, number, 99, NOW + 1)
    assert store.counts() == (1_900, 0)
    for number in range(900):
        assert providers(one, number, NOW + 1) == (at(5 + number % 9),)
    assert store.faults == 0
    store.close()


def test_values_of_one_sender_leave_others_theirs(tmp_path: Path) -> None:
    """Anybody can make any number of valid records: each key pair has a name."""
    store = on_disk(tmp_path, values=ValueBounds(values=20, bytes=10**6, per_peer=10**6))
    one = server(store)
    mine = b"/ipns/" + peer_bytes(ed25519(200).peer_id)
    put(one, mine, make_record(ed25519(200), PATH, 1, NOW), peer(5))
    for number in range(100):
        name = b"/ipns/" + peer_bytes(ed25519(number).peer_id)
        put(one, name, make_record(ed25519(number), PATH, 1, NOW), peer(6), NOW + number / 1000)
    assert store.counts() == (0, 20)
    assert value(one, mine, NOW + 1) is not None
    store.close()


def test_a_store_that_cannot_be_opened_costs_the_disk_and_not_the_dht(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: bool) -> Records:
        raise StorageFault("the disk is gone", "put it back")

    ctx = FakeContext("dht")
    actor = DhtActor(ctx, broken)
    actor.on_start()
    (asked,) = ctx.take_said(transport.WhoAmI)
    asked.answer(transport.Identity(ME, (f"{private(0)}/p2p/{ME}",), "shoal", ()))
    assert [type(kad.records) for kad in actor.kads] == [MemoryRecords, MemoryRecords]
    assert "the disk is gone" in caplog.text
    actor.on_stop()


def test_what_is_told_is_committed_within_a_second(tmp_path: Path) -> None:
    """The actor tends its records: a second process would see what was told."""
    ctx = FakeContext("dht")
    actor = DhtActor(ctx, lambda lan: on_disk(tmp_path / str(lan)), validators(ed25519(9)))
    actor.on_start()
    (asked,) = ctx.take_said(transport.WhoAmI)
    asked.answer(transport.Identity(ME, (f"{private(0)}/p2p/{ME}",), "shoal", ()))
    lan = next(kad for kad in actor.kads if kad.lan)
    ctx.advance(1.0)
    provide(lan.server, 1, 5, ctx.wall())
    reader = on_disk(tmp_path / "True")
    assert reader.providers(key(1), ctx.wall()) == []
    ctx.advance(1.0)
    assert reader.providers(key(1), ctx.wall()) == [at(5)]
    reader.close()
    actor.on_stop()
