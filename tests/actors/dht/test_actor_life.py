"""The DHT actor through its own and others' lives: joining, streams that break, restarts, refreshes."""

from __future__ import annotations

import pytest

from shoal.actors.discovery.dht import wire
from shoal.actors.discovery.dht.actor import JOIN_WAIT_S, UPKEEP_S
from shoal.actors.discovery.dht.calls import CALL_TIMEOUT_S, IDLE_S, OVERTAKEN_S, SWEEP_S
from shoal.actors.discovery.dht.kad import FAILED_S
from shoal.actors.discovery.dht.keys import common_prefix, kad_id, multihash, peer_bytes
from shoal.actors.discovery.dht.lines import Outcome
from shoal.actors.discovery.dht.lookup import LOST_WAIT_S
from shoal.actors.discovery.dht.table import SILENT_S
from shoal.messages import dht, limits, routing, transport
from shoal.messages.block import Buffer
from shoal.messages.cid import CID
from shoal.messages.replies import Failed
from shoal.messages.routing import PeerAddrs
from shoal.tests.support.dht_bench import ME, Bench, names, silent
from shoal.tests.support.dht_keys import at, peer, private

CONTENT = CID.of(b"content")


def asked_of(bench: Bench, who: str) -> list[wire.Message]:
    return [message for one, _, message in bench.asked if one == who]


# --- joining -----------------------------------------------------------------------------------------------


def test_it_serves_only_when_it_knows_who_it_is_and_asks_until_it_does() -> None:
    bench = Bench(start=False)
    bench.actor.on_start()
    (who,) = bench.ctx.take_said(transport.WhoAmI)
    assert not bench.ctx.take(transport.ServeProtocol)
    early = bench.ctx.tell(bench.actor, routing.SearchPeer(peer(1)))
    assert isinstance(bench.replies(early)[0], Failed)
    who.answer(Failed("WhoAmI", "Unavailable", "restarting"))
    bench.run(2.0)
    assert bench.served == [(wire.LAN_PROTOCOL,)]


def test_a_transport_that_does_not_answer_is_asked_again_to_serve() -> None:
    bench = Bench(start=False)
    bench.actor.on_start()
    (who,) = bench.ctx.take_said(transport.WhoAmI)
    who.answer(transport.Identity(ME, (f"{private(0)}/p2p/{ME}",), "", ()))
    (serve,) = bench.ctx.take_said(transport.ServeProtocol)
    serve.answer(Failed("ServeProtocol", "Unavailable", "restarting"))
    bench.run(2.0)
    assert bench.served == [(wire.LAN_PROTOCOL,)]


def test_only_servers_that_answer_enter_the_table() -> None:
    bench = Bench()
    bench.serve(peer(1), names())
    bench.serve(peer(2), names(), protocols=())
    bench.serve(peer(3), silent)
    for number in (1, 2, 3):
        bench.connect(peer(number), (private(number),))
    bench.run()
    assert [row.peer for row in bench.kad().table.rows()] == [peer(1)]
    assert not asked_of(bench, peer(2)), "a client is not asked"
    bench.run(CALL_TIMEOUT_S)
    assert peer(3) not in bench.kad().table


def test_the_first_peers_lead_to_a_walk_to_our_own_id() -> None:
    bench = Bench()
    bench.serve(peer(2), names())
    bench.serve(peer(1), names(at(2)))
    bench.connect(peer(1), (private(1),))
    bench.run()
    assert peer(2) not in bench.kad().table
    bench.run(JOIN_WAIT_S)
    assert peer(2) in bench.kad().table
    assert asked_of(bench, peer(2))[0].key == peer_bytes(ME)
    assert bench.kad().lookups == 1
    (seen,) = bench.ctx.take(routing.PeersSeen)
    assert {one.peer for one in seen.peers} == {peer(1), peer(2)}


