"""One question for a peer: FIND_NODE in every DHT in use, and a dial that proves where it is.

Part of ``questions``.  Who cannot be dialled is told as others named it, since the asker may be luckier.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from shoal.actors.discovery.dht import wire
from shoal.actors.discovery.dht.kad import Kad
from shoal.actors.discovery.dht.keys import peer_bytes
from shoal.actors.discovery.dht.lookup import RESILIENCY
from shoal.actors.discovery.dht.searching import DEADLINE, Question, Search
from shoal.messages import routing, transport
from shoal.messages.base import Message
from shoal.messages.envelope import Envelope
from shoal.messages.errors import RemoteError
from shoal.messages.routing import PeerAddrs

if TYPE_CHECKING:
    from shoal.actors.discovery.dht.questions import Questions

DIAL_TIMEOUT_S: Final = 10.0  # seconds for finding out whether a peer is where it is said to be


class PeerSearch:
    """From SearchPeer to PeerFound or Failed."""

    def __init__(self, owner: Questions, peer: str, envelope: Envelope) -> None:
        self.owner = owner
        self.peer = peer
        self.envelope = envelope
        self.addrs: dict[str, Kad] = {}
        self.open: list[Search] = []
        self.tried: set[str] = set()
        self.dialling = False
        self.ended = False
        try:
            key = peer_bytes(peer)
        except RemoteError as fault:
            owner.failed(envelope, "BadInput", str(fault))
            return
        question = Question(wire.Kind.FIND_NODE, key, RESILIENCY)
        for kad in owner.in_use():
            self._named(kad, [PeerAddrs(peer, kad.where(peer))])
            self.open.append(owner.start(kad, question, envelope, self._searched, self._hear))
        if not self.open:
            owner.ctx.after(0.0, self._end)

    def _hear(self, kad: Kad, _: str, answer: wire.Message) -> None:
        self._named(kad, answer.closer)

    def _named(self, kad: Kad, named: Iterable[PeerAddrs]) -> None:
        for one in named:
            if one.peer == self.peer:
                for addr in kad.of_use(one.addrs):
                    self.addrs.setdefault(addr, kad)
        self._dial()

    def _dial(self) -> None:
        """Try the addresses that have not been tried; the transport authenticates whoever answers there."""
        fresh = tuple(addr for addr in self.addrs if addr not in self.tried)
        if fresh and not self.dialling and not self.ended:
            self.dialling = True
            self.tried.update(fresh)
            dial = transport.Dial(self.peer, fresh)
            self.owner.ctx.request(dial, self._dialled, deadline=math.inf, timeout_s=DIAL_TIMEOUT_S)

    def _dialled(self, reply: Message) -> None:
        self.dialling = False
        if isinstance(reply, transport.Dialed):
            self._end(first=reply.addr)
            return
        self._dial()
        if not self.open and not self.dialling:
            self._end()

    def _searched(self, search: Search) -> None:
        self.open.remove(search)
        if not self.open and (not self.dialling or search.outcome == DEADLINE):
            self._end()

    def _end(self, first: str = "") -> None:
        if self.ended:
            return
        self.ended = True
        for search in list(self.open):
            search.stop()
        if not self.addrs:
            self.owner.failed(self.envelope, "NotFound", f"no DHT knows where {self.peer} is")
            return
        known = sorted(self.addrs, key=lambda addr: addr != first)
        source = self.addrs[known[0]].source
        self.owner.ctx.reply(self.envelope, routing.PeerFound(self.peer, tuple(known), source))
