"""What others ask of the DHT actor, from the first message to the last reply."""

from __future__ import annotations

import msgspec
import pytest

from shoal.actors.discovery.dht import wire
from shoal.actors.discovery.dht.calls import CALL_TIMEOUT_S
from shoal.actors.discovery.dht.keys import multihash, peer_bytes
from shoal.messages import dht, routing
from shoal.messages.cid import CID
from shoal.messages.policy import LEECHER, WORKER
from shoal.messages.replies import Failed
from shoal.messages.routing import PeerAddrs, Provider
from shoal.tests.actors.dht.test_server import VALIDATORS
from shoal.tests.support.dht_bench import ME, Answer, Bench, names, silent
from shoal.tests.support.dht_keys import at, peer, private, public

CONTENT = CID.of(b"content")
HOLDER = at(77)


def tells(provider: PeerAddrs, *closer: PeerAddrs) -> Answer:
    """A peer that knows a provider."""
    return lambda asked: wire.Message(asked.kind, asked.key, closer=closer, providers=(provider,))


def found(bench: Bench, envelope: object) -> list[Provider]:
    return [
        one
        for request, reply in bench.ctx.replies
        if request is envelope and isinstance(reply, routing.SourceFound)
        for one in reply.providers
    ]


def test_providers_are_told_as_they_come_and_then_the_end() -> None:
    bench = Bench()
    bench.neighbours(5)
    bench.serve(peer(3), tells(HOLDER))
    asked = bench.tell(routing.SearchSource(CONTENT, 1, 0))
    assert found(bench, asked) == [Provider(HOLDER.peer, HOLDER.addrs, routing.LAN_DHT)]
    *_, last = bench.replies(asked)
    assert last == routing.SourceEnded("", 5)
    keys = {message.key for _, _, message in bench.asked if message.kind is wire.Kind.GET_PROVIDERS}
    assert keys == {multihash(CONTENT)}


def test_a_provider_is_told_once_and_we_are_none() -> None:
    bench = Bench()
    bench.neighbours(5)
    for number in (1, 2):
        bench.serve(peer(number), tells(HOLDER))
    bench.serve(peer(3), tells(PeerAddrs(ME, (private(0),))))
    asked = bench.tell(routing.SearchSource(CONTENT, 1, 0))
    assert [one.peer for one in found(bench, asked)] == [HOLDER.peer]


def test_a_search_ends_when_enough_are_found() -> None:
    bench = Bench()
    bench.neighbours(15)
    for number in range(1, 16):
        bench.serve(peer(number), tells(at(100 + number)))
    asked = bench.tell(routing.SearchSource(CONTENT, 1, 2))
    assert len(found(bench, asked)) == 2
    assert isinstance(bench.replies(asked)[-1], routing.SourceEnded)


def test_a_provider_with_addresses_of_the_other_kind_is_told_without() -> None:
    bench = Bench()
    bench.neighbours(1)
    bench.serve(peer(1), tells(PeerAddrs(peer(77), (public(1), private(77)))))
    asked = bench.tell(routing.SearchSource(CONTENT, 1, 0))
    assert found(bench, asked) == [Provider(peer(77), (private(77),), routing.LAN_DHT)]


def test_what_peers_provided_here_is_told_at_once() -> None:
    bench = Bench()
    record = wire.Message(wire.Kind.ADD_PROVIDER, multihash(CONTENT), providers=(HOLDER,))
    bench.receive(HOLDER.peer, record)
    asked = bench.tell(routing.SearchSource(CONTENT, 1, 1))
    assert [one.peer for one in found(bench, asked)] == [HOLDER.peer]
    assert bench.replies(asked)[-1] == routing.SourceEnded("no peers", 0)


def test_no_search_outlives_its_deadline_nor_answers_after_it_was_stopped() -> None:
    bench = Bench()
    bench.neighbours(3)
    for number in (1, 2, 3):
        bench.serve(peer(number), silent)
    envelope = msgspec.structs.replace(
        bench.ctx.tell(bench.actor, routing.StopSource(0)), id=10**6, deadline=bench.ctx.clock + 3.0
    )
    bench.actor.receive(routing.SearchSource(CONTENT, 5, 0), envelope)
    bench.run(2.9)
    assert bench.replies(envelope) == []
    bench.run(0.09)
    assert bench.replies(envelope) == [routing.SourceEnded("deadline", 3)]

    stopped = bench.tell(routing.SearchSource(CONTENT, 6, 0))
    bench.tell(routing.StopSource(6))
    bench.run(100.0)
    assert bench.replies(stopped) == []


