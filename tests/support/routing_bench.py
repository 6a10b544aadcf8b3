"""A routing actor alone on a bench: the test speaks the lines of the sources, of bitswap and of the edge."""

from __future__ import annotations

from shoal.actors.routing.actor import RoutingActor
from shoal.messages import routing
from shoal.messages.base import Message
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.policy import WORKER, Policy
from shoal.messages.routing import DELEGATED, DHT, PUBSUB, Provider
from shoal.storage.peerbook.store import PeerStore
from shoal.tests.support.bitswap import block
from shoal.tests.support.context import FakeContext, Said
from shoal.tests.support.peers import addr, peer

ME = peer(99)
CID_A, CID_B = block(1).cid, block(2).cid


class Bench:
    """A routing actor and everybody around it."""

    def __init__(self, *sources: str, store: PeerStore | None = None, policy: Policy = WORKER) -> None:
        self.ctx = FakeContext("routing", policy)
        self.actor = RoutingActor(self.ctx, ME, sources or (PUBSUB, DELEGATED, DHT), store)
        self.actor.on_start()

    def tell(self, message: Message, sender: str = "edge", origin: str = "local") -> Envelope:
        envelope = self.ctx.tell(self.actor, message, sender=sender, origin=origin)
        self.check()
        return envelope

    def find(self, cid: CID = CID_A, ticket: int = 1, count: int = 10, sender: str = "edge") -> None:
        self.tell(routing.FindProviders(cid, ticket, count), sender)

    def asked(self) -> dict[str, Said[routing.SearchSource]]:
        """The sources that were asked since this was last called."""
        return {said.to: said for said in self.ctx.take_said(routing.SearchSource)}

    def answers(self) -> list[Message]:
        """What was answered since this was last called."""
        taken, self.ctx.replies = [message for _, message in self.ctx.replies], []
        return taken

    def found(self) -> list[str]:
        """Peers told of, in order, since answers were last taken."""
        return [
            one.peer for each in self.answers() if isinstance(each, routing.ProvidersFound) for one in each.providers
        ]

    def check(self) -> None:
        self.actor.searches.check()
        self.actor.book.check()


def tell_some(said: Said[routing.SearchSource], *numbers: int, source: str = "", where: bool = True) -> None:
    """A source finds these, and goes on."""
    assert said.on_reply is not None
    rows = tuple(Provider(peer(n), (addr(n),) if where else (), source or said.to) for n in numbers)
    said.on_reply(routing.SourceFound(rows))
