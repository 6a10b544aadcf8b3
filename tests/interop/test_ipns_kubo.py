"""IPNS records and real Kubos: what each makes the other keeps and gives back, and neither takes a damaged one."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from shoal.actors.discovery.dht import wire
from shoal.actors.discovery.dht.ipns import SIGNED_PREFIX, make_record, parse
from shoal.actors.discovery.dht.keys import peer_bytes
from shoal.actors.discovery.dht.validators import validators
from shoal.messages import dht
from shoal.messages.errors import NotFound, RemoteError
from shoal.runtime.network.config import NetworkConfig
from shoal.runtime.network.identity import generate
from shoal.runtime.network.keys import Libp2pKeys
from shoal.runtime.network.network import Libp2pNetwork
from shoal.tests.actors.dht.signers import ed25519, rsa
from shoal.tests.support.dht_host import DhtHost, until
from shoal.tests.support.kubo import Kubo, KuboFactory
from shoal.tests.support.kubo_names import REPUBLISH_S, prepare
from shoal.tests.support.network_recorder import Node

pytestmark = pytest.mark.interop

SETTINGS = {"Routing": {"Type": "dht", "LoopbackAddressesOnLanDHT": True}}
PATH = "/ipfs/bafkqaddwgevxmmraojswg33smq"
PATIENCE_S = 20.0


def key_of(keys: Libp2pKeys) -> bytes:
    return b"/ipns/" + peer_bytes(keys.peer_id)


def meet(shoal: DhtHost, kubo: Kubo, peers: int = 1) -> None:
    addr, _, peer = kubo.addrs[0].rpartition("/p2p/")
    shoal.connect(peer, [addr])
    assert until(lambda: shoal.stats(lan=True).peers >= peers, PATIENCE_S)


def value_at(shoal: DhtHost, key: bytes) -> bytes | None:
    try:
        return shoal.machine.edge.ask_for(dht.ValueFound, dht.GetValue(key), PATIENCE_S).value
    except NotFound:
        return None


def check_no_flipped_byte(keys: Libp2pKeys, raw: bytes) -> None:
    """Each byte of the record, flipped: it is refused, or it is in the old signature, which does not count."""
    rules, key, whole = validators(keys), key_of(keys), parse(raw)
    refused = 0
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 0x01]) + raw[at + 1 :]
        try:
            rules.validate(key, changed, time.time())
        except RemoteError:
            refused += 1
        else:
            assert parse(changed) == whole
    assert refused >= len(whole.signed) - len(SIGNED_PREFIX) + len(whole.signature)


def test_a_record_that_kubo_makes_is_valid_and_no_damaged_one_is(kubo: KuboFactory, tmp_path: Path) -> None:
    """Of a key that is in its name, and of one that the record must carry.  A shoal keeps both for others."""
    prepared = {kind: prepare(tmp_path / kind, PATH, 41, key=kind, quic=False) for kind in ("ed25519", "rsa")}
    for kind, one in prepared.items():
        kubo(repo=tmp_path / kind, key=kind, quic=False, settings=one.settings)
    ours = {kind: one.record.read_bytes() for kind, one in prepared.items()}
    with DhtHost.start(tmp_path / "one") as first, DhtHost.start(tmp_path / "two") as second:
        second.connect(first.peer, first.addrs)
        for kind, one in prepared.items():
            assert until(lambda one=one, kind=kind: one.record.read_bytes() != ours[kind], REPUBLISH_S + PATIENCE_S)
            raw = one.record.read_bytes()
            assert parse(raw).ttl_ns == 60 * 10**9, "the TTL of Kubo's own: ours has five minutes"
            assert (parse(raw).value, parse(raw).sequence) == (PATH.encode(), 41)
            check_no_flipped_byte(one.keys, raw)
            assert until(lambda: second.stats(lan=True).peers == 1, PATIENCE_S)
            key = key_of(one.keys)
            put = second.machine.edge.ask_for(dht.ValuePut, dht.PutValue(key, raw), PATIENCE_S)
            assert put.stored == 1
            assert value_at(first, key) == raw


def test_a_record_of_ours_is_kept_by_kubo_and_found_there_by_another(kubo: KuboFactory, tmp_path: Path) -> None:
    middle = kubo(settings=SETTINGS)
    with DhtHost.start(tmp_path / "one") as one, DhtHost.start(tmp_path / "two") as two:
        meet(one, middle)
        for sequence, keys in enumerate((ed25519(1), rsa()), 5):
            raw = make_record(keys, PATH, sequence, time.time())
            put = one.machine.edge.ask_for(dht.ValuePut, dht.PutValue(key_of(keys), raw), PATIENCE_S)
            assert put.stored == 1, "Kubo took it"
        one.close()
        meet(two, middle)
        for keys in (ed25519(1), rsa()):
            raw_found = value_at(two, key_of(keys))
            assert raw_found is not None
            assert parse(raw_found).value == PATH.encode()
        assert value_at(two, key_of(ed25519(2))) is None


@asynccontextmanager
async def stream_to(kubo: Kubo) -> AsyncIterator[tuple[Node, int]]:
    """A bare network of ours, connected, with a stream of the LAN DHT open."""
    async with trio.open_nursery() as nursery:
        network = Libp2pNetwork(generate().key, NetworkConfig())
        network.bind(nursery)
        node = Node(network)
        node.call("start", node.events, ["/ip4/127.0.0.1/tcp/0"])
        await network.ready()
        try:
            addr, _, peer = kubo.addrs[0].rpartition("/p2p/")
            node.call("dial", 1, peer, addr, 10.0)
            await until_true(lambda: node.outcome("dial", 1) == "dialed")
            ticket = node.open(peer, [wire.LAN_PROTOCOL])
            await until_true(lambda: node.outcome("open", ticket) == "stream_opened")
            yield node, node.opened(ticket)
        finally:
            node.stop()
            with trio.CancelScope(shield=True):
                await network.stopped()


async def until_true(condition: object) -> None:
    assert callable(condition)
    with trio.move_on_after(PATIENCE_S):
        while not condition():
            await trio.sleep(0.01)
    assert condition()


async def put(kubo: Kubo, key: bytes, raw: bytes) -> bool:
    """Whether Kubo takes ``raw``; else it resets the stream."""
    async with stream_to(kubo) as (node, stream):
        message = wire.Message(wire.Kind.PUT_VALUE, key, wire.Record(key, raw))
        node.send(stream, wire.encode(message))
        events = node.events
        await until_true(lambda: bool(events.frames[stream]) or events.streams[stream] == "closed")
        return bool(events.frames[stream])


def test_kubo_and_we_agree_on_what_is_valid(kubo: KuboFactory) -> None:
    """The same record, whole and damaged in each way that costs Kubo's consent, before both judges."""
    judge, keys = kubo(settings=SETTINGS), ed25519(3)
    key, now = key_of(keys), time.time()
    whole = make_record(keys, PATH, 7, now)
    record = parse(whole)
    at_signature, at_data = whole.index(record.signature), whole.rindex(record.data)
    cases = {
        "whole": whole,
        "later": make_record(keys, PATH, 8, now),
        "expired": make_record(keys, PATH, 9, now - 100, life_s=50),
        "signature": flipped(whole, at_signature + 5),
        "data": flipped(whole, at_data + 30),
        "old value": flipped(whole, 5),
        "another's": make_record(ed25519(4), PATH, 10, now),
        "cut": whole[:-1],
        "empty": b"",
    }
    ours: dict[str, bool] = {}
    for name, raw in cases.items():
        try:
            validators(keys).validate(key, raw, now)
            ours[name] = True
        except RemoteError:
            ours[name] = False
    theirs = {name: trio.run(put, judge, key, raw) for name, raw in cases.items()}
    assert theirs == ours
    assert {name for name, valid in ours.items() if valid} == {"whole", "later"}
    assert not trio.run(put, judge, key, whole), "it has a later one, and so it keeps that"


def flipped(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 0x40]) + raw[at + 1 :]