def test_a_silent_peer_is_given_up_and_left_out_of_the_table() -> None:
    bench = Bench()
    bench.neighbours(3)
    assert peer(2) in bench.kad().table
    bench.serve(peer(2), silent)
    asked = bench.tell(routing.SearchSource(CONTENT, 1, 0))
    assert bench.replies(asked) == []
    bench.run(CALL_TIMEOUT_S)
    assert bench.replies(asked) == [routing.SourceEnded("", 3)]
    assert peer(2) not in bench.kad().table
    assert [close.reset for close in bench.closed] == [True]


def test_peers_that_are_named_are_dialled_and_join_the_table() -> None:
    bench = Bench()
    bench.neighbours(1)
    bench.serve(peer(50), tells(HOLDER))
    bench.serve(peer(1), names(at(50), PeerAddrs(peer(51), (public(51),)), at(52)))
    bench.tell(routing.SearchSource(CONTENT, 1, 0))
    assert {dial.peer for dial in bench.dials} == {peer(50), peer(52)}, "one has no address of this DHT"
    assert peer(50) in bench.kad().table
    seen = bench.ctx.take(routing.PeersSeen)[-1]
    assert {one.peer for one in seen.peers} == {peer(1), peer(50)}
    assert seen.source == routing.LAN_DHT


def test_66_ourselves_in_an_answer_are_not_dialled() -> None:
    bench = Bench()
    bench.neighbours(1)
    bench.serve(peer(1), names(PeerAddrs(ME, (private(5),)), at(1)))
    asked = bench.tell(routing.SearchSource(CONTENT, 1, 0))
    assert not bench.dials
    assert bench.replies(asked) == [routing.SourceEnded("", 1)]


def test_61_an_answer_of_ten_thousand_peers_costs_its_sender_the_stream() -> None:
    bench = Bench()
    bench.neighbours(2)
    crowd = tuple(at(number) for number in range(100, 10_100))
    bench.serve(peer(1), lambda asked: wire.encode(wire.Message(asked.kind, asked.key, closer=crowd)))
    asked = bench.tell(routing.SearchSource(CONTENT, 1, 0))
    assert [(fault.peer, fault.code) for fault in bench.faults] == [(peer(1), "closer-peers")]
    assert not bench.dials
    assert bench.replies(asked) == [routing.SourceEnded("", 2)]


def test_62_peers_of_one_network_do_not_fill_the_public_table() -> None:
    bench = Bench(listen=(public(0),))
    for number in range(1, 40):
        bench.serve(peer(number), names(), (wire.PUBLIC_PROTOCOL,))
        bench.connect(peer(number), (f"/ip4/8.8.8.{number}/tcp/4001",))
    bench.run()
    assert len(bench.kad(lan=False).table) == 3


@pytest.mark.parametrize("answer", [b"\xff", b"", wire.encode(wire.Message(wire.Kind.PING))])
def test_an_answer_that_is_none_is_a_fault_of_the_peer(answer: bytes) -> None:
    bench = Bench()
    bench.neighbours(1)
    bench.serve(peer(1), lambda _: answer)
    asked = bench.tell(routing.SearchSource(CONTENT, 1, 0))
    assert [fault.peer for fault in bench.faults] == [peer(1)]
    assert bench.replies(asked) == [routing.SourceEnded("", 1)]
    assert peer(1) not in bench.kad().table


# --- peers -----------------------------------------------------------------------------------------------


def test_a_peer_is_found_where_a_dial_proves_it() -> None:
    bench = Bench()
    bench.neighbours(2)
    bench.serve(peer(60), names())
    lie = "/ip4/10.66.66.66/tcp/1"
    bench.serve(peer(1), names(PeerAddrs(peer(60), (private(60), lie))))
    asked = bench.tell(routing.SearchPeer(peer(60)))
    (answer,) = bench.replies(asked)
    assert answer == routing.PeerFound(peer(60), (private(60), lie), routing.LAN_DHT)


def test_a_peer_that_nobody_knows_is_not_found() -> None:
    bench = Bench()
    bench.neighbours(2)
    asked = bench.tell(routing.SearchPeer(peer(60)))
    (answer,) = bench.replies(asked)
    assert isinstance(answer, Failed)
    assert answer.error == "NotFound"


def test_a_peer_that_cannot_be_dialled_is_told_as_it_was_named() -> None:
    bench = Bench()
    bench.neighbours(2)
    bench.serve(peer(1), names(at(60)))
    asked = bench.tell(routing.SearchPeer(peer(60)))
    assert bench.replies(asked) == [routing.PeerFound(peer(60), (private(60),), routing.LAN_DHT)]


def test_what_is_no_peer_id_is_the_users_fault() -> None:
    bench = Bench()
    bench.neighbours(1)
    (answer,) = bench.replies(bench.tell(routing.SearchPeer("nonsense")))
    assert isinstance(answer, Failed)
    assert answer.error == "BadInput"


