"""The marks of a mark and sweep: what is kept, what is still to be expanded, and what may then go.

Not the collector: who walks the DAGs and deletes blocks is the keeper.  Begin at ``mark`` and ``Sweep.page``.

Marks are rows of an attached file (``schema.attach_marks``), so memory does not grow with the store.  A mark is of a
multihash *and* a codec: the same bytes may have links under one codec and none under another, and must then be walked
under the one that has.  A block is kept when its multihash has a mark of any codec.

    KEPT        marked, not to be expanded: pinned directly, or put while the marking lasts
    TO_EXPAND   marked, its links are not yet: the frontier
    EXPANDED    marked, and so are its links

A mark only ever rises.  The functions are bodies of one transaction each; ``Sweep`` asks for its own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from shoal.messages.cid import CID, RAW
from shoal.messages.limits import CATALOG_SWEEP_MAX
from shoal.storage.catalog.files import UsageFile
from shoal.storage.catalog.rows import NOWHERE, USAGE_COLUMNS, MarkedTotals, Usage, usage_of
from shoal.storage.disk.batches import stored_cid
from shoal.storage.heat import heat_sql

KEPT: Final = 0
TO_EXPAND: Final = 1
EXPANDED: Final = 2

_ADD: Final = "INSERT INTO marks.marks (multihash, codec, state) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_RAISE: Final = "UPDATE marks.marks SET state = ? WHERE multihash = ? AND codec = ? AND state < ?"
_FRONTIER: Final = "SELECT multihash, codec FROM marks.marks WHERE state = 1 LIMIT ?"
_IS_MARKED: Final = "SELECT 1 FROM marks.marks WHERE multihash = ? LIMIT 1"
_KEEP: Final = "EXISTS (SELECT 1 FROM marks.marks WHERE marks.marks.multihash = usage.multihash)"
_SCAN: Final = f"""
    SELECT multihash FROM usage INDEXED BY usage_by_last
    WHERE tier = :tier AND last < :before AND NOT {_KEEP} ORDER BY {heat_sql()}, multihash LIMIT :limit
"""
_MAY_GO: Final = f"""
    SELECT {USAGE_COLUMNS} FROM usage WHERE multihash = ? AND tier = ? AND last < ? AND NOT {_KEEP}
"""
# One group of rows for what goes and one for the rest, of the tier named or of all.  LIMIT -1: ask for each mark once.
_TOTALS: Final = f"""
    SELECT going, count(*), total(size) FROM
        (SELECT last < :before AND NOT {_KEEP} AS going, size FROM usage INDEXED BY usage_by_last
         WHERE CASE WHEN :tier = '{NOWHERE}' THEN tier <> '{NOWHERE}' ELSE tier = :tier END LIMIT -1)
    GROUP BY going
"""


def mark(conn: sqlite3.Connection, cids: Sequence[CID], expand: bool) -> list[CID]:
    """Mark ``cids``; those that had no mark.  ``expand``: their links are to be marked too (raw leaves have none)."""
    fresh: list[CID] = []
    for cid in cids:
        state = KEPT if not expand else EXPANDED if cid.codec == RAW else TO_EXPAND
        if conn.execute(_ADD, (cid.multihash, cid.codec, state)).rowcount == 1:
            fresh.append(cid)
        elif state != KEPT:
            conn.execute(_RAISE, (state, cid.multihash, cid.codec, state))
    return fresh


def expanded(conn: sqlite3.Connection, cids: Sequence[CID]) -> None:
    """Take ``cids`` off the frontier: their links have been marked."""
    conn.executemany(_RAISE, [(EXPANDED, cid.multihash, cid.codec, EXPANDED) for cid in cids])


def frontier(conn: sqlite3.Connection, limit: int) -> list[CID]:
    """Up to ``limit`` CIDs (version 1) whose links are still to be marked; the same again until they are."""
    cids = [stored_cid(*row) for row in conn.execute(_FRONTIER, (limit,)).fetchall()]
    if None in cids:
        raise sqlite3.OperationalError("a mark is no CID")  # damage; without it the walk would be cut short
    return [cid for cid in cids if cid is not None]


def are_marked(conn: sqlite3.Connection, cids: Sequence[CID]) -> list[bool]:
    """Whether the bytes of each CID are kept, under whatever codec."""
    return [conn.execute(_IS_MARKED, (cid.multihash,)).fetchone() is not None for cid in cids]


def totals(conn: sqlite3.Connection, tier: str, before: float) -> MarkedTotals:
    """What would go and what stays, in one scan of the index."""
    kept, going = (0, 0), (0, 0)
    for goes, blocks, size_sum in conn.execute(_TOTALS, {"tier": tier, "before": before}).fetchall():
        if goes:
            going = (blocks, int(size_sum))
        else:
            kept = (blocks, int(size_sum))
    to_expand = conn.execute("SELECT count(*) FROM marks.marks WHERE state = 1").fetchone()[0]
    return MarkedTotals(*kept, *going, to_expand)


class Sweep:
    """The blocks of one tier that may go, coldest first, found CATALOG_SWEEP_MAX at a time.

    A scan asks of every block of the tier whether it is marked, so its findings are kept and each is looked at again
    when it is handed out: what was marked, used, moved or forgotten since is passed over for good.
    """

    def __init__(self, tier: str, before: float) -> None:
        self.tier = tier
        self.before = before
        self._found: list[bytes] = []

    def page(self, file: UsageFile, limit: int, now: float) -> list[Usage]:
        """Up to ``limit`` of them, the same again until they are gone.  An empty page: there are none left."""
        page = self._take(file, limit)
        if not page and limit > 0:
            values = {"tier": self.tier, "before": self.before, "now": now, "limit": CATALOG_SWEEP_MAX.value}
            rows = file.run(
                "find what is not marked",
                lambda conn: conn.execute(_SCAN, values).fetchall(),
                write=False,
                marks=True,
            )
            self._found = [row[0] for row in rows]
            page = self._take(file, limit)
        return page

    def _take(self, file: UsageFile, limit: int) -> list[Usage]:
        def work(conn: sqlite3.Connection) -> tuple[list[bytes], list[Usage], int]:
            stay: list[bytes] = []
            page: list[Usage] = []
            looked_at = 0
            for multihash in self._found:
                if len(page) >= limit:
                    break
                looked_at += 1
                row = conn.execute(_MAY_GO, (multihash, self.tier, self.before)).fetchone()
                usage = None if row is None else usage_of(row)
                if usage is not None:
                    stay.append(multihash)
                    page.append(usage)
            return stay, page, looked_at

        stay, page, looked_at = file.run("look at what is not marked", work, write=False, marks=True)
        self._found[:looked_at] = stay
        return page
