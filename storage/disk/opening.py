"""Opening a SQLite file so that it can be written, if it can be at all.

SQLite opens a file for reading when it cannot be opened for writing, whatever the reason: one EIO or one moment without
descriptors, and the connection refuses every write for the rest of its life.  Source: unixOpen in sqlite's os_unix.c;
seen with strace's faults.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from shoal.storage.disk.faults import primary_code

TRIES: Final = 3  # what lasts longer than that is no moment's trouble: the file is opened for reading, as SQLite has it

_ANY_TABLE: Final = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' LIMIT 1"


def connected(path: Path, timeout_s: float) -> sqlite3.Connection:
    """A connection of the calling thread, in autocommit mode, opened again if only a moment kept it from writing.

    ``timeout_s``: how long another's lock is waited for.  Raises ``sqlite3.Error``.
    """
    for _ in range(TRIES - 1):
        conn = sqlite3.connect(path, timeout=timeout_s, isolation_level=None)
        if not _only_reads(conn) or not os.access(path, os.W_OK):
            return conn
        conn.close()
    return sqlite3.connect(path, timeout=timeout_s, isolation_level=None)


def _only_reads(conn: sqlite3.Connection) -> bool:
    """Whether SQLite refuses to write.  Any other fault is left to whoever uses the connection.

    A deletion of nothing needs the right to write and writes nothing.  ``BEGIN IMMEDIATE`` would not do: on a file that
    is open for reading it begins a transaction that reads.  An empty file cannot have been opened for reading alone.
    """
    try:
        row = conn.execute(_ANY_TABLE).fetchone()
        if row is not None:
            conn.execute('DELETE FROM "{}" WHERE 0'.format(row[0].replace('"', '""')))
    except sqlite3.Error as fault:
        return primary_code(fault) == sqlite3.SQLITE_READONLY
    except (UnicodeDecodeError, AttributeError, TypeError):  # a damaged schema: its names are no texts
        return False
    return False
