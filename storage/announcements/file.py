"""The backlog's open file ``announce.sqlite``: its tables, transactions, and what becomes of damage.

Not the rows (``store``).  Begin at ``BacklogFile.run``.

Commits are synced: what was acknowledged survives a kill and a power cut.  A damaged file is set aside and begun anew,
with a word in ``why_rebuilt``: what is lost is that some CIDs are announced, and most of them come back with the next
listing of pins and tiers.  A node that would not start over it would be found by nobody at all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final, TypeVar

from sqlite_utils import Database, Migrations

from shoal.messages.errors import StorageFault
from shoal.messages.limits import KIB
from shoal.storage.catalog.schema import FileKind, connect, table
from shoal.storage.disk.commits import Commits
from shoal.storage.sqlite_file import GARBLED, SoftFile

Result = TypeVar("Result")


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


class BacklogFile(SoftFile):
    """``announce.sqlite``."""

    WHAT = "the backlog"

    def open(self) -> None:
        """Open or make the file; a damaged one is set aside.

        Raises BadConfig for a file of a newer shoal or of another program, StorageFault or StorageFull for the disk.
        """
        self._check_closed()
        self._make_folder()
        try:
            self._connect()
        except (sqlite3.Error, *GARBLED) as fault:
            self._begin_anew(fault, "open the backlog")

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
            except (sqlite3.Error, *GARBLED) as fault:
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
