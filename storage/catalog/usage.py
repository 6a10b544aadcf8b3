"""The usage table: who was put, read, moved and listed when.  Soft state: a tier's own index is the authority.

Not the ranking (``ranking``) and not the marks (``marks``).  Begin at ``note``.

Each function is the body of one transaction on ``usage.sqlite`` and may be run twice when damage is met.

Time.  ``last`` follows the latest use, so a late note does not make a block colder; but a ``last`` more than
CLOCK_SLACK_S ahead of a note or a listing was written by a clock that was wrong, and gives way, else that block would
be hot, and safe from a GC, until the wrong time comes.

Place.  ``placed`` is when we were last told where a block is.  A use tells where it was then, and a listing where it
was when the listing was asked for: neither overrules what is known of a later moment.  A move is the owner's own doing
and always holds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from shoal.messages.cid import CID, IDENTITY
from shoal.messages.limits import CATALOG_BATCH_MAX, CATALOG_STRAYS_MAX, CID_BYTES_MAX
from shoal.storage.catalog.rows import NOWHERE, USAGE_COLUMNS, USES_KEPT, Listed, Reconciled, Span, Usage, Use, usage_of

CLOCK_SLACK_S: Final = 3600.0  # above any delay of a message or a listing's page, below any clock error worth curing
STRAYS_MARGIN: Final = CATALOG_STRAYS_MAX.value // 16  # dropped beyond the bound, so that it is not met at each note

_LAST: Final = f"CASE WHEN last > excluded.last + {CLOCK_SLACK_S} THEN excluded.last ELSE max(last, excluded.last) END"
# A use that says where it was, unless something told of a later place (not one later than any delay, though).
_SEEN_LATER: Final = f"""
    excluded.placed IS NOT NULL
    AND (placed IS NULL OR placed <= excluded.placed OR placed > excluded.placed + {CLOCK_SLACK_S})
"""
_NOTE: Final = f"""
    INSERT INTO usage (multihash, codec, size, tier, n, first, last, placed, importance)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)
    ON CONFLICT (multihash) DO UPDATE SET
        size = CASE WHEN excluded.size > 0 THEN excluded.size ELSE size END,
        tier = CASE WHEN {_SEEN_LATER} THEN excluded.tier ELSE tier END,
        placed = CASE WHEN {_SEEN_LATER} THEN excluded.placed ELSE placed END,
        n = min(n + excluded.n, {USES_KEPT}),
        first = min(first, {_LAST}),
        last = {_LAST}
"""
_ADD_LISTED: Final = """
    INSERT INTO usage (multihash, codec, size, tier, n, first, last, placed, importance)
    VALUES (:multihash, :codec, :size, :tier, 1, :at, :at, :at, 0) ON CONFLICT (multihash) DO NOTHING
"""
_TOLD_SINCE: Final = f"coalesce(placed BETWEEN :at AND :at + {CLOCK_SLACK_S}, 0)"
_CORRECT: Final = f"""
    UPDATE usage SET
        size = CASE WHEN :size > 0 THEN :size ELSE size END,
        tier = CASE WHEN {_TOLD_SINCE} THEN tier ELSE :tier END,
        placed = CASE WHEN {_TOLD_SINCE} THEN placed ELSE :at END,
        first = min(first, CASE WHEN last > :at + {CLOCK_SLACK_S} THEN :at ELSE last END),
        last = CASE WHEN last > :at + {CLOCK_SLACK_S} THEN :at ELSE last END
    WHERE multihash = :multihash AND (
        (:size > 0 AND size <> :size) OR (tier <> :tier AND NOT {_TOLD_SINCE}) OR last > :at + {CLOCK_SLACK_S})
"""
# The plus keeps SQLite from walking through all rows of the tier: the span is found by the table's own order.
_IN_SPAN: Final = f"""
    SELECT multihash FROM usage WHERE multihash > :after AND multihash <= :through
        AND +tier = :tier AND NOT {_TOLD_SINCE} ORDER BY multihash LIMIT :limit
"""
_END: Final = b"\xff" * CID_BYTES_MAX.value  # behind every multihash: it is longer, and none begins so
_PRUNE: Final = f"""
    DELETE FROM usage WHERE multihash IN
        (SELECT multihash FROM usage WHERE tier = '{NOWHERE}' AND last < ? ORDER BY last LIMIT ?)
"""
_DROP_STRAYS: Final = f"""
    DELETE FROM usage WHERE multihash IN
        (SELECT multihash FROM usage WHERE tier = '{NOWHERE}' ORDER BY last, multihash LIMIT ?)
