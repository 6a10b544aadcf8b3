"""The pubsub actor as a source of routing: what it finds by asking the swarm, and what it answers when others ask."""

from __future__ import annotations

import msgspec
import pytest

from shoal.actors.discovery.pubsub import announcements, wire
from shoal.actors.discovery.pubsub.announcements import TOPIC, Statement
from shoal.messages import blocks, pubsub, routing, transport
from shoal.messages.envelope import Envelope
from shoal.messages.limits import PUBSUB_SEARCHES_MAX, WANTS_HEARD_MAX
from shoal.messages.replies import Failed
from shoal.tests.actors.pubsub.house import CIDS, FAR, ME, A, B, House, statement
from shoal.tests.actors.pubsub.keyring import peer


def wanted_by(house: House, number: int) -> list[Statement]:
    """What the peer is told over the swarm's topic."""
    return [announcements.decode(one.data or b"") for one in house.said(number).messages if one.topic == TOPIC]


def grafted() -> House:
    """A house with one neighbour in the swarm's mesh, to which it has said who it is."""
    house = House()
    house.connect(A)
    house.hear(A, wire.subscription(True, TOPIC), wire.control([wire.graft(TOPIC)]))
    house.ctx.advance(5.0)
    for said in house.ctx.take_said(transport.WhoAmI):
        said.answer(transport.Identity(peer(ME), (f"/ip4/192.0.2.7/tcp/9/p2p/{peer(ME)}",), "x", ()))
    house.ctx.advance(1.0)
    assert [one.about for one in wanted_by(house, A)] == [pubsub.PEER]
    return house


def test_what_nobody_announced_is_asked_of_the_swarm_and_every_answer_told() -> None:
    house = grafted()
    search = house.tell(routing.SearchSource(CIDS[0], 1))
    twin = house.tell(routing.SearchSource(CIDS[0], 2, count=1))
    assert house.heard_by(search) == []
    house.ctx.advance(2.1)
    assert [(one.about, one.cids) for one in wanted_by(house, A)] == [(pubsub.WANT, CIDS[:1])]
    house.announced(FAR, statement(house))
    provider = routing.Provider(peer(FAR), ("/ip4/192.0.2.1/tcp/1",), routing.PUBSUB, (routing.BITSWAP,))
    assert house.heard_by(search) == [routing.SourceFound((provider,))]
    assert house.heard_by(twin) == [routing.SourceFound((provider,)), routing.SourceEnded()]
    house.announced(FAR, statement(house))
    house.announced(B, statement(house, addrs=()))
    house.ctx.advance(6.0)
    other = routing.Provider(peer(B), (), routing.PUBSUB, (routing.BITSWAP,))
    told = [routing.SourceFound((provider,)), routing.SourceFound((other,)), routing.SourceEnded(messages=1)]
    assert house.heard_by(search) == told
    again = house.tell(routing.SearchSource(CIDS[1], 3))
    house.tell(routing.StopSource(3))
    house.ctx.advance(10.0)
    assert house.heard_by(again) == []
    assert not wanted_by(house, A), "a search that has been stopped asks nobody"


def test_who_has_nobody_to_ask_is_answered_at_once() -> None:
    house = House()
    assert house.heard_by(house.tell(routing.SearchSource(CIDS[0], 1))) == [routing.SourceEnded()]


def test_searches_are_bounded_and_end_with_their_neighbours_or_their_deadline() -> None:
    house = grafted()
    for number in range(PUBSUB_SEARCHES_MAX.value):
        assert not house.heard_by(house.tell(routing.SearchSource(CIDS[number], number)))
    (refused,) = house.heard_by(house.tell(routing.SearchSource(CIDS[0], 9999)))
    assert isinstance(refused, routing.SourceEnded)
    assert refused.outcome
    house.tell(transport.PeerDisconnected(peer(A), "gone"))
    house.ctx.advance(10.0)
    assert not house.actor.swarm.searches.open
    assert not house.actor.swarm.searches._blocks
    house = grafted()
    late = Envelope(5, "SearchSource", "routing", "pubsub", b"", deadline=house.ctx.clock + 0.5)
    house.actor.receive(routing.SearchSource(CIDS[0], 1), late)
    house.ctx.advance(1.5)
    assert not house.actor.swarm.searches.open


def test_what_others_want_is_said_to_be_here_only_when_placement_says_so() -> None:
    house = grafted()
    house.announced(FAR, statement(house, pubsub.WANT, cids=CIDS[:3], addrs=()))
    house.announced(B, statement(house, pubsub.WANT, cids=CIDS[:3], addrs=()))
    house.ctx.advance(4.0)
    (asked,) = house.ctx.take_said(blocks.HasBlocks)
    assert asked.message == blocks.HasBlocks(CIDS[:3])
    assert not wanted_by(house, A)
    asked.answer(blocks.BlockSizes((-1, 5, -1)))
    house.ctx.advance(1.0)
    (have,) = wanted_by(house, A)
    assert (have.about, have.cids, have.addrs) == (pubsub.HAVE, CIDS[1:2], ("/ip4/192.0.2.7/tcp/9",))
    house.announced(FAR, statement(house, pubsub.WANT, cids=CIDS[3:4], addrs=()))
    house.ctx.advance(4.0)
    (asked,) = house.ctx.take_said(blocks.HasBlocks)
    asked.answer(Failed("HasBlocks", "Unavailable", "no"))
    house.ctx.advance(2.0)
    assert not wanted_by(house, A)


def test_what_enough_others_have_is_not_said_again() -> None:
    house = grafted()
    for number in (10, 11, 12):
        house.announced(number, statement(house))
    house.announced(FAR, statement(house, pubsub.WANT, addrs=()))
    house.ctx.advance(4.0)
    assert not house.ctx.take(blocks.HasBlocks)


@pytest.mark.parametrize("off", ["serve_blocks", "announce_content"])
def test_who_serves_or_announces_nothing_answers_no_want(off: str) -> None:
    house = grafted()
    house.ctx.policy = msgspec.structs.replace(house.ctx.policy, **{off: False})
    house.announced(FAR, statement(house, pubsub.WANT, addrs=()))
    house.ctx.advance(4.0)
    assert not house.ctx.take(blocks.HasBlocks)


def test_a_flood_of_wants_makes_us_look_up_little_and_say_nothing() -> None:
    house = grafted()
    looked_up = batches = 0
    for second in range(60):
        for index in range(20):
            start = (second * 20 + index) * 4 % 4000
            house.announced(FAR, statement(house, pubsub.WANT, cids=CIDS[start : start + 256], addrs=()))
        house.ctx.advance(1.0)
        for said in house.ctx.take_said(blocks.HasBlocks):
            looked_up += len(said.message.cids)
            batches += 1
            said.answer(blocks.BlockSizes((-1,) * len(said.message.cids)))
    assert batches <= 8 + 30
    assert looked_up <= batches * 64
    assert len(house.actor.swarm.wanted) <= WANTS_HEARD_MAX.value
    assert not [one for one in wanted_by(house, A) if one.about == pubsub.HAVE]
