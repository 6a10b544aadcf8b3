"""The store's open file: transactions, running totals, and SQLite's errors turned into shoal's.

Not the store: this knows tables only as far as the totals.  Begin at ``writing``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlite_utils import Database

from shoal.messages.errors import StorageFault, Unavailable
from shoal.storage.disk import schema
from shoal.storage.disk.commits import Commits
from shoal.storage.disk.faults import translate

_SET_TOTALS: Final = "UPDATE totals SET blocks = ?, bytes = ?, dead_bytes = ? WHERE id = 1"
_GET_TOTALS: Final = "SELECT blocks, bytes, dead_bytes FROM totals WHERE id = 1"
_COUNT: Final = "SELECT count(*), coalesce(sum(size), 0) FROM blocks"


@dataclass(frozen=True, slots=True)
class Totals:
    """What the file holds: ``bytes`` of blocks, and ``dead_bytes`` in payloads that could not be freed safely."""

    blocks: int = 0
    bytes: int = 0
    dead_bytes: int = 0

    def plus(self, blocks: int, size: int, dead: int = 0) -> Totals:
        """These totals after a change; never below zero, whatever damage made of the sizes."""
        return Totals(max(0, self.blocks + blocks), max(0, self.bytes + size), self.dead_bytes + dead)


class StoreFile:
    """One connection, of the thread that called ``open``.  ``totals`` is what the last commit left."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.totals = Totals()
        self.next_payload = 1
        self._db: Database | None = None
        self._commits = Commits()

    @property
    def db(self) -> Database:
        """The open database.  Raises Unavailable when it is not open."""
        if self._db is None:
            raise Unavailable(f"the block store {self.path} is not open", "open it first")
        return self._db

    @property
    def log_path(self) -> Path:
        """The write-ahead log beside the file."""
        return self.path.with_name(self.path.name + "-wal")

    def open(self) -> None:
        """Open or make the file, play back its log, and read the totals."""
        if self._db is not None:
            raise Unavailable(f"the block store {self.path} is open already", "close it first")
        with self._translated("open the block store"):
            db = schema.connect(self.path)
            try:
                self.totals = _load_totals(db)
                self.next_payload = 1 + int(db.conn.execute("SELECT max(0, max(id)) FROM payloads").fetchone()[0] or 0)
            except BaseException:
                db.close()
                raise
            self._db, self._commits = db, Commits()

    def close(self) -> None:
        """Fold the log into the file and let go of both.  Safe to call twice; never raises a disk's error."""
        db, self._db = self._db, None
        if db is not None:
            try:
                db.close()
            except sqlite3.OperationalError:
                pass  # what was acknowledged is in the log, and the next open plays it back

    @contextmanager
    def reading(self, doing: str) -> Iterator[Database]:
        """The database, with SQLite's errors raised as StorageFault or StorageFull."""
        with self._translated(doing):
            yield self.db

    @contextmanager
    def writing(self, doing: str) -> Iterator[Writer]:
        """One durable transaction: all of the body or, when it or the commit raises, nothing (see ``commits``)."""
        db = self.db
        with self._translated(doing), self._commits.transaction(db.conn):
            writer = Writer(db, self.totals, self.next_payload)
            yield writer
            if writer.totals != self.totals:
                new = writer.totals
                db.conn.execute(_SET_TOTALS, (new.blocks, new.bytes, new.dead_bytes))
        self.totals, self.next_payload = writer.totals, writer.next_payload

    def settle(self) -> None:
        """Make sure that a change that was refused will not happen after all (see ``commits``)."""
        with self._translated("undo a change that failed"):
            self._commits.settle(self.db.conn)

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # a wrong thread or a wrong statement: our bug, not the disk's
        except sqlite3.Error as fault:
            raise translate(fault, doing, self.path) from fault
        except (OverflowError, UnicodeDecodeError) as fault:  # a number, or a text in SQLite's own complaint
            raise StorageFault(
                f"could not {doing} in {self.path}: {fault}", "salvage the file into a new one"
            ) from fault


class Writer:
    """A transaction's database, and the totals that it will commit."""

    __slots__ = ("db", "next_payload", "totals")

    def __init__(self, db: Database, totals: Totals, next_payload: int) -> None:
        self.db = db
        self.totals = totals
        self.next_payload = next_payload


def _load_totals(db: Database) -> Totals:
    """The totals row; counted anew from the index when damage has made nonsense of it."""
    row = db.conn.execute(_GET_TOTALS).fetchone()
    if row is not None and all(isinstance(value, int) and value >= 0 for value in row):
        return Totals(*row)
    return count_index(db, 0)


def count_index(db: Database, dead_bytes: int) -> Totals:
    """Totals counted from the index, in time proportional to it."""
    blocks, size_sum = db.conn.execute(_COUNT).fetchone()
    return Totals(int(blocks), int(size_sum), dead_bytes)
