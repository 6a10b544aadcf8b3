"""Many nodes of transport and DHT alone, in one simulated world: what lookups cost and find, without the rest of one.

Begin with ``DhtSwarm``.  Questions that only the routing actor may ask of the DHT are asked by ``Asker``, which stands
at its place and remembers what comes.  It ranks nothing and races nobody.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final

from shoal.actors.base import Actor, Context, handles
from shoal.actors.discovery.dht.actor import DhtActor
from shoal.actors.discovery.dht.values import Validators
from shoal.actors.transport.actor import TransportActor
from shoal.messages import dht, routing, transport
from shoal.messages.base import Message
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.policy import WORKER, Policy
from shoal.messages.routing import Provider
from shoal.runtime.machine import Machine
from shoal.runtime.simulation.internet import InternetConfig, SimulatedHost, SimulatedInternet
from shoal.runtime.simulation.network import SimulatedNetwork
from shoal.runtime.simulation.scheduler import SimWorld
from shoal.runtime.supervisor.specs import ChildSpec

LISTEN: Final = ("/ip4/0.0.0.0/tcp/4001",)
START_S: Final = 30.0  # virtual seconds
MakeDht = Callable[[Context], Actor]


@dataclass
class Asked:
    """One question and all that came of it; times are virtual seconds."""

    began: float
    deadline: float
    providers: list[Provider] = field(default_factory=list)
    replies: list[Message] = field(default_factory=list)
    first: float = math.inf  # from its beginning to the first provider
    ended: float = math.inf  # when its last reply came
    seconds: float = math.inf

    @property
    def over(self) -> bool:
        """Whether the last reply has come."""
        return self.ended < math.inf

    @property
    def last(self) -> Message:
        """The last reply."""
        assert self.over, "no last reply has come"
        return self.replies[-1]


class Asker(Actor):
    """In routing's place: it asks the DHT what a test wants to know."""

    NAME: ClassVar[str] = "routing"

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.seen: dict[str, routing.PeerAddrs] = {}
        self.tickets = 0

    def ask(self, message: Message, timeout_s: float) -> Asked:
        """Ask the DHT; the answer fills as the world runs.  Called between the world's steps."""
        now = self.ctx.now()
        asked = Asked(now, now + timeout_s)

        def answered(reply: Message) -> None:
            asked.replies.append(reply)
            if isinstance(reply, routing.SourceFound):
                asked.first = min(asked.first, self.ctx.now() - asked.began)
                asked.providers.extend(reply.providers)
            else:
                asked.ended = self.ctx.now()
                asked.seconds = asked.ended - asked.began

        self.ctx.request(message, answered, to="dht", timeout_s=timeout_s)
        return asked

    @handles(routing.PeersSeen)
    def on_seen(self, message: routing.PeersSeen, _: Envelope) -> None:
        self.seen.update({peer.peer: peer for peer in message.peers})

    @handles(transport.PeerConnected, transport.PeerDisconnected, transport.PeerIdentified)
    def on_peer(self, message: Message, _: Envelope) -> None:
        """The transport tells routing too."""


