"""Provider records: who says to have the multihash ``key``, since when, and where that peer can be reached.

Not who may say so (a peer only for itself: ``actors.discovery.dht.server``) nor how often (``serving``).  Begin at
``ProviderStore.add``.

Bounds, and who pays for them.  A key has the providers heard last.  A peer has the records it told last.  When all
records are at their bound, the peer with most of them (of equals the newcomer) loses its oldest: so a flood takes room
from those who flood first, and a peer with a few records keeps them as long as anybody has more.  Addresses are one set
a peer, not one a record: when those of too many peers are kept, the longest unheard peer's are forgotten, and its
records stay.

Times are seconds of the wall clock.  A record older than RECORD_LIFE_S does not exist, nor does one from the future.
Source: libp2p kad-dht spec, "content routing"; go-libp2p-kad-dht providers (48 h for records, 24 h for addresses).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shoal.messages import limits
from shoal.messages.routing import PeerAddrs
from shoal.storage.records.file import RecordsFile, row_of

RECORD_LIFE_S: Final = 48 * 3600.0
"""Seconds that a provider record or a value is kept after it was last told."""
ADDRS_LIFE_S: Final = 24 * 3600.0
"""Seconds that a provider's addresses are handed out after they were last told."""
CLOCK_SLACK_S: Final = 3600.0
"""Seconds by which a stored time may lie in the future: the clock was corrected.  More, and nobody knows its age."""
SWEEP_ROWS: Final = 1024  # looked at by one step of ``sweep``: under 1 ms

_PEER: Final = "SELECT id FROM peers WHERE name = ?"
_NEW_PEER: Final = "INSERT INTO peers (name) VALUES (?)"
_TELL: Final = "UPDATE peers SET addrs = ?, told = ? WHERE id = ?"
_KNOWN: Final = "UPDATE providers SET at = ? WHERE key = ? AND peer = ?"
_ADD: Final = "INSERT INTO providers (key, peer, at) VALUES (?, ?, ?)"
_OF_KEY: Final = "SELECT count(*) FROM providers WHERE key = ?"
_DROP_OF_KEY: Final = """
    DELETE FROM providers WHERE key = :key
        AND peer = (SELECT peer FROM providers WHERE key = :key ORDER BY at, peer LIMIT 1)
"""
_DROP_OF_PEER: Final = """
    DELETE FROM providers WHERE (key, peer) =
        (SELECT key, peer FROM providers INDEXED BY providers_by_peer WHERE peer = ? ORDER BY at LIMIT 1)
"""
_OF_PEER: Final = "SELECT records FROM peers WHERE id = ?"
_HEAVIEST: Final = "SELECT id, records FROM peers INDEXED BY peers_by_records ORDER BY records DESC, id DESC LIMIT 1"
_SUMS: Final = "SELECT records, told_peers FROM sums"
_FORGET_ADDRS: Final = """
    UPDATE peers SET addrs = '' WHERE id =
        (SELECT id FROM peers INDEXED BY peers_by_told WHERE addrs <> '' ORDER BY told LIMIT 1)
"""
_FIND: Final = """
    SELECT peers.name, CASE WHEN peers.told > :told AND peers.told < :future THEN peers.addrs ELSE '' END
    FROM providers JOIN peers ON peers.id = providers.peer
    WHERE key = :key AND at > :at AND at < :future ORDER BY at DESC, peer LIMIT :most
"""
_PAGE: Final = "SELECT key, peer, at FROM providers WHERE (key, peer) > (?, ?) ORDER BY key, peer LIMIT ?"
_DROP: Final = "DELETE FROM providers WHERE key = ? AND peer = ?"


@dataclass(frozen=True, slots=True)
class ProviderBounds:
    """See ``messages.limits``, whose values these are; tests set smaller ones."""

    records: int = limits.PROVIDER_RECORDS_MAX.value
    per_peer: int = limits.PROVIDER_RECORDS_PER_PEER.value
    per_key: int = limits.DHT_PROVIDERS_PER_KEY.value
    told_peers: int = limits.PROVIDERS_WITH_ADDRS.value


