"""What is kept of others' announcements: who says that they have a CID, and where peers say that they can be dialled.

Bounded per author, per bearer - the neighbour that brought an author's last announcement - and in total, and every
row expires.  A bearer fills its share and no more: whoever makes up thousands of peers displaces what it brought
itself, and when all is full, the bearer that takes most loses its oldest.  WANT is not kept: who wants something is
told to nobody.  CIDs of the same multihash name the same block, and are one row.

A pure table.  ``now`` in seconds on the node's clock, which the author's clock never touches.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from shoal.actors.discovery.pubsub.announcements import Statement
from shoal.actors.discovery.pubsub.bucket import Bucket
from shoal.messages.cid import CID
from shoal.messages.limits import (
    ANNOUNCED_CIDS_MAX,
    ANNOUNCED_CIDS_PER_PEER,
    ANNOUNCED_SHARE,
    ANNOUNCEMENTS_BURST,
    ANNOUNCEMENTS_RATE,
    ANNOUNCERS_MAX,
)
from shoal.messages.pubsub import HAVE, PEER
from shoal.messages.routing import PeerAddrs

SWEEP_S: Final = 60.0  # seconds between looks for what has expired


@dataclass(slots=True)
class Author:
    """One peer that announced something.  ``until``: when its addresses are no longer believed."""

    bearer: str
    addrs: tuple[str, ...] = ()
    role: str = ""
    relay: str = ""
    until: float = 0.0
    names: OrderedDict[bytes, float] = field(default_factory=OrderedDict)  # multihash -> until when; the oldest first


@dataclass(slots=True)
class Share:
    """What one bearer's authors take up."""

    authors: OrderedDict[str, None] = field(default_factory=OrderedDict)  # the longest silent first
    cids: int = 0
    bucket: Bucket | None = None


