"""The backlog's open file ``announce.sqlite``: its tables, transactions, and what becomes of damage.

Not the rows (``store``).  Begin at ``BacklogFile.run``.

Commits are synced: what was acknowledged survives a kill and a power cut.  A damaged file is set aside and begun anew,
with a word in ``why_rebuilt``: what is lost is that some CIDs are announced, and most of them come back with the next
listing of pins and tiers.  A node that would not start over it would be found by nobody at all.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from sqlite_utils import Database, Migrations

from shoal.messages.errors import StorageFault, Unavailable
from shoal.messages.limits import KIB
from shoal.storage.catalog.schema import FileKind, connect, table
from shoal.storage.disk.commits import Commits
from shoal.storage.disk.faults import is_damage, translate

Result = TypeVar("Result")

_GARBLED: Final = (OverflowError, UnicodeDecodeError)  # a number or a name that we never wrote
_LOGS: Final = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a file

migrations = Migrations("shoal.storage.announcements")


@migrations()
def m001_announcements(db: Database) -> None:
    """One row a CID and way; by multihash, and by the time when it is due.  ``told`` is NULL when it never was."""
    table(db, "announcements").create(
        {
            "id": int,
            "multihash": bytes,
            "way": int,
            "codec": int,
            "version": int,
            "origins": int,
            "due": float,
            "told": float,
            "failures": int,
            "metadata": bytes,
        },
        pk="id",
        not_null={"multihash", "way", "codec", "version", "origins", "due", "failures", "metadata"},
    )
    table(db, "announcements").create_index(["multihash", "way"], "by_cid", unique=True)
    table(db, "announcements").create_index(["way", "due"], "by_due")
    table(db, "totals").create({"way": int, "rows": int, "never_told": int, "withdrawn": int}, pk="way")


BACKLOG: Final = FileKind("announcements", 0x5348_4F41, migrations, ("m001_announcements",), "FULL", 8 * KIB)  # "SHOA"


class BacklogFile:
    """One connection, of the thread that called ``open``.  ``rebuilt`` counts damaged files that were set aside."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rebuilt = 0
        self.why_rebuilt = ""
        self._db: Database | None = None
        self._commits = Commits()

    @property
    def db(self) -> Database:
        """The open database.  Raises Unavailable when it is not open."""
        if self._db is None:
            raise Unavailable(f"the backlog {self.path} is not open", "open it first")
        return self._db

    def open(self) -> None:
        """Open or make the file; a damaged one is set aside.

        Raises BadConfig for a file of a newer shoal or of another program, StorageFault or StorageFull for the disk.
        """
        if self._db is not None:
            raise Unavailable(f"the backlog {self.path} is open already", "close it first")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as fault:
            raise StorageFault(f"cannot make {self.path.parent}: {fault}", "make its parent writable") from fault
        try:
            self._connect()
        except (sqlite3.Error, *_GARBLED) as fault:
            self._begin_anew(fault, "open the backlog")

    def close(self) -> None:
        """Fold the log into the file and let go of both.  Safe to call twice; never raises a disk's error."""
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.DatabaseError):
                db.close()  # what was acknowledged is in the log, and the next open plays it back

    def run(self, doing: str, work: Callable[[sqlite3.Connection], Result], *, write: bool = False) -> Result:
        """What ``work`` gives, run in one transaction; run again on an empty file when this one is damaged.

        So ``work`` changes nothing but the file.  Raises StorageFull or StorageFault for the disk.
        """
        begun_anew = False
        while True:
            conn = self.db.conn
            try:
                if write:
                    with self._commits.transaction(conn):
                        return work(conn)
                return work(conn)
            except sqlite3.ProgrammingError:
                raise  # a wrong thread or a wrong statement: our bug, not the disk's
            except (sqlite3.Error, *_GARBLED) as fault:
                if begun_anew:
                    raise StorageFault(f"could not {doing} in {self.path}: {fault}", "check the disk") from fault
                self._begin_anew(fault, doing)
                begun_anew = True

    def _connect(self) -> None:
        db = connect(self.path, BACKLOG)
        try:
            # Damage that the schema does not show often shows here; the rest is found when it is met.
            db.conn.execute("SELECT due FROM announcements INDEXED BY by_due WHERE way = 1 LIMIT 1").fetchone()
            db.conn.execute("SELECT way, rows, never_told, withdrawn FROM totals").fetchall()
        except BaseException:
            db.close()
            raise
        self._db, self._commits = db, Commits()

    def _begin_anew(self, fault: Exception, doing: str) -> None:
        """Set the damaged file aside and open an empty one.  Raises what the device says, or for damage that stays."""
        if isinstance(fault, sqlite3.ProgrammingError):
            raise fault
        if isinstance(fault, sqlite3.Error) and not _is_damage(fault, self.path):
            raise translate(fault, doing, self.path) from fault
        self.close()
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
            for suffix in _LOGS:
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        except OSError as fault:
            raise StorageFault(
                f"the damaged {self.path} cannot be moved away: {fault}", "remove it: a new one is made"
            ) from fault


def _is_damage(fault: sqlite3.Error, path: Path) -> bool:
    """Whether the bytes in the file are at fault; a flipped version byte makes SQLite say "read only"."""
    header = getattr(fault, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY and os.access(path, os.W_OK)
    return header or is_damage(fault)
