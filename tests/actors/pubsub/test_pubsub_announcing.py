"""The pubsub actor and announcements: what it believes of others', keeps, answers and tells; and when it rests."""

from __future__ import annotations

import math

import msgpack

from shoal.actors.discovery.pubsub import announcements, wire
from shoal.actors.discovery.pubsub.announcements import TOPIC, Statement
from shoal.actors.discovery.pubsub.signing import Signer
from shoal.messages import lifecycle, pubsub, routing, transport
from shoal.messages.replies import Failed, Overloaded
from shoal.tests.actors.pubsub.house import CIDS, FAR, ME, A, B, House, policy, statement
from shoal.tests.actors.pubsub.keyring import keys, peer

# --- announcements -----------------------------------------------------------------------------------


def test_who_has_a_cid_is_answered_out_of_what_was_announced() -> None:
    house = House()
    house.connect(A)
    house.announced(FAR, statement(house))
    provider = routing.Provider(peer(FAR), ("/ip4/192.0.2.1/tcp/1",), routing.PUBSUB, (routing.BITSWAP,))
    search = house.tell(routing.SearchSource(CIDS[0], 7))
    assert house.heard_by(search) == [routing.SourceFound((provider,)), routing.SourceEnded()]
    assert house.stats().announcements == 2, "where it is, and what it has"
    house.ctx.advance(61.0)
    search = house.tell(routing.SearchSource(CIDS[0], 9))
    assert house.heard_by(search) == [routing.SourceEnded()]


def test_who_a_peer_is_is_told_to_routing_and_to_whoever_looks_for_it() -> None:
    house = House()
    house.connect(A)
    assert isinstance(house.answer(routing.SearchPeer(peer(FAR))), Failed)
    house.announced(FAR, statement(house, pubsub.PEER, role="worker"))
    (seen,) = house.ctx.take_said(routing.PeersSeen)
    addrs = ("/ip4/192.0.2.1/tcp/1",)
    assert seen.message == routing.PeersSeen(routing.PUBSUB, (routing.PeerAddrs(peer(FAR), addrs),), 60.0)
    assert seen.deadline == math.inf
    assert house.answer(routing.SearchPeer(peer(FAR))) == routing.PeerFound(peer(FAR), addrs, routing.PUBSUB)
    house.announced(FAR, statement(house, pubsub.PEER, addrs=()))
    assert not house.ctx.take(routing.PeersSeen)
    assert isinstance(house.answer(routing.SearchPeer(peer(FAR))), Failed)


def hostile(house: House, number: int) -> bytes:
    """An announcement that must change nothing, of ten kinds."""
    good = msgpack.unpackb(statement(house), use_list=False)
    kinds: list[bytes] = [
        b"",
        b"\xc1" * 50,
        b"\xdd\xff\xff\xff\xff",
        msgpack.packb({**good, "about": "evil"}),
        msgpack.packb({**good, "cids": (b"no cid",)}),
        msgpack.packb({**good, "ttl": -5}),
        msgpack.packb({**good, "at": good["at"] - 100_000}),
        msgpack.packb({**good, "at": good["at"] + 100_000}),
        msgpack.packb({**good, "cids": (CIDS[0].raw,) * 300}),
        msgpack.packb({**good, "addrs": ("/x/y",) * 100}),
    ]
    return kinds[number % len(kinds)]


def test_ten_thousand_hostile_announcements_change_nothing_but_a_counter() -> None:
    """They come through ever new neighbours, each of which is thrown out before long."""
    house = House()
    house.connect(A)
    house.announced(FAR, statement(house))
    before = len(house.actor.swarm.hints)
    bearers = 0
    signer = Signer(keys(4))
    sent = 0
    while sent < 10_000:
        bearers += 1
        number = 1000 + bearers % 50
        house.tell(transport.PeerConnected(peer(number), "/ip4/10.0.0.9/tcp/1", True))
        for _ in range(50):
            house.hear(number, wire.message(signer.make(TOPIC, hostile(house, sent), house.ctx.wall()).raw))
            sent += 1
        house.tell(transport.PeerDisconnected(peer(number), "gone"))
        house.ctx.take(transport.CloseStream)
    stats = house.stats()
    assert stats.announcements == before == 2
    assert stats.announcements_refused > 50
    assert len(house.actor.router.seen) == 1
    assert list(house.actor.swarm.hints.authors) == [peer(FAR)]
    assert not house.ctx.take(routing.PeersSeen)
    assert house.ctx.counts["graylisted_frames"] > 5000


