"""The SQLite files of the catalogue: their tables, their versions, and how a connection to each is set up.

Not their contents.  ``connect`` is the way in.

Three files, because they may be lost in three ways.  ``pins.sqlite`` must not be: each commit is synced.  What is in
``usage.sqlite`` can be told again by the tiers: commits are synced at checkpoints only, so a power cut takes the last
of them, and a damaged file is replaced.  ``marks.sqlite`` belongs to one mark and sweep of one process, is attached to
the usage for as long as that lasts, and is never synced.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlite_utils import Database, Migrations
from sqlite_utils.db import Table

from shoal.messages.errors import BadConfig
from shoal.messages.limits import CATALOG_WAL_BYTES, KIB, MIB
from shoal.storage.disk.faults import readable_schema, sync_name
from shoal.storage.disk.opening import connected

PAGE_BYTES: Final = 4 * KIB  # rows are found by hash: each that changes puts a page of its own into the log
BUSY_TIMEOUT_S: Final = 2.0  # the repo lock keeps others out; this only outlasts a dying actor's connection
VALUE_BYTES_MAX: Final = 1 * MIB  # of one value: none of ours has a thousandth of it; damage may claim any size

usage_migrations = Migrations("shoal.storage.catalog.usage")
pin_migrations = Migrations("shoal.storage.catalog.pins")


@dataclass(frozen=True, slots=True)
class FileKind:
    """What tells one of the files from the other, and from everybody else's."""

    what: str
    application_id: int
    migrations: Migrations
    versions: tuple[str, ...]  # every migration of this code; one that is not here was made by a newer shoal
    synchronous: str  # in WAL mode FULL syncs at each commit, NORMAL at each checkpoint
    cache_kib: int


USAGE: Final = FileKind("usage", 0x5348_4F55, usage_migrations, ("m001_usage",), "NORMAL", 16 * KIB)  # "SHOU"
PINS: Final = FileKind("pins", 0x5348_4F50, pin_migrations, ("m001_pins",), "FULL", 1 * KIB)  # "SHOP"

# The order of a tier by last use, with all that ranking and totals ask for, so that neither touches the table.
_BY_LAST: Final = "CREATE INDEX usage_by_last ON usage (tier, last, n, first, size)"

MARKS: Final = (
    "CREATE TABLE marks.marks (multihash BLOB NOT NULL, codec INTEGER NOT NULL, state INTEGER NOT NULL,"
    " PRIMARY KEY (multihash, codec)) WITHOUT ROWID",
    "CREATE INDEX marks.marks_to_expand ON marks (state) WHERE state = 1",
)
MARKS_CACHE_KIB: Final = 16 * KIB


def table(db: Database, name: str) -> Table:
    """The table called ``name``, as sqlite-utils' Table (``db[name]`` may also be a view)."""
    found = db[name]
    assert isinstance(found, Table)
    return found


@usage_migrations()
def m001_usage(db: Database) -> None:
    """One row a block.  ``placed`` is when its tier was last told, NULL when it is in none."""
    # sqlite-utils cannot say WITHOUT ROWID, which is what makes it one B-tree instead of two.
    db.conn.execute(
        "CREATE TABLE usage (multihash BLOB PRIMARY KEY, codec INTEGER NOT NULL, size INTEGER NOT NULL,"
        " tier TEXT NOT NULL, n INTEGER NOT NULL, first REAL NOT NULL, last REAL NOT NULL, placed REAL,"
        " importance INTEGER NOT NULL) WITHOUT ROWID"
    )
    db.conn.execute(_BY_LAST)


@pin_migrations()
def m001_pins(db: Database) -> None:
    """One row a root, and one that counts them.  ``seal`` is a hash of the row's other columns."""
    db.conn.execute(
        "CREATE TABLE pins (multihash BLOB NOT NULL, codec INTEGER NOT NULL, version INTEGER NOT NULL,"
        " recursive INTEGER NOT NULL, name TEXT NOT NULL, at REAL NOT NULL, seal INTEGER NOT NULL,"
        " PRIMARY KEY (multihash, codec)) WITHOUT ROWID"
    )
    table(db, "ledger").create({"id": int, "pins": int, "seals": int}, pk="id")
    table(db, "ledger").insert({"id": 1, "pins": 0, "seals": 0})


class Missing(Exception):
    """There are no tables where there must be some."""


def connect(path: Path, kind: FileKind, *, may_make: bool = True) -> Database:
    """Open the file, make or migrate its tables, and return the database.

    The connection belongs to the calling thread.  Raises BadConfig for a file of a newer shoal or of another program,
    Missing for one without tables unless it ``may_make`` them, and ``sqlite3.Error`` for what the disk does.
    """
    is_new = not path.exists()
    conn = connected(path, BUSY_TIMEOUT_S)
    try:
        # Plugins would let any package that is installed run code on our connection.
        db = Database(conn, recursive_triggers=False, execute_plugins=False)
        # Nothing may be written before we know whose file it is.
        if not conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:  # new, or we were killed making it
            if not may_make:
                raise Missing
            conn.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            conn.execute(f"PRAGMA application_id = {kind.application_id}")
        else:
            _check_origin(db, path, kind)
        _set_up(conn, kind)
        with readable_schema():
            kind.migrations.apply(db)
        if is_new:
            sync_name(path)
    except BaseException:
        conn.close()
        raise
    return db


def attach_marks(conn: sqlite3.Connection, path: Path) -> None:
    """Make a new file of marks and attach it as ``marks``.  Raises ``sqlite3.Error``."""
    conn.execute("ATTACH ? AS marks", (str(path),))
    conn.execute(f"PRAGMA marks.page_size = {PAGE_BYTES}")
    conn.execute("PRAGMA marks.journal_mode = MEMORY")  # a failed batch is undone; a crash throws all of it away
    conn.execute("PRAGMA marks.synchronous = OFF")
    conn.execute(f"PRAGMA marks.cache_size = -{MARKS_CACHE_KIB}")
    for statement in MARKS:
        conn.execute(statement)


def _set_up(conn: sqlite3.Connection, kind: FileKind) -> None:
    """What is chosen anew for each connection."""
    conn.execute("PRAGMA journal_mode = WAL")
    conn.execute(f"PRAGMA synchronous = {kind.synchronous}")
    conn.execute(f"PRAGMA wal_autocheckpoint = {CATALOG_WAL_BYTES.value // PAGE_BYTES}")
    conn.execute(f"PRAGMA journal_size_limit = {CATALOG_WAL_BYTES.value}")
    conn.execute(f"PRAGMA cache_size = -{kind.cache_kib}")
    conn.execute("PRAGMA temp_store = MEMORY")  # no file outside the node's folder, not even for a moment
    conn.execute("PRAGMA secure_delete = OFF")
    conn.execute("PRAGMA cell_size_check = ON")  # find damage in a page when it is read, not when it is used
    conn.execute("PRAGMA trusted_schema = OFF")
    conn.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX)


def _check_origin(db: Database, path: Path, kind: FileKind) -> None:
    """Raise BadConfig unless the file is ours and no newer than this code."""
    if db.conn.execute("PRAGMA application_id").fetchone()[0] != kind.application_id:
        raise BadConfig(f"{path} is a database of another program", "give the node a folder of its own")
    with readable_schema():
        newer = [done.name for done in kind.migrations.applied(db) if done.name not in kind.versions]
    if newer:
        fault = f"{path} was written by a newer shoal (it has {newer[0]})"
        raise BadConfig(fault, "upgrade shoal, or give the node another folder")
