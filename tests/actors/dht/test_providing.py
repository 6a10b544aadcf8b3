"""Telling the DHT what this node has."""

from __future__ import annotations

import msgspec
import pytest

from shoal.actors.discovery.dht import wire
from shoal.actors.discovery.dht.calls import OVERTAKEN_S
from shoal.actors.discovery.dht.keys import kad_id, multihash, peer_kad_id
from shoal.actors.discovery.dht.providing import PROGRESS_S
from shoal.actors.discovery.dht.regions import FRESH_SMALL_S
from shoal.actors.discovery.dht.sweep import LOOKUPS_AT_ONCE
from shoal.actors.discovery.dht.table import K
from shoal.messages import dht
from shoal.messages.cid import CID, DAG_PB
from shoal.messages.envelope import Envelope
from shoal.messages.routing import PeerAddrs
from shoal.tests.support.dht_bench import LISTEN, ME, Bench, names, silent
from shoal.tests.support.dht_keys import at, peer, private, public

CIDS = tuple(CID.of(b"content %d" % number) for number in range(30))


def records_of(bench: Bench) -> dict[bytes, set[str]]:
    """Who got a record, by key."""
    told: dict[bytes, set[str]] = {}
    for who, _, message in bench.asked:
        if message.kind is wire.Kind.ADD_PROVIDER:
            assert message.providers == (PeerAddrs(ME, LISTEN),)
            told.setdefault(message.key, set()).add(who)
    return told


def nearest(key: bytes, count: int, peers: int) -> set[str]:
    everybody = sorted(map(peer, range(1, peers + 1)), key=lambda who: peer_kad_id(who) ^ kad_id(key))
    return set(everybody[:count])


def all_know_all(bench: Bench, count: int) -> None:
    """Peers that name the nearest to what they are asked for, as servers do."""

    def answer(asked: wire.Message) -> wire.Message:
        near = sorted(range(1, count + 1), key=lambda number: peer_kad_id(peer(number)) ^ kad_id(asked.key))
        return wire.Message(asked.kind, asked.key, closer=tuple(at(number) for number in near[:K]))

    for number in range(1, count + 1):
        bench.serve(peer(number), answer)
    for number in range(1, 6):
        bench.connect(peer(number), (private(number),))
    bench.run(2.0)
    bench.asked.clear()


def test_each_key_is_told_to_the_twenty_nearest() -> None:
    bench = Bench()
    all_know_all(bench, 60)
    envelope = bench.tell(dht.ProvideCids(CIDS), sender="announce")
    *progress, last = bench.replies(envelope)
    told = records_of(bench)
    assert told == {multihash(cid): nearest(multihash(cid), K, 60) for cid in CIDS}
    assert isinstance(last, dht.Provided)
    assert (last.failed, last.records, last.reason) == ((), len(CIDS) * K, "")
    assert last.messages == len(bench.asked)
    done = [cid for one in progress if isinstance(one, dht.ProvideProgress) for cid in one.done]
    assert sorted(done) == sorted(CIDS)


def test_cids_of_one_hash_are_told_once_and_all_done() -> None:
    bench = Bench()
    bench.neighbours(3)
    same = (CID.of(b"x"), CID.of(b"x", DAG_PB), CID.of(b"x", DAG_PB, 0))
    envelope = bench.tell(dht.ProvideCids(same), sender="announce")
    progress, last = bench.replies(envelope)
    assert isinstance(progress, dht.ProvideProgress)
    assert set(progress.done) == set(same)
    assert isinstance(last, dht.Provided)
    assert last.records == 3
    assert list(records_of(bench)) == [multihash(same[0])]


def test_without_peers_or_an_address_nothing_can_be_told() -> None:
    alone = Bench()
    (last,) = alone.replies(alone.tell(dht.ProvideCids(CIDS), sender="announce"))
    assert isinstance(last, dht.Provided)
    assert last.failed == CIDS
    assert "no peer" in last.reason
    hidden = Bench(listen=())
    hidden.neighbours(3)
    (last,) = hidden.replies(hidden.tell(dht.ProvideCids(CIDS), sender="announce"))
    assert isinstance(last, dht.Provided)
    assert last.failed == CIDS
    assert "listens" in last.reason
    (nothing,) = alone.replies(alone.tell(dht.ProvideCids(()), sender="announce"))
    assert nothing == dht.Provided((), 0, 0, "")


