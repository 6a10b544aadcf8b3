"""The provide sweep against networks whose truth is known: who is told, by how many lookups, and that it ends."""

import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.discovery.dht.delivery import FAILURES_MAX, SENDS_MAX, SENDS_PER_PEER, Delivery
from shoal.actors.discovery.dht.keys import BITS, kad_id
from shoal.actors.discovery.dht.rates import Rates
from shoal.actors.discovery.dht.regions import FRESH_S, FRESH_SMALL_S, Regions
from shoal.actors.discovery.dht.sweep import BARREN_MAX, LOOKUPS_AT_ONCE
from shoal.actors.discovery.dht.table import K
from shoal.messages.routing import PeerAddrs
from shoal.tests.actors.dht.sweep_network import Network, Telling, keys_of, peers_of, share_of_true


def network_of(count: int, seed: int = 0, missed: float = 0.0) -> Network:
    rng = random.Random(seed)
    return Network(peers_of(count, rng), rng, missed)


def swept(network: Network, keys: Sequence[bytes], regions: Regions | None = None) -> Telling:
    telling = Telling(network, regions)
    telling.sweep.begin(keys)
    network.run()
    assert telling.records.keys() == set(keys)
    assert telling.overs == 1
    return telling


# --- what is known -----------------------------------------------------------------------------------


@given(st.integers(0, 150), st.integers(0, 30), st.integers(0, 2**32))
def test_what_is_known_is_the_truth(peers: int, lookups: int, seed: int) -> None:
    """Whatever was looked up, and whoever was lost, the nearest are the true ones or not known."""
    network, regions, rng = network_of(peers, seed), Regions(), random.Random(seed)
    for key in keys_of(lookups, rng):
        near = network.nearest(key)
        if near:
            regions.learn(kad_id(key), near, 0.0)
            assert len(near) < K or regions.covers(kad_id(key), 0.0)
        for probe in (key, *keys_of(5, rng)):
            known = regions.nearest(kad_id(probe), 0.0)
            assert known is None or known == network.nearest(probe)


@given(st.integers(K, 150), st.integers(0, 2**32))
def test_all_is_known_in_the_end(peers: int, seed: int) -> None:
    network, regions, rng = network_of(peers, seed), Regions(), random.Random(seed)
    lookups = 0
    for key in keys_of(50 * peers, rng):
        if not regions.covers(kad_id(key), 0.0):
            lookups += 1
            regions.learn(kad_id(key), network.nearest(key), 0.0)
    assert lookups <= peers
    probes = keys_of(20, rng)
    assert [regions.nearest(kad_id(key), 0.0) for key in probes] == [network.nearest(key) for key in probes]
    lost = network.nearest(probes[0])[0]
    regions.lost(lost.peer)
    known = regions.nearest(kad_id(probes[0]), 0.0)
    assert known == [peer for peer in network.nearest(probes[0], K + 1) if peer != lost]


@given(st.integers(K, 100), st.integers(K, 100), st.integers(0, 2**32))
def test_newer_lookups_take_the_place_of_older_ones(before: int, after: int, seed: int) -> None:
    """The network is another one half an hour later; what is known is what the later lookups have shown."""
    old, new, regions, rng = network_of(before, seed), network_of(after, seed + 1), Regions(), random.Random(seed)
    for key in keys_of(40, rng):
        regions.learn(kad_id(key), old.nearest(key), 0.0)
    for key in keys_of(10, rng):
        regions.learn(kad_id(key), new.nearest(key), FRESH_S / 2)
    for key in keys_of(20, rng):
        known = regions.nearest(kad_id(key), FRESH_S)
        assert known is None or known == new.nearest(key)
    assert all(regions.nearest(kad_id(key), 1.5 * FRESH_S) is None for key in keys_of(5, rng))


