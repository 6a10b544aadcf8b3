"""Requests of peers, as the actor answers them: credit, rates, slow readers, faults; and the two DHTs kept apart."""

from __future__ import annotations

import pytest

from shoal.actors.discovery.dht import wire
from shoal.actors.discovery.dht.keys import peer_bytes
from shoal.actors.discovery.dht.serving import STREAM_IDLE_S
from shoal.messages import dht, lifecycle, limits, routing, transport
from shoal.messages.block import Buffer
from shoal.messages.cid import CID
from shoal.messages.policy import LEECHER, WORKER
from shoal.tests.support.dht_bench import Bench
from shoal.tests.support.dht_keys import at, peer, private, public

KEY = b"\x12\x20" + bytes(32)
FIND = wire.Message(wire.Kind.FIND_NODE, peer_bytes(peer(5)))


def test_a_request_is_answered_on_its_stream_and_paid_for_when_the_answer_is_written() -> None:
    bench = Bench()
    bench.neighbours(10)
    bench.taken.clear()
    stream = bench.receive(peer(200), FIND)
    ((number, answer),) = bench.answers
    assert number == stream
    assert at(5) in answer.closer
    assert bench.taken == [transport.FrameTaken(stream, len(wire.encode(FIND)))]
    bench.receive(peer(200), FIND, stream)
    assert len(bench.answers) == 2


def test_a_provider_record_has_no_answer_and_is_paid_for() -> None:
    bench = Bench()
    record = wire.Message(wire.Kind.ADD_PROVIDER, KEY, providers=(at(200),))
    stream = bench.receive(peer(200), record)
    assert not bench.answers
    assert bench.taken == [transport.FrameTaken(stream, len(wire.encode(record)))]
    assert bench.kad().records.counts() == (1, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        wire.encode(wire.Message(wire.Kind.FIND_NODE)),
        wire.encode(wire.Message(wire.Kind.ADD_PROVIDER, KEY, providers=(at(1),))),
        wire.encode(wire.Message(wire.Kind.PUT_VALUE, b"/n/x", wire.Record(b"/n/x", b"1"))),
    ],
)
def test_a_bad_request_costs_its_sender_the_stream(data: bytes) -> None:
    bench = Bench()
    stream = bench.receive(peer(200), data)
    assert [(fault.peer, fault.stream) for fault in bench.faults] == [(peer(200), stream)]
    assert bench.taken == [transport.FrameTaken(stream, len(data))]
    assert not bench.answers
    assert bench.kad().records.counts() == (0, 0)


def test_67_a_peer_that_floods_is_not_answered_beyond_its_rate() -> None:
    bench = Bench()
    stream = bench.receive(peer(200), FIND)
    for _ in range(limits.DHT_SERVED_BURST.value + 50):
        bench.receive(peer(200), FIND, stream)
    assert len(bench.answers) == limits.DHT_SERVED_BURST.value
    assert bench.ctx.counts["requests_over_rate"] == 51
    bench.receive(peer(201), FIND)
    assert len(bench.answers) == limits.DHT_SERVED_BURST.value + 1, "others are answered"
    bench.run(1.0)
    bench.receive(peer(200), FIND)
    assert len(bench.answers) == limits.DHT_SERVED_BURST.value + 2


def test_a_peer_that_does_not_read_loses_its_stream() -> None:
    bench = Bench()
    bench.neighbours(40)
    sent = 0
    for _ in range(400):  # frames go in, and no answer is ever written
        frame = transport.FrameReceived(peer(200), 9000, wire.LAN_PROTOCOL, Buffer(wire.encode(FIND)))
        bench.ctx.tell(bench.actor, frame)
        sent += sum(len(part.data) for message in bench.ctx.take(transport.SendFrame) for part in message.parts)
    assert sent <= limits.DHT_ANSWERS_BYTES_PEER.value
    assert bench.ctx.counts["answers_not_taken"] > 0
    assert bench.actor.serving.unsent == sent
    bench.ctx.tell(bench.actor, transport.StreamClosed(peer(200), 9000, "reset"))
    assert bench.actor.serving.unsent == 0
    assert not bench.actor.serving.streams


def test_a_stream_that_its_peer_does_not_use_is_closed() -> None:
    bench = Bench()
    stream = bench.receive(peer(200), FIND)
    bench.run(STREAM_IDLE_S / 2)
    assert bench.receive(peer(200), FIND, stream) == stream
    bench.run(STREAM_IDLE_S * 0.9)
    assert not bench.closed
    bench.run(STREAM_IDLE_S * 0.4)
    assert bench.closed == [transport.CloseStream(stream)]
    assert not bench.actor.serving.streams


def test_what_is_told_on_one_dht_is_not_told_on_the_other() -> None:
    bench = Bench(listen=(private(0), public(0)))
    assert bench.served == [(wire.PUBLIC_PROTOCOL, wire.LAN_PROTOCOL)]
    bench.receive(peer(200), wire.Message(wire.Kind.ADD_PROVIDER, KEY, providers=(at(200),)))
    ask = wire.Message(wire.Kind.GET_PROVIDERS, KEY)
    bench.receive(peer(201), ask, protocol=wire.PUBLIC_PROTOCOL)
    bench.receive(peer(201), ask, protocol=wire.LAN_PROTOCOL)
    assert [answer.providers for _, answer in bench.answers] == [(), (at(200),)]


def test_a_role_that_does_not_serve_stops_serving() -> None:
    bench = Bench()
    bench.ctx.policy = LEECHER
    bench.tell(lifecycle.PolicyChanged(LEECHER), sender="supervisor")
    assert bench.served == [(wire.LAN_PROTOCOL,), ()]
    bench.receive(peer(200), FIND)
    assert not bench.answers
    bench.ctx.policy = WORKER
    bench.tell(lifecycle.PolicyChanged(WORKER), sender="supervisor")
    assert bench.served[-1] == (wire.LAN_PROTOCOL,)
    bench.receive(peer(200), FIND)
    assert len(bench.answers) == 1


def test_a_node_that_gets_a_public_address_becomes_a_server_of_the_public_dht() -> None:
    bench = Bench()
    bench.listen = (private(0), public(0))
    bench.run(61.0)
    assert bench.served == [(wire.LAN_PROTOCOL,), (wire.PUBLIC_PROTOCOL, wire.LAN_PROTOCOL)]


def test_the_figures() -> None:
    bench = Bench()
    bench.neighbours(3)
    bench.receive(peer(200), FIND)
    bench.receive(peer(200), wire.Message(wire.Kind.ADD_PROVIDER, KEY, providers=(at(200),)))
    bench.tell(routing.SearchSource(CID.of(b"x"), 1, 0))
    (stats,) = bench.replies(bench.tell(dht.DhtStat(), sender="edge"))
    assert isinstance(stats, dht.DhtStats)
    public_row, lan_row = stats.tables
    assert (public_row.lan, public_row.mode, public_row.peers) == (False, "client", 0)
    assert (lan_row.lan, lan_row.mode, lan_row.peers) == (True, "server", 3)
    assert (lan_row.served, lan_row.provider_records, lan_row.values) == (2, 1, 0)
    assert lan_row.queries == lan_row.answered == 6
    assert lan_row.lookups == 1
    assert sorted(one for bucket in lan_row.buckets for one in bucket.peers) == sorted(map(peer, (1, 2, 3)))