def test_a_peer_that_serves_no_more_leaves_the_table() -> None:
    bench = Bench()
    bench.neighbours(2)
    bench.ctx.tell(bench.actor, transport.PeerIdentified(peer(1), "test", (), (private(1),)))
    assert peer(1) not in bench.kad().table


def test_a_disconnected_peer_stays_in_the_table_and_is_dialled_again() -> None:
    bench = Bench()
    bench.neighbours(2)
    bench.disconnect(peer(1))
    assert peer(1) in bench.kad().table
    bench.tell(routing.SearchSource(CONTENT, 1, 0))
    assert [dial.peer for dial in bench.dials] == [peer(1)]


def test_who_has_been_silent_is_asked_and_dropped_when_it_is_gone() -> None:
    bench = Bench()
    bench.neighbours(3)
    bench.run(2.0)
    bench.asked.clear()
    del bench.peers[peer(1)]
    bench.disconnect(peer(1))
    bench.run(SILENT_S + 4 * UPKEEP_S)
    assert peer(1) not in bench.kad().table
    assert asked_of(bench, peer(2))
    assert len(bench.asked) < 20


# --- streams ---------------------------------------------------------------------------------------------


def test_one_stream_serves_several_requests_and_is_closed_when_idle() -> None:
    bench = Bench()
    bench.neighbours(1)
    for ticket in range(5):
        bench.tell(routing.SearchSource(CONTENT, ticket, 0))
    assert len(bench.streams) == 1
    assert len(asked_of(bench, peer(1))) >= 5
    bench.run(IDLE_S + 2 * SWEEP_S)
    assert not bench.streams
    assert [close.reset for close in bench.closed] == [False]
    bench.tell(routing.SearchSource(CONTENT, 9, 0))
    assert len(bench.streams) == 1


def test_a_stream_that_the_peer_ends_between_two_calls_is_opened_again() -> None:
    """As py-libp2p's servers do after every answer."""
    bench = Bench()
    bench.neighbours(1)
    (stream,) = bench.streams
    del bench.streams[stream]
    bench.ctx.tell(bench.actor, transport.StreamClosed(peer(1), stream, ""))
    envelope = bench.tell(routing.SearchSource(CONTENT, 1, 0))
    assert bench.replies(envelope) == [routing.SourceEnded("", 1)]
    assert peer(1) in bench.kad().table


def test_a_call_that_meets_the_end_of_an_old_stream_is_made_again() -> None:
    bench = Bench()
    bench.neighbours(1)
    (stream,) = bench.streams
    bench.ctx.tell(bench.actor, routing.SearchSource(CONTENT, 1, 0))
    bench.ctx.advance(0.0)
    assert len(bench.ctx.take(transport.SendFrame)) == 1
    del bench.streams[stream]
    bench.ctx.tell(bench.actor, transport.StreamClosed(peer(1), stream, "reset"))
    bench.run()
    assert [reply for _, reply in bench.ctx.replies] == [routing.SourceEnded("", 1)]


def test_a_peer_that_ends_every_stream_is_given_up() -> None:
    bench = Bench()
    bench.neighbours(1)
    bench.peers[peer(1)] = silent
    envelope = bench.tell(routing.SearchSource(CONTENT, 1, 0))
    for _ in range(3):
        for stream in list(bench.streams):
            del bench.streams[stream]
            bench.ctx.tell(bench.actor, transport.StreamClosed(peer(1), stream, "reset"))
        bench.run()
    assert bench.replies(envelope) == [routing.SourceEnded("", 1)]
    assert not len(bench.kad().table)


def test_an_answer_that_nobody_asked_for_costs_the_stream() -> None:
    bench = Bench()
    bench.neighbours(1)
    (stream,) = bench.streams
    answer = wire.encode(wire.Message(wire.Kind.FIND_NODE, closer=(at(9),)))
    bench.ctx.tell(bench.actor, transport.FrameReceived(peer(1), stream, wire.LAN_PROTOCOL, Buffer(answer)))
    bench.run()
    assert [(fault.stream, fault.code) for fault in bench.faults] == [(stream, "unasked")]