def test_a_network_of_few_is_believed_when_two_lookups_agree_and_not_for_long() -> None:
    network, regions = network_of(5), Regions()
    first, second, probe = keys_of(3, random.Random(1))
    assert regions.learn(kad_id(first), network.nearest(first), 0.0) == BITS
    assert regions.nearest(kad_id(first), 0.0) is None
    regions.learn(kad_id(second), network.nearest(second), 0.0)
    assert regions.nearest(kad_id(probe), 0.0) == network.nearest(probe)
    assert regions.nearest(kad_id(probe), FRESH_SMALL_S) is None


def test_a_lookup_that_found_few_by_mistake_claims_nothing() -> None:
    network, regions = network_of(100), Regions()
    first, second = keys_of(2, random.Random(1))
    regions.learn(kad_id(first), network.nearest(first)[:3], 0.0)
    regions.learn(kad_id(second), network.nearest(second)[:3], 0.0)
    assert regions.nearest(kad_id(first), 0.0) is None
    assert not regions.covers(kad_id(second), 0.0)


# --- the sweep ---------------------------------------------------------------------------------------


@given(st.integers(0, 120), st.integers(0, 200), st.integers(0, 2**32))
def test_every_key_is_told_to_the_nearest_and_no_key_costs_two_lookups(peers: int, keys: int, seed: int) -> None:
    network = network_of(peers, seed)
    batch = keys_of(keys, random.Random(seed + 1))
    telling = swept(network, batch)
    assert network.lookups <= keys
    for key in batch:
        near = [peer.peer for peer in network.nearest(key)]
        assert sorted(network.given.get(key, [])) == sorted(near)
        assert telling.records[key] == len(near)
        assert telling.placed.get(key, ()) == tuple(near)


def test_many_keys_take_few_lookups() -> None:
    """Each lookup shows some 13 peers for good: 20,000 keys cost what 1,000 cost, and no record is misplaced."""
    network = network_of(1_000)
    keys = keys_of(20_000, random.Random(2))
    swept(network, keys)
    assert network.lookups < 1_000 / 12
    assert network.sends == 20 * len(keys)
    assert share_of_true(network, keys[:2_000]) == 1.0


def test_lookups_that_pass_some_over_cost_no_more_than_what_they_miss() -> None:
    network = network_of(1_000, missed=0.005)
    keys = keys_of(5_000, random.Random(2))
    swept(network, keys)
    assert network.lookups < 1_000 / 12
    assert share_of_true(network, keys) >= 0.99


def test_what_one_batch_has_learnt_serves_the_next() -> None:
    network, regions = network_of(500), Regions()
    swept(network, keys_of(5_000, random.Random(2)), regions)
    paid = network.lookups
    swept(network, keys_of(300, random.Random(3)), regions)
    assert network.lookups == paid
    network.clock += FRESH_S
    swept(network, keys_of(5_000, random.Random(4)), regions)
    assert network.lookups > 1.5 * paid


def test_a_sweep_cut_short_is_gone_on_with_by_the_keys_that_are_left() -> None:
    network = network_of(300)
    keys = keys_of(2_000, random.Random(2))
    first = Telling(network)
    first.sweep.begin(keys)
    network.run(5_000)
    first.sweep.stop()
    told = dict(first.records)
    network.run()
    assert first.records == told, "nothing is told after stop"
    assert first.overs == 0
    assert 0 < len(told) < len(keys)
    assert all(records == K for records in told.values())
    swept(network, [key for key in keys if key not in told])
    assert share_of_true(network, keys) == 1.0


def test_peers_that_take_nothing_are_given_up_and_named_no_more() -> None:
    network, regions = network_of(200), Regions()
    keys = keys_of(2_000, random.Random(2))
    swept(network, keys, regions)
    network.given.clear()
    before = network.sends
    network.dead = {peer.peer for peer in network.nearest(b"anything")}
    again = swept(network, keys, regions)
    # Each was given up after a few, and whoever comes next took its place with the keys placed after that.
    wasted = network.sends - before - sum(again.records.values())
    assert 0 < wasted <= len(network.dead) * (FAILURES_MAX + SENDS_PER_PEER)
    assert sum(again.records.values()) > 0.9 * K * len(keys)