class Hints:
    """Authors by peer id, CIDs to authors."""

    def __init__(
        self,
        authors: int = ANNOUNCERS_MAX.value,
        cids: int = ANNOUNCED_CIDS_MAX.value,
        cids_each: int = ANNOUNCED_CIDS_PER_PEER.value,
    ) -> None:
        self._authors_max = authors
        self._cids_max = cids
        self._cids_each = cids_each
        self.authors: dict[str, Author] = {}
        self.cids = 0  # rows of a CID and its author
        self.refused = 0  # announcements beyond what a bearer may bring
        self._holders: dict[bytes, dict[str, None]] = {}
        self._shares: dict[str, Share] = {}
        self._swept_at = 0.0

    def __len__(self) -> int:
        """Announcements kept: what each author says of itself, and each CID."""
        return len(self.authors) + self.cids

    # --- in ----------------------------------------------------------------------------------------------

    def take(self, author: str, statement: Statement, bearer: str, now: float) -> bool:
        """Keep what ``author`` says, brought by ``bearer``; False when that brings too much at once."""
        self.sweep(now)
        share = self._shares.setdefault(bearer, Share())
        if share.bucket is None:
            share.bucket = Bucket(ANNOUNCEMENTS_BURST.value, ANNOUNCEMENTS_RATE.value, now)
        if not share.bucket.take(1, now):
            self.refused += 1
            return False
        if statement.about == HAVE:
            self._learn(self._author(author, bearer), statement, now)
            self._add_cids(author, statement, now)
        elif statement.about == PEER:
            row = self._author(author, bearer)
            row.role, row.relay = statement.role, statement.relay
            self._learn(row, statement, now, all_of_it=True)
        self._make_room(author)
        return True

    def _author(self, author: str, bearer: str) -> Author:
        row = self.authors.get(author)
        if row is None:
            row = self.authors[author] = Author(bearer)
        elif row.bearer != bearer:
            before = self._share_of(row)
            del before.authors[author]
            before.cids -= len(row.names)
            row.bearer = bearer
            self._share_of(row).cids += len(row.names)
        share = self._share_of(row)
        share.authors[author] = None
        share.authors.move_to_end(author)
        return row

    def _share_of(self, row: Author) -> Share:
        return self._shares.setdefault(row.bearer, Share())

    def _learn(self, row: Author, statement: Statement, now: float, *, all_of_it: bool = False) -> None:
        """Where the author is.  PEER says ``all_of_it``; a HAVE may be without, and takes nothing away."""
        if statement.addrs or all_of_it:
            row.addrs = statement.addrs
            row.until = now + statement.ttl_s

    def _add_cids(self, author: str, statement: Statement, now: float) -> None:
        row = self.authors[author]
        for cid in statement.cids:
            name = cid.multihash
            holders = self._holders.setdefault(name, {})
            if row.names.pop(name, None) is None:
                self._count(row, 1)
            else:
                del holders[author]
            holders[author] = None
            row.names[name] = now + statement.ttl_s
        while len(row.names) > self._cids_each:
            self._drop_name(author, next(iter(row.names)))

    def _make_room(self, newest: str) -> None:
        """Within every share and in total, the oldest of whoever takes too much goes."""
        row = self.authors.get(newest)
        if row is not None:
            share = self._share_of(row)
            while self._too_much(share, self._authors_max, self._cids_max, ANNOUNCED_SHARE.value):
                self._drop_oldest(share)
        while len(self.authors) > self._authors_max or self.cids > self._cids_max:
            crowded = len(self.authors) > self._authors_max
            largest = max(self._shares.values(), key=lambda one: len(one.authors) if crowded else one.cids)
            self._drop_oldest(largest)

    def _too_much(self, share: Share, authors: int, cids: int, parts: int) -> bool:
        return len(share.authors) > max(1, authors // parts) or share.cids > max(1, cids // parts)

    def _drop_oldest(self, share: Share) -> None:
        """The longest silent author of a share; of the last one, the oldest half of its CIDs."""
        oldest = next(iter(share.authors))
        names = self.authors[oldest].names
        if len(share.authors) > 1 or not names:
            self.forget(oldest)
            return
        for name in list(names)[: max(1, len(names) // 2)]:
            self._drop_name(oldest, name)

    # --- out ---------------------------------------------------------------------------------------------

    def holders(self, cid: CID, now: float, count: int = 0) -> list[PeerAddrs]:
        """Who says to have ``cid``, the latest first, with addresses as far as known; at most ``count`` unless 0."""
        found = []
        for author in reversed(self._holders.get(cid.multihash, {})):
            if self.authors[author].names[cid.multihash] > now:
                found.append(PeerAddrs(author, self.addrs(author, now)))
                if len(found) == count:
                    break
        return found

    def addrs(self, peer: str, now: float) -> tuple[str, ...]:
        """Where the peer says that it can be dialled; empty when it does not, or no longer."""
        row = self.authors.get(peer)
        return row.addrs if row is not None and row.until > now else ()

    def forget(self, author: str) -> None:
        """Drop all that it said."""
        row = self.authors[author]
        for name in list(row.names):
            self._drop_name(author, name)
        del self.authors[author]
        del self._share_of(row).authors[author]

    def sweep(self, now: float) -> None:
        """Forget what has expired, once in a while."""
        if now - self._swept_at < SWEEP_S:
            return
        self._swept_at = now
        for author, row in list(self.authors.items()):
            for name in [name for name, until in row.names.items() if until <= now]:
                self._drop_name(author, name)
            if not row.names and row.until <= now:
                self.forget(author)
        for bearer in [bearer for bearer, share in self._shares.items() if not share.authors]:
            del self._shares[bearer]

    def _drop_name(self, author: str, name: bytes) -> None:
        row = self.authors[author]
        del row.names[name]
        self._count(row, -1)
        holders = self._holders[name]
        del holders[author]
        if not holders:
            del self._holders[name]

    def _count(self, row: Author, by: int) -> None:
        self.cids += by
        self._share_of(row).cids += by
