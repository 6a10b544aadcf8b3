"""The pubsub actor alone: what it says to the transport, its subscribers and routing, and what it makes of theirs."""

from __future__ import annotations

import pytest

from shoal.actors.discovery.pubsub import wire
from shoal.actors.discovery.pubsub.announcements import TOPIC
from shoal.actors.discovery.pubsub.signing import Signer
from shoal.messages import lifecycle, pubsub, transport
from shoal.messages.block import Buffer
from shoal.messages.envelope import Envelope
from shoal.messages.limits import PUBSUB_DATA_MAX, PUBSUB_OWN_TOPICS_MAX, PUBSUB_SUBSCRIBERS_MAX
from shoal.messages.replies import Done, Failed, Overloaded
from shoal.tests.actors.pubsub.house import FAR, ME, A, B, House
from shoal.tests.actors.pubsub.keyring import keys, peer

# --- streams -----------------------------------------------------------------------------------------


def test_a_peer_that_speaks_pubsub_hears_what_we_are_subscribed_to() -> None:
    house = House()
    house.connect(A)
    assert house.said(A).subscriptions == [(True, TOPIC)]
    envelope = house.subscribe("news")
    assert house.said(A).subscriptions == [(True, "news")]
    house.tell(pubsub.Unsubscribe(house.tickets))
    assert house.said(A).subscriptions == [(False, "news")]
    assert house.heard_by(envelope) == [Done()]


def test_one_that_does_not_is_left_alone() -> None:
    house = House()
    house.tell(transport.PeerConnected(peer(A), "/ip4/10.0.0.1/tcp/1", False))
    house.tell(transport.PeerIdentified(peer(A), "x", ("/ipfs/bitswap/1.2.0",), ()))
    house.ctx.advance(30.0)
    assert not house.ctx.take(transport.OpenStream)
    assert house.ctx.timers == 0, "no heart beats for nobody"


def test_a_stream_that_breaks_is_opened_again_with_back_off_and_tells_all_anew() -> None:
    house = House()
    house.connect(A)
    house.hear(A, wire.subscription(True, TOPIC))
    house.ctx.advance(1.5)
    assert house.said(A).graft == [TOPIC]
    waits = []
    for _ in range(5):
        house.tell(transport.StreamClosed(peer(A), 100 + A, "reset"))
        assert house.stats().mesh == 0
        start = house.ctx.clock
        while not any(isinstance(one.message, transport.OpenStream) for one in house.ctx.said):
            house.ctx.advance(1.0)
        waits.append(house.ctx.clock - start)
        house.open(A)
        assert house.said(A).subscriptions == [(True, TOPIC)]
    assert waits == sorted(waits)
    assert waits[-1] >= 5
    assert peer(A) in [row.peer for row in house.actor.router.table.subscribers(TOPIC)], "that it did not take back"


def test_a_stream_that_cannot_be_opened_is_tried_again() -> None:
    house = House()
    house.tell(transport.PeerConnected(peer(A), "/ip4/10.0.0.1/tcp/1", False))
    house.tell(transport.PeerIdentified(peer(A), "x", wire.PROTOCOLS, ()))
    for _ in range(3):
        (asked,) = house.ctx.take_said(transport.OpenStream)
        asked.answer(Failed("OpenStream", "NotFound", "no"))
        house.ctx.advance(20.0)
    (asked,) = house.ctx.take_said(transport.OpenStream)
    house.tell(transport.PeerDisconnected(peer(A), "gone"))
    asked.answer(transport.StreamOpened(peer(A), 7, wire.MESHSUB_1_1))
    assert house.ctx.take(transport.CloseStream) == [transport.CloseStream(7, reset=True)]


def test_a_peer_that_begins_a_new_stream_begins_anew() -> None:
    house = House()
    house.connect(A)
    house.hear(A, wire.subscription(True, "x"), wire.subscription(True, TOPIC))
    house.hear(A, wire.subscription(True, "y"), stream=300)
    assert house.ctx.take(transport.CloseStream) == [transport.CloseStream(201, reset=True)]
    assert list(house.actor.router.table.rows[peer(A)].topics) == ["y"]
    house.tell(transport.StreamClosed(peer(A), 201, "reset by us"))
    assert list(house.actor.router.table.rows[peer(A)].topics) == ["y"]
    house.tell(transport.StreamClosed(peer(A), 300, ""))
    assert not house.actor.router.table.rows[peer(A)].topics


def test_what_is_no_rpc_is_reported_and_its_sender_loses_the_stream() -> None:
    house = House()
    house.connect(A)
    house.hear(A, b"\xff\xff\xff")
    (fault,) = house.ctx.take(transport.RemoteFault)
    assert (fault.peer, fault.stream) == (peer(A), 201)
    assert house.ctx.counts["remote_faults"] == 1
    for _ in range(30):
        house.hear(A, b"\xff\xff\xff")
    assert house.ctx.counts["graylisted_frames"] > 0, "and in the end it is not read any more"


def test_a_frame_of_a_peer_that_has_gone_is_credited_and_forgotten() -> None:
    house = House()
    house.hear(FAR, wire.subscription(True, TOPIC))
    assert not house.actor.router.table.rows


def test_a_peer_that_takes_nothing_is_sent_control_alone() -> None:
    house = House()
    house.connect(A)
    house.hear(A, wire.subscription(True, "news"))
    for _ in range(10):
        house.answer(pubsub.Publish("news", Buffer(bytes(500_000))))
    assert len(house.said(A).messages) == 5, "two megabytes are on the way, and one that crossed the mark"
    house.subscribe("more")
    assert house.said(A).subscriptions == [(True, "more")]
    for size in list(house.actor.links.rows[peer(A)].unsent):
        house.tell(transport.FrameSent(peer(A), 100 + A, size))
    house.answer(pubsub.Publish("news", Buffer(b"again")))
    assert len(house.said(A).messages) == 1


