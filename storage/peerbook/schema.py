"""The tables of ``peers.sqlite``.  Not their contents; the way a connection is set up is the catalogue's.

Everything in it is soft: commits are synced at checkpoints only, a power cut takes the last of them, and a damaged file
is set aside and made anew.
"""

from __future__ import annotations

from typing import Final

from sqlite_utils import Database, Migrations

from shoal.messages.limits import KIB
from shoal.storage.catalog.schema import FileKind

migrations = Migrations("shoal.storage.peerbook")


@migrations()
def m001_peers(db: Database) -> None:
    """One row a peer and one row an address of a peer.  Names of sources are separated by spaces."""
    # sqlite-utils cannot say WITHOUT ROWID, which is what makes each one B-tree instead of two.
    db.conn.execute(
        "CREATE TABLE peers (peer TEXT PRIMARY KEY, owner TEXT NOT NULL, step INTEGER NOT NULL, sources TEXT NOT NULL,"
        " seen REAL NOT NULL, rtt_s REAL NOT NULL, blocks INTEGER NOT NULL, failures INTEGER NOT NULL,"
        " good REAL NOT NULL, bad REAL NOT NULL, failed_at REAL NOT NULL, kind TEXT NOT NULL) WITHOUT ROWID"
    )
    db.conn.execute(
        "CREATE TABLE addrs (peer TEXT NOT NULL, addr TEXT NOT NULL, expires REAL NOT NULL, sources TEXT NOT NULL,"
        " worked INTEGER NOT NULL, place INTEGER NOT NULL, PRIMARY KEY (peer, addr)) WITHOUT ROWID"
    )


PEERS: Final = FileKind("peer book", 0x5348_4F45, migrations, ("m001_peers",), "NORMAL", 256 * KIB // KIB)  # "SHOE"
