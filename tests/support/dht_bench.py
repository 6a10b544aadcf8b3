"""The DHT actor alone with peers that a test scripts: the test speaks the transport's and the peers' lines.

``Bench.serve(peer, answer)`` puts a peer on the network; ``run`` lets everything happen that can happen now.  What the
actor is told and asked goes through its own mailbox's codec (``FakeContext``).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from shoal.actors.discovery.dht import wire
from shoal.actors.discovery.dht.actor import DhtActor
from shoal.actors.discovery.dht.kad import Kad
from shoal.actors.discovery.dht.values import Validators
from shoal.messages import lifecycle, transport
from shoal.messages.base import Message
from shoal.messages.block import Buffer
from shoal.messages.envelope import Envelope, peer_origin
from shoal.messages.policy import WORKER, Policy
from shoal.messages.replies import Done, Failed
from shoal.messages.routing import PeerAddrs
from shoal.tests.support.context import FakeContext
from shoal.tests.support.dht_keys import at, peer, private

ME = peer(0)
LISTEN = (private(0),)
STEP_S = 0.5  # of virtual time between two looks at what the actor has said

Answer = Callable[[wire.Message], wire.Message | bytes | None]


def names(*peers: PeerAddrs) -> Answer:
    """A peer that names these, whatever it is asked."""
    return lambda asked: wire.Message(asked.kind, asked.key, closer=peers)


def silent(_: wire.Message) -> None:
    """A peer that takes requests and never answers."""


class Bench:
    """One actor.  ``asked`` are the requests that peers got, in order: (peer, protocol, message)."""

    def __init__(
        self,
        policy: Policy = WORKER,
        listen: Sequence[str] = LISTEN,
        validators: Validators | None = None,
        *,
        start: bool = True,
    ) -> None:
        self.ctx = FakeContext("dht", policy)
        self.actor = DhtActor(self.ctx, validators=validators)
        self.listen = tuple(listen)
        self.peers: dict[str, Answer] = {}
        self.speaks: dict[str, tuple[str, ...]] = {}
        self.connected: set[str] = set()
        self.streams: dict[int, tuple[str, str]] = {}
        self.asked: list[tuple[str, str, wire.Message]] = []
        self.closed: list[transport.CloseStream] = []
        self.faults: list[transport.RemoteFault] = []
        self.served: list[tuple[str, ...]] = []
        self.dials: list[transport.Dial] = []
        self.taken: list[transport.FrameTaken] = []
        self.answers: list[tuple[int, wire.Message]] = []  # the actor's own, on streams that peers opened
        self._numbers = itertools.count(1)
        if start:
            self.actor.on_start()
            self.run()

    def kad(self, *, lan: bool = True) -> Kad:
        """One of the two DHTs."""
        return next(kad for kad in self.actor.kads if kad.lan == lan)

    # --- peers -----------------------------------------------------------------------------------------

    def serve(self, who: str, answer: Answer, protocols: tuple[str, ...] = (wire.LAN_PROTOCOL,)) -> None:
        """A peer that can be dialled and answers."""
        self.peers[who] = answer
        self.speaks[who] = protocols

    def connect(self, who: str, addrs: Sequence[str] = (), remote: str = "/ip4/10.0.0.9/tcp/50000") -> None:
        """A peer connects and identifies itself."""
        self.connected.add(who)
        self.ctx.tell(self.actor, transport.PeerConnected(who, remote, True))
        protocols = self.speaks.get(who, ())
        self.ctx.tell(self.actor, transport.PeerIdentified(who, "test", protocols, tuple(addrs)))

    def disconnect(self, who: str) -> None:
        """All its connections are gone, and its streams with them."""
        self.connected.discard(who)
        for stream in [number for number, (owner, _) in self.streams.items() if owner == who]:
            del self.streams[stream]
            self.ctx.tell(self.actor, transport.StreamClosed(who, stream, "connection reset"))
        self.ctx.tell(self.actor, transport.PeerDisconnected(who, "connection reset"))

    def neighbours(self, count: int) -> None:
        """Peers 1 to ``count``, all of whom name all; connected."""
        everybody = tuple(at(number) for number in range(1, count + 1))[:20]
        for number in range(1, count + 1):
            self.serve(peer(number), names(*everybody))
            self.connect(peer(number), (private(number),))
        self.run()

    def receive(
        self, who: str, message: wire.Message | bytes, stream: int = 0, protocol: str = wire.LAN_PROTOCOL
    ) -> int:
        """A frame on a stream that the peer opened; the stream."""
        stream = stream or next(self._numbers) + 10_000
        data = message if isinstance(message, bytes) else wire.encode(message)
        frame = transport.FrameReceived(who, stream, protocol, Buffer(data))
        self.ctx.tell(self.actor, frame, origin=peer_origin(who))
        self.run()
        return stream

    def tell(self, message: Message, *, sender: str = "routing") -> Envelope:
        """A message to the actor; everything that can happen then does."""
        envelope = self.ctx.tell(self.actor, message, sender=sender)
        self.run()
        return envelope

    def replies(self, envelope: Envelope) -> list[Message]:
        """What was answered to it so far."""
        return [reply for request, reply in self.ctx.replies if request.id == envelope.id]

    def restarted(self, name: str) -> None:
        """An actor has come back."""
        if name == "transport":
            self.streams.clear()
            self.connected.clear()
        self.tell(lifecycle.ActorRestarted(name, 2), sender="supervisor")

    # --- the transport's part ----------------------------------------------------------------------------

    def run(self, seconds: float = 0.0) -> None:
        """Let time pass, then everything that can happen now."""
        while seconds > STEP_S:
            self.run(STEP_S)
            seconds -= STEP_S
        self.ctx.advance(seconds)
        for _ in range(10_000):
            before = len(self.ctx.said)
            done = self._one_round()
            self.ctx.advance(0.0)
            if not done and len(self.ctx.said) == before:
                return
        raise AssertionError("it does not come to rest")

    def _one_round(self) -> bool:
        done = False
        for who in self.ctx.take_said(transport.WhoAmI):
            full = tuple(f"{addr}/p2p/{ME}" for addr in self.listen)
            who.answer(transport.Identity(ME, full, "shoal/test", ()))
            done = True
        for serve in self.ctx.take_said(transport.ServeProtocol):
            self.served.append(serve.message.protocols)
            serve.answer(Done())
            done = True
        for dial in self.ctx.take_said(transport.Dial):
            self.dials.append(dial.message)
            done = True
            if dial.message.peer in self.peers and dial.message.addrs:
                self.connect(dial.message.peer, dial.message.addrs)
                dial.answer(transport.Dialed(dial.message.peer, dial.message.addrs[0]))
            else:
                dial.answer(Failed("Dial", "NotFound", "nobody is there"))
        for opening in self.ctx.take_said(transport.OpenStream):
            done = True
            who_, (protocol,) = opening.message.peer, opening.message.protocols
            if who_ not in self.connected or protocol not in self.speaks.get(who_, ()):
                opening.answer(Failed("OpenStream", "NotFound", "it does not speak that"))
                continue
            stream = next(self._numbers)
            self.streams[stream] = (who_, protocol)
            opening.answer(transport.StreamOpened(who_, stream, protocol))
        for frame in self.ctx.take(transport.SendFrame):
            done = True
            self._sent(frame)
        for close in self.ctx.take(transport.CloseStream):
            self.closed.append(close)
            self._gone(close.stream)
        for fault in self.ctx.take(transport.RemoteFault):
            self.faults.append(fault)
            self._gone(fault.stream)
        self.taken += self.ctx.take(transport.FrameTaken)
        return done

    def _gone(self, stream: int) -> None:
        owner, _ = self.streams.pop(stream, ("", ""))
        self.ctx.tell(self.actor, transport.StreamClosed(owner, stream, ""))

    def _sent(self, frame: transport.SendFrame) -> None:
        data = b"".join(part.data for part in frame.parts)
        stream = frame.stream
        if stream not in self.streams:
            self.answers.append((stream, wire.decode(data)))
            self.ctx.tell(self.actor, transport.FrameSent("", stream, len(data)))
            return
        who, protocol = self.streams[stream]
        self.ctx.tell(self.actor, transport.FrameSent(who, stream, len(data)))
        message = wire.decode(data)
        self.asked.append((who, protocol, message))
        answer = self.peers[who](message)
        if answer is not None and message.kind is not wire.Kind.ADD_PROVIDER:
            raw = answer if isinstance(answer, bytes) else wire.encode(answer)
            received = transport.FrameReceived(who, stream, protocol, Buffer(raw))
            self.ctx.tell(self.actor, received, origin=peer_origin(who))