def test_what_was_not_told_by_the_deadline_has_failed() -> None:
    bench = Bench()
    bench.neighbours(3)
    for number in (1, 2, 3):
        bench.serve(peer(number), silent)
    envelope = msgspec.structs.replace(
        Envelope(1, "ProvideCids", "announce", "dht", b""), id=10**6, deadline=bench.ctx.clock + 5.0
    )
    bench.actor.receive(dht.ProvideCids(CIDS), envelope)
    bench.run(4.99)
    (last,) = bench.replies(envelope)
    assert isinstance(last, dht.Provided)
    assert set(last.failed) == set(CIDS)
    assert last.reason == "the time is over"
    assert not bench.actor.providing.jobs
    bench.run(60.0)
    assert not bench.actor.searches.running
    assert len(bench.replies(envelope)) == 1


def test_progress_is_told_while_it_goes_on() -> None:
    bench = Bench()
    bench.neighbours(2)
    quick, slow, behind = sorted(CIDS[:3], key=lambda cid: kad_id(multihash(cid)))  # the order in which they are told
    found = names(at(1), at(2))
    bench.serve(peer(1), lambda asked: None if asked.key == multihash(slow) else found(asked))
    envelope = bench.tell(dht.ProvideCids(CIDS[:3]), sender="announce")
    assert bench.replies(envelope) == []
    bench.run(OVERTAKEN_S + 2 * PROGRESS_S)
    (progress,) = bench.replies(envelope)
    assert isinstance(progress, dht.ProvideProgress)
    assert set(progress.done) == {quick}
    bench.run(20.0)
    *rest, last = bench.replies(envelope)
    assert {cid for one in rest if isinstance(one, dht.ProvideProgress) for cid in one.done} >= {slow, behind}
    assert isinstance(last, dht.Provided)
    assert last.failed == ()


def test_few_lookups_run_at_a_time() -> None:
    bench = Bench()
    bench.neighbours(2)
    for number in (1, 2):
        bench.serve(peer(number), silent)
    bench.tell(dht.ProvideCids(CIDS), sender="announce")
    assert len(bench.actor.searches.running) <= LOOKUPS_AT_ONCE


@pytest.mark.parametrize("lan", [True, False])
def test_each_dht_is_told_the_addresses_that_count_there(lan: bool) -> None:
    listen = (private(0), public(0), "/ip4/127.0.0.1/tcp/1")
    bench = Bench(listen=listen)
    number = 1 if lan else 2
    protocol = wire.LAN_PROTOCOL if lan else wire.PUBLIC_PROTOCOL
    bench.serve(peer(number), names(), (protocol,))
    bench.connect(peer(number), (private(number) if lan else public(number),))
    bench.run()
    bench.tell(dht.ProvideCids(CIDS[:1]), sender="announce")
    (record,) = [message for _, _, message in bench.asked if message.kind is wire.Kind.ADD_PROVIDER]
    assert record.providers == (PeerAddrs(ME, (listen[0] if lan else listen[1],)),)


def test_both_dhts_are_told_and_one_is_enough() -> None:
    bench = Bench(listen=(private(0), public(0)))
    bench.serve(peer(1), names(), (wire.LAN_PROTOCOL,))
    bench.connect(peer(1), (private(1),))
    bench.serve(peer(2), names(), (wire.PUBLIC_PROTOCOL,))
    bench.connect(peer(2), (public(2),))
    bench.run()
    bench.asked.clear()
    envelope = bench.tell(dht.ProvideCids(CIDS[:2]), sender="announce")
    *_, last = bench.replies(envelope)
    assert isinstance(last, dht.Provided)
    assert (last.failed, last.records) == ((), 4)
    bench.peers[peer(2)] = silent
    bench.run(FRESH_SMALL_S)  # what was learnt of the network is not believed any more
    envelope = bench.tell(dht.ProvideCids(CIDS[2:4]), sender="announce")
    bench.run(30.0)
    *_, last = bench.replies(envelope)
    assert isinstance(last, dht.Provided)
    assert (last.failed, last.records) == ((), 2)


def test_a_server_among_the_nearest_keeps_the_record_too() -> None:
    bench = Bench()
    bench.neighbours(2)
    bench.tell(dht.ProvideCids(CIDS[:1]), sender="announce")
    ask = wire.Message(wire.Kind.GET_PROVIDERS, multihash(CIDS[0]))
    bench.receive(peer(200), ask)
    ((_, answer),) = bench.answers
    assert answer.providers == (PeerAddrs(ME, LISTEN),)


def test_jobs_of_an_announce_that_died_end() -> None:
    bench = Bench()
    bench.neighbours(2)
    bench.peers = dict.fromkeys(bench.peers, silent)
    bench.tell(dht.ProvideCids(CIDS), sender="announce")
    bench.restarted("announce")
    assert not bench.actor.providing.jobs
    bench.run(60.0)
    assert not bench.actor.searches.running
