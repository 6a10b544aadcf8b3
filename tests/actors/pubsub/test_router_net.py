"""Many routers: a connected net brings every message to every subscriber exactly once, in any order of arrival."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.actors.discovery.pubsub import wire
from shoal.actors.discovery.pubsub.mesh import D_HIGH, D_LOW, FANOUT_S, PRUNE_BACKOFF_S
from shoal.tests.actors.pubsub.keyring import peer
from shoal.tests.actors.pubsub.net import Net, random_links

TOPIC = "news"


def net_of(count: int, each: int, seed: int, protocol: str = wire.MESHSUB_1_1) -> Net:
    net = Net(count, seed)
    for a, b in random_links(random.Random(seed), count, each):
        net.connect(a, b, protocol)
    for number in range(count):
        net.subscribe(number, TOPIC)
    net.settle()
    for _ in range(3):
        net.beat()
    return net


@settings(max_examples=15)
@given(count=st.integers(2, 30), each=st.integers(1, 8), seed=st.integers(0, 2**16))
def test_every_message_reaches_every_subscriber_once(count: int, each: int, seed: int) -> None:
    net = net_of(count, each, seed)
    said = []
    for _ in range(5):
        number = net.rng.randrange(count)
        said.append((number, net.publish(number, TOPIC, b"x", flood=net.rng.random() < 0.5)))
        for _ in range(net.rng.randrange(20)):
            net.step()
    net.settle()
    net.check()
    for number, place in enumerate(net.places):
        others = {(delivery.author, delivery.seqno) for author, delivery in said if author != number}
        assert set(place.got) == others


@pytest.mark.parametrize("protocol", wire.PROTOCOLS)
def test_older_protocols_bring_them_too(protocol: str) -> None:
    net = net_of(12, 3, 1, protocol)
    net.publish(0, TOPIC, b"x")
    net.settle()
    assert [sum(place.got.values()) for place in net.places] == [0] + [1] * 11
    assert any(place.router.links for place in net.places) == (protocol != wire.FLOODSUB)


def test_the_mesh_of_a_crowd_is_within_its_bounds() -> None:
    net = net_of(40, 40, 5)
    for _ in range(5):
        net.beat()
        net.check()
        for place in net.places:
            assert D_LOW <= len(place.router.mesh.links[TOPIC]) <= D_HIGH


def test_a_mesh_is_mutual_when_all_has_arrived() -> None:
    net = net_of(20, 6, 2)
    for number, place in enumerate(net.places):
        for member in place.router.mesh.links[TOPIC]:
            assert peer(number) in net.places[net.numbers[member]].router.mesh.links[TOPIC]


def test_nothing_is_sent_when_nothing_happens() -> None:
    net = net_of(20, 4, 3)
    for _ in range(70):  # whatever was refused is tried once more after its back-off
        net.beat()
    before = [place.sent for place in net.places]
    for _ in range(300):
        net.beat()
    after = [place.sent for place in net.places]
    assert sum(after) - sum(before) < 20 * 100  # an opportunistic graft or two


def test_a_message_that_the_mesh_did_not_bring_comes_by_gossip() -> None:
    net = net_of(20, 10, 4)
    lonely = net.places[7].router
    for topic, members in lonely.mesh.links.items():  # nobody has it in a mesh, and it has nobody
        for member in list(members):
            lonely.mesh._prune(member, topic, net.now, 30)
    net.flush(7)
    net.settle()
    assert not lonely.mesh.links[TOPIC]
    delivery = net.publish(3, TOPIC, b"gossip")
    net.settle()
    assert (delivery.author, delivery.seqno) not in net.places[7].got
    for _ in range(4):
        net.beat()
    assert net.places[7].got[delivery.author, delivery.seqno] == 1


def test_a_publisher_that_is_not_subscribed_uses_a_fanout_for_a_minute() -> None:
    net = Net(10, 6)
    for number in range(1, 10):
        net.connect(0, number)
        net.subscribe(number, TOPIC)
        if number > 1:
            net.connect(number, number - 1)
    net.settle()
    for _ in range(2):
        net.beat()
    net.publish(0, TOPIC, b"x")
    assert len(net.places[0].router.mesh.fanout[TOPIC].peers) == 6
    net.settle()
    for _ in range(3):
        net.beat()
    assert all(place.got for place in net.places[1:])
    net.subscribe(0, TOPIC)
    assert TOPIC not in net.places[0].router.mesh.fanout
    assert len(net.places[0].router.mesh.links[TOPIC]) == 6
    net.unsubscribe(0, TOPIC)
    net.publish(0, TOPIC, b"y")
    for _ in range(int(FANOUT_S) + 1):
        net.beat()
    assert not net.places[0].router.mesh.fanout


def test_who_leaves_is_left_alone_for_a_while() -> None:
    net = net_of(3, 2, 7)
    net.unsubscribe(0, TOPIC)
    net.settle()
    net.subscribe(0, TOPIC)
    net.settle()
    assert not net.places[0].router.mesh.links[TOPIC]
    for _ in range(13):
        net.beat()
    assert len(net.places[0].router.mesh.links[TOPIC]) == 2
    assert PRUNE_BACKOFF_S > 13
    assert all(place.router.scores.of(peer(0), net.now) >= 0 for place in net.places[1:])
