"""The index of the cold tier: its SQLite tables, their versions, and how a connection to it is set up.

Nothing in this file is the only copy of anything: ``recovery`` makes all of it anew from the segments, which is why
a file that cannot be used is set aside and not mourned.  ``connect`` is the way in; the rows are ``index``'s.

The log is not synced at each commit (``synchronous = NORMAL``): a put is durable by the sync of its segment, and
records that the index has forgotten in a power cut are found again at its end.  What segments cannot tell, that a block
was deleted or moved, is committed with a sync of its own.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from sqlite_utils import Database, Migrations

from shoal.messages.errors import BadConfig
from shoal.messages.limits import DISK_WAL_BYTES, KIB
from shoal.storage.disk.faults import is_damage, readable_schema
from shoal.storage.disk.opening import connected
from shoal.storage.disk.schema import BUSY_TIMEOUT_S, table
from shoal.storage.repo import sync_folder

APPLICATION_ID: Final = 0x5348_4F43  # "SHOC"
PAGE_BYTES: Final = 4 * KIB  # rows of some 90 bytes in no order: a larger page is a larger write for each
CACHE_KIB: Final = 8 * KIB  # the upper levels of the index of some ten million blocks
ASIDE: Final = ".unusable"  # added to the name of a file that could not be used

VERSIONS: Final = ("m001_segments",)  # every migration below; one that is not here was made by a newer shoal

migrations = Migrations("shoal.storage.cold")


@migrations()
def m001_segments(db: Database) -> None:
    """Blocks, segments, running totals and quarantine."""
    # sqlite-utils cannot say WITHOUT ROWID, which is what makes the index one B-tree instead of two.
    db.conn.execute(
        "CREATE TABLE blocks (multihash BLOB PRIMARY KEY, codec INTEGER NOT NULL, size INTEGER NOT NULL,"
        " segment INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL, crc INTEGER NOT NULL)"
        " WITHOUT ROWID"
    )
    table(db, "blocks").create_index(["segment", "offset"])
    columns = {"id": int, "bytes": int, "live_bytes": int, "sealed": int, "remote": int}
    table(db, "segments").create(columns, pk="id")
    table(db, "segments").create_index(["remote", "sealed"])  # what waits for an upload, among thousands that do not
    table(db, "totals").create({"id": int, "blocks": int, "bytes": int, "next_segment": int, "whole": int}, pk="id")
    table(db, "totals").insert({"id": 1, "blocks": 0, "bytes": 0, "next_segment": 0, "whole": 0})
    place = {"codec": int, "size": int, "segment": int, "offset": int, "length": int, "reason": str}
    table(db, "quarantine").create({"id": int, "multihash": bytes, **place}, pk="id")


def connect(path: Path) -> Database:
    """Open the index, or make an empty one where there is none that can be used, and return the database.

    The connection belongs to the calling thread.  Raises BadConfig for an index of a newer shoal, and
    ``sqlite3.Error`` for what the disk does.
    """
    try:
        return _connect(path)
    except sqlite3.DatabaseError as fault:
        if not is_damage(fault):
            raise
    set_aside(path)
    return _connect(path)


def set_aside(path: Path) -> None:
    """Give the index at ``path`` another name, in place of one that was set aside before.  Raises OSError."""
    path.replace(path.with_name(path.name + ASIDE))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    sync_folder(path.parent)


def _connect(path: Path) -> Database:
    is_new = not path.exists()
    conn = connected(path, BUSY_TIMEOUT_S)
    try:
        # Plugins would let any package that is installed run code on our connection.
        db = Database(conn, recursive_triggers=False, execute_plugins=False)
        with readable_schema():
            if not conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                conn.execute(f"PRAGMA page_size = {PAGE_BYTES}")
                conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            else:
                _check_origin(db, path)
            _set_up(conn)
            migrations.apply(db)
        if is_new:
            sync_folder(path.parent)
    except BaseException:
        conn.close()
        raise
    return db


def _set_up(conn: sqlite3.Connection) -> None:
    """What is chosen anew for each connection."""
    conn.execute("PRAGMA journal_mode = WAL")
    conn.execute("PRAGMA synchronous = NORMAL")
    conn.execute(f"PRAGMA wal_autocheckpoint = {DISK_WAL_BYTES.value // PAGE_BYTES}")
    conn.execute(f"PRAGMA journal_size_limit = {DISK_WAL_BYTES.value}")
    conn.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    conn.execute("PRAGMA temp_store = MEMORY")  # no file outside the node's folder, not even for a moment
    conn.execute("PRAGMA cell_size_check = ON")  # find damage in a page when it is read, not when it is used
    conn.execute("PRAGMA trusted_schema = OFF")


def _check_origin(db: Database, path: Path) -> None:
    """Raise BadConfig for a newer shoal's index, and DatabaseError for a file that is not an index of ours."""
    if db.conn.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        fault = sqlite3.DatabaseError(f"{path} is not an index of the cold tier")
        fault.sqlite_errorcode = sqlite3.SQLITE_NOTADB
        raise fault
    newer = [done.name for done in migrations.applied(db) if done.name not in VERSIONS]
    if newer:
        fault_text = f"{path} was written by a newer shoal (it has {newer[0]})"
        raise BadConfig(fault_text, "upgrade shoal, or give the cold tier another folder")
