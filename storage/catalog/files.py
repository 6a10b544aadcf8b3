"""The catalogue's open files: transactions, and what becomes of SQLite's errors.

Not the tables.  Two files, two answers to damage.  ``PinFile`` refuses: a pin that is silently gone is content that
is silently deleted.  ``UsageFile`` begins again: it sets the file aside, makes an empty one and runs the work a
second time, because the tiers can tell what they hold.  A device that fails is nobody's to mend: StorageFault or
StorageFull from either.  Begin at ``UsageFile.run``.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from shoal.messages.errors import StorageFault, Unavailable
from shoal.storage.catalog import schema
from shoal.storage.disk.commits import Commits
from shoal.storage.disk.faults import translate
from shoal.storage.sqlite_file import GARBLED, SoftFile, SqliteFile, remove, speaks_of_bytes

Result = TypeVar("Result")

PINS_REMEDY: Final = (
    "put back a copy of the file; or, to go on without those pins, move it and the usage file away and pin again"
)


class CatalogFile(SqliteFile):
    """What the two have in common."""

    WHAT = "the catalogue"
    kind: schema.FileKind

    @contextmanager
    def _transaction(self, write: bool) -> Iterator[None]:
        """All of the body or nothing; what fails at its commit does not happen later either (see ``disk.commits``)."""
        conn = self.conn
        if write:
            with self._commits.transaction(conn):
                yield
            return
        conn.execute("BEGIN")
        try:
            yield
            conn.execute("COMMIT")
        except BaseException:
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            raise


class PinFile(CatalogFile):
    """``pins.sqlite``: what ``writing`` has committed survives a kill and a power cut."""

    kind = schema.PINS

    def open(self, *, may_make: bool) -> None:
        """Open the file, or make it if it ``may_make`` one, and play back its log.

        Raises StorageFault for one that is missing or damaged, which stays as it is.
        """
        self._check_closed()
        try:
            if not may_make and not self.path.exists():
                raise schema.Missing
            with self._told("open the pins"):
                self._db, self._commits = schema.connect(self.path, self.kind, may_make=may_make), Commits()
        except schema.Missing:
            raise StorageFault(f"the pins {self.path} are missing", PINS_REMEDY) from None

    @contextmanager
    def reading(self, doing: str) -> Iterator[sqlite3.Connection]:
        with self._told(doing):
            yield self.conn

    @contextmanager
    def writing(self, doing: str) -> Iterator[sqlite3.Connection]:
        """One durable transaction."""
        with self._told(doing), self._transaction(write=True):
            yield self.conn

    def settle(self) -> None:
        """Make sure that a change that was refused will not happen after all.  Raises StorageFull or StorageFault."""
        with self._told("undo a change of pins that failed"):
            self._commits.settle(self.conn)

    def damaged(self, how: str) -> StorageFault:
        """The error for a file that holds something else than was written."""
        return StorageFault(f"the pins in {self.path} are damaged: {how}", PINS_REMEDY)

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # a wrong thread or a wrong statement: our bug, not the disk's
        except sqlite3.Error as fault:
            if speaks_of_bytes(fault, self.path):
                raise self.damaged(str(fault)) from fault
            raise translate(fault, doing, self.path) from fault
        except GARBLED as fault:
            raise self.damaged(str(fault)) from fault


class UsageFile(CatalogFile, SoftFile):
    """``usage.sqlite`` with, while a marking lasts, ``marks.sqlite`` attached to it.

    ``rebuilt`` counts how often the file was found damaged and begun anew; ``why_rebuilt`` is what was last found.
    """

    kind = schema.USAGE
    REMEDY = "remove it: it is made anew from the tiers"

    def __init__(self, path: Path, marks_path: Path) -> None:
        super().__init__(path)
        self.marks_path = marks_path
        self.marking = False

    def open(self) -> None:
        """Open or make the file; a damaged one is set aside.  What a marking has left behind is removed."""
        self._check_closed()
        remove(self.marks_path)
        try:
            self._connect()
        except (sqlite3.Error, *GARBLED) as fault:
            self._begin_anew(fault, "open the usage of blocks")

    def close(self) -> None:
        self.drop_marks()
        super().close()

    def run(
        self, doing: str, work: Callable[[sqlite3.Connection], Result], *, write: bool, marks: bool = False
    ) -> Result:
        """What ``work`` gives, run in one transaction; run again on an empty file when this one is damaged.

        So ``work`` changes nothing but the file.  While a marking lasts the damage may be in the marks: they go first,
        and the usage only when it is damaged without them.  ``marks`` says that ``work`` needs them: Unavailable
        without.
        """
        begun_anew = False
        while True:
            if marks and not self.marking:
                raise Unavailable("there is no marking, or damage has cost its marks", "begin a marking")
            try:
                with self._transaction(write):
                    return work(self.conn)
            except sqlite3.ProgrammingError:
                raise
            except (sqlite3.Error, *GARBLED) as fault:
                if isinstance(fault, sqlite3.Error) and not speaks_of_bytes(fault, self.path):
                    raise translate(fault, doing, self.path) from fault
                if self.marking:
                    self.drop_marks()
                elif not begun_anew:
                    begun_anew = True
                    self._begin_anew(fault, doing)
                else:
                    raise StorageFault(f"could not {doing} in {self.path}: {fault}", "check the disk") from fault

    def add_marks(self) -> None:
        """Attach an empty file of marks.  Raises StorageFull or StorageFault, and then there is none."""
        remove(self.marks_path)
        self.marking = True
        try:
            schema.attach_marks(self.conn, self.marks_path)
        except sqlite3.Error as fault:
            self.drop_marks()
            raise translate(fault, "begin to mark", self.marks_path) from fault

    def drop_marks(self) -> None:
        """Let go of the marks, if there are any, and remove their file."""
        if not self.marking:
            return
        self.marking = False
        with contextlib.suppress(sqlite3.Error):  # it may not have come as far as being attached
            self.conn.execute("DETACH marks")
        with contextlib.suppress(StorageFault):
            remove(self.marks_path)  # if not now, then before the next ones

    def _connect(self) -> None:
        db = schema.connect(self.path, self.kind)
        try:
            # Damage that the schema does not show often shows here; the rest is found when it is met.
            db.conn.execute("SELECT 1 FROM usage INDEXED BY usage_by_last LIMIT 1").fetchone()
            db.conn.execute("SELECT placed FROM usage LIMIT 1").fetchone()
        except BaseException:
            db.close()
            raise
        self._db, self._commits = db, Commits()
