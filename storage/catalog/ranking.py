"""Which blocks of a tier are coldest or hottest now, and how heat is spread over the tiers.

Heat changes with every second, so no index can hold its order.  What an index can hold is the order of last use, and
heat is bounded by idle time from below (a block used once) and from above (HEAT_MAX uses).  So each question is put
twice: a small probe at the promising end of that order gives a heat that the answer cannot be worse than, and the
bound turns it into a last use beyond which nothing needs to be looked at.  The answer is exact; where the bound does
not help, the scan is of the tier's part of the index, some 0.7 s for a million blocks.

Each function is the body of one transaction.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Mapping
from typing import Final

from shoal.storage.catalog.rows import USAGE_COLUMNS, TierTotals, Usage, usage_of
from shoal.storage.heat import HEAT_MAX, heat_sql, idle_of, idle_within

HEAT_EDGES: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0, HEAT_MAX)
"""Where the buckets of a histogram end: [0, 0.1), [0.1, 0.5) ... [50, 400]."""

PROBE_TIMES: Final = 4  # rows probed for each one asked for: some at the promising end turn out not to be
_ROUNDING: Final = 1e-6  # a part of the idle time, and
_ROUNDING_S: Final = 1.0  # seconds: both far above what floating point makes of a time

_HEAT: Final = heat_sql()
_PROBE_OLD: Final = f"SELECT {_HEAT} FROM usage WHERE tier = :tier ORDER BY last LIMIT :probe"
_PROBE_NEW: Final = f"SELECT {_HEAT} FROM usage WHERE tier = :tier ORDER BY last DESC LIMIT :probe"
_COLUMNS: Final = ", ".join(f"usage.{name}" for name in USAGE_COLUMNS.split(", "))
# The inner query runs on the index alone; only what is answered is read from the table.
_COLDEST: Final = f"""
    SELECT {_COLUMNS} FROM
        (SELECT multihash AS found, {_HEAT} AS heat FROM usage INDEXED BY usage_by_last
         WHERE tier = :tier AND last <= :cut AND {_HEAT} < :below ORDER BY heat, found LIMIT :limit)
    JOIN usage ON usage.multihash = found ORDER BY heat, found
"""
_HOTTEST: Final = f"""
    SELECT {_COLUMNS} FROM
        (SELECT multihash AS found, {_HEAT} AS heat FROM usage INDEXED BY usage_by_last
         WHERE tier = :tier AND last >= :cut AND {_HEAT} > :above ORDER BY heat DESC, found LIMIT :limit)
    JOIN usage ON usage.multihash = found ORDER BY heat DESC, found
"""
_BUCKETS: Final = ", ".join(f"total(heat < {edge})" for edge in HEAT_EDGES[:-1])
# LIMIT -1 keeps SQLite from folding the queries into one, which would work heat out once for each bucket.
_TOTALS: Final = f"""
    SELECT tier, count(*), total(size), {_BUCKETS}
    FROM (SELECT tier, size, {_HEAT} AS heat FROM usage INDEXED BY usage_by_last LIMIT -1) GROUP BY tier
"""


def coldest(conn: sqlite3.Connection, tier: str, now: float, limit: int, below: float) -> list[Usage]:
    """The ``limit`` blocks of ``tier`` of the least heat, below ``below``; the coldest first, equals by multihash."""
    if limit <= 0:
        return []
    found = _probe(conn, _PROBE_OLD, tier, now, limit)
    # The heat of the ``limit``-th of them: the answer has none above it.
    most = min(below, heapq.nsmallest(limit, found)[-1]) if len(found) >= limit else below
    idle = idle_of(most) * (1 - _ROUNDING) - _ROUNDING_S
    cut = now - idle if idle > 0 else float("inf")
    values = {"tier": tier, "now": now, "cut": cut, "below": below, "limit": limit}
    return _read(conn, _COLDEST, values)


def hottest(conn: sqlite3.Connection, tier: str, now: float, limit: int, above: float) -> list[Usage]:
    """The ``limit`` blocks of ``tier`` of the most heat, above ``above``; the hottest first, equals by multihash."""
    if limit <= 0:
        return []
    found = _probe(conn, _PROBE_NEW, tier, now, limit)
    least = max(above, heapq.nlargest(limit, found)[-1]) if len(found) >= limit else above
    idle = max(0.0, idle_within(least)) * (1 + _ROUNDING) + _ROUNDING_S
    values = {"tier": tier, "now": now, "cut": now - idle, "above": above, "limit": limit}
    return _read(conn, _HOTTEST, values)


def totals(conn: sqlite3.Connection, now: float) -> dict[str, TierTotals]:
    """Blocks, bytes and histogram of each tier that has any, in one scan of the index."""
    found: dict[str, TierTotals] = {}
    for tier, blocks, size_sum, *below in conn.execute(_TOTALS, {"now": now}).fetchall():
        counts = [*(int(count) for count in below), blocks]
        heats = tuple(count - before for before, count in zip([0, *counts], counts, strict=False))
        found[str(tier)] = TierTotals(blocks, int(size_sum), heats)
    return found


def _probe(conn: sqlite3.Connection, query: str, tier: str, now: float, limit: int) -> list[float]:
    values = {"tier": tier, "now": now, "probe": limit * PROBE_TIMES}
    rows = conn.execute(query, values).fetchall()
    return [heat for (heat,) in rows if isinstance(heat, float)]  # NULL: damage has left no numbers in that row


def _read(conn: sqlite3.Connection, query: str, values: Mapping[str, object]) -> list[Usage]:
    rows = [usage_of(row) for row in conn.execute(query, values).fetchall()]
    return [row for row in rows if row is not None]