def test_a_hostile_announcement_is_not_passed_on() -> None:
    house = House()
    house.connect(A)
    house.connect(B)
    for number in (A, B):
        house.hear(number, wire.subscription(True, TOPIC), wire.control([wire.graft(TOPIC)]))
        house.said(number)
    house.announced(FAR, hostile(house, 3), bearer=A)
    house.announced(FAR, hostile(house, 6), bearer=A)
    assert not house.said(B).messages
    house.announced(FAR, statement(house), bearer=A)
    assert len(house.said(B).messages) == 1
    assert not house.said(A).messages


def test_we_tell_who_we_are_when_the_first_neighbour_has_come_and_every_ten_minutes() -> None:
    house = House()
    house.connect(A)
    house.hear(A, wire.subscription(True, TOPIC))
    house.said(A)

    def told() -> list[Statement]:
        for said in [one for one in house.ctx.take_said(transport.WhoAmI) if not one.ended]:
            said.answer(transport.Identity(peer(ME), (f"/ip4/192.0.2.7/tcp/9/p2p/{peer(ME)}",), "x", ()))
        house.ctx.advance(1.0)
        return [announcements.decode(one.data or b"") for one in house.said(A).messages]

    house.ctx.advance(6.0)
    (who,) = told()
    assert (who.about, who.addrs, who.role) == (pubsub.PEER, ("/ip4/192.0.2.7/tcp/9",), "worker")
    house.ctx.advance(500.0)
    assert told() == []
    house.ctx.advance(200.0)
    assert len(told()) == 1


def test_what_we_have_is_announced_and_too_much_at_once_is_not() -> None:
    house = House()
    house.connect(A)
    house.hear(A, wire.subscription(True, TOPIC), wire.control([wire.graft(TOPIC)]))
    house.said(A)
    assert house.answer(pubsub.AnnounceByPubsub(pubsub.HAVE, CIDS[:300], 60.0)) == pubsub.Published(1)
    found = [announcements.decode(one.data or b"") for one in house.said(A).messages]
    assert sum((one.cids for one in found), ()) == CIDS[:300]
    assert house.answer(pubsub.AnnounceByPubsub(pubsub.HAVE, CIDS[:4000], 60.0)) == Overloaded(
        "AnnounceByPubsub", "pubsub"
    )
    assert isinstance(house.answer(pubsub.AnnounceByPubsub(pubsub.PEER, CIDS[:1], 60.0)), Failed)
    assert house.stats().announcements == 0, "our own are no hints"


def test_while_policy_does_not_find_by_pubsub_the_actor_rests_but_for_users() -> None:
    house = House(find=False)
    house.tell(transport.PeerConnected(peer(A), "/ip4/10.0.0.1/tcp/1", False))
    house.tell(transport.PeerIdentified(peer(A), "x", wire.PROTOCOLS, ()))
    house.ctx.advance(60.0)
    assert not house.ctx.take(transport.OpenStream)
    house.ctx.policy = policy(True)
    house.tell(lifecycle.PolicyChanged(house.ctx.policy))
    house.open(A)
    assert house.said(A).subscriptions == [(True, TOPIC)]
    house.ctx.policy = policy(False)
    house.tell(lifecycle.PolicyChanged(house.ctx.policy))
    assert house.said(A).subscriptions == [(False, TOPIC)]
    envelope = house.subscribe(TOPIC)
    assert house.said(A).subscriptions == [(True, TOPIC)]
    house.tell(lifecycle.PolicyChanged(house.ctx.policy))
    assert TOPIC in house.actor.router.topics, "a user reads it"
    house.announced(FAR, statement(house))
    assert isinstance(house.heard_by(envelope)[0], pubsub.TopicMessage)
