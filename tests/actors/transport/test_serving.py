"""Which protocols an actor serves: what it says last, and nothing else."""

from shoal.messages import transport
from shoal.messages.replies import Done
from shoal.tests.actors.transport.test_transport_actor import Bench
from shoal.tests.support.scripted_network import connection


def test_a_protocol_that_is_left_out_is_served_no_more() -> None:
    bench = Bench()
    bench.tell(transport.ServeProtocol(("/a", "/b"), 1000), sender="dht")
    bench.tell(transport.ServeProtocol(("/c",), 1000), sender="bitswap")
    bench.network.take("serve_framed")
    bench.tell(transport.ServeProtocol(("/b",), 1000), sender="dht")
    assert bench.network.take("unserve_framed") == [("/a",)]
    assert bench.network.take("serve_framed") == [("/b", 1000)]
    assert bench.actor.framed.served == {"/b": "dht", "/c": "bitswap"}


def test_who_serves_nothing_is_told_who_is_here() -> None:
    bench = Bench()
    bench.actor.connected(connection(1, "p"))
    bench.ctx.take(transport.PeerConnected)
    bench.tell(transport.ServeProtocol((), 1000), sender="dht")
    assert bench.answers() == [Done()]
    assert bench.network.take("serve_framed") == []
    assert [(said.message.peer, said.to) for said in bench.ctx.take_said(transport.PeerConnected)] == [("p", "dht")]


def test_a_stream_that_came_as_its_protocol_went_is_reset() -> None:
    bench = Bench()
    bench.tell(transport.ServeProtocol(("/a",), 1000), sender="dht")
    bench.tell(transport.ServeProtocol((), 1000), sender="dht")
    bench.actor.connected(connection(1, "p"))
    bench.actor.stream_accepted(7, "p", "/a")
    assert bench.network.take("close_stream") == [(7, True)]
    assert 7 not in bench.actor.framed.rows
