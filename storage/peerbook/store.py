"""The peer book's file: read whole at the start, written in small batches while the node runs.

    store = PeerStore(path); peers = store.open(); store.write(changed, gone); store.close()

A file that is damaged, or holds what was never written, is set aside as ``peers.sqlite.damaged`` and an empty one takes
its place; ``rebuilt`` counts that.  A disk that fails is StorageFault or StorageFull, and the caller goes on without.
One thread uses it: the one that called ``open``.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable
from typing import Any, Final

from sqlite_utils import Database

from shoal.messages.limits import ADDRESSES_PER_PEER, BOOK_PEERS_MAX
from shoal.storage.catalog.schema import connect, table
from shoal.storage.peerbook.rows import StoredAddr, StoredPeer
from shoal.storage.peerbook.schema import PEERS
from shoal.storage.sqlite_file import GARBLED, SoftFile

_GARBLED: Final = (*GARBLED, TypeError, ValueError)  # values that we never wrote
_PEERS: Final = "SELECT * FROM peers ORDER BY step DESC, seen DESC LIMIT ?"
_ADDRS: Final = "SELECT addr, expires, sources, worked FROM addrs WHERE peer = ? ORDER BY place LIMIT ?"


class PeerStore(SoftFile):
    """One file."""

    WHAT = "the peer book"
    REMEDY = "remove it: the node learns of peers anew"

    def open(self) -> list[StoredPeer]:
        """Open or make the file; what it holds, the best known first.

        Raises BadConfig for a file of a newer shoal or another program, StorageFault or StorageFull for the disk.
        """
        self._check_closed()
        try:
            self._connect()
            return self._read(self.db)
        except (sqlite3.Error, *_GARBLED) as fault:
            self._begin_anew(fault, "open the peer book")
            return []

    def write(self, changed: Iterable[StoredPeer], gone: Iterable[str]) -> bool:
        """Put these rows in place of what the file has of them and take the others out, in one transaction.

        False when the file was damaged and begun anew: then everything is to be written.
        """
        try:
            self._write(self.db, list(changed), list(gone))
        except sqlite3.ProgrammingError:
            raise  # a wrong thread or a wrong statement: our bug, not the disk's
        except (sqlite3.Error, *_GARBLED) as fault:
            self._begin_anew(fault, "write the peer book")
            return False
        return True

    # --- within ------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._db = connect(self.path, PEERS)

    def _read(self, db: Database) -> list[StoredPeer]:
        rows = db.conn.execute(_PEERS, (BOOK_PEERS_MAX.value,)).fetchall()
        found = []
        for row in rows:
            addrs = db.conn.execute(_ADDRS, (row[0], ADDRESSES_PER_PEER.value)).fetchall()
            found.append(_stored(row, addrs))
        return found

    def _write(self, db: Database, changed: list[StoredPeer], gone: list[str]) -> None:
        conn = db.conn
        conn.execute("BEGIN IMMEDIATE")
        try:
            names = [(peer,) for peer in gone] + [(one.peer,) for one in changed]
            conn.executemany("DELETE FROM addrs WHERE peer = ?", names)
            conn.executemany("DELETE FROM peers WHERE peer = ?", names)
            table(db, "peers").insert_all(_peer_row(one) for one in changed)
            table(db, "addrs").insert_all(
                _addr_row(one.peer, place, addr) for one in changed for place, addr in enumerate(one.addrs)
            )
            conn.execute("COMMIT")
        except BaseException:
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            raise


def _peer_row(one: StoredPeer) -> dict[str, Any]:
    return {
        "peer": one.peer,
        "owner": one.owner,
        "step": one.step,
        "sources": " ".join(one.sources),
        "seen": one.seen,
        "rtt_s": one.rtt_s,
        "blocks": one.blocks,
        "failures": one.failures,
        "good": one.good,
        "bad": one.bad,
        "failed_at": one.failed_at,
        "kind": one.kind,
    }


def _addr_row(peer: str, place: int, one: StoredAddr) -> dict[str, Any]:
    return {
        "peer": peer,
        "addr": one.addr,
        "expires": one.expires,
        "sources": " ".join(one.sources),
        "worked": one.worked,
        "place": place,
    }


def _stored(row: Any, addrs: list[Any]) -> StoredPeer:
    """A row as it was written; ValueError or TypeError for one that was not."""
    peer, owner, step, sources, seen, rtt_s, blocks, failures, good, bad, failed_at, kind = row
    numbers = [float(number) for number in (seen, rtt_s, good, bad, failed_at)]
    if not all(map(math.isfinite, numbers)) or not all(isinstance(one, str) for one in (peer, owner, sources, kind)):
        raise ValueError("a row of the peer book that was never written")
    places = tuple(StoredAddr(_text(a), _finite(e), tuple(_text(s).split()), bool(w)) for a, e, s, w in addrs)
    return StoredPeer(
        peer, owner, int(step), tuple(sources.split()), numbers[0], numbers[1], int(blocks), int(failures),
        numbers[2], numbers[3], numbers[4], kind, places,
    )  # fmt: skip


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not a number")
    return number
