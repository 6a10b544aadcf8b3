"""Values that peers have put: IPNS records and public keys, as bytes under a key.

Not whether a value is valid, or better than the one before (``actors.discovery.dht.validators``): who calls ``put`` has
looked.  Begin there.

Bounds: in bytes and in number.  Above either, the peer that has put most bytes loses what it put longest ago, so that a
flood takes room from those who flood.  Times are seconds of the wall clock; a value older than RECORD_LIFE_S does not
exist, nor does one from the future.  Source: libp2p kad-dht spec, "value routing"; 48 h as in go-libp2p-kad-dht.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

from shoal.messages import limits
from shoal.storage.records.file import RecordsFile, row_of
from shoal.storage.records.providers import CLOCK_SLACK_S, RECORD_LIFE_S

SWEEP_ROWS: Final = 32  # dropped by one step of ``sweep``
_DROPS_MAX: Final = 1024  # of one put: a large value may take the room of many small ones; the rest go next time

_PUTTER: Final = "SELECT id FROM putters WHERE name = ?"
_NEW_PUTTER: Final = "INSERT INTO putters (name) VALUES (?)"
_DROP: Final = "DELETE FROM held WHERE key = ?"
_ADD: Final = "INSERT INTO held (key, putter, at, size, value) VALUES (?, ?, ?, ?, ?)"
_GET: Final = "SELECT value, at FROM held WHERE key = ? AND at > ? AND at < ?"
_SUMS: Final = "SELECT held, bytes FROM sums"
_OF_PUTTER: Final = "SELECT bytes FROM putters WHERE id = ?"
_HEAVIEST: Final = "SELECT id FROM putters INDEXED BY putters_by_bytes ORDER BY bytes DESC, id DESC LIMIT 1"
_DROP_OF_PUTTER: Final = """
    DELETE FROM held WHERE id = (SELECT id FROM held INDEXED BY held_by_putter WHERE putter = ? ORDER BY at LIMIT 1)
"""
_EXPIRED: Final = """
    SELECT id FROM held INDEXED BY held_by_at WHERE at <= ?
    UNION ALL SELECT id FROM held INDEXED BY held_by_at WHERE at >= ? LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A value and when it came, in seconds of the wall clock."""

    value: bytes
    received: float


@dataclass(frozen=True, slots=True)
class ValueBounds:
    """See ``messages.limits``, whose values these are; tests set smaller ones."""

    values: int = limits.RECORD_VALUES_MAX.value
    bytes: int = limits.RECORD_VALUES_BYTES.value
    per_peer: int = limits.RECORD_VALUES_PER_PEER.value
    value_bytes: int = limits.DHT_VALUE_BYTES_MAX.value


class ValueStore:
    """The values of one file.  Methods may raise StorageFull or StorageFault."""

    def __init__(self, file: RecordsFile, bounds: ValueBounds | None = None) -> None:
        self._file = file
        self.bounds = bounds or ValueBounds()

    def put(self, key: bytes, value: bytes, now: float, peer: str = "") -> bool:
        """Keep ``value`` under ``key`` in place of what is there.  False for a size above a bound.

        ``peer`` put it; empty: it is not known who did, and no share of one peer is kept to.
        """
        if not 0 < len(key) <= limits.DHT_VALUE_KEY_MAX.value or len(value) > self.bounds.value_bytes:
            return False

        def work(conn: sqlite3.Connection) -> None:
            conn.execute(_DROP, (key,))
            row = conn.execute(_PUTTER, (peer,)).fetchone()
            number = int(row[0] if row else conn.execute(_NEW_PUTTER, (peer,)).lastrowid or 0)
            conn.execute(_ADD, (key, number, now, len(key) + len(value), value))
            self._hold_bounds(conn, number if peer else -1)

        self._file.run("keep a value", work, write=True)
        return True

    def get(self, key: bytes, now: float) -> StoredValue | None:
        """The value under ``key``, or None."""
        where = (key, now - RECORD_LIFE_S, now + CLOCK_SLACK_S)

        def work(conn: sqlite3.Connection) -> StoredValue | None:
            row = conn.execute(_GET, where).fetchone()
            if row is not None and not isinstance(row[0], bytes):
                raise TypeError("a value's row is damaged")
            return None if row is None else StoredValue(*row)

        return self._file.run("find a value", work)

    def drop(self, key: bytes) -> None:
        """Forget the value under ``key``: it is no longer valid."""
        self._file.run("drop a value", lambda conn: conn.execute(_DROP, (key,)).rowcount, write=True)

    def sweep(self, now: float, rows: int = SWEEP_ROWS) -> int:
        """Drop up to ``rows`` values that have expired; how many."""

        def work(conn: sqlite3.Connection) -> int:
            gone = conn.execute(_EXPIRED, (now - RECORD_LIFE_S, now + CLOCK_SLACK_S, rows)).fetchall()
            conn.executemany("DELETE FROM held WHERE id = ?", gone)
            return len(gone)

        return self._file.run("drop expired values", work, write=True)

    def count(self) -> int:
        """Values that are kept, those that have expired and were not swept among them."""
        return int(self._file.run("count values", lambda conn: row_of(conn, _SUMS)[0]))

    def size(self) -> int:
        """Bytes of the values and their keys."""
        return int(self._file.run("count values", lambda conn: row_of(conn, _SUMS)[1]))

    def _hold_bounds(self, conn: sqlite3.Connection, putter: int) -> None:
        for _ in range(_DROPS_MAX):
            row = conn.execute(_OF_PUTTER, (putter,)).fetchone()
            held, size = row_of(conn, _SUMS)
            if row is not None and row[0] > self.bounds.per_peer:
                loser = putter
            elif held > self.bounds.values or size > self.bounds.bytes:
                loser = row_of(conn, _HEAVIEST)[0]
            else:
                return
            conn.execute(_DROP_OF_PUTTER, (loser,))