def test_who_did_not_answer_is_not_dialled_again_for_a_while() -> None:
    bench = Bench()
    bench.neighbours(1)
    bench.peers[peer(1)] = names(at(70), at(1))
    for ticket in range(3):
        bench.tell(routing.SearchSource(CONTENT, ticket, 0))
    assert [dial.peer for dial in bench.dials] == [peer(70)]
    bench.run(FAILED_S + 1)
    bench.tell(routing.SearchSource(CONTENT, 9, 0))
    assert [dial.peer for dial in bench.dials] == [peer(70), peer(70)]


def test_a_call_that_takes_long_does_not_hold_up_those_behind_it() -> None:
    bench = Bench()
    bench.neighbours(1)
    found = names()
    slow = CID.of(b"slow")
    bench.peers[peer(1)] = lambda asked: None if asked.key == multihash(slow) else found(asked)
    late = bench.tell(routing.SearchSource(slow, 1, 0))
    for ticket in range(2, 10):
        bench.tell(routing.SearchSource(CONTENT, ticket, 0))
    assert not bench.ctx.replies
    bench.run(OVERTAKEN_S)
    assert len(bench.ctx.replies) == 8
    assert len(bench.streams) == 2
    bench.run(CALL_TIMEOUT_S)
    assert bench.replies(late) == [routing.SourceEnded("", 1)]
    assert len(bench.streams) == 1
    assert bench.actor.calls.open == 0


def test_a_late_answer_on_a_stream_of_its_own_counts() -> None:
    bench = Bench()
    bench.neighbours(1)
    bench.peers[peer(1)] = silent
    late = bench.tell(routing.SearchSource(CONTENT, 1, 0))
    (stream,) = bench.streams
    bench.tell(routing.SearchSource(CID.of(b"behind"), 2, 0))
    bench.run(OVERTAKEN_S)
    answer = wire.encode(wire.Message(wire.Kind.GET_PROVIDERS, multihash(CONTENT), providers=(at(77),)))
    bench.ctx.tell(bench.actor, transport.FrameReceived(peer(1), stream, wire.LAN_PROTOCOL, Buffer(answer)))
    bench.run()
    assert len(bench.replies(late)) == 2
    assert stream not in bench.streams
    assert len(bench.streams) == 1


def test_calls_are_bounded() -> None:
    bench = Bench()
    ended: list[str] = []
    for number in range(limits.DHT_CALLS_MAX.value + 10):
        bench.actor.calls.call(
            peer(number % 50 + 1),
            (private(1),),
            wire.LAN_PROTOCOL,
            wire.Message(wire.Kind.PING),
            lambda one: ended.append(one.failure),
        )
    bench.ctx.advance(0.0)
    assert len(ended) == 10
    bench.run(1.0)
    assert len(ended) == limits.DHT_CALLS_MAX.value + 10
    assert bench.actor.calls.open == 0


def test_dials_are_bounded_and_who_waits_for_one_is_not_blamed() -> None:
    bench = Bench()
    ended: list[Outcome] = []
    for number in range(1, limits.DHT_DIALS_MAX.value + 11):
        ping = wire.Message(wire.Kind.PING)
        bench.actor.calls.call(peer(number), (private(number),), wire.LAN_PROTOCOL, ping, ended.append)
    first = bench.ctx.take_said(transport.Dial)
    assert len(first) == limits.DHT_DIALS_MAX.value
    first[0].answer(Failed("Dial", "NotFound", "nobody is there"))
    assert len(bench.ctx.take_said(transport.Dial)) == 1
    bench.ctx.advance(CALL_TIMEOUT_S)
    assert [one.ours for one in ended] == [False] * (limits.DHT_DIALS_MAX.value + 1) + [True] * 9
    assert bench.actor.calls.open == 0


# --- restarts --------------------------------------------------------------------------------------------


