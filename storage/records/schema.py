"""The tables of ``records.sqlite``, and the triggers that keep their sums right.

Not the statements that fill them (``providers``, ``values``).  Soft state: who provides says so again every 22 h, so
commits are synced at checkpoints only, and a damaged file is replaced.

Every bound is on a sum: of records, of one peer's records, of bytes.  Triggers keep the sums in the same transaction as
what they sum up, so that there is no count in memory which a rollback, a crash or a damaged file could put wrong.
"""

from __future__ import annotations

from typing import Final

from sqlite_utils import Database, Migrations

from shoal.messages.limits import KIB
from shoal.storage.catalog.schema import FileKind

CACHE_KIB: Final = 2 * KIB  # of pages held by SQLite; the system's own cache has the rest

record_migrations = Migrations("shoal.storage.records")

RECORDS: Final = FileKind("records", 0x5348_4F52, record_migrations, ("m001_records",), "NORMAL", CACHE_KIB)  # "SHOR"

# WITHOUT ROWID: one B-tree a table instead of two.  Rows of a peer that has no record left go by themselves.
_TABLES: Final = (
    "CREATE TABLE peers (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, records INTEGER NOT NULL DEFAULT 0,"
    " told REAL NOT NULL DEFAULT 0, addrs TEXT NOT NULL DEFAULT '')",
    "CREATE INDEX peers_by_records ON peers (records)",
    "CREATE INDEX peers_by_told ON peers (told) WHERE addrs <> ''",
    "CREATE TABLE providers (key BLOB NOT NULL, peer INTEGER NOT NULL, at REAL NOT NULL,"
    " PRIMARY KEY (key, peer)) WITHOUT ROWID",
    "CREATE INDEX providers_by_peer ON providers (peer, at)",
    "CREATE TABLE putters (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, bytes INTEGER NOT NULL DEFAULT 0)",
    "CREATE INDEX putters_by_bytes ON putters (bytes)",
    "CREATE TABLE held (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, putter INTEGER NOT NULL, at REAL NOT NULL,"
    " size INTEGER NOT NULL, value BLOB NOT NULL)",
    "CREATE INDEX held_by_putter ON held (putter, at)",
    "CREATE INDEX held_by_at ON held (at)",
    "CREATE TABLE sums (id INTEGER PRIMARY KEY, records INTEGER NOT NULL, told_peers INTEGER NOT NULL,"
    " held INTEGER NOT NULL, bytes INTEGER NOT NULL)",
    "INSERT INTO sums VALUES (1, 0, 0, 0, 0)",
)
_TRIGGERS: Final = (
    "CREATE TRIGGER record_added AFTER INSERT ON providers BEGIN"
    " UPDATE sums SET records = records + 1;"
    " UPDATE peers SET records = records + 1 WHERE id = NEW.peer; END",
    "CREATE TRIGGER record_gone AFTER DELETE ON providers BEGIN"
    " UPDATE sums SET records = records - 1;"
    " UPDATE peers SET records = records - 1 WHERE id = OLD.peer;"
    " DELETE FROM peers WHERE id = OLD.peer AND records <= 0; END",
    "CREATE TRIGGER peer_told AFTER UPDATE OF addrs ON peers WHEN (NEW.addrs <> '') <> (OLD.addrs <> '') BEGIN"
    " UPDATE sums SET told_peers = told_peers + (NEW.addrs <> '') - (OLD.addrs <> ''); END",
    "CREATE TRIGGER peer_gone AFTER DELETE ON peers WHEN OLD.addrs <> '' BEGIN"
    " UPDATE sums SET told_peers = told_peers - 1; END",
    "CREATE TRIGGER value_added AFTER INSERT ON held BEGIN"
    " UPDATE sums SET held = held + 1, bytes = bytes + NEW.size;"
    " UPDATE putters SET bytes = bytes + NEW.size WHERE id = NEW.putter; END",
    "CREATE TRIGGER value_gone AFTER DELETE ON held BEGIN"
    " UPDATE sums SET held = held - 1, bytes = bytes - OLD.size;"
    " UPDATE putters SET bytes = bytes - OLD.size WHERE id = OLD.putter;"
    " DELETE FROM putters WHERE id = OLD.putter AND bytes <= 0; END",
)

# A scan of one index of each table: some 20 ms of 200,000 records, once a start.
SUMS_ARE_RIGHT: Final = """
    SELECT records = (SELECT count(*) FROM providers) AND records = (SELECT total(records) FROM peers)
        AND told_peers = (SELECT count(*) FROM peers WHERE addrs <> '')
        AND held = (SELECT count(*) FROM held) AND bytes = (SELECT total(size) FROM held)
        AND bytes = (SELECT total(bytes) FROM putters)
    FROM sums
"""


@record_migrations()
def m001_records(db: Database) -> None:
    """Who provides what, where those can be reached, and the values that were put.

    ``peers.addrs`` are multiaddrs, one a line, last told at ``told``.  ``held.size`` is the bytes of key and value.
    """
    # sqlite-utils cannot say WITHOUT ROWID, partial indexes or triggers.
    for statement in (*_TABLES, *_TRIGGERS):
        db.conn.execute(statement)