"""


def note(conn: sqlite3.Connection, uses: Sequence[Use]) -> None:
    """Add ``uses`` to what is known, in their order.  An identity CID carries its bytes and needs no row."""
    conn.executemany(
        _NOTE,
        [
            (
                use.cid.multihash,
                use.cid.codec,
                use.size,
                use.tier,
                min(use.put + use.reads, USES_KEPT),
                float(use.at),
                float(use.at),
                float(use.at) if use.tier else None,
            )
            for use in uses
            if use.cid.hash_code != IDENTITY
        ],
    )


def find(conn: sqlite3.Connection, cids: Sequence[CID]) -> list[Usage | None]:
    """The row of each CID, in their order; None where there is none."""
    query = f"SELECT {USAGE_COLUMNS} FROM usage WHERE multihash = ?"
    rows = [conn.execute(query, (cid.multihash,)).fetchone() for cid in cids]
    return [None if row is None else usage_of(row) for row in rows]


def moved(conn: sqlite3.Connection, cids: Sequence[CID], tier: str, at: float) -> int:
    """Set the tier of those of ``cids`` that have a row; how many."""
    placed = float(at) if tier else None
    query = "UPDATE usage SET tier = ?, placed = ? WHERE multihash = ?"
    return _changed(conn.executemany(query, [(tier, placed, multihash) for multihash in _multihashes(cids)]))


def weigh(conn: sqlite3.Connection, cids: Sequence[CID], importance: int) -> int:
    """Set the importance of those of ``cids`` that have a row; how many."""
    query = "UPDATE usage SET importance = ? WHERE multihash = ?"
    return _changed(conn.executemany(query, [(importance, multihash) for multihash in _multihashes(cids)]))


def forget(conn: sqlite3.Connection, cids: Sequence[CID]) -> int:
    """Drop the rows of ``cids``; how many there were."""
    query = "DELETE FROM usage WHERE multihash = ?"
    return _changed(conn.executemany(query, [(multihash,) for multihash in _multihashes(cids)]))


def listed(conn: sqlite3.Connection, tier: str, entries: Sequence[Listed], at: float, span: Span | None) -> Reconciled:
    """Bring the rows in line with ``entries`` of the listing of ``tier`` that was asked for at ``at``.

    With a ``span`` the entries are all that the tier has there: other rows of the tier in it lose their place.
    """
    rows = {
        entry.cid.multihash: {
            "multihash": entry.cid.multihash,
            "codec": entry.cid.codec,
            "size": entry.size,
            "tier": tier,
            "at": float(at),
        }
        for entry in entries
        if entry.cid.hash_code != IDENTITY
    }
    added = _changed(conn.executemany(_ADD_LISTED, list(rows.values())))
    corrected = _changed(conn.executemany(_CORRECT, list(rows.values())))
    gone: list[bytes] = []
    complete = True
    if span is not None:
        limit = len(rows) + CATALOG_BATCH_MAX.value
        where = {
            "after": span.after or b"",
            "through": _END if span.through is None else span.through,
            "tier": tier,
            "at": float(at),
            "limit": limit,
        }
        found = [row[0] for row in conn.execute(_IN_SPAN, where).fetchall()]
        gone = [multihash for multihash in found if multihash not in rows]
        complete = len(found) < limit
    query = f"UPDATE usage SET tier = '{NOWHERE}', placed = NULL WHERE multihash = ?"
    dropped = _changed(conn.executemany(query, [(multihash,) for multihash in gone]))
    return Reconciled(added, corrected, dropped, complete)


def prune(conn: sqlite3.Connection, before: float, limit: int) -> int:
    """Drop up to ``limit`` rows of no tier that were last used before ``before``, the longest unused first."""
    return conn.execute(_PRUNE, (before, limit)).rowcount


def count_strays(conn: sqlite3.Connection) -> int:
    """Rows of no tier, in time proportional to their number."""
    return int(conn.execute("SELECT count(*) FROM usage WHERE tier = ?", (NOWHERE,)).fetchone()[0])


def drop_strays(conn: sqlite3.Connection) -> int:
    """Hold the rows of no tier to CATALOG_STRAYS_MAX; how many there are then."""
    count = count_strays(conn)
    if count <= CATALOG_STRAYS_MAX.value:
        return count
    surplus = count - CATALOG_STRAYS_MAX.value + STRAYS_MARGIN
    return count - conn.execute(_DROP_STRAYS, (surplus,)).rowcount


def _multihashes(cids: Sequence[CID]) -> set[bytes]:
    return {cid.multihash for cid in cids}


def _changed(done: sqlite3.Cursor) -> int:
    return max(0, done.rowcount)  # -1 for an executemany of nothing
