"""A DHT actor that lies: asked for the nearest, it names peers that do not exist, each nearer than any that does.

It knows no provider, takes every record and every request, and is otherwise a whole node: it identifies itself, answers
at once, and is found in tables like any other.
"""

from __future__ import annotations

import random
from typing import Final

from shoal.actors.base import Context
from shoal.actors.discovery.dht import wire
from shoal.actors.discovery.dht.actor import DhtActor
from shoal.actors.discovery.dht.keys import kad_id, peer_kad_id, peer_text
from shoal.actors.discovery.dht.server import Server
from shoal.messages.routing import PeerAddrs

PREFIX: Final = bytes.fromhex("002408011220")  # identity multihash of a protobuf Ed25519 key
TRIES: Final = 300  # ids made up for one answer, of which the nearest are told: nearer than those of 500 real peers
TOLD: Final = 20


class LyingServer(Server):
    """Answers that lead nowhere."""

    def __init__(self, honest: Server, rng: random.Random) -> None:
        super().__init__(honest.table, honest.records, honest.validators, honest.where, lan=honest.lan)
        self.rng = rng
        self.lies = 0

    def answer(self, message: wire.Message, sender: str, wall: float) -> wire.Message | None:
        """Made-up peers, none of whom is there."""
        if message.kind is wire.Kind.ADD_PROVIDER:
            return None
        self.lies += 1
        target = kad_id(message.key)
        ids = [peer_text(PREFIX + self.rng.randbytes(32)) for _ in range(TRIES)]
        ids.sort(key=lambda one: peer_kad_id(one) ^ target)
        nowhere = (f"/ip4/10.{self.rng.randrange(100, 256)}.{self.rng.randrange(256)}.1/tcp/4001",)
        return wire.Message(message.kind, message.key, closer=tuple(PeerAddrs(one, nowhere) for one in ids[:TOLD]))


class LyingDht(DhtActor):
    """A DHT actor whose answers are a ``LyingServer``'s."""

    def _begin(self, me: str) -> None:
        super()._begin(me)
        for kad in self.kads:
            kad.server = LyingServer(kad.server, self.ctx.random)
            self.serving.servers[kad.protocol] = kad.server

    @property
    def lies(self) -> int:
        """Answers so far."""
        return sum(kad.server.lies for kad in self.kads if isinstance(kad.server, LyingServer))


def lying(ctx: Context) -> DhtActor:
    """For ``DhtSwarm.add``."""
    return LyingDht(ctx)
