"""The mDNS actor: tells the local network where this node is, and the node who else is there.

Begin with ``lan``, the interface on which it stands; what is said is in ``announcement``, whom to dial in
``neighbours``, when to ask in ``asking``.  A neighbour that is heard of is told to routing and dialled, as Kubo does.
All that this actor knows is heard again within minutes of its death.

It rests - says nothing and hears nothing - while the policy's ``find_by_mdns`` is off.

Source: libp2p discovery/mdns.md.
"""

from __future__ import annotations

import math
from typing import ClassVar, Final

from shoal.actors.base import Actor, Context, handles
from shoal.actors.discovery.mdns.announcement import random_name, read, strings_of
from shoal.actors.discovery.mdns.asking import Asking
from shoal.actors.discovery.mdns.lan import Heard, LocalNetwork
from shoal.actors.discovery.mdns.neighbours import Neighbours
from shoal.messages import lifecycle, routing, transport
from shoal.messages.base import Message
from shoal.messages.envelope import Envelope
from shoal.messages.errors import RemoteError

LOOK_EVERY_S: Final = 0.5  # seconds between looks at what was heard and who is due
TAKEN_AT_ONCE: Final = 128  # records read in one look: a few milliseconds of a flood
WHO_AM_I_EVERY_S: Final = 30.0  # seconds between looks at this node's own addresses; they are not published
WHO_AM_I_AGAIN_S: Final = 1.0  # seconds, when there was no answer
WHO_AM_I_TIMEOUT_S: Final = 10.0
DIAL_TIMEOUT_S: Final = 60.0  # seconds; up to 16 local addresses of 5 s each, eight at a time, and the handshake


class MdnsActor(Actor):
    """Announces this node on the local network, listens there, and dials whom it hears."""

    NAME: ClassVar[str] = "mdns"

    def __init__(self, ctx: Context, lan: LocalNetwork) -> None:
        super().__init__(ctx)
        self.lan = lan
        self.name = random_name(ctx.random)
        self.running = False
        self.neighbours: Neighbours | None = None  # None: this node does not yet know who it is itself
        self.said: tuple[bytes, ...] | None = None
        self.lost = 0
        self.asking = Asking(ctx.random, ctx.now())
        self.who_am_i_at = 0.0

    def on_start(self) -> None:
        self._look()

    def on_stop(self) -> None:
        if self.running:
            self._rest()

    @handles(lifecycle.ActorRestarted)
    def on_actor_restarted(self, message: lifecycle.ActorRestarted, _: Envelope) -> None:
        if self.neighbours is None:
            return
        if message.name == "transport":
            self.neighbours.forget_connections(self.ctx.now())
            self.who_am_i_at = 0.0
        elif message.name == "routing":
            self._tell(self.neighbours.known(self.ctx.now()))

    def _look(self) -> None:
        now = self.ctx.now()
        if self.ctx.policy.find_by_mdns:
            if not self.running:
                self.running = True
                self.lan.start()
            self._work(now)
        elif self.running:
            self._rest()
        self.ctx.after(LOOK_EVERY_S, self._look)

    def _rest(self) -> None:
        self.running, self.said, self.neighbours = False, None, None
        self.who_am_i_at = 0.0
        self.lan.stop()

    def _work(self, now: float) -> None:
        if not now < self.who_am_i_at <= now + WHO_AM_I_EVERY_S:
            self.who_am_i_at = now + WHO_AM_I_EVERY_S
            self.ctx.request(transport.WhoAmI(), self._told_who_i_am, timeout_s=WHO_AM_I_TIMEOUT_S, deadline=math.inf)
        if self.neighbours is None:
            return
        if self.asking.due(now):
            self.ctx.count("questions")
            self.lan.ask()
        self._listen(self.neighbours, now)
        for peer, addrs in self.neighbours.due(now):
            self._dial(peer, addrs)

    def _told_who_i_am(self, reply: Message) -> None:
        if not self.running:
            return
        if not isinstance(reply, transport.Identity):
            self.who_am_i_at = self.ctx.now() + WHO_AM_I_AGAIN_S
            return
        if self.neighbours is None:
            self.neighbours = Neighbours(self.ctx.random, reply.peer, self.ctx.now())
        strings = strings_of(reply.addrs)
        if strings != self.said:
            self.said = strings
            self.lan.announce(self.name, strings)
            self.asking.start_over(self.ctx.now())

    def _listen(self, neighbours: Neighbours, now: float) -> None:
        news: list[tuple[str, tuple[str, ...], float]] = []
        for heard in self.lan.heard(TAKEN_AT_ONCE):
            peer = self._heard(neighbours, heard, now)
            if peer:
                row = neighbours.peers[peer]
                news.append((peer, row.addrs, row.expires - now))
        if self.lan.lost > self.lost:
            self.ctx.count("lost", self.lan.lost - self.lost)
            self.lost = self.lan.lost
        self._tell(news)
        self.ctx.gauge("neighbours", len(neighbours.peers))

    def _heard(self, neighbours: Neighbours, heard: Heard, now: float) -> str:
        """The peer of whom this is news, or ""."""
        if heard.name == self.name:
            return ""
        try:
            said = read(heard.data)
        except RemoteError as fault:
            self.ctx.count(f"refused_{fault.code}")
            return ""
        self.ctx.count("heard")
        if said.refused:
            self.ctx.count("refused_addresses", said.refused)
        if said.peer in neighbours.peers and heard.ttl_s > 0:
            self.asking.answers_heard(now)
        return said.peer if neighbours.hear(heard.name, said, heard.ttl_s, now) else ""

    def _tell(self, known: list[tuple[str, tuple[str, ...], float]]) -> None:
        """To routing, those that are believed for as long in one message."""
        by_ttl: dict[float, dict[str, routing.PeerAddrs]] = {}
        for peer, addrs, ttl_s in known:
            by_ttl.setdefault(float(math.ceil(ttl_s)), {})[peer] = routing.PeerAddrs(peer, addrs)
        for ttl_s, peers in by_ttl.items():
            self.ctx.send(routing.PeersSeen(routing.MDNS, tuple(peers.values()), ttl_s))

    def _dial(self, peer: str, addrs: tuple[str, ...]) -> None:
        def answered(reply: Message) -> None:
            if self.neighbours is not None:
                self.neighbours.dialled(peer, isinstance(reply, transport.Dialed), self.ctx.now())

        self.ctx.count("dials")
        self.ctx.request(transport.Dial(peer, addrs), answered, timeout_s=DIAL_TIMEOUT_S, deadline=math.inf)