def test_a_new_transport_is_a_new_world() -> None:
    house = House()
    house.connect(A)
    house.hear(A, wire.subscription(True, TOPIC))
    house.said(A)
    house.tell(lifecycle.ActorRestarted("transport", 2))
    assert not house.actor.links.rows
    assert not house.actor.router.table.rows
    (served,) = house.ctx.take_said(transport.ServeProtocol)
    served.answer(Overloaded("ServeProtocol", "transport"))
    house.ctx.advance(1.0)
    assert house.ctx.take(transport.ServeProtocol), "asked again until it is done"
    house.connect(A)
    assert house.said(A).subscriptions == [(True, TOPIC)]


# --- users -------------------------------------------------------------------------------------------


def test_a_message_is_for_every_subscriber_of_its_topic() -> None:
    house = House()
    house.connect(A)
    first, second, other = house.subscribe("news"), house.subscribe("news"), house.subscribe("other")
    message = Signer(keys(FAR)).make("news", b"hello", 1.0)
    house.hear(A, wire.subscription(True, "news"), wire.message(message.raw), wire.message(message.raw))
    heard = pubsub.TopicMessage("news", peer(FAR), 10**9, Buffer(b"hello"))
    assert house.heard_by(first) == house.heard_by(second) == [heard]
    assert house.heard_by(other) == []
    assert (house.stats().received, house.stats().duplicates) == (1, 1)
    assert house.answer(pubsub.Publish("news", Buffer(b"mine"))) == pubsub.Published(1)
    mine = house.heard_by(first)[1]
    assert isinstance(mine, pubsub.TopicMessage)
    assert (mine.peer, mine.data) == (peer(ME), Buffer(b"mine"))


def test_a_subscription_ends_at_its_deadline_and_its_topic_with_the_last() -> None:
    house = House()
    house.connect(A)
    envelope = Envelope(9, "Subscribe", "edge", "pubsub", b"", deadline=house.ctx.clock + 5.0)
    house.actor.receive(pubsub.Subscribe("news", 1), envelope)
    house.said(A)
    house.ctx.advance(4.0)
    assert "news" in house.actor.router.topics
    house.ctx.advance(2.0)
    assert "news" not in house.actor.router.topics
    assert house.said(A).subscriptions == [(False, "news")]


def test_what_cannot_be_is_refused_with_a_remedy() -> None:
    house = House()
    for topic in ("", "t" * 1025, "ä" * 513):
        answer = house.answer(pubsub.Subscribe(topic, 1))
        assert isinstance(answer, Failed)
        assert (answer.error, "use 1 to 1024" in answer.reason) == ("BadInput", True)
        assert isinstance(house.answer(pubsub.Publish(topic, Buffer(b""))), Failed)
    house.subscribe("news")
    taken = house.answer(pubsub.Subscribe("other", house.tickets))
    assert isinstance(taken, Failed)
    large = house.answer(pubsub.Publish("news", Buffer(bytes(PUBSUB_DATA_MAX.value + 1))))
    assert isinstance(large, Failed)
    assert isinstance(house.answer(pubsub.Publish(TOPIC, Buffer(b"x"))), Failed)
    assert house.answer(pubsub.Unsubscribe(999)) == Done()


def test_subscriptions_and_topics_are_bounded() -> None:
    house = House()
    for number in range(PUBSUB_OWN_TOPICS_MAX.value):
        assert not house.heard_by(house.subscribe(f"t{number}"))
    (refused,) = house.heard_by(house.subscribe("one more"))
    assert isinstance(refused, Failed)
    for _ in range(PUBSUB_SUBSCRIBERS_MAX.value - PUBSUB_OWN_TOPICS_MAX.value):
        assert not house.heard_by(house.subscribe("t0"))
    (refused,) = house.heard_by(house.subscribe("t0"))
    assert isinstance(refused, Failed)
    assert refused.error == "Unavailable"


def test_topics_and_their_peers_are_listed() -> None:
    house = House()
    house.connect(A)
    house.connect(B, protocol=wire.FLOODSUB)
    house.hear(A, wire.subscription(True, "x"))
    house.subscribe("news")
    assert house.answer(pubsub.ListTopics()) == pubsub.TopicsListed((TOPIC, "news"))
    assert house.answer(pubsub.TopicPeers("x")) == pubsub.TopicPeersListed((peer(A),))
    assert house.answer(pubsub.TopicPeers()) == pubsub.TopicPeersListed((peer(A), peer(B)))
    assert house.answer(pubsub.TopicPeers("nobody's")) == pubsub.TopicPeersListed(())


@pytest.mark.parametrize("find", [True, False])
def test_a_publisher_without_topics_opens_streams_for_a_minute(find: bool) -> None:
    house = House(find=find)
    if find:
        house.connect(A)
    else:
        house.tell(transport.PeerConnected(peer(A), "/ip4/10.0.0.1/tcp/1", False))
        house.tell(transport.PeerIdentified(peer(A), "x", wire.PROTOCOLS, ()))
    house.hear(A, wire.subscription(True, "news"))
    published = house.answer(pubsub.Publish("news", Buffer(b"x")))
    assert published == pubsub.Published(int(find))
    if not find:
        house.open(A)
        house.ctx.advance(3.0)
        rpc = house.said(A)
        assert rpc.ihave, "what was said before there was a stream is told of"
        house.hear(A, wire.control([wire.iwant(rpc.ihave[0][1])]))
        assert [one.data for one in house.said(A).messages] == [b"x"]
