"""Actors that watch who is connected and speak no protocol: a new one of them is told who is here."""

import pytest

from shoal.actors.transport.network import PeerFacts
from shoal.messages import lifecycle, transport
from shoal.tests.actors.transport.test_transport_actor import A, Bench
from shoal.tests.support.scripted_network import connection


@pytest.mark.parametrize("name", ["bootstrap", "routing"])
def test_a_new_watcher_is_told_who_is_here(name: str) -> None:
    bench = Bench()
    bench.actor.connected(connection(1, "p", inbound=False))
    bench.actor.identified("p", PeerFacts("x", ("/y",), (A,), ""))
    bench.ctx.said.clear()
    bench.tell(lifecycle.ActorRestarted(name, 2))
    assert [(said.to, said.message.peer) for said in bench.ctx.take_said(transport.PeerConnected)] == [(name, "p")]
    assert [said.to for said in bench.ctx.take_said(transport.PeerIdentified)] == [name]


def test_others_are_not() -> None:
    bench = Bench()
    bench.actor.connected(connection(1, "p", inbound=False))
    bench.ctx.said.clear()
    bench.tell(lifecycle.ActorRestarted("wantlist", 2))
    assert not bench.ctx.take(transport.PeerConnected)
