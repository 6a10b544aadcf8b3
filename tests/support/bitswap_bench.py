"""A bitswap actor alone on a bench: the test speaks the lines of the transport, placement and the wantlist."""

from __future__ import annotations

import math
from typing import Any

from shoal.actors.bitswap import wire
from shoal.actors.bitswap.actor import BitswapActor
from shoal.actors.bitswap.wire import BITSWAP_1_2, PROTOCOLS, WireMessage
from shoal.messages import blocks, exchange, lifecycle, transport, wants
from shoal.messages.base import Message
from shoal.messages.block import Block, Buffer
from shoal.messages.cid import CID
from shoal.messages.limits import BITSWAP_MESSAGE_MAX, KIB
from shoal.messages.policy import WORKER, Policy
from shoal.messages.replies import Done
from shoal.tests.support.bitswap import block, check_ledger, check_seeker
from shoal.tests.support.context import FakeContext

A = block(1, 5000)
B = block(2, 300 * KIB)
IN = 700  # number of an inbound stream


class Bench:
    """A bitswap actor and everybody around it.  Its cores' indexes are checked after every message."""

    def __init__(self, policy: Policy = WORKER) -> None:
        self.ctx = FakeContext("bitswap", policy)
        self.actor = BitswapActor(self.ctx)
        self.actor.on_start()
        (served,) = self.ctx.take_said(transport.ServeProtocol)
        assert served.message == transport.ServeProtocol(PROTOCOLS, BITSWAP_MESSAGE_MAX.value)
        served.answer(Done())
        self.streams: dict[str, int] = {}
        self.next_stream = 1

    def tell(self, message: Message) -> None:
        """The actor hears this."""
        self.ctx.tell(self.actor, message)
        check_seeker(self.actor.fetching.seeker)
        check_ledger(self.actor.serving.ledger)

    def connect(self, peer: str) -> None:
        """A peer's first connection is up."""
        self.tell(transport.PeerConnected(peer, "/ip4/127.0.0.1/tcp/1", True))

    def open(self, protocol: str = BITSWAP_1_2) -> None:
        """Let every stream that the actor asked for be opened."""
        for said in self.ctx.take_said(transport.OpenStream):
            assert said.message.protocols == PROTOCOLS
            self.streams[said.message.peer] = self.next_stream
            self.next_stream += 1
            said.answer(transport.StreamOpened(said.message.peer, self.next_stream - 1, protocol))

    def frames(self) -> list[tuple[int, WireMessage]]:
        """What was sent since they were last taken: (stream, message)."""
        return [
            (said.message.stream, wire.decode(b"".join(part.data for part in said.message.parts)))
            for said in self.ctx.take_said(transport.SendFrame)
        ]

    def receive(self, peer: str, stream: int = IN, protocol: str = BITSWAP_1_2, **message: Any) -> None:
        """A frame from a peer, encoded from keyword arguments as ``wire.encode`` takes them."""
        for parts in wire.encode(BITSWAP_1_2, **message):
            self.tell(transport.FrameReceived(peer, stream, protocol, Buffer(b"".join(parts))))

    def seek(self, *cids: CID, session: int = 1, deadline: float = math.inf) -> None:
        """The wantlist wants these."""
        self.tell(wants.SeekBlocks(cids, session, 3, deadline))

    def store_answers(self, *here: Block) -> None:
        """Answer everything that was asked of placement, from ``here``."""
        have = {each.cid: each for each in here}
        for said in self.ctx.take_said(blocks.HasBlocks):
            assert said.origin.startswith("peer:")
            said.answer(blocks.BlockSizes(tuple(len(have[c]) if c in have else -1 for c in said.message.cids)))
        for read in self.ctx.take_said(blocks.ServeBlocks):
            peer, cids = read.message.peer, read.message.cids
            assert read.origin == f"peer:{peer}"
            given = tuple(have[c] for c in cids if c in have)
            read.answer(blocks.BlocksServed(peer, given, tuple(c for c in cids if c not in have)))

    def stat(self, peer: str = "") -> exchange.BitswapStats:
        """The actor's figures."""
        self.tell(exchange.BitswapStat(peer))
        stats = self.ctx.replies.pop()[1]
        assert isinstance(stats, exchange.BitswapStats)
        return stats

    def restarted(self, name: str) -> None:
        """Another actor died and is back."""
        self.tell(lifecycle.ActorRestarted(name, 2))


def asked(messages: list[tuple[int, WireMessage]]) -> dict[CID, bool]:
    """What is wanted in these messages: CID -> whether the block itself."""
    return {want.cid: want.block for _, message in messages for want in message.wants if not want.cancel}
