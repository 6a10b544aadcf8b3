"""The pubsub actor alone: what it says to the transport, its subscribers and routing, and what it makes of theirs."""

from __future__ import annotations

import math

import msgpack
import msgspec
import pytest

from shoal.actors.discovery.pubsub import announcements, wire
from shoal.actors.discovery.pubsub.actor import PubsubActor
from shoal.actors.discovery.pubsub.announcements import TOPIC, Statement
from shoal.actors.discovery.pubsub.signing import Signer
from shoal.actors.discovery.pubsub.wire import Rpc
from shoal.messages import lifecycle, pubsub, routing, transport
from shoal.messages.base import Message
from shoal.messages.block import Buffer
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope, peer_origin
from shoal.messages.limits import PUBSUB_DATA_MAX, PUBSUB_OWN_TOPICS_MAX, PUBSUB_RPC_MAX, PUBSUB_SUBSCRIBERS_MAX
from shoal.messages.policy import WORKER, Policy
from shoal.messages.replies import Done, Failed, Overloaded
from shoal.tests.actors.pubsub.keyring import keys, peer
from shoal.tests.support.context import FakeContext

ME, A, B, FAR = 0, 1, 2, 3
CIDS = tuple(CID.of(b"%d" % number) for number in range(5000))


class House:
    """The actor, its transport played by the test: our streams have the numbers 100 and on, theirs 200 and on."""

    def __init__(self, *, find: bool = True) -> None:
        self.ctx = FakeContext("pubsub", policy=_policy(find))
        self.actor = PubsubActor(self.ctx, keys(ME))
        self.actor.on_start()
        self.tickets = 0
        self.signers: dict[int, Signer] = {}
        (served,) = self.ctx.take_said(transport.ServeProtocol)
        assert served.message == transport.ServeProtocol(wire.PROTOCOLS, PUBSUB_RPC_MAX.value)
        served.answer(Done())

    def connect(self, number: int, *, inbound: bool = False, protocol: str = wire.MESHSUB_1_1) -> None:
        """A peer comes, says what it speaks, and our stream to it opens."""
        self.tell(transport.PeerConnected(peer(number), f"/ip4/10.0.0.{number}/tcp/1", inbound))
        self.tell(transport.PeerIdentified(peer(number), "x", (protocol,), ()))
        self.open(number, protocol)

    def open(self, number: int, protocol: str = wire.MESHSUB_1_1) -> None:
        """Our stream to the peer, which was asked for, opens."""
        (asked,) = self.ctx.take_said(transport.OpenStream)
        assert asked.message.peer == peer(number)
        asked.answer(transport.StreamOpened(peer(number), 100 + number, protocol))

    def hear(self, number: int, *fields: bytes, stream: int = 0) -> None:
        """The peer sends an RPC."""
        frame = transport.FrameReceived(
            peer(number), stream or 200 + number, wire.MESHSUB_1_1, Buffer(b"".join(fields))
        )
        before = len(self.ctx.take(transport.FrameTaken))
        assert before == 0
        self.ctx.tell(self.actor, frame, sender="transport", origin=peer_origin(peer(number)))
        (taken,) = self.ctx.take_said(transport.FrameTaken)
        assert taken.message.size == len(frame.data)
        assert taken.deadline == math.inf

    def tell(self, message: Message) -> Envelope:
        return self.ctx.tell(self.actor, message, sender="edge")

    def answer(self, message: Message) -> Message:
        """What is answered at once."""
        envelope = self.tell(message)
        found = [reply for to, reply in self.ctx.replies if to.id == envelope.id]
        assert len(found) == 1, found
        return found[0]

    def said(self, number: int) -> Rpc:
        """What the peer was sent since last asked."""
        rpc = Rpc()
        for message in self.ctx.take(transport.SendFrame):
            if message.stream != 100 + number:
                self.ctx.send(message)
                continue
            (part,) = message.parts
            one = wire.decode(part.data)
            for name in ("subscriptions", "messages", "ihave", "iwant", "graft", "prune"):
                getattr(rpc, name).extend(getattr(one, name))
        return rpc

    def subscribe(self, topic: str) -> Envelope:
        self.tickets += 1
        return self.tell(pubsub.Subscribe(topic, self.tickets))

    def heard_by(self, envelope: Envelope) -> list[Message]:
        """The answers to one request."""
        return [reply for to, reply in self.ctx.replies if to.id == envelope.id]

    def stats(self) -> pubsub.PubsubStats:
        answer = self.answer(pubsub.PubsubStat())
        assert isinstance(answer, pubsub.PubsubStats)
        return answer

    def announced(self, number: int, data: bytes, *, bearer: int = A) -> None:
        """A peer's announcement arrives."""
        signer = self.signers.setdefault(number, Signer(keys(number)))
        message = signer.make(TOPIC, data, self.ctx.wall())
        self.hear(bearer, wire.message(message.raw))


def _policy(find: bool) -> Policy:
    return msgspec.structs.replace(WORKER, find_by_pubsub=find)


def statement(house: House, about: str = pubsub.HAVE, **changes: object) -> bytes:
    fields: dict[str, object] = {"cids": CIDS[:1] if about != pubsub.PEER else (), "addrs": ("/ip4/192.0.2.1/tcp/1",)}
    return announcements.encode(Statement(about, int(house.ctx.wall()), 60.0, **{**fields, **changes}))  # type: ignore[arg-type]  # by name


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


# --- announcements -----------------------------------------------------------------------------------


def test_who_has_a_cid_is_answered_out_of_what_was_announced() -> None:
    house = House()
    house.connect(A)
    house.announced(FAR, statement(house))
    provider = routing.Provider(peer(FAR), ("/ip4/192.0.2.1/tcp/1",), routing.PUBSUB, (routing.BITSWAP,))
    search = house.tell(routing.SearchSource(CIDS[0], 7))
    assert house.heard_by(search) == [routing.SourceFound((provider,)), routing.SourceEnded()]
    search = house.tell(routing.SearchSource(CIDS[1], 8))
    assert house.heard_by(search) == [routing.SourceEnded()]
    house.tell(routing.StopSource(8))
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
    house.ctx.policy = _policy(True)
    house.tell(lifecycle.PolicyChanged(house.ctx.policy))
    house.open(A)
    assert house.said(A).subscriptions == [(True, TOPIC)]
    house.ctx.policy = _policy(False)
    house.tell(lifecycle.PolicyChanged(house.ctx.policy))
    assert house.said(A).subscriptions == [(False, TOPIC)]
    envelope = house.subscribe(TOPIC)
    assert house.said(A).subscriptions == [(True, TOPIC)]
    house.tell(lifecycle.PolicyChanged(house.ctx.policy))
    assert TOPIC in house.actor.router.topics, "a user reads it"
    house.announced(FAR, statement(house))
    assert isinstance(house.heard_by(envelope)[0], pubsub.TopicMessage)


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
