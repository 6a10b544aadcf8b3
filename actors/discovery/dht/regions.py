"""What lookups have shown of a DHT: in which regions all peers are known, so that nobody need be asked again.  Pure.

Not who asks (``sweep``).  Begin at ``Regions.nearest``.

A region is a block of the key space: all ids that share a prefix.  A lookup that ended in order has named the K peers
nearest to its target; with ``n`` the bits that the farthest of them shares with the target, all peers that share more
than ``n`` bits are among them, since each of those is nearer.  So that block is known whole.  And where a block known
whole has K peers, the K nearest to any key in it are in it: nearer than whoever is outside.  Blocks known whole add
up, so some 15 peers a lookup are enough to know everybody, and every key's K nearest exactly, as of a while ago.

Source: Maymounkov and Mazières, "Kademlia", 2.1 (the XOR metric); go-libp2p-kad-dht issue 824, "reprovide sweep".
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Final

from shoal.actors.discovery.dht.keys import BITS, peer_kad_id
from shoal.actors.discovery.dht.table import K
from shoal.messages.limits import DHT_REGION_PEERS_MAX
from shoal.messages.routing import PeerAddrs

FRESH_S: Final = 1800.0
"""Seconds that a region counts as known: half of the DHT's servers stay for hours, and those told at once are lost."""
FRESH_SMALL_S: Final = 60.0
"""The same of a network with fewer than K peers: a node that has just started knows no more of it yet."""


@dataclass(frozen=True, slots=True)
class Block:
    """A region known whole: the ids from ``low`` on that share all but ``free`` bits with it.  ``until`` in seconds."""

    low: int
    free: int
    until: float

    @property
    def end(self) -> int:
        """The id behind its last one."""
        return self.low + (1 << self.free)


class Regions:
    """One DHT's.  Times are seconds of the node's clock."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []  # disjoint, in order
        self._ids: list[int] = []  # of peers, in order
        self._peers: dict[int, PeerAddrs] = {}
        self._few: Set[int] | None = None  # what the last lookup found, if that was fewer than K

    def __len__(self) -> int:
        """How many peers are known."""
        return len(self._ids)

    def learn(self, target: int, nearest: Sequence[PeerAddrs], now: float) -> int:
        """A lookup towards ``target`` ended in order with these, nearest first; how many bits name the block known now.

        Fewer than K are all there are when two lookups in a row find the same; until then nothing is learnt (BITS).
        """
        found = {peer_kad_id(peer.peer): peer for peer in nearest}
        before, self._few = self._few, (found.keys() if len(found) < K else None)
        if self._few is not None and self._few != before:
            return BITS
        if len(self._ids) + len(found) > DHT_REGION_PEERS_MAX.value:
            self.forget()
        small = len(found) < K
        farthest = max((at ^ target for at in found), default=0)
        free = BITS if small else max(farthest.bit_length() - 1, 0)
        low = (target >> free) << free
        self._know(Block(low, free, now + (FRESH_SMALL_S if small else FRESH_S)), found)
        return BITS - free

    def nearest(self, at: int, now: float) -> list[PeerAddrs] | None:
        """The K peers nearest to ``at``, nearest first (fewer when there are fewer); None when that is not known."""
        block = self._block_of(at, now)
        if block is None:
            return None
        free = block.free
        while True:
            low = (at >> free) << free
            first, behind = bisect_left(self._ids, low), bisect_left(self._ids, low + (1 << free))
            if behind - first >= K or free == BITS:
                ids = heapq.nsmallest(K, self._ids[first:behind], key=lambda one: one ^ at)
                return [self._peers[one] for one in ids]
            free += 1
            if not self._is_whole((at >> free) << free, free, now):
                return None

    def covers(self, at: int, now: float) -> bool:
        """Whether ``at`` lies in a block known whole, though perhaps with fewer than K peers."""
        return self._block_of(at, now) is not None

    def lost(self, peer: str) -> None:
        """``peer`` does not answer.  Its block is still known whole."""
        self._drop(peer_kad_id(peer))

    def forget(self) -> None:
        """Know nothing."""
        self._blocks.clear()
        self._ids.clear()
        self._peers.clear()
        self._few = None

    # --- within ------------------------------------------------------------------------------------

    def _know(self, block: Block, found: dict[int, PeerAddrs]) -> None:
        """Put ``block`` in place of what was known there; ``found`` are its peers, and some beyond it."""
        first, behind = bisect_left(self._ids, block.low), bisect_left(self._ids, block.end)
        for one in [one for one in self._ids[first:behind] if one not in found]:
            self._drop(one)
        for at, peer in found.items():
            if at not in self._peers:
                insort(self._ids, at)
            self._peers[at] = peer
        around = self._around(block.low)
        if around is not None and around.free >= block.free:
            if around.until >= block.until:
                return  # a larger one as fresh
            self._split(around, block)
        first = bisect_left(self._blocks, block.low, key=lambda one: one.low)
        behind = bisect_left(self._blocks, block.end, key=lambda one: one.low)
        self._blocks[first:behind] = [block]

    def _split(self, around: Block, block: Block) -> None:
        """Make room for ``block`` within a larger and older one, whose other parts stay as they are."""
        parts = []
        for free in range(block.free, around.free):
            low = ((block.low >> free) ^ 1) << free
            parts.append(Block(low, free, around.until))
        index = bisect_left(self._blocks, around.low, key=lambda one: one.low)
        self._blocks[index : index + 1] = sorted(parts, key=lambda one: one.low)

    def _around(self, at: int) -> Block | None:
        index = bisect_right(self._blocks, at, key=lambda one: one.low) - 1
        return self._blocks[index] if index >= 0 and at < self._blocks[index].end else None

    def _block_of(self, at: int, now: float) -> Block | None:
        """The block that ``at`` is in; one that is old is forgotten."""
        block = self._around(at)
        if block is not None and block.until <= now:
            self._blocks.remove(block)
            return None
        return block

    def _is_whole(self, low: int, free: int, now: float) -> bool:
        """Whether blocks that are fresh make up the whole block."""
        end = low + (1 << free)
        at = low
        for index in range(bisect_left(self._blocks, low, key=lambda one: one.low), len(self._blocks)):
            block = self._blocks[index]
            if block.low != at or block.until <= now:
                return False
            at = block.end
            if at >= end:
                return True
        return False

    def _drop(self, at: int) -> None:
        if self._peers.pop(at, None) is not None:
            del self._ids[bisect_left(self._ids, at)]