def test_the_nearest_are_told_nearest_first() -> None:
    bench = Bench()
    bench.neighbours(12)
    (answer,) = bench.replies(bench.tell(dht.ClosestPeers(peer_bytes(peer(4)), lan=True), sender="edge"))
    assert isinstance(answer, dht.ClosestFound)
    assert answer.peers[0] == at(4)
    assert len(answer.peers) == answer.messages == 12
    assert answer.lan


# --- values ----------------------------------------------------------------------------------------------


def holds(*values: tuple[bytes, bytes]) -> Answer:
    """A peer that keeps these values and takes others."""
    kept = dict(values)

    def answer(asked: wire.Message) -> wire.Message:
        if asked.kind is wire.Kind.PUT_VALUE:
            assert asked.record is not None
            kept[asked.key] = asked.record.value
            return asked
        record = wire.Record(asked.key, kept[asked.key]) if asked.key in kept else None
        return wire.Message(asked.kind, asked.key, record)

    return answer


def test_the_best_value_is_found_and_who_had_a_worse_one_is_told() -> None:
    bench = Bench(validators=VALIDATORS)
    bench.neighbours(4)
    bench.serve(peer(1), holds((b"/n/x", b"3")))
    bench.serve(peer(2), holds((b"/n/x", b"5")))
    bench.serve(peer(3), holds((b"/n/x", b"not valid")))
    asked = bench.tell(dht.GetValue(b"/n/x"), sender="edge")
    assert bench.replies(asked) == [dht.ValueFound(b"/n/x", b"5", True)]
    put = [(who, message.record) for who, _, message in bench.asked if message.kind is wire.Kind.PUT_VALUE]
    assert put == [(peer(1), wire.Record(b"/n/x", b"5"))]
    assert bench.ctx.counts["invalid_values"] == 1


def test_no_value_is_found() -> None:
    bench = Bench(validators=VALIDATORS)
    bench.neighbours(2)
    (answer,) = bench.replies(bench.tell(dht.GetValue(b"/n/x"), sender="edge"))
    assert isinstance(answer, Failed)
    assert answer.error == "NotFound"


def test_a_value_is_put_at_the_nearest_and_counted_by_their_echo() -> None:
    bench = Bench(validators=VALIDATORS)
    bench.neighbours(4)
    for number in (1, 2, 3):
        bench.serve(peer(number), holds())
    asked = bench.tell(dht.PutValue(b"/n/x", b"9"), sender="edge")
    (answer,) = bench.replies(asked)
    assert isinstance(answer, dht.ValuePut)
    assert answer.stored >= 3


@pytest.mark.parametrize("key", [b"/other/x", b"nonsense", b""])
def test_a_value_without_rules_is_the_users_fault(key: bytes) -> None:
    bench = Bench(validators=VALIDATORS)
    bench.neighbours(1)
    for message in (dht.GetValue(key), dht.PutValue(key, b"1")):
        (answer,) = bench.replies(bench.tell(message, sender="edge"))
        assert isinstance(answer, Failed)
        assert answer.error == "BadInput"


# --- policy ----------------------------------------------------------------------------------------------


def test_with_the_dht_off_nothing_is_asked_served_or_answered() -> None:
    bench = Bench(msgspec.structs.replace(WORKER, find_by_dht=False))
    bench.neighbours(3)
    assert bench.served == [()]
    assert not bench.asked
    for message in (routing.SearchSource(CONTENT, 1), routing.SearchPeer(peer(1)), dht.GetValue(b"/n/x")):
        (answer,) = bench.replies(bench.tell(message))
        assert isinstance(answer, Failed)
        assert "find_by_dht" in answer.reason


def test_a_leecher_asks_and_does_not_serve() -> None:
    bench = Bench(LEECHER)
    bench.neighbours(3)
    assert bench.served == [()]
    assert len(bench.kad().table) == 3
    assert bench.kad().mode == "client"
    bench.receive(peer(1), wire.Message(wire.Kind.PING))
    assert not bench.answers
    assert bench.closed[-1].reset


@pytest.mark.parametrize(
    ("listen", "modes"),
    [
        ((private(0),), {True: "server", False: "client"}),
        ((public(0),), {True: "client", False: "server"}),
        ((public(0), private(0)), {True: "server", False: "server"}),
        (("/ip4/127.0.0.1/tcp/1",), {True: "server", False: "client"}),
        (("/ip4/127.0.0.1/tcp/1", public(0)), {True: "client", False: "server"}),
        ((), {True: "client", False: "client"}),
    ],
)
def test_a_node_serves_where_others_can_reach_it(listen: tuple[str, ...], modes: dict[bool, str]) -> None:
    bench = Bench(listen=listen)
    assert {kad.lan: kad.mode for kad in bench.actor.kads} == modes
    wanted = [kad.protocol for kad in bench.actor.kads if modes[kad.lan] == "server"]
    assert bench.served == [tuple(wanted)]
