"""The write transactions of one SQLite connection, and what a commit that failed may have left behind.

Not the tables, and no translation of errors.  Begin at ``Commits.transaction``.

In WAL mode a commit writes its pages to the log and then syncs it.  When the sync fails, or the last write, SQLite
undoes the transaction for the connection; but its frames stand in the log until others are written over them, and a
process that is killed before that finds a whole transaction there when it opens the file again.  So what failed would
happen after all, behind the back of everything said meanwhile: a delete that had been refused would take a block whose
put was acknowledged since because the block was still there.  Hence, after a commit that failed, the next transaction
is made only when an empty one has been committed in its place.

Source: sqlite.org/walformat.html, "the WAL write and reset algorithm" and "recovery"; observed with strace's faults.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


class Commits:
    """Of one connection.  ``in_doubt``: the last commit failed and might still be played back."""

    def __init__(self) -> None:
        self.in_doubt = False

    @contextmanager
    def transaction(self, conn: sqlite3.Connection) -> Iterator[None]:
        """One transaction: all of the body or, when it or the commit raises, nothing.  Raises ``sqlite3.Error``.

        The write lock is taken at once: a deferred transaction that reads first can fail when it comes to write.
        """
        self.settle(conn)
        conn.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            _roll_back(conn)
            raise
        try:
            self._commit(conn)
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self.settle(conn)  # at once if it can be: others may take what is here for what stays
            raise

    def settle(self, conn: sqlite3.Connection) -> None:
        """Make sure that what failed will not happen any more; nothing when there is no doubt.

        It outlasts a power cut if the connection syncs its commits.  Raises ``sqlite3.Error``; then doubt stays.
        """
        if not self.in_doubt:
            return
        conn.execute("BEGIN IMMEDIATE")
        try:
            # A number in the file's first page that nobody else uses: a commit without a change writes nothing.
            version = int(conn.execute("PRAGMA user_version").fetchone()[0])
            conn.execute(f"PRAGMA user_version = {version ^ 1}")
        except BaseException:
            _roll_back(conn)
            raise
        self._commit(conn)
        self.in_doubt = False

    def _commit(self, conn: sqlite3.Connection) -> None:
        try:
            conn.execute("COMMIT")
        except BaseException:
            self.in_doubt = True
            _roll_back(conn)
            raise


def _roll_back(conn: sqlite3.Connection) -> None:
    # SQLite has rolled back already after some errors (a full disk); a second time would mask the first.
    if conn.in_transaction:
        conn.execute("ROLLBACK")
