"""The backlog of announcements: what was added is durable when ``add`` returns, and stays until it is withdrawn.

Not when anything is due (``actors.announce.schedule``): times come in and go out as numbers, seconds of the wall clock.
Begin at ``Announcements``; the nouns are in ``rows``, what follows a listing is in ``syncing``.

Every call touches a bounded number of rows found by an index, and totals are kept, not counted, so that a call costs
the same in a backlog of a million rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from shoal.messages.announcing import OVER_PUBSUB
from shoal.messages.cid import CID, DAG_PB, IDENTITY
from shoal.messages.errors import BadInput, RemoteError, StorageFull
from shoal.storage.announcements.file import BacklogFile
from shoal.storage.announcements.rows import (
    BY_USER,
    FAILURES_KEPT,
    FOLLOWED,
    NEVER_DUE,
    WAY_CODES,
    WAY_NAMES,
    WAY_ROWS_MAX,
    Due,
    Metadata,
    Origin,
    Reconciled,
    Shown,
    Totals,
    check_batch,
    check_metadata,
    check_ways,
    pack_metadata,
    unpack_metadata,
)
from shoal.storage.announcements.syncing import reconcile
from shoal.storage.announcements.tally import INSERT, Tally
from shoal.storage.disk.batches import stored_cid

_GET: Final = "SELECT id, origins, due, told, failures FROM announcements WHERE multihash = ? AND way = ?"
_DUE: Final = (
    "SELECT id, multihash, codec, version, due, failures, origins, metadata FROM announcements INDEXED BY by_due"
    " WHERE way = ? AND due <= ? ORDER BY due LIMIT ?"
)
_NEXT: Final = "SELECT due FROM announcements INDEXED BY by_due WHERE way = ? ORDER BY due LIMIT 1"
_LATE: Final = "SELECT count(*) FROM announcements INDEXED BY by_due WHERE way = ? AND due < ?"
_PAGE: Final = (
    "SELECT multihash, codec, version, due, told, failures FROM announcements INDEXED BY by_due"
    " WHERE way = ? AND due < ? ORDER BY due LIMIT ?"
)
_MEND: Final = (
    "UPDATE announcements SET due = ? WHERE id IN (SELECT id FROM announcements INDEXED BY by_due"
    " WHERE way = ? AND due > ? AND due < ? LIMIT ?)"
)


class Announcements:
    """The backlog of one node, on the thread that called ``open``.  Any call may raise StorageFault or StorageFull."""

    def __init__(self, path: Path) -> None:
        self._file = BacklogFile(path)

    @property
    def rebuilt(self) -> int:
        """How often the file was found damaged and begun anew."""
        return self._file.rebuilt

    @property
    def why_rebuilt(self) -> str:
        """What was found the last time."""
        return self._file.why_rebuilt

    def open(self) -> None:
        """Open the file or make it."""
        self._file.open()

    def close(self) -> None:
        """Let go of the file.  May be called twice."""
        self._file.close()

    # --- what is to be told ------------------------------------------------------------------------

    def add(
        self,
        items: Sequence[tuple[CID, float]],
        ways: Sequence[str],
        origin: Origin,
        metadata: Metadata = (),
    ) -> int:
        """Announce these, each from its due time on; durable on return.  How many are new for some way.

        What the user says anew (EXPLICIT, ONCE) is due again; what is added again keeps its turn.  All of the request
        or, above what a way may hold (StorageFull), nothing; but where there is another way as well, pubsub without
        room is passed over: it only hints at what the other tells.
        """
        check_batch(items)
        check_ways(ways)
        check_metadata(metadata)
        packed = pack_metadata(metadata)
        if any(cid.hash_code == IDENTITY for cid, _ in items):
            raise BadInput("an identity CID needs no provider: it carries its content itself", "announce other CIDs")
        optional = (OVER_PUBSUB,) if len(set(ways)) > 1 else ()

        def work(conn: sqlite3.Connection) -> int:
            fresh = set()
            for way in dict.fromkeys(ways):
                tally = Tally(conn, way)
                for cid, due in items:
                    told = packed if way == OVER_PUBSUB else b""
                    if _add_one(conn, tally, cid, due, origin, told, full_is_no=way not in optional):
                        fresh.add(cid.multihash)
                tally.save()
            return len(fresh)

        return self._file.run("add to the backlog", work, write=True)

    def withdraw(self, cids: Sequence[CID]) -> int:
        """Announce these no more; how many were announced.  What policy would announce is remembered as withdrawn."""
        check_batch(cids)

        def work(conn: sqlite3.Connection) -> int:
            gone = set()
            for way in WAY_CODES:
                tally = Tally(conn, way)
                for cid in cids:
                    row = conn.execute(_GET, (cid.multihash, tally.code)).fetchone()
                    if row is None or row[1] & Origin.WITHDRAWN:
                        continue
                    gone.add(cid.multihash)
                    tally.lose(row[0], row[1], row[3], _hidden(row[1]))
                tally.save()
            return len(gone)

        return self._file.run("withdraw announcements", work, write=True)

    def release(self, cids: Sequence[CID], origin: Origin) -> int:
        """These are no longer announced because of ``origin``; how many rows have gone or changed."""
        check_batch(cids)

        def work(conn: sqlite3.Connection) -> int:
            count = 0
            for way in WAY_CODES:
                tally = Tally(conn, way)
                for cid in cids:
                    row = conn.execute(_GET, (cid.multihash, tally.code)).fetchone()
                    if row is not None and row[1] & origin:
                        tally.release(row[0], row[1], row[3], origin)
                        count += 1
                tally.save()
            return count

        return self._file.run("end announcements", work, write=True)

    def reconcile(
        self,
        origin: Origin,
        ways: Sequence[str],
        entries: Sequence[tuple[CID, float]],
        after: bytes,
        through: bytes | None,
        limit: int,
    ) -> Reconciled:
        """Bring the rows of ``origin`` behind the multihash ``after`` up to ``through`` in line with a listing.

        ``entries``: what the listing has there, ordered by multihash, each with its due time should it be new.  At
        most ``limit`` rows are looked at: ``Reconciled.through`` says how far it came.
        """
        check_batch(entries)

        def work(conn: sqlite3.Connection) -> Reconciled:
            return reconcile(conn, origin, ways, entries, after, through, limit)

        return self._file.run("follow a listing", work, write=True)

    # --- telling -----------------------------------------------------------------------------------

    def due(self, way: str, until: float, limit: int) -> list[Due]:
        """Up to ``limit`` rows that are due at ``until``, the longest due first."""
        bad: list[int] = []

        def work(conn: sqlite3.Connection) -> list[Due]:
            bad.clear()
            found = []
            for id_, multihash, codec, version, at, failures, origins, metadata in conn.execute(
                _DUE, (WAY_CODES[way], min(until, NEVER_DUE / 2), limit)
            ):
                cid = _cid_of(multihash, codec, version)
                if cid is None:
                    bad.append(id_)
                else:
                    found.append(Due(cid, at, failures, Origin(origins), unpack_metadata(metadata)))
            return found

        found = self._file.run("read the backlog", work)
        if bad:
            self._drop(way, bad)
        return found

    def next_due(self, way: str) -> float | None:
        """When the next row is due; None when there is none."""
        row = self._file.run("read the backlog", lambda conn: conn.execute(_NEXT, (WAY_CODES[way],)).fetchone())
        return None if row is None or row[0] >= NEVER_DUE else float(row[0])

    def told(self, way: str, items: Sequence[tuple[CID, float]], now: float) -> int:
        """These have been told at ``now``, each due again at its time; what was to be told once goes.  How many."""
        check_batch(items)

        def work(conn: sqlite3.Connection) -> int:
            tally, count = Tally(conn, way), 0
            for cid, due in items:
                row = conn.execute(_GET, (cid.multihash, tally.code)).fetchone()
                if row is None or row[1] & Origin.WITHDRAWN:
                    continue
                count += 1
                tally.tell(row[0], row[1], row[3], due, now)
            tally.save()
            return count

        return self._file.run("note what was told", work, write=True)

    def failed(self, way: str, items: Sequence[tuple[CID, float]]) -> None:
        """Nobody took these; each is due again at its time."""
        self._put_off(way, items, "note what was not told", keep=~Origin(0))

    def absent(self, way: str, items: Sequence[tuple[CID, float]]) -> None:
        """The node does not hold these: what the user announced is due again at its time, the rest goes."""
        self._put_off(way, items, "note what is not here", keep=BY_USER)

    def _put_off(self, way: str, items: Sequence[tuple[CID, float]], doing: str, keep: Origin) -> None:
        check_batch(items)

        def work(conn: sqlite3.Connection) -> None:
            tally = Tally(conn, way)
            for cid, due in items:
                row = conn.execute(_GET, (cid.multihash, tally.code)).fetchone()
                if row is None or row[1] & Origin.WITHDRAWN:
                    continue
                left = row[1] & keep
                if left:
                    failures = min(row[4] + 1, FAILURES_KEPT)
                    conn.execute(
                        "UPDATE announcements SET origins = ?, due = ?, failures = ? WHERE id = ?",
                        (left, due, failures, row[0]),
                    )
                else:
                    tally.lose(row[0], row[1], row[3], 0)
            tally.save()

        self._file.run(doing, work, write=True)

    def mend(self, now: float, horizon: float, limit: int) -> int:
        """Make due now what is due later than ``horizon``: no schedule says so, the clock has gone back.  How many."""

        def work(conn: sqlite3.Connection) -> int:
            marks = [(now, code, horizon, NEVER_DUE, limit) for code in WAY_NAMES]
            return sum(conn.execute(_MEND, mark).rowcount for mark in marks)

        return self._file.run("set due times right", work, write=True)

    # --- figures -----------------------------------------------------------------------------------

    def totals(self) -> dict[str, Totals]:
        """Rows by way, in constant time."""

        def work(conn: sqlite3.Connection) -> dict[str, Totals]:
            return {way: Tally(conn, way).totals for way in WAY_CODES}

        return self._file.run("count the backlog", work)

    def late(self, now: float) -> int:
        """Rows that are due and not told; counted in an index of some 20 bytes a row."""

        def work(conn: sqlite3.Connection) -> int:
            return sum(int(conn.execute(_LATE, (code, now)).fetchone()[0]) for code in WAY_NAMES)

        return self._file.run("count what is late", work)

    def page(self, limit: int) -> list[Shown]:
        """Up to ``limit`` rows of all ways, the most urgent first."""

        def work(conn: sqlite3.Connection) -> list[Shown]:
            shown = []
            for way, code in WAY_CODES.items():
                for multihash, codec, version, due, told, failures in conn.execute(_PAGE, (code, NEVER_DUE, limit)):
                    cid = _cid_of(multihash, codec, version)
                    if cid is not None:
                        shown.append(Shown(cid, way, due, told, failures))
            return sorted(shown, key=lambda row: row.due)[:limit]

        return self._file.run("list the backlog", work)

    def _drop(self, way: str, ids: Sequence[int]) -> None:
        """Delete rows that damage has left no CID in."""

        def work(conn: sqlite3.Connection) -> None:
            tally = Tally(conn, way)
            for id_ in ids:
                row = conn.execute("SELECT id, origins, told FROM announcements WHERE id = ?", (id_,)).fetchone()
                if row is not None:
                    tally.lose(row[0], row[1], row[2], 0)
            tally.save()

        self._file.run("drop damaged rows", work, write=True)


def _add_one(
    conn: sqlite3.Connection, tally: Tally, cid: CID, due: float, origin: Origin, packed: bytes, *, full_is_no: bool
) -> bool:
    """One CID and way; whether it is new.  Raises StorageFull without room for it, if ``full_is_no``."""
    row = conn.execute(_GET, (cid.multihash, tally.code)).fetchone()
    if row is None:
        if tally.is_full:
            if full_is_no:
                raise _full(tally.way)
            return False
        conn.execute(INSERT, (cid.multihash, tally.code, cid.codec, cid.version, int(origin), due, None, 0, packed))
        tally.gained()
        return True
    id_, before, old_due, told, failures = row
    anew = bool(origin & BY_USER or before & Origin.WITHDRAWN)
    if before & Origin.WITHDRAWN:
        tally.shown_again(told)
    conn.execute(
        "UPDATE announcements SET origins = ?, due = ?, failures = ? WHERE id = ?",
        ((before | origin) & ~Origin.WITHDRAWN, due if anew else old_due, 0 if anew else failures, id_),
    )
    if origin & BY_USER:
        conn.execute(
            "UPDATE announcements SET metadata = ?, codec = ?, version = ? WHERE id = ?",
            (packed, cid.codec, cid.version, id_),
        )
    return anew and bool(before & Origin.WITHDRAWN)


def _full(way: str) -> StorageFull:
    return StorageFull(
        f"the backlog of announcements over {way} holds {WAY_ROWS_MAX[way]} CIDs, and no more",
        "withdraw some, or announce roots instead of every block",
    )


def _cid_of(multihash: object, codec: object, version: object) -> CID | None:
    """The CID of a row, or None when damage has left none."""
    cid = stored_cid(multihash, codec)
    if cid is None or version != 0:
        return cid
    try:
        return CID(0, DAG_PB, cid.hash_code, cid.digest)
    except RemoteError:
        return None


def _hidden(origins: int) -> int:
    """What is left of a row that the user withdraws: nothing, unless a listing would bring it back."""
    followed = origins & FOLLOWED
    return followed | Origin.WITHDRAWN if followed else 0