def test_where_nobody_is_each_key_is_told_to_nobody_after_few_lookups() -> None:
    network = network_of(0)
    telling = swept(network, keys_of(3_000, random.Random(2)))
    assert set(telling.records.values()) == {0}
    assert network.lookups < BARREN_MAX + LOOKUPS_AT_ONCE


def test_no_keys_is_over_at_once() -> None:
    assert swept(network_of(5), []).records == {}


# --- handing out ---------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sets(st.integers(0, 12), min_size=1)), unique_by=lambda row: row[0]),
    st.sets(st.integers(0, 12)),
    st.randoms(use_true_random=False),
)
def test_each_key_is_told_once_whatever_the_order_in_which_sends_end(
    batch: list[tuple[int, set[int]]], dead: set[int], order: random.Random
) -> None:
    told: dict[bytes, int] = {}
    lost: list[str] = []
    sends: list[tuple[str, Callable[[], None]]] = []
    peers = [PeerAddrs(f"peer {number}") for number in range(13)]

    def send(peer: PeerAddrs, _: bytes, done: Callable[[bool], None]) -> None:
        sends.append((peer.peer, lambda: done(peer.peer not in {f"peer {number}" for number in dead})))

    def telling(key: bytes, records: int) -> None:
        assert key not in told
        told[key] = records

    waits: list[Callable[[], None]] = []
    rates = Rates(1e9, 1.0, 1_000)
    delivery = Delivery(
        send, telling, lost.append, rates=rates, after=lambda _, call: waits.append(call), now=lambda: 0.0
    )
    for key, whose in batch:
        delivery.give(b"%d" % key, [peers[number] for number in whose])
    while sends:
        assert len(sends) <= SENDS_MAX
        names = [name for name, _ in sends]
        assert all(names.count(name) <= SENDS_PER_PEER for name in names)
        sends.pop(order.randrange(len(sends)))[1]()
    assert told == {b"%d" % key: len(whose - dead) for key, whose in batch}
    assert delivery.keys == 0
    assert waits == []
    assert set(lost) <= {f"peer {number}" for number in dead}


@pytest.mark.parametrize("peers", [1, 200])
def test_sends_are_bounded_in_all_and_to_one(peers: int) -> None:
    network = network_of(peers)
    telling = swept(network, keys_of(500, random.Random(1)))
    assert network.open_most <= min(SENDS_MAX, peers * SENDS_PER_PEER)
    assert set(telling.records.values()) == {min(peers, K)}


def test_no_peer_is_given_records_faster_than_its_rate() -> None:
    """In a network of few each takes every record: what is beyond the burst takes its time, and is told in the end."""
    network, rates = network_of(3), Rates(burst=100, per_s=20, peers_max=100)
    telling = Telling(network, rates=rates)
    keys = keys_of(500, random.Random(1))
    telling.sweep.begin(keys)
    network.run()
    assert telling.records == dict.fromkeys(keys, 3)
    assert 400 / 20 - 1 <= network.clock <= 400 / 20 + 2


def test_rates_give_a_burst_then_so_many_a_second_to_each() -> None:
    rates = Rates(burst=3, per_s=2, peers_max=10)
    assert rates.wait("a", 0.0) == 0.0
    assert [rates.take("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert rates.take("b", 0.0)
    assert rates.wait("a", 0.0) == 0.5
    assert rates.wait("a", 0.5) == 0.0
    assert [rates.take("a", 0.5) for _ in range(2)] == [True, False]
    assert not rates.take("a", 0.0)  # the clock goes back: nothing is given
    assert not rates.take("a", 0.1)
    assert [rates.take("a", 1e9) for _ in range(4)] == [True, True, True, False]
    for number in range(100):
        rates.take(f"peer {number}", 1e9)
    assert len(rates) == 10