def test_with_a_new_transport_it_serves_again_and_goes_on() -> None:
    bench = Bench()
    bench.neighbours(3)
    bench.peers = dict.fromkeys(bench.peers, silent)
    envelope = bench.tell(routing.SearchSource(CONTENT, 1, 0))
    assert len(bench.asked) >= 3
    bench.peers = dict.fromkeys(bench.peers, names())
    bench.restarted("transport")
    assert bench.served == [(wire.LAN_PROTOCOL,)] * 2
    bench.run(LOST_WAIT_S + 0.1)
    assert bench.replies(envelope) == [routing.SourceEnded("", 6)]
    assert {dial.peer for dial in bench.dials} == set(map(peer, (1, 2, 3))), "the way was lost, not the peers"
    assert len(bench.kad().table) == 3


def test_searches_of_a_routing_that_died_end() -> None:
    bench = Bench()
    bench.neighbours(3)
    bench.peers = dict.fromkeys(bench.peers, silent)
    envelope = bench.tell(routing.SearchSource(CONTENT, 1, 0))
    bench.restarted("routing")
    assert not bench.actor.searches.running
    bench.run(CALL_TIMEOUT_S * 2)
    assert bench.replies(envelope) == []


def test_a_new_actor_fills_its_table_from_who_is_connected() -> None:
    """What the transport tells a new one: who is here, and what identify said."""
    old, new = Bench(), Bench()
    old.neighbours(5)
    for number in range(1, 6):
        new.serve(peer(number), old.peers[peer(number)])
        new.connect(peer(number), (private(number),))
    new.run()
    assert {row.peer for row in new.kad().table.rows()} == {row.peer for row in old.kad().table.rows()}


def test_an_emptied_table_is_filled_again_from_the_connected() -> None:
    bench = Bench()
    bench.neighbours(2)
    bench.peers = dict.fromkeys(bench.peers, silent)
    bench.tell(routing.SearchSource(CONTENT, 1, 0))
    bench.run(CALL_TIMEOUT_S)
    assert not len(bench.kad().table)
    bench.peers = dict.fromkeys(bench.peers, names())
    bench.run(UPKEEP_S)
    assert len(bench.kad().table) == 2


# --- the random walk's questions -----------------------------------------------------------------------


def test_buckets_that_are_due_have_keys_that_fall_into_them() -> None:
    bench = Bench()
    bench.neighbours(12)
    ask = dht.WalkTargets(3600.0, 20)
    (answer,) = bench.replies(bench.tell(ask, sender="walk"))
    assert isinstance(answer, dht.WalkTargetsFound)
    first, *rest = answer.targets
    assert (first.key, first.prefix, first.lan) == (peer_bytes(ME), 256, True)
    assert [target.prefix for target in rest] == list(range(len(rest)))
    for target in rest:
        assert common_prefix(kad_id(target.key), bench.kad().table.at) == target.prefix
    for target in answer.targets:
        bench.tell(dht.ClosestPeers(target.key, lan=True), sender="walk")
    (answer,) = bench.replies(bench.tell(ask, sender="walk"))
    assert answer == dht.WalkTargetsFound(())


@pytest.mark.parametrize("most", [0, 1, 3])
def test_no_more_targets_are_told_than_were_asked_for(most: int) -> None:
    bench = Bench()
    bench.neighbours(12)
    (answer,) = bench.replies(bench.tell(dht.WalkTargets(3600.0, most), sender="walk"))
    assert isinstance(answer, dht.WalkTargetsFound)
    assert len(answer.targets) == most


def test_an_empty_table_is_not_walked() -> None:
    bench = Bench()
    (answer,) = bench.replies(bench.tell(dht.WalkTargets(0.0, 9), sender="walk"))
    assert answer == dht.WalkTargetsFound(())
    (closest,) = bench.replies(bench.tell(dht.ClosestPeers(b"x", lan=True), sender="walk"))
    assert isinstance(closest, dht.ClosestFound)
    assert closest.peers == ()
    assert PeerAddrs(peer(1), ()) not in closest.peers
