"""A placement actor alone: the test speaks for the tiers, the keeper, the wantlist, bitswap and the edge."""

from __future__ import annotations

import math
from collections.abc import Iterable

from shoal.actors.placement.actor import PlacementActor
from shoal.messages import blocks, keeping, tiers, wants
from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.cid import CID, IDENTITY, RAW
from shoal.messages.envelope import LOCAL, Envelope
from shoal.messages.replies import Done
from shoal.tests.support.bitswap import block
from shoal.tests.support.context import FakeContext, Said

A, B, C = (block(number, 100) for number in range(3))
INLINE = CID(1, RAW, IDENTITY, b"inline")


class Bench:
    """A placement actor and everybody around it."""

    def __init__(self) -> None:
        self.ctx = FakeContext("placement")
        self.actor = PlacementActor(self.ctx)
        self.actor.on_start()
        for said in self.ctx.take_said(keeping.BlocksUsed):
            said.answer(Done())
        self._id = 100

    def tell(self, message: Message, *, deadline: float = math.inf, priority: int = 3, origin: str = LOCAL) -> int:
        """Give it a message; the envelope's id."""
        self._id += 1
        kind = type(message).__name__
        envelope = Envelope(
            self._id, kind, "test", "placement", b"", deadline=deadline, priority=priority, origin=origin
        )
        self.actor.receive(message, envelope)
        self.actor.gets.check()
        return self._id

    def tier(self, name: str, kind: type[Message]) -> list[Said[Message]]:
        """What a tier was asked since the last time."""
        taken = self.ctx.take_said(kind)
        self.ctx.said.extend(said for said in taken if said.to != name)
        return [said for said in taken if said.to == name]

    def warm(self, *used: Block) -> None:
        """Have these used twice, so that memory was given them."""
        self.actor.reading.hot.all_used((*used, *used), self.ctx.now())

    def read(self, memory: Iterable[Block] = (), disk: Iterable[Block] = (), cold: Iterable[Block] = ()) -> None:
        """Let the tiers answer what they were asked to read, from what they hold."""
        for name, held in (("memory", memory), ("disk", disk), ("cold", cold)):
            for said in self.tier(name, tiers.TierGet):
                here = {one.cid.multihash: one for one in held}
                cids = said.message.cids  # type: ignore[attr-defined]  # a TierGet
                found = tuple(Block(cid, here[cid.multihash].data) for cid in cids if cid.multihash in here)
                said.answer(tiers.TierBlocks(name, found, tuple(cid for cid in cids if cid.multihash not in here)))

    def store(self, reply: Message | None = None, tier: str = "disk") -> None:
        """Let a durable tier answer what it was asked to store."""
        for said in self.tier(tier, tiers.TierPut):
            held = said.message.blocks  # type: ignore[attr-defined]  # a TierPut
            said.answer(reply or tiers.TierStored(tier, len(held), sum(map(len, held))))

    def gone(self, *names: str) -> list[tuple[CID, ...]]:
        """Let these tiers forget what they were told to; what that was."""
        told: list[tuple[CID, ...]] = []
        for name in names or ("disk", "cold"):
            for said in self.tier(name, tiers.TierDelete):
                told.append(said.message.cids)  # type: ignore[attr-defined]  # a TierDelete
                said.answer(Done())
        return told

    def kept_books(self) -> None:
        """Let the keeper take in everything that was used so far."""
        for _ in range(3):
            self.ctx.advance(3.0)
            for said in self.ctx.take_said(keeping.BlocksUsed):
                if not said.ended:
                    said.answer(Done())

    def wanted(self) -> list[wants.Want]:
        """What was wanted since the last time."""
        self.ctx.advance(0.0)
        return self.ctx.take(wants.Want)

    def wants_said(self) -> list[Said[wants.Want]]:
        """The same, to be answered."""
        self.ctx.advance(0.0)
        return self.ctx.take_said(wants.Want)

    def answers(self, request: int) -> list[Message]:
        """Replies to one request since the last time."""
        found = [message for envelope, message in self.ctx.replies if envelope.id == request]
        self.ctx.replies = [entry for entry in self.ctx.replies if entry[0].id != request]
        return found


def get(*cids: CID, session: int = 7, fetch: bool = True, early: bool = False) -> blocks.GetBlocks:
    """A request for ``cids``."""
    return blocks.GetBlocks(cids, session, fetch, early)


def missing(cid: CID, reason: str, error: str) -> blocks.BlocksEnd:
    """The end of a request of which one block did not come."""
    return blocks.BlocksEnd((blocks.MissingBlock(cid, reason, error),))
