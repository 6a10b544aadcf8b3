"""The ledger: what our peers want from us, and whom we serve next.  Pure: no clock, no I/O.

Request flow.  ``receive`` books a peer's wantlist; ``lookups`` says which CIDs the store is to be asked for and
``located`` books the answer; ``next`` picks the peer to be served and what it gets; ``filled`` turns the blocks read
into a message, ``queued`` books the frame it became, ``sent`` gives credit back as it is written.  ``available``
serves those who wait for a block that has just come.

Peer selection is in ``turns``; within a peer its own priorities count.

want-have and want-block.  A want-have is answered by HAVE, or by the block if that is at most 1,024 bytes.  DONT_HAVE
is said only if it was asked for and the block is absent.  A want for an absent block stays.

Anti-abuse.  1,024 wants a peer: at the cap a want whose block is here replaces one whose block is not, else a more
urgent one the least urgent (as boxo does).  4 MiB (and one block) outstanding a peer.  One lookup a peer at a time.
All of a peer's state goes when it disconnects.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Final

from shoal.actors.bitswap.demand import Demand
from shoal.actors.bitswap.partner import BATCH_FIRST, Frame, Lookup, Partner, PeerWant, State, Work, wanted
from shoal.actors.bitswap.turns import Turns
from shoal.actors.bitswap.victims import Victims
from shoal.actors.bitswap.wire import WireWant
from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.limits import (
    OUTSTANDING_BYTES_ALL,
    OUTSTANDING_BYTES_PER_PEER,
    WANTS_ALL_PEERS_MAX,
    WANTS_PER_PEER_MAX,
)

LOOKUP_RETRY_S: Final = 0.5  # seconds before a store that could not answer is asked again


class Ledger:
    """All peers' wants.  ``demand`` holds what the wantlist has not been told yet."""

    def __init__(self) -> None:
        self.partners: dict[str, Partner] = {}
        self.waiting: dict[CID, set[str]] = {}  # CID -> peers with a want for it in LOOKUP or ABSENT
        self.demand = Demand()
        self.outstanding = 0
        self.reading = 0  # work handed out and not yet filled
        self.blocks_sent = 0
        self.bytes_sent = 0
        self._look: dict[str, None] = {}  # peers with CIDs to look up
        self.turns = Turns()
        self._batches: dict[str, int] = {}  # of connected peers that have no row now: how far their messages are filled

    # --- what peers say ------------------------------------------------------------------------------

    def receive(self, peer: str, wants: Sequence[WireWant], full: bool, now: float, peers_max: int) -> None:
        """Book a wantlist.  ``peers_max`` peers are served at one time; 0 serves nobody (a leecher).

        Who is not served hears DONT_HAVE where it asked to, and nothing is kept.
        """
        partner = self.partners.get(peer)
        keep = peers_max > 0 and ((partner is not None and partner.kept) or self._served() < peers_max)
        if partner is None:
            if not any(not want.cancel for want in wants):
                return
            partner = self.partners[peer] = Partner(peer, now, self._batches.pop(peer, BATCH_FIRST))
        partner.kept = keep
        if full:
            listed = {want.cid for want in wants if not want.cancel}
            for cid in [cid for cid in partner.wants if cid not in listed]:
                self._drop(partner, cid)
        for want in wants:
            if want.cancel:
                self._drop(partner, want.cid)
            elif not keep:
                self._deny(partner, want.cid, want.dont_have)
            elif (row := partner.wants.get(want.cid)) is not None:
                self._renew(partner, row, want)
            else:
                self._admit(partner, want)
        self._settle(partner, now)

    def _admit(self, partner: Partner, want: WireWant) -> None:
        """Book a new want; beyond the cap only its lookup shows whether it may replace another."""
        row = wanted(want)
        if len(partner.wants) < self._cap():
            partner.wants[want.cid] = row
            self._wait(partner, row)
        elif len(partner.overflow) < WANTS_PER_PEER_MAX.value:
            partner.overflow[want.cid] = row
        else:
            return  # so many beyond the cap that the store cannot be asked about them at once
        partner.to_look[want.cid] = None

    def _renew(self, partner: Partner, row: PeerWant, want: WireWant) -> None:
        """A want said again: a new priority, a HAVE that becomes a block, a question asked again."""
        upgraded = want.block and not row.by_block
        if row.state is State.QUEUED:
            partner.unqueue(row, State.LOOKUP)
            row.priority, row.block, row.dont_have = want.priority, row.block or want.block, want.dont_have
            partner.enqueue(row)
            return
        row.priority, row.block, row.dont_have = want.priority, row.block or want.block, want.dont_have
        if row.state is State.SENDING:
            if upgraded and row.size >= 0:
                partner.enqueue(row)  # the HAVE is on its way; the block follows
            return
        if row.state is State.ABSENT:
            row.state = State.LOOKUP
        partner.to_look[row.cid] = None

    def _served(self) -> int:
        return sum(partner.kept for partner in self.partners.values())

    def _cap(self) -> int:
        """Wants that one peer may have now: 1,024, less when very many peers want very much."""
        share = WANTS_ALL_PEERS_MAX.value // max(1, len(self.partners))
        return min(WANTS_PER_PEER_MAX.value, share)

    def disconnected(self, peer: str) -> None:
        """Forget everything about a peer."""
        self._batches.pop(peer, None)
        partner = self.partners.pop(peer, None)
        if partner is None:
            return
        for cid in list(partner.wants):
            self._drop(partner, cid)
        self.outstanding -= partner.outstanding
        partner.outstanding = 0
        partner.frames.clear()
        self._look.pop(peer, None)
        self.turns.leave(peer)
        self.demand.gone(peer)

    def stop_serving(self, now: float) -> None:
        """Policy no longer serves: every want ends, with DONT_HAVE where it was asked for."""
        for partner in list(self.partners.values()):
            for want in list(partner.wants.values()):
                self._drop(partner, want.cid)
                self._deny(partner, want.cid, want.dont_have)
            partner.overflow.clear()
            partner.to_look.clear()
            partner.kept = False
            self._settle(partner, now)

    # --- what is here --------------------------------------------------------------------------------

    def lookups(self, now: float) -> list[Lookup]:
        """What to ask the store now, one question a peer at a time."""
        asked: list[Lookup] = []
        for peer in list(self._look):
            partner = self.partners[peer]
            if not partner.looking and partner.look_after <= now:
                partner.looking = True
                asked.append(Lookup(partner, tuple(partner.to_look), partner.is_eager()))
                partner.to_look.clear()
                del self._look[peer]
        return asked

    def located(self, lookup: Lookup, sizes: Sequence[int], now: float) -> None:
        """The store's answer: sizes in bytes, -1 for absent."""
        partner = lookup.partner
        if self.partners.get(partner.peer) is not partner:
            return
        partner.looking = False
        extra: list[PeerWant] = []
        for cid, size in zip(lookup.cids, sizes, strict=True):
            row = partner.wants.get(cid)
            if row is not None:
                if row.state is State.LOOKUP:
                    self._place(partner, row, size)
            elif (row := partner.overflow.pop(cid, None)) is not None:
                row.size = size
                extra.append(row)
        if extra:
            victims = Victims(partner)
            for row in sorted(extra, key=lambda one: -one.priority):
                self._replace(partner, row, victims)
        self._settle(partner, now)

    def lookup_failed(self, lookup: Lookup, now: float) -> None:
        """The store could not say: ask again in a while."""
        partner = lookup.partner
        if self.partners.get(partner.peer) is not partner:
            return
        partner.looking = False
        partner.look_after = now + LOOKUP_RETRY_S
        for cid in lookup.cids:
            row = partner.wants.get(cid) or partner.overflow.get(cid)
            if row is not None and row.state is State.LOOKUP:
                partner.to_look[cid] = None
        self._settle(partner, now)

    def available(self, cid: CID, size: int, now: float) -> None:
        """A block is here now: whoever waits for it gets it."""
        for peer in sorted(self.waiting.get(cid, ())):
            partner = self.partners[peer]
            self._place(partner, partner.wants[cid], size)
            self._settle(partner, now)

    def _place(self, partner: Partner, row: PeerWant, size: int) -> None:
        """A want whose block is known to be here, or not."""
        row.size = size
        partner.to_look.pop(row.cid, None)
        if size >= 0:
            self._unwait(partner, row)
            partner.denials.pop(row.cid, None)
            partner.enqueue(row)
            return
        row.state = State.ABSENT
        self._deny(partner, row.cid, row.dont_have)
        if not row.shown:
            row.shown = True
            self.demand.begin(partner.peer, row.cid, row.priority)

    def _replace(self, partner: Partner, row: PeerWant, victims: Victims) -> None:
        """A want beyond the cap, looked up: let it in for a lesser one, or turn it away."""
        if len(partner.wants) >= self._cap():
            victim = victims.for_want(row)
            if victim is None:
                self._deny(partner, row.cid, row.dont_have and row.size < 0)
                return
            self._drop(partner, victim.cid)
        partner.wants[row.cid] = row
        self._wait(partner, row)
        self._place(partner, row, row.size)
        victims.add(row)

    # --- serving -------------------------------------------------------------------------------------

    def ready(self) -> list[str]:
        """Peers that something could be sent to."""
        return list(self.turns.ready)

    def busy(self) -> bool:
        """Whether anything waits for time to pass, or for a stream."""
        return bool(self._look or self.turns.ready)

    def next(self, now: float, reachable: Container[str]) -> Work | None:
        """The next batch for one of the ``reachable`` peers, its credit held; None when nobody can be served now."""
        best = self.turns.pick(now, reachable, self.outstanding >= OUTSTANDING_BYTES_ALL.value)
        if best is None:
            return None
        work = best.take(OUTSTANDING_BYTES_PER_PEER.value - best.outstanding)
        self.outstanding += work.cost
        self.reading += 1
        self._settle(best, now)
        return work

    def filled(
        self, work: Work, blocks: Sequence[Block], now: float
    ) -> tuple[list[Block], list[tuple[CID, bool]], int]:
        """What to put into the message: blocks, presences and the bytes still pending; all empty if nothing is left.

        Only what is still wanted is served; a block that has gone since it was located is absent again.
        """
        self.reading -= 1
        partner = work.partner
        presences = [(cid, False) for cid in work.denials]
        given: list[Block] = []
        if self.partners.get(work.peer) is not partner:
            return [], [], 0
        read = {block.cid: block for block in blocks}
        valid = []
        for answer in work.answers:
            if not answer.valid:
                continue
            if not answer.by_block:
                presences.append((answer.want.cid, True))
            elif (block := read.get(answer.want.cid)) is not None:
                given.append(block)
            else:
                self._wait(partner, answer.want)
                self._place(partner, answer.want, -1)
                continue
            valid.append(answer)
        work.answers = valid
        if not given and not presences:
            self._give_back(partner, work.cost)
        self._settle(partner, now)
        return given, presences, partner.queued_bytes

    def queued(self, work: Work, sizes: Sequence[int], blocks: Sequence[Block], now: float) -> None:
        """The message went out as frames of these sizes; without any, its answers count as given."""
        partner = work.partner
        if self.partners.get(work.peer) is not partner:
            return
        data = sum(len(block) for block in blocks)
        for size in sizes[:-1]:
            partner.frames.append(Frame(size, 0, (), 0, 0, now))
        frame = Frame(sizes[-1] if sizes else 0, work.cost, tuple(work.answers), data, len(blocks), now)
        if sizes:
            partner.frames.append(frame)
        else:
            self._finish(partner, frame)

    def unsent(self, work: Work, now: float) -> None:
        """The message could not be handed to the transport, or not be read: its answers wait again."""
        partner = work.partner
        if self.partners.get(work.peer) is partner:
            self._requeue(partner, Frame(0, work.cost, tuple(work.answers), 0, 0))
            self._settle(partner, now)

    def abandon(self, work: Work, now: float) -> None:
        """As ``unsent``, for work that ``filled`` has not seen."""
        self.reading -= 1
        self.unsent(work, now)

    def sent(self, peer: str, size: int, now: float) -> None:
        """The transport has written ``size`` bytes of this peer's frames of ours, in order."""
        partner = self.partners.get(peer)
        if partner is None:
            return
        for frame in partner.wrote(size, now):
            self._finish(partner, frame)
        self._settle(partner, now)

    def stream_lost(self, peer: str, now: float) -> None:
        """The stream broke: what was on it has not been served."""
        partner = self.partners.get(peer)
        if partner is None:
            return
        while partner.frames:
            self._requeue(partner, partner.frames.popleft())
        partner.written = 0
        self._settle(partner, now)

    def _finish(self, partner: Partner, frame: Frame) -> None:
        self._give_back(partner, frame.cost)
        self.blocks_sent += frame.blocks
        self.bytes_sent += frame.data_bytes
        for answer in frame.answers:
            if answer.valid:
                self._drop(partner, answer.want.cid)

    def _requeue(self, partner: Partner, frame: Frame) -> None:
        self._give_back(partner, frame.cost)
        for answer in frame.answers:
            if answer.valid:
                partner.enqueue(answer.want)

    def _give_back(self, partner: Partner, cost: int) -> None:
        partner.outstanding -= cost
        self.outstanding -= cost

    # --- demand, and within ------------------------------------------------------------------------------

    def retell(self) -> None:
        """The wantlist is new and knows nothing: all that is absent is demanded again."""
        self.demand.clear()
        for partner in self.partners.values():
            for want in partner.wants.values():
                if want.shown:
                    self.demand.begin(partner.peer, want.cid, want.priority)

    def _deny(self, partner: Partner, cid: CID, asked: bool) -> None:
        if asked and len(partner.denials) < 2 * WANTS_PER_PEER_MAX.value:
            partner.denials[cid] = None

    def _drop(self, partner: Partner, cid: CID) -> None:
        """The want ends: answered, cancelled, replaced or void."""
        partner.denials.pop(cid, None)
        if partner.overflow.pop(cid, None) is not None:
            partner.to_look.pop(cid, None)
        row = partner.wants.pop(cid, None)
        if row is None:
            return
        partner.to_look.pop(cid, None)
        self._unwait(partner, row)
        partner.unqueue(row, State.ABSENT)

    def _wait(self, partner: Partner, row: PeerWant) -> None:
        row.state = State.LOOKUP
        self.waiting.setdefault(row.cid, set()).add(partner.peer)

    def _unwait(self, partner: Partner, row: PeerWant) -> None:
        peers = self.waiting.get(row.cid)
        if peers is not None:
            peers.discard(partner.peer)
            if not peers:
                del self.waiting[row.cid]
        if row.shown:
            row.shown = False
            self.demand.end(partner.peer, row.cid)

    def _settle(self, partner: Partner, now: float) -> None:
        """Keep the indexes of who is to be looked up for, served or forgotten."""
        peer = partner.peer
        if partner.to_look:
            self._look[peer] = None
        else:
            self._look.pop(peer, None)
        self.turns.update(partner, now)
        if partner.idle() and self.partners.get(peer) is partner:
            del self.partners[peer]
            self._look.pop(peer, None)
            if partner.batch != BATCH_FIRST:
                self._batches[peer] = partner.batch
