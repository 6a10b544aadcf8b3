"""The book's rows as the file keeps them, and back: the node's clock becomes dates and dates the node's clock.  Pure.

A wall clock that was set back makes everything look fresh, so what is read is believed for no longer than the longest
claim; one that was set forward makes it look old, and what has expired is learnt anew.
"""

from __future__ import annotations

import math

from shoal.actors.routing.rows import CLAIMED, USED, Addr, Row, bit, bits, names
from shoal.messages.limits import BOOK_TTL_S_MAX
from shoal.messages.routing import CONNECTED
from shoal.storage.peerbook.rows import StoredAddr, StoredPeer

COUNT_MAX = 2**62  # of blocks or failures; SQLite's numbers end a little above
KIND_CHARS_MAX = 16  # characters of a kind's name


def to_stored(row: Row, now: float, wall: float) -> StoredPeer:
    """A row for the file.  ``now`` and ``wall`` are the same moment on the two clocks."""

    def date(at: float) -> float:
        return wall - (now - at) if math.isfinite(at) else 0.0

    addrs = tuple(
        StoredAddr(addr, date(entry.expires), names(entry.sources), entry.worked) for addr, entry in row.addrs.items()
    )
    return StoredPeer(
        row.peer, row.owner, row.step, names(row.sources), date(row.seen), row.rtt_s, min(row.blocks, COUNT_MAX),
        min(row.failures, COUNT_MAX), row.good, row.bad, date(row.failed_at), row.kind, addrs,
    )  # fmt: skip


def from_stored(stored: StoredPeer, now: float, wall: float) -> Row:
    """A row for the book, which still checks ids and addresses and whether it fits."""

    def at(date: float) -> float:
        return now - max(wall - date, 0.0) if date > 0.0 else -math.inf

    row = Row(stored.peer, stored.owner if bit(stored.owner) else CONNECTED)
    row.step = min(max(stored.step, CLAIMED), USED)
    row.sources = bits(stored.sources)
    row.seen = at(stored.seen)
    row.rtt_s = max(stored.rtt_s, 0.0)
    row.blocks, row.failures = max(stored.blocks, 0), max(stored.failures, 0)
    row.good, row.bad = min(max(stored.good, 0.0), 1e6), min(max(stored.bad, 0.0), 1e6)
    row.failed_at = at(stored.failed_at)
    row.kind = stored.kind[:KIND_CHARS_MAX]
    for one in stored.addrs:
        left = min(one.expires - wall, float(BOOK_TTL_S_MAX.value))
        if left > 0.0:
            row.addrs[one.addr] = Addr(now + left, bits(one.sources), one.worked)
    return row


def is_ahead(stored: StoredPeer, wall: float) -> bool:
    """Whether it was written by a clock that has been set back since: what is believed now is to be written anew."""
    latest = max((one.expires for one in stored.addrs), default=0.0)
    return latest > wall + BOOK_TTL_S_MAX.value or stored.seen > wall
