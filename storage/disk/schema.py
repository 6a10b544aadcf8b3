"""The SQLite file of the disk tier: its tables, their versions, and how a connection to it is set up.

Not the store: no block goes through here.  ``connect`` is the way in.

Two tables hold a block.  ``blocks`` is the index, a B-tree of some 50 bytes a block ordered by multihash: it
answers "have you got it, how big is it" without touching a blob.  ``payloads`` holds the bytes, appended in the
order they came.  They are apart because a damaged blob can then be taken out of the index without walking its
damaged pages; each payload repeats its multihash, so that the index can be made anew from the payloads.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from sqlite_utils import Database, Migrations
from sqlite_utils.db import Table

from shoal.messages.errors import BadConfig
from shoal.messages.limits import BLOCK_BYTES_MAX, DISK_WAL_BYTES, KIB
from shoal.storage.disk.faults import readable_schema, sync_name
from shoal.storage.disk.opening import connected

APPLICATION_ID: Final = 0x5348_4F41  # "SHOA": tells our file from any other SQLite file
# Half of SQLite's largest page.  Interleaved runs on one disk, 64 / 32 / 16 KiB pages: durable puts of 16 blocks of
# 256 KiB 250-377 / 346-426 / 216-304 MiB/s; of 64 blocks of 300 bytes, 600,000 of them there, 10 / 15 / 22 k/s, since
# each puts a page of the index into the log.
PAGE_BYTES: Final = 32 * KIB
CACHE_KIB: Final = 4 * KIB  # 4 MiB of page cache: the upper levels of the index; blocks are cached by the memory tier
BUSY_TIMEOUT_S: Final = 2.0  # the repo lock keeps others out; this only outlasts a dying actor's connection
BLOB_SLACK_BYTES: Final = 64 * KIB  # above the largest block, for a row's other columns

VERSIONS: Final = ("m001_blocks",)  # every migration below; one that is not here was made by a newer shoal

migrations = Migrations("shoal.storage.disk")


def table(db: Database, name: str) -> Table:
    """The table called ``name``, as sqlite-utils' Table (``db[name]`` may also be a view)."""
    found = db[name]
    assert isinstance(found, Table)
    return found


@migrations()
def m001_blocks(db: Database) -> None:
    """Index, payloads, running totals and quarantine."""
    # sqlite-utils cannot say WITHOUT ROWID, which is what makes the index one B-tree instead of two.
    db.conn.execute(
        "CREATE TABLE blocks (multihash BLOB PRIMARY KEY, size INTEGER NOT NULL, codec INTEGER NOT NULL,"
        " payload INTEGER NOT NULL) WITHOUT ROWID"
    )
    table(db, "payloads").create({"id": int, "multihash": bytes, "codec": int, "data": bytes}, pk="id")
    table(db, "totals").create({"id": int, "blocks": int, "bytes": int, "dead_bytes": int}, pk="id")
    table(db, "totals").insert({"id": 1, "blocks": 0, "bytes": 0, "dead_bytes": 0})
    columns = {"id": int, "multihash": bytes, "codec": int, "size": int, "payload": int, "reason": str}
    table(db, "quarantine").create(columns, pk="id")


def connect(path: Path) -> Database:
    """Open the store's file, make or migrate its tables, and return the database.

    The connection belongs to the calling thread.  A write-ahead log left by a kill is played back here.  Raises
    BadConfig for a file of a newer shoal or of another program, StorageFault when the folder cannot be synced, and
    ``sqlite3.Error`` for what the disk does.
    """
    is_new = not path.exists()
    conn = connected(path, BUSY_TIMEOUT_S)
    try:
        # Plugins would let any package that is installed run code on our connection.
        db = Database(conn, recursive_triggers=False, execute_plugins=False)
        # Nothing may be written before we know whose file it is.
        with readable_schema():
            if _is_empty(conn):
                _lay_out(conn)
            else:
                _check_origin(db, path)
            _set_up(conn)
            migrations.apply(db)
        if is_new:
            sync_name(path)
    except BaseException:
        conn.close()
        raise
    return db


def _is_empty(conn: sqlite3.Connection) -> bool:
    """Whether the file has no tables yet: it is new, or we were killed while making it."""
    return not conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]


def _lay_out(conn: sqlite3.Connection) -> None:
    """What can be chosen only before there are tables, and before the file is set to WAL."""
    conn.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    conn.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that room can be handed back to the file system
    conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _set_up(conn: sqlite3.Connection) -> None:
    """What is chosen anew for each connection."""
    conn.execute("PRAGMA journal_mode = WAL")
    conn.execute("PRAGMA synchronous = FULL")  # in WAL mode: one fsync a commit, which survives a power cut
    conn.execute(f"PRAGMA wal_autocheckpoint = {DISK_WAL_BYTES.value // PAGE_BYTES}")
    conn.execute(f"PRAGMA journal_size_limit = {DISK_WAL_BYTES.value}")
    conn.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    conn.execute("PRAGMA temp_store = MEMORY")  # no file outside the node's folder, not even for a moment
    conn.execute("PRAGMA secure_delete = OFF")  # blocks are public; zeroing freed pages doubles a delete's writes
    conn.execute("PRAGMA cell_size_check = ON")  # find damage in a page when it is read, not when it is used
    conn.execute("PRAGMA trusted_schema = OFF")
    conn.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, BLOCK_BYTES_MAX.value + BLOB_SLACK_BYTES)


def _check_origin(db: Database, path: Path) -> None:
    """Raise BadConfig unless the file is ours and no newer than this code."""
    if db.conn.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise BadConfig(f"{path} is a database of another program", "give the node a folder of its own")
    newer = [done.name for done in migrations.applied(db) if done.name not in VERSIONS]
    if newer:
        fault = f"{path} was written by a newer shoal (it has {newer[0]})"
        raise BadConfig(fault, "upgrade shoal, or give the node another folder")