class DhtNode:
    """One node of the swarm."""

    def __init__(
        self, swarm: DhtSwarm, name: str, host: SimulatedHost, policy: Policy, make_dht: MakeDht, asks: bool
    ) -> None:
        self.asks = asks
        self.swarm = swarm
        self.make_dht = make_dht
        self.name = name
        self.host = host
        self.policy = policy
        self.machine: Machine | None = None
        self.dht: Actor | None = None  # of the latest generation
        self.asker: Asker | None = None

    @property
    def peer(self) -> str:
        """Its peer id."""
        return self.host.peer_id

    @property
    def addr(self) -> str:
        """Where it listens."""
        return f"/ip4/{self.host.ip}/tcp/4001"

    def start(self) -> None:
        """Run."""
        world, internet = self.swarm.world, self.swarm.internet

        def make_transport(ctx: Context) -> TransportActor:
            network = SimulatedNetwork(internet, self.host, around=lambda events: world.on_actor(ctx, events))
            return TransportActor(ctx, network, LISTEN, "shoal/simulated")

        def make_dht(ctx: Context) -> Actor:
            self.dht = self.make_dht(ctx)
            return self.dht

        def make_asker(ctx: Context) -> Asker:
            self.asker = Asker(ctx)
            return self.asker

        specs = [ChildSpec("transport", make_transport), ChildSpec("dht", make_dht)]
        specs += [ChildSpec("routing", make_asker)] if self.asks else []
        self.machine = world.machine(specs, self.policy, self.name)
        self.machine.start(START_S)

    def power_off(self) -> None:
        """Gone without a word."""
        self.swarm.world.power_off(self.name)
        self.swarm.internet.crash(self.host)
        self.machine = None

    def ask(self, message: Message, timeout_s: float = 60.0) -> Asked:
        """A question from routing's place."""
        assert self.asker is not None
        return self.asker.ask(message, timeout_s)

    def search(self, cid: CID, *, count: int = 1, timeout_s: float = 60.0) -> Asked:
        """Who has ``cid``?"""
        assert self.asker is not None
        self.asker.tickets += 1
        return self.ask(routing.SearchSource(cid, self.asker.tickets, count), timeout_s)

    def find(self, cid: CID, *, count: int = 1, timeout_s: float = 60.0) -> Asked:
        """The same, waited for."""
        asked = self.search(cid, count=count, timeout_s=timeout_s)
        assert self.swarm.world.run_until(lambda: asked.over, timeout_s + 1), "a search outlived its deadline"
        return asked

    def provide(self, *cids: CID, timeout_s: float = 120.0) -> dht.Provided:
        """Tell the DHT that this node has these."""
        assert self.machine is not None
        with self.machine.edge.stream(dht.ProvideCids(cids), timeout_s) as replies:
            while True:
                reply = replies.next(timeout_s)
                if not isinstance(reply, dht.ProvideProgress):
                    assert isinstance(reply, dht.Provided), reply
                    return reply

    def stats(self, *, lan: bool = True) -> dht.TableRow:
        """Its table."""
        assert self.machine is not None
        stats = self.machine.edge.ask_for(dht.DhtStats, dht.DhtStat(), 10.0)
        return next(row for row in stats.tables if row.lan == lan)

    def connect(self, other: DhtNode) -> None:
        """Dial."""
        assert self.machine is not None
        self.machine.edge.ask_for(transport.Dialed, transport.Dial(other.peer, (other.addr,)), 30.0)


class DhtSwarm:
    """Nodes by name."""

    def __init__(
        self, seed: int | str, config: InternetConfig | None = None, validators: Validators | None = None
    ) -> None:
        self.world = SimWorld(seed)
        self.internet = SimulatedInternet(self.world, self.world.random, config)
        self.nodes: dict[str, DhtNode] = {}
        self.make_dht: MakeDht = lambda ctx: DhtActor(ctx, validators=validators)

    def add(self, name: str, policy: Policy = WORKER, make_dht: MakeDht | None = None, *, asks: bool = True) -> DhtNode:
        """A node more, running; ``make_dht``: with another actor in the DHT's place; not ``asks``: without an Asker."""
        node = DhtNode(self, name, self.internet.add_host(name), policy, make_dht or self.make_dht, asks)
        self.nodes[name] = node
        node.start()
        return node

    def grow(self, count: int, *, settle_s: float = 60.0) -> list[DhtNode]:
        """``count`` nodes that know one of those before them each, and time to learn of each other."""
        rng = self.world.random
        before = list(self.nodes.values())
        new: list[DhtNode] = []
        for number in range(count):
            node = self.add(f"n{len(before) + number}")
            others = [*before, *new]
            if others:
                node.connect(rng.choice(others))
            new.append(node)
        self.world.run_for(settle_s)
        return new

    def stop(self) -> None:
        """Stop every node."""
        for node in self.nodes.values():
            if node.machine is not None:
                node.machine.stop(30.0)
                node.machine = None

    def __enter__(self) -> DhtSwarm:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
