"""The pubsub actor in a context by hand: the test plays its transport, peers and users.  Begin with ``House``."""

from __future__ import annotations

import math

import msgspec

from shoal.actors.discovery.pubsub import announcements, wire
from shoal.actors.discovery.pubsub.actor import PubsubActor
from shoal.actors.discovery.pubsub.announcements import TOPIC, Statement
from shoal.actors.discovery.pubsub.signing import Signer
from shoal.actors.discovery.pubsub.wire import Rpc
from shoal.messages import pubsub, transport
from shoal.messages.base import Message
from shoal.messages.block import Buffer
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope, peer_origin
from shoal.messages.limits import PUBSUB_RPC_MAX
from shoal.messages.policy import WORKER, Policy
from shoal.messages.replies import Done
from shoal.tests.actors.pubsub.keyring import keys, peer
from shoal.tests.support.context import FakeContext

ME, A, B, FAR = 0, 1, 2, 3
CIDS = tuple(CID.of(b"%d" % number) for number in range(5000))


class House:
    """The actor, its transport played by the test: our streams have the numbers 100 and on, theirs 200 and on."""

    def __init__(self, *, find: bool = True) -> None:
        self.ctx = FakeContext("pubsub", policy=policy(find))
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


def policy(find: bool) -> Policy:
    return msgspec.structs.replace(WORKER, find_by_pubsub=find)


def statement(house: House, about: str = pubsub.HAVE, **changes: object) -> bytes:
    fields: dict[str, object] = {"cids": CIDS[:1] if about != pubsub.PEER else (), "addrs": ("/ip4/192.0.2.1/tcp/1",)}
    return announcements.encode(Statement(about, int(house.ctx.wall()), 60.0, **{**fields, **changes}))  # type: ignore[arg-type]  # by name
