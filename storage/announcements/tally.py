"""One way's totals within one transaction, and the changes of rows that move them.

Not a transaction of its own: whoever makes one calls ``save`` before it ends.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from shoal.storage.announcements.rows import NEVER_DUE, WAY_CODES, WAY_ROWS_MAX, Origin, Totals

INSERT: Final = (
    "INSERT INTO announcements (multihash, way, codec, version, origins, due, told, failures, metadata)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_LOAD: Final = "SELECT rows, never_told, withdrawn FROM totals WHERE way = ?"
_SAVE: Final = "INSERT OR REPLACE INTO totals (way, rows, never_told, withdrawn) VALUES (?, ?, ?, ?)"
_SET: Final = "UPDATE announcements SET origins = ? WHERE id = ?"
_DELETE: Final = "DELETE FROM announcements WHERE id = ?"
_TELL: Final = "UPDATE announcements SET origins = ?, due = ?, told = ?, failures = 0 WHERE id = ?"
_HIDE: Final = "UPDATE announcements SET origins = ?, due = ?, failures = 0 WHERE id = ?"


class Tally:
    """``rows`` and ``never_told`` are of what is announced; ``withdrawn`` rows are kept beside them."""

    def __init__(self, conn: sqlite3.Connection, way: str) -> None:
        self.conn = conn
        self.way, self.code = way, WAY_CODES[way]
        row = conn.execute(_LOAD, (self.code,)).fetchone()
        self.rows, self.never_told, self.withdrawn = (int(value) for value in row or (0, 0, 0))

    @property
    def totals(self) -> Totals:
        return Totals(self.rows, self.never_told, self.withdrawn)

    @property
    def is_full(self) -> bool:
        """Whether the file holds all rows of this way that it may."""
        return self.rows + self.withdrawn >= WAY_ROWS_MAX[self.way]

    def save(self) -> None:
        """Write the totals.  Never below zero, whatever damage made of the rows."""
        values = (max(0, self.rows), max(0, self.never_told), max(0, self.withdrawn))
        self.conn.execute(_SAVE, (self.code, *values))

    def gained(self) -> None:
        """A new row was inserted."""
        self.rows += 1
        self.never_told += 1

    def shown_again(self, told: float | None) -> None:
        """A withdrawn row is announced again."""
        self.withdrawn -= 1
        self.rows += 1
        self.never_told += told is None

    def lose(self, id_: int, before: int, told: float | None, left: int) -> None:
        """Take origins from a row, of which ``left`` stay: none, and it goes; WITHDRAWN, and it is hidden."""
        was_hidden = bool(before & Origin.WITHDRAWN)
        if left & Origin.WITHDRAWN:
            self.conn.execute(_HIDE, (left, NEVER_DUE, id_))
            self.withdrawn += not was_hidden
        else:
            self.conn.execute(_DELETE, (id_,))
            self.withdrawn -= was_hidden
        if not was_hidden:
            self.rows -= 1
            self.never_told -= told is None

    def release(self, id_: int, before: int, told: float | None, origin: Origin) -> None:
        """Take one origin from a row; it goes when nothing but a user's no is left."""
        left = before & ~origin
        if left & ~Origin.WITHDRAWN:
            self.conn.execute(_SET, (left, id_))
        else:
            self.lose(id_, before, told, 0)

    def tell(self, id_: int, before: int, told: float | None, due: float, now: float) -> None:
        """A row has been told; it goes when it was to be told once and has no other origin."""
        left = before & ~Origin.ONCE
        if not left:
            self.lose(id_, before, told, 0)
            return
        self.never_told -= told is None
        self.conn.execute(_TELL, (left, due, now, id_))
