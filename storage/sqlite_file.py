"""A SQLite file of the node, open: one connection, and for soft state an answer to damage.

Not the tables, and no transactions (each file has its own kind).  ``SoftFile`` is for what others will tell again: a
damaged file is set aside, kept for study, and an empty one takes its place.  What may not be lost derives from
``SqliteFile`` and says so instead (the pins).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Final

from sqlite_utils import Database

from shoal.messages.errors import StorageFault, Unavailable
from shoal.storage.disk.commits import Commits
from shoal.storage.disk.faults import is_damage, translate

GARBLED: Final = (OverflowError, UnicodeDecodeError)  # a number or a name in the file that we never wrote
LOGS: Final = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a file


def speaks_of_bytes(fault: sqlite3.Error, path: Path) -> bool:
    """Whether the bytes in the file are at fault.

    A flipped bit of the header's version bytes makes SQLite take the file for a newer one, which may only be read.
    """
    header = getattr(fault, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY and os.access(path, os.W_OK)
    return header or is_damage(fault)


def remove(path: Path) -> None:
    """Remove a file and what SQLite keeps beside it, as far as they are there.  Raises StorageFault."""
    for name in (path.name, *(path.name + suffix for suffix in LOGS)):
        try:
            path.with_name(name).unlink(missing_ok=True)
        except OSError as fault:
            raise StorageFault(
                f"cannot remove {path.with_name(name)}: {fault}", "make the folder writable for the node's user"
            ) from fault


class SqliteFile:
    """One connection, of the thread that called ``open``.  ``WHAT`` is the file's name in messages."""

    WHAT: ClassVar[str] = "the file"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db: Database | None = None
        self._commits = Commits()

    @property
    def db(self) -> Database:
        """The open database.  Raises Unavailable when it is not open."""
        if self._db is None:
            raise Unavailable(f"{self.WHAT} {self.path} is not open", "open it first")
        return self._db

    @property
    def conn(self) -> sqlite3.Connection:
        return self.db.conn

    def _check_closed(self) -> None:
        if self._db is not None:
            raise Unavailable(f"{self.WHAT} {self.path} is open already", "close it first")

    def _make_folder(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as fault:
            raise StorageFault(f"cannot make {self.path.parent}: {fault}", "make its parent writable") from fault

    def close(self) -> None:
        """Fold the log into the file and let go of both.  Safe to call twice; never raises a disk's error."""
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.DatabaseError):
                db.close()  # what was acknowledged is in the log, and the next open plays it back


class SoftFile(SqliteFile, ABC):
    """One that begins anew after damage.  ``rebuilt`` counts how often, ``why_rebuilt`` is what was last found."""

    REMEDY: ClassVar[str] = "remove it: a new one is made"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.rebuilt = 0
        self.why_rebuilt = ""

    @abstractmethod
    def _connect(self) -> None:
        """Open or make the file and set ``_db``.  Raises ``sqlite3.Error``, also for damage that shows at once."""

    def _begin_anew(self, fault: Exception, doing: str) -> None:
        """Set the damaged file aside and open an empty one.  Raises what the device says when it is not damage."""
        if isinstance(fault, sqlite3.ProgrammingError):
            raise fault  # a wrong thread or a wrong statement: our bug, not the disk's
        if isinstance(fault, sqlite3.Error) and not speaks_of_bytes(fault, self.path):
            raise translate(fault, doing, self.path) from fault
        SqliteFile.close(self)
        self._set_aside()
        self.rebuilt += 1
        self.why_rebuilt = str(fault)
        try:
            self._connect()
        except sqlite3.Error as again:
            raise translate(again, doing, self.path) from again

    def _set_aside(self) -> None:
        """Keep the damaged file for study, one at a time, without its log, which would be played into a new one."""
        try:
            self.path.replace(self.path.with_name(self.path.name + ".damaged"))
        except OSError as fault:
            raise StorageFault(f"the damaged {self.path} cannot be moved away: {fault}", self.REMEDY) from fault
        remove(self.path)