class ProviderStore:
    """The provider records of one file.  Methods may raise StorageFull or StorageFault."""

    def __init__(self, file: RecordsFile, bounds: ProviderBounds | None = None) -> None:
        self._file = file
        self.bounds = bounds or ProviderBounds()
        self._swept = (b"", -1)  # the last row that ``sweep`` has looked at

    def add(self, key: bytes, peer: str, addrs: Sequence[str], now: float) -> bool:
        """Keep that ``peer`` provides ``key``, as of ``now``; False when that is no key.

        Addresses beyond their bounds are left out; none leave those that are known.
        """
        if not 0 < len(key) <= limits.DHT_PROVIDER_KEY_MAX.value:
            return False
        text = _packed(addrs)
        self._file.run("keep a provider record", lambda conn: self._add(conn, key, peer, text, now), write=True)
        return True

    def of(self, key: bytes, now: float) -> list[PeerAddrs]:
        """Who provides ``key``, the last heard first; at most ``bounds.per_key``.  Addresses only while fresh."""
        where = {
            "key": key,
            "at": now - RECORD_LIFE_S,
            "told": now - ADDRS_LIFE_S,
            "future": now + CLOCK_SLACK_S,
            "most": self.bounds.per_key,
        }

        def work(conn: sqlite3.Connection) -> list[PeerAddrs]:
            return [_unpacked(*row) for row in conn.execute(_FIND, where).fetchall()]

        return self._file.run("find providers", work)

    def sweep(self, now: float, rows: int = SWEEP_ROWS) -> int:
        """Drop what has expired among the next ``rows`` records, in the order of their keys; how many.

        All have been looked at after as many calls as there are ``rows`` in ``count()``, and one.
        """

        def work(conn: sqlite3.Connection) -> tuple[list[tuple[bytes, int, float]], int]:
            page = conn.execute(_PAGE, (*self._swept, rows)).fetchall()
            gone = [(key, peer) for key, peer, at in page if not now - RECORD_LIFE_S < at < now + CLOCK_SLACK_S]
            conn.executemany(_DROP, gone)
            return page, len(gone)

        page, gone = self._file.run("drop expired provider records", work, write=True)
        self._swept = page[-1][:2] if len(page) == rows else (b"", -1)
        return gone

    def count(self) -> int:
        """Records that are kept, those that have expired and were not swept among them."""
        return int(self._file.run("count provider records", lambda conn: row_of(conn, _SUMS)[0]))

    # --- inside ------------------------------------------------------------------------------------

    def _add(self, conn: sqlite3.Connection, key: bytes, peer: str, addrs: str, now: float) -> None:
        row = conn.execute(_PEER, (peer,)).fetchone()
        number = int(row[0] if row else conn.execute(_NEW_PEER, (peer,)).lastrowid or 0)
        if addrs:
            conn.execute(_TELL, (addrs, now, number))
        if conn.execute(_KNOWN, (now, key, number)).rowcount == 0:
            conn.execute(_ADD, (key, number, now))
            self._hold_bounds(conn, key, number)
        if addrs and row_of(conn, _SUMS)[1] > self.bounds.told_peers:
            conn.execute(_FORGET_ADDRS)

    def _hold_bounds(self, conn: sqlite3.Connection, key: bytes, peer: int) -> None:
        """Drop what a record that was added to ``key`` by ``peer`` puts above a bound."""
        if conn.execute(_OF_KEY, (key,)).fetchone()[0] > self.bounds.per_key:
            conn.execute(_DROP_OF_KEY, {"key": key})
        row = conn.execute(_OF_PEER, (peer,)).fetchone()
        mine = row[0] if row else 0
        if mine > self.bounds.per_peer:
            conn.execute(_DROP_OF_PEER, (peer,))
        elif row_of(conn, _SUMS)[0] > self.bounds.records:
            heaviest, most = row_of(conn, _HEAVIEST)
            conn.execute(_DROP_OF_PEER, (peer if mine >= most else heaviest,))


def _packed(addrs: Sequence[str]) -> str:
    """The addresses that are kept, one a line.  Every multiaddr is ASCII; what is not could not be stored."""
    kept: list[str] = []
    room = limits.PROVIDER_ADDRS_BYTES.value
    for addr in addrs:
        room -= len(addr) + 1
        if room < 0 or len(kept) == limits.DHT_ADDRS_PER_PEER.value:
            break
        if addr.isascii() and addr.isprintable() and addr:
            kept.append(addr)
    return "\n".join(kept)


def _unpacked(name: object, addrs: object) -> PeerAddrs:
    if not isinstance(name, str) or not isinstance(addrs, str):
        raise TypeError("a provider's row is damaged")
    return PeerAddrs(name, tuple(addrs.split("\n")) if addrs else ())
