"""Rows that follow somebody's listing - the keeper's pins, the tiers' blocks - brought in line with a stretch of it.

Not who lists, and not how two listings become one (``actors.announce.merging``).  Begin at ``reconcile``.

Both sides are in the order of multihashes, so a stretch is compared as two sorted lists are: what the listing has and
the backlog has not is added, what only the backlog has loses this origin.  Nothing is written where nothing changed,
and no mark is left on rows, so that following a million blocks every hour costs reading an index.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from shoal.messages.cid import CID, IDENTITY
from shoal.storage.announcements.rows import WAY_CODES, Origin, Reconciled
from shoal.storage.announcements.tally import INSERT, Tally

_SPAN: Final = (
    "SELECT id, multihash, way, origins, told FROM announcements INDEXED BY by_cid"
    " WHERE multihash > ? {through} ORDER BY multihash, way LIMIT ?"
)
_OPEN: Final = _SPAN.format(through="")
_CLOSED: Final = _SPAN.format(through="AND multihash <= ?")
_SET: Final = "UPDATE announcements SET origins = ? WHERE id = ?"

_Row = tuple[int, bytes, int, int, float | None]


def reconcile(
    conn: sqlite3.Connection,
    origin: Origin,
    ways: Sequence[str],
    entries: Sequence[tuple[CID, float]],
    after: bytes,
    through: bytes | None,
    limit: int,
) -> Reconciled:
    """See ``Announcements.reconcile``.  Within the caller's transaction."""
    rows, through = _span(conn, after, through, max(limit, len(WAY_CODES) + 1))
    listed = {
        cid.multihash: (cid, due)
        for cid, due in entries
        if cid.hash_code != IDENTITY and after < cid.multihash and (through is None or cid.multihash <= through)
    }
    tallies = {code: Tally(conn, way) for way, code in WAY_CODES.items()}
    wanted = {WAY_CODES[way] for way in ways}
    known: set[tuple[bytes, int]] = set()
    dropped = 0
    for id_, multihash, way, origins, told in rows:
        known.add((multihash, way))
        belongs = multihash in listed and way in wanted
        if belongs and not origins & origin:
            conn.execute(_SET, (origins | origin, id_))
        elif not belongs and origins & origin:
            dropped += 1
            tallies[way].release(id_, origins, told, origin)
    added = refused = 0
    for multihash, (cid, due) in listed.items():
        for way in wanted:
            if (multihash, way) in known:
                continue
            if tallies[way].is_full:
                refused += 1
                continue
            conn.execute(INSERT, (multihash, way, cid.codec, cid.version, int(origin), due, None, 0, b""))
            tallies[way].gained()
            added += 1
    if added or dropped:
        for tally in tallies.values():
            tally.save()
    return Reconciled(added, dropped, refused, through)


def _span(conn: sqlite3.Connection, after: bytes, through: bytes | None, limit: int) -> tuple[list[_Row], bytes | None]:
    """The rows of the stretch, at most ``limit``, and where it ends then: never between the ways of one CID."""
    if through is None:
        rows: list[_Row] = conn.execute(_OPEN, (after, limit)).fetchall()
    else:
        rows = conn.execute(_CLOSED, (after, through, limit)).fetchall()
    if len(rows) < limit:
        return rows, through
    cut = rows[-1][1]
    rows = [row for row in rows if row[1] != cut]
    return rows, rows[-1][1]
