"""The open file of records: one transaction that gathers writes, and an end to it now and then.

Not the tables.  A write is a few statements in a transaction that stays open until ``commit``; reads see it.  So a call
costs no commit, and a process that is killed loses what was written since the last one.  Only ``commit`` syncs, now and
then, because a disk may take 50 ms for it.  A damaged file is set aside and begun anew (soft state): whatever it held
is told again within a day.  Begin at ``RecordsFile.run``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from shoal.messages.errors import StorageFault
from shoal.messages.limits import RECORDS_WAL_BYTES
from shoal.storage.catalog import schema as common
from shoal.storage.records.schema import RECORDS, SUMS_ARE_RIGHT
from shoal.storage.sqlite_file import GARBLED, SoftFile

Result = TypeVar("Result")

WRITES_MAX: Final = 32
"""Writes of one transaction, each of some four pages: ending it copies 0.5 MiB to the log, in under 1 ms, unsynced."""
CHECKPOINT_WRITES: Final = 512
"""Writes after which ``commit`` folds the log, of some 4 MiB then, into the file, with two syncs."""
# What comes of a number or a name in the file that we never wrote.  A TypeError may also be a mistake of ours, which
# would show in tests as a file begun anew.
_GARBLED: Final = (*GARBLED, TypeError)


class RecordsFile(SoftFile):
    """``records.sqlite``.  ``rebuilt`` counts how often it was begun anew, ``why_rebuilt`` is what was last found."""

    WHAT = "the records"
    REMEDY = "remove it"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._writes = 0  # of the open transaction
        self._unfolded = 0  # since the log was folded into the file

    def open(self) -> None:
        """Open or make the file, in the thread that will use it; a damaged one is set aside.

        Raises BadConfig for a file of a newer shoal or of another program, StorageFull or StorageFault.
        """
        self._check_closed()
        self._make_folder()
        try:
            self._connect()
        except (sqlite3.Error, *_GARBLED) as fault:
            self._begin_anew(fault, "open the records")

    def close(self) -> None:
        """Commit, fold the log into the file and let go of both.  Safe to call twice; never raises a disk's error."""
        if self._db is not None:
            try:
                self._end("COMMIT")
            except sqlite3.Error:
                self._roll_back()
        super().close()

    def run(self, doing: str, work: Callable[[sqlite3.Connection], Result], *, write: bool = False) -> Result:
        """What ``work`` gives; run again on an empty file when this one is damaged.  It changes nothing but the file.

        Raises StorageFull or StorageFault for a device that fails; then what was not committed is lost.
        """
        for last in (False, True):
            try:
                if write and not self.conn.in_transaction:
                    self.conn.execute("BEGIN IMMEDIATE")
                result = work(self.conn)
                self._writes += write
                self._unfolded += write
                if self._writes >= WRITES_MAX:
                    self._end("COMMIT")
                return result
            except sqlite3.ProgrammingError:
                raise  # a wrong thread or a wrong statement: our bug, not the disk's
            except (sqlite3.Error, *_GARBLED) as fault:
                self._roll_back()
                if last:
                    raise StorageFault(f"could not {doing} in {self.path}: {fault}", "check the disk") from fault
                self._begin_anew(fault, doing)
        raise AssertionError("unreachable")

    def commit(self, *, fold: bool) -> None:
        """Make what was written outlive this process; ``fold``: and, now and then, a power cut.

        Raises StorageFull or StorageFault; then it is lost.
        """
        try:
            self._end("COMMIT")
            if fold and self._unfolded >= CHECKPOINT_WRITES:
                self._unfolded = 0
                self.conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as fault:
            self._roll_back()
            self._begin_anew(fault, "commit records")

    def _connect(self) -> None:
        db = common.connect(self.path, RECORDS)
        try:
            pages = RECORDS_WAL_BYTES.value // common.PAGE_BYTES
            db.conn.execute(f"PRAGMA wal_autocheckpoint = {pages}")
            db.conn.execute(f"PRAGMA journal_size_limit = {RECORDS_WAL_BYTES.value}")
            # A sum that damage has changed would have records dropped, or kept without bound, for ever.
            if db.conn.execute(SUMS_ARE_RIGHT).fetchone() != (1,):
                raise sqlite3.OperationalError("the sums are wrong")
        except BaseException:
            db.close()
            raise
        self._db, self._writes, self._unfolded = db, 0, 0

    def _end(self, how: str) -> None:
        self._writes = 0
        if self.conn.in_transaction:
            self.conn.execute(how)

    def _roll_back(self) -> None:
        try:
            self._end("ROLLBACK")
        except sqlite3.Error:
            pass  # the connection goes, or SQLite has rolled back already


def row_of(conn: sqlite3.Connection, query: str) -> tuple[Any, ...]:
    """The first row of ``query``, which has one unless the file is damaged."""
    row: tuple[Any, ...] | None = conn.execute(query).fetchone()
    if row is None:
        raise sqlite3.OperationalError("a row that was written is not there")
    return row
