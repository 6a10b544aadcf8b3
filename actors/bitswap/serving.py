"""The ledger's hands: asks the store what is here, reads it, sends it, and tells the wantlist what is not here."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from shoal.actors.base import Context
from shoal.actors.bitswap import wire
from shoal.actors.bitswap.ledger import Ledger
from shoal.actors.bitswap.links import Links
from shoal.actors.bitswap.partner import Lookup, Work
from shoal.actors.bitswap.streams import Streams
from shoal.messages import blocks, wants
from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.envelope import peer_origin
from shoal.messages.limits import EAGER_READS_MAX, SERVE_READS_MAX
from shoal.messages.replies import Refused

STORE_TIMEOUT_S: Final = 20.0  # seconds for the store to answer; it repeats over its own restarts
STORE_PAUSE_S: Final = 0.2  # seconds without reads after the store could not answer


class Serving:
    """What our peers want from us."""

    def __init__(self, ctx: Context, links: Links, streams: Streams, handled: Callable[[], None]) -> None:
        self.ctx = ctx
        self.links = links
        self.streams = streams
        self.handled = handled  # called after each answer of the store: have everything pumped
        self.ledger = Ledger()
        self.paused_until = -math.inf
        self.at_hand: dict[CID, Block] = {}  # read by eager lookups since the last pump, which sends them
        self._eager = 0  # eager lookups of which something is on its way or at hand
        self._eager_done = 0  # of them, those that have been answered

    def receive(self, peer: str, message: wire.WireMessage) -> None:
        """Book the wants in a message."""
        policy = self.ctx.policy
        peers_max = policy.serve_peers_max if policy.serve_blocks else 0
        self.ledger.receive(peer, message.wants, message.full, self.ctx.now(), peers_max)

    def pump(self) -> None:
        """Do everything that can be done now."""
        now = self.ctx.now()
        for lookup in self.ledger.lookups(now):
            self._look_up(lookup)
        for peer in self.ledger.ready():
            if peer not in self.links.open:
                self.streams.open(peer)
        while now >= self.paused_until and self.ledger.reading < SERVE_READS_MAX.value:
            work = self.ledger.next(now, self.links.open)
            if work is None:
                break
            self._serve(work)
        self.at_hand.clear()
        self._eager -= self._eager_done
        self._eager_done = 0
        for demand in self.ledger.demand.take():
            self.ctx.send(demand, origin=peer_origin(demand.peer), deadline=math.inf)

    def _look_up(self, lookup: Lookup) -> None:
        if lookup.eager and self._eager < EAGER_READS_MAX.value:
            self._read_at_once(lookup)
            return
        origin = peer_origin(lookup.partner.peer)

        def answered(reply: Message) -> None:
            now = self.ctx.now()
            if isinstance(reply, blocks.BlockSizes) and len(reply.sizes) == len(lookup.cids):
                self.ledger.located(lookup, reply.sizes, now)
            else:
                self.ledger.lookup_failed(lookup, now)
            self.handled()

        message = blocks.HasBlocks(lookup.cids)
        self.ctx.request(message, answered, origin=origin, deadline=math.inf, timeout_s=STORE_TIMEOUT_S)

    def _read_at_once(self, lookup: Lookup) -> None:
        """Read instead of looking: for a peer that waits for a block or two a trip to the disk is half its latency."""
        peer = lookup.partner.peer
        self._eager += 1

        def answered(reply: Message) -> None:
            now = self.ctx.now()
            self._eager_done += 1
            if isinstance(reply, blocks.BlocksServed):
                read = {block.cid: block for block in reply.blocks}
                self.at_hand |= read
                self.ledger.located(lookup, [len(read[cid]) if cid in read else -1 for cid in lookup.cids], now)
            else:
                self.ledger.lookup_failed(lookup, now)
                if isinstance(reply, Refused):
                    self.ledger.stop_serving(now)
            self.handled()

        message = blocks.ServeBlocks(peer, lookup.cids)
        self.ctx.request(message, answered, origin=peer_origin(peer), deadline=math.inf, timeout_s=STORE_TIMEOUT_S)

    def _serve(self, work: Work) -> None:
        cids = work.cids
        if all(cid in self.at_hand for cid in cids):
            self._send(work, tuple(self.at_hand[cid] for cid in cids))
            return

        def answered(reply: Message) -> None:
            if isinstance(reply, blocks.BlocksServed):
                self._send(work, reply.blocks)
            elif isinstance(reply, Refused):
                self.ledger.abandon(work, self.ctx.now())
                self.ledger.stop_serving(self.ctx.now())
            else:
                self.paused_until = self.ctx.now() + STORE_PAUSE_S
                self.ledger.abandon(work, self.ctx.now())
            self.handled()

        message = blocks.ServeBlocks(work.peer, cids)
        self.ctx.request(message, answered, origin=peer_origin(work.peer), deadline=math.inf, timeout_s=STORE_TIMEOUT_S)

    def _send(self, work: Work, read: tuple[Block, ...]) -> None:
        now = self.ctx.now()
        given, presences, pending = self.ledger.filled(work, read, now)
        if not given and not presences:
            return
        link = self.links.open.get(work.peer)
        if link is None:
            self.ledger.unsent(work, now)
            return
        messages = wire.encode(link.protocol, blocks=given, presences=presences, pending_bytes=pending)
        sizes = self.streams.send(link, messages, ledgers=True)
        self.ledger.queued(work, sizes, given, now)
        link.blocks_sent += len(given)
        link.bytes_sent += sum(len(block) for block in given)

    def available(self, block: blocks.AvailableBlock) -> None:
        """A block is in the store now."""
        self.ledger.available(block.cid, block.size, self.ctx.now())

    def peer_gone(self, peer: str) -> None:
        """Forget the peer's wants, here and in the wantlist."""
        self.ledger.disconnected(peer)
        self.ctx.send(wants.PeerDemandGone(peer), origin=peer_origin(peer), deadline=math.inf)

    def wake_in(self, tick_s: float) -> float | None:
        """Seconds until ``pump`` is due for time's sake."""
        return tick_s if self.ledger.busy() else None
