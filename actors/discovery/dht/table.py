"""A Kademlia routing table: peers that serve the DHT, in buckets by how many leading bits they share with us.

Who is in it has answered us, lately or once.  A full bucket takes nobody in place of who still answers (old peers stay
longest), but keeps a few newcomers for when one dies.  The public table takes only so many peers of one network, so
that who owns a /24 does not own the table.  Clients are never offered to it.  Pure: time is an argument, in seconds.

Source: Maymounkov and Mazières, "Kademlia", 2.2 to 2.4; libp2p kad-dht spec, "Routing table".
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass, field
from typing import Final

from shoal.actors.discovery.dht.addresses import group_of
from shoal.actors.discovery.dht.keys import BITS, common_prefix, peer_kad_id
from shoal.messages.limits import DHT_PEERS_PER_GROUP, DHT_REPLACEMENTS_MAX

K: Final = 20  # peers of a bucket, and of an answer (kad-dht spec)
SILENT_S: Final = 600.0  # seconds after which a peer that has not been heard is worth a question
REFRESH_PREFIX_MAX: Final = 13  # buckets beyond are covered by the walk to our own id; 2**13 * k peers are 160,000


@dataclass(slots=True)
class Row:
    """A peer that serves this DHT."""

    peer: str
    at: int  # its kad id
    addrs: tuple[str, ...]
    heard: float  # when it answered last
    groups: frozenset[str] = frozenset()


@dataclass(slots=True)
class Bucket:
    """Peers that share exactly so many bits with us, longest silent first, and newcomers who may take a place."""

    rows: OrderedDict[str, Row] = field(default_factory=OrderedDict)
    waiting: OrderedDict[str, Row] = field(default_factory=OrderedDict)
    refreshed: float = -math.inf


class Table:
    """The table of one DHT.  ``diverse``: count peers by network (the public DHT)."""

    def __init__(self, me: str, *, diverse: bool) -> None:
        self.me = me
        self.at = peer_kad_id(me)
        self.diverse = diverse
        self.buckets: defaultdict[int, Bucket] = defaultdict(Bucket)  # by prefix, BITS of them at most
        self.refreshed_self = -math.inf
        self._groups: Counter[str] = Counter()
        self._rows: dict[str, Row] = {}  # those of all buckets

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, peer: str) -> bool:
        return peer in self._rows

    def row(self, peer: str) -> Row | None:
        """The peer's row."""
        return self._rows.get(peer)

    def rows(self) -> list[Row]:
        """All of them."""
        return list(self._rows.values())

    # --- who comes and goes ----------------------------------------------------------------------------

    def answered(self, peer: str, addrs: tuple[str, ...], now: float) -> bool:
        """A server has answered; ``addrs`` are those of this DHT.  Whether it is in the table now."""
        at = peer_kad_id(peer)
        if at == self.at or not addrs:
            return False
        bucket = self.buckets[common_prefix(self.at, at)]
        groups = frozenset(group for addr in addrs if (group := group_of(addr))) if self.diverse else frozenset()
        row = Row(peer, at, addrs, now, groups)
        if peer in bucket.rows:
            self._take_out(bucket, peer)
            if self._has_room_for(groups):
                self._put_in(bucket, row)
            return peer in bucket.rows
        if not self._has_room_for(groups):
            return False
        bucket.waiting.pop(peer, None)
        if len(bucket.rows) < K:
            self._put_in(bucket, row)
            return True
        bucket.waiting[peer] = row
        if len(bucket.waiting) > DHT_REPLACEMENTS_MAX.value:
            bucket.waiting.popitem(last=False)
        return False

    def failed(self, peer: str) -> bool:
        """It did not answer: out, and the newcomer that was heard latest takes its place.  Whether it was in."""
        bucket = self._bucket(peer)
        bucket.waiting.pop(peer, None)
        if peer not in bucket.rows:
            return False
        self._take_out(bucket, peer)
        while bucket.waiting and len(bucket.rows) < K:
            _, row = bucket.waiting.popitem()
            if self._has_room_for(row.groups):
                self._put_in(bucket, row)
        return True

    def silent(self, now: float, most: int) -> list[Row]:
        """Up to ``most`` peers that have not been heard for SILENT_S, longest silent first."""
        oldest = (next(iter(bucket.rows.values())) for bucket in self.buckets.values() if bucket.rows)
        late = [row for row in oldest if now - row.heard >= SILENT_S]
        return heapq.nsmallest(most, late, key=lambda row: row.heard)

    # --- what it is for ----------------------------------------------------------------------------------

    def nearest(self, target: int, most: int = K) -> list[Row]:
        """The peers nearest to ``target``, nearest first."""
        return heapq.nsmallest(most, self._rows.values(), key=lambda row: row.at ^ target)

    def walked(self, target: int, now: float) -> None:
        """A lookup towards ``target`` has ended: its bucket is fresh."""
        if target == self.at:
            self.refreshed_self = now
        else:
            self.buckets[common_prefix(self.at, target)].refreshed = now

    def due(self, now: float, stale_s: float) -> list[int]:
        """Prefixes of buckets that are due for a walk, farthest first: those up to the deepest that has peers."""
        deepest = max((prefix for prefix, bucket in self.buckets.items() if bucket.rows), default=-1)
        return [
            prefix
            for prefix in range(min(deepest, REFRESH_PREFIX_MAX) + 1)
            if now - self.buckets[prefix].refreshed >= stale_s
        ]

    # --- within ------------------------------------------------------------------------------------------

    def _bucket(self, peer: str) -> Bucket:
        return self.buckets[min(common_prefix(self.at, peer_kad_id(peer)), BITS - 1)]

    def _has_room_for(self, groups: frozenset[str]) -> bool:
        return all(self._groups[group] < DHT_PEERS_PER_GROUP.value for group in groups)

    def _put_in(self, bucket: Bucket, row: Row) -> None:
        bucket.rows[row.peer] = self._rows[row.peer] = row
        self._groups.update(row.groups)

    def _take_out(self, bucket: Bucket, peer: str) -> None:
        row = bucket.rows.pop(peer)
        del self._rows[peer]
        self._groups.subtract(row.groups)
        for group in row.groups:
            if not self._groups[group]:
                del self._groups[group]
