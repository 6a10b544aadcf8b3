"""The rows of the cold tier's index: which block is where, what is in each segment, and the totals.

Not the store: no segment is touched here.  Begin at ``Index.writing``, whose Writer makes every change, and keeps the
totals and each segment's live bytes in step with the rows.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from sqlite_utils import Database

from shoal.messages.cid import CID
from shoal.messages.errors import StorageFault, Unavailable
from shoal.messages.limits import BLOCK_BYTES_MAX, DISK_LIST_MAX, DISK_QUARANTINE_MAX
from shoal.storage.cold import schema
from shoal.storage.cold.folder import translated
from shoal.storage.cold.record import FRAME_BYTES_MAX
from shoal.storage.disk.batches import stored_cid
from shoal.storage.disk.commits import Commits
from shoal.storage.disk.faults import is_damage, translate
from shoal.storage.disk.schema import table

OFFSET_MAX: Final = 2**40  # bytes; far above any segment

_PLACE: Final = "codec, size, segment, offset, length, crc"
_FIND: Final = f"SELECT {_PLACE} FROM blocks WHERE multihash = ?"
_SIZE: Final = "SELECT size FROM blocks WHERE multihash = ?"
_LIST: Final = "SELECT multihash, codec, size FROM blocks WHERE multihash > ? ORDER BY multihash LIMIT ?"
_OF_SEGMENT: Final = f"SELECT multihash, {_PLACE} FROM blocks WHERE segment = ? ORDER BY offset LIMIT ?"
_PUT: Final = f"INSERT OR REPLACE INTO blocks (multihash, {_PLACE}) VALUES (?, ?, ?, ?, ?, ?, ?)"
_DROP: Final = f"DELETE FROM blocks WHERE multihash = ? RETURNING {_PLACE}"
_SEGMENTS: Final = "SELECT id, bytes, live_bytes, sealed, remote FROM segments"
_RECOUNT: Final = (
    "UPDATE segments SET live_bytes = (SELECT coalesce(sum(length), 0) FROM blocks WHERE blocks.segment = segments.id)"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a block is: ``length`` bytes of a frame at ``offset`` of ``segment``; ``size`` is of its data."""

    codec: int
    size: int
    segment: int
    offset: int
    length: int
    crc: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment's row.  ``live_bytes`` of its ``bytes`` are frames that the index points to."""

    id: int
    bytes: int
    live_bytes: int
    sealed: bool
    remote: bool  # in the object store; else in the local folder


@dataclass(frozen=True, slots=True)
class Totals:
    """Of the whole store; ``whole`` is False while the index is being made anew."""

    blocks: int = 0
    bytes: int = 0
    next_segment: int = 0
    whole: bool = False


Named: TypeAlias = tuple[bytes, Entry]  # a multihash and where its block is


class Index:
    """One connection, of the thread that called ``open``.  ``totals`` is what the last commit left."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.totals = Totals()
        self.damaged = False  # SQLite has met damage in the file: it wants to be made anew
        self._db: Database | None = None
        self._commits = Commits()

    @property
    def db(self) -> Database:
        """The open database.  Raises Unavailable when it is not open."""
        if self._db is None:
            raise Unavailable(f"the cold tier in {self.path.parent} is not open", "open it first")
        return self._db

    @property
    def is_open(self) -> bool:
        """Whether ``open`` has succeeded and ``close`` was not called since."""
        return self._db is not None

    def open(self) -> None:
        """Open the file, or make an empty one in place of one that is missing or cannot be used."""
        with self._translated("open the cold tier's index"), translated(f"open {self.path}"):
            if self.damaged and self.path.exists():
                schema.set_aside(self.path)
            db = schema.connect(self.path)
            self.damaged = False
            try:
                row = db.conn.execute("SELECT blocks, bytes, next_segment, whole FROM totals WHERE id = 1").fetchone()
                sound = row is not None and all(isinstance(value, int) and value >= 0 for value in row)
                self.totals = Totals(row[0], row[1], row[2], bool(row[3])) if sound else Totals()
            except BaseException:
                db.close()
                raise
            self._db, self._commits = db, Commits()

    def close(self) -> None:
        """Fold the log into the file and let go of both.  Safe to call twice; never raises a disk's error."""
        db, self._db = self._db, None
        if db is not None:
            try:
                db.close()
            except sqlite3.OperationalError:
                pass  # the next open plays the log back

    # --- reading -----------------------------------------------------------------------------------

    def find(self, multihash: bytes) -> Entry | None:
        """Where the block is, or None."""
        with self._translated("read the cold tier's index"):
            return _entry(self.db.conn.execute(_FIND, (multihash,)).fetchone())

    def size(self, multihash: bytes) -> int | None:
        """The block's size in bytes, or None."""
        with self._translated("read the cold tier's index"):
            row = self.db.conn.execute(_SIZE, (multihash,)).fetchone()
        return row[0] if row is not None and isinstance(row[0], int) else None

    def page(self, after: bytes, limit: int) -> list[tuple[CID, int]]:
        """Up to ``limit`` (at most DISK_LIST_MAX) blocks behind the multihash ``after``, with their sizes."""
        found: list[tuple[CID, int]] = []
        limit = min(limit, DISK_LIST_MAX.value)
        with self._translated("list the cold tier's blocks"):
            while len(found) < limit:
                rows = self.db.conn.execute(_LIST, (after, limit - len(found))).fetchall()
                if not rows:
                    break
                if not isinstance(rows[-1][0], bytes) or rows[-1][0] <= after:
                    raise self._damage("list the cold tier's blocks", ValueError("it is out of order"))
                after = rows[-1][0]
                named = ((stored_cid(multihash, codec), size) for multihash, codec, size in rows)
                found.extend((cid, size) for cid, size in named if cid is not None)
        return found

    def of_segment(self, segment: int, limit: int) -> list[Named]:
        """The first ``limit`` blocks of a segment by offset."""
        with self._translated("read the cold tier's index"):
            rows = self.db.conn.execute(_OF_SEGMENT, (segment, limit)).fetchall()
        return [(row[0], entry) for row in rows if (entry := _entry(row[1:])) is not None]

    def segments(self, where: str = "1", values: Sequence[int | float] = ()) -> list[Segment]:
        """The rows of segments for which the SQL condition ``where`` holds, by number unless it orders them."""
        with self._translated("read the cold tier's index"):
            order = "" if "ORDER BY" in where else " ORDER BY id"
            rows = self.db.conn.execute(f"{_SEGMENTS} WHERE {where}{order}", tuple(values)).fetchall()
        return [Segment(row[0], row[1], row[2], bool(row[3]), bool(row[4])) for row in rows]

    def quarantined(self, segment: int) -> frozenset[bytes]:
        """The multihashes of the damaged blocks that are remembered of a segment, DISK_QUARANTINE_MAX at most."""
        with self._translated("read the cold tier's index"):
            query = "SELECT multihash FROM quarantine WHERE segment = ?"
            return frozenset(row[0] for row in self.db.conn.execute(query, (segment,)).fetchall())

    def number(self, query: str, values: Sequence[int] = ()) -> int:
        """The one number that ``query`` asks for."""
        with self._translated("read the cold tier's index"):
            return int(self.db.conn.execute(query, tuple(values)).fetchone()[0] or 0)

    # --- writing -----------------------------------------------------------------------------------

    @contextmanager
    def writing(self, doing: str, *, durable: bool = False) -> Iterator[Writer]:
        """One transaction: all of the body or, when it or the commit raises, nothing.

        ``durable`` has it on the disk when this returns; otherwise a power cut may take it back, and recovery must be
        able to find it again from the segments.
        """
        db = self.db
        with self._translated(doing):
            self._settle()
            db.conn.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with self._commits.transaction(db.conn):
                writer = Writer(db, self.totals)
                yield writer
                writer.finish()
        self.totals = writer.totals

    def settle(self) -> None:
        """Make sure that a change that failed will not happen after all (see ``disk.commits``)."""
        with self._translated("undo a failed write"):
            self._settle()

    def _settle(self) -> None:
        if self._commits.in_doubt:
            self.db.conn.execute("PRAGMA synchronous = FULL")
            self._commits.settle(self.db.conn)

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # a wrong thread or a wrong statement: our bug, not the disk's
        except sqlite3.Error as fault:
            if is_damage(fault):
                raise self._damage(doing, fault) from fault
            raise translate(fault, doing, self.path) from fault
        except (OverflowError, UnicodeDecodeError) as fault:  # a number, or a text in SQLite's own complaint
            raise self._damage(doing, fault) from fault

    def _damage(self, doing: str, fault: Exception) -> StorageFault:
        self.damaged = True
        said = f"could not {doing}: the index {self.path} is damaged: {fault}"
        return StorageFault(said, "open the store again: the index is made anew from the segments")


class Writer:
    """A transaction, and the totals that it will commit."""

    def __init__(self, db: Database, totals: Totals) -> None:
        self.db = db
        self.totals = totals
        self._live: Counter[int] = Counter()

    def put(self, blocks: Iterable[Named]) -> None:
        """Say where each block is now; what was said before is forgotten."""
        for multihash, entry in blocks:
            self.drop(multihash)
            row = (multihash, entry.codec, entry.size, entry.segment, entry.offset, entry.length, entry.crc)
            self.db.conn.execute(_PUT, row)
            self._count(1, entry.size)
            self._live[entry.segment] += entry.length

    def drop(self, multihash: bytes) -> Entry | None:
        """Forget a block: where it was, or None when there was none."""
        dropped = self.db.conn.execute(_DROP, (multihash,)).fetchall()
        if not dropped:
            return None
        entry = _entry(dropped[0]) or Entry(0, 0, -1, 0, 0, 0)
        self._count(-1, -entry.size)
        self._live[entry.segment] -= entry.length
        return entry

    def set_segment(self, segment: int, size: int, *, sealed: bool, remote: bool = False) -> None:
        """Make or change a segment's row; its live bytes follow from the blocks."""
        self.db.conn.execute(
            "INSERT INTO segments (id, bytes, live_bytes, sealed, remote) VALUES (?, ?, 0, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET bytes = excluded.bytes, sealed = excluded.sealed,"
            " remote = excluded.remote",
            (segment, size, sealed, remote),
        )
        after = max(self.totals.next_segment, segment + 1)
        self.totals = Totals(self.totals.blocks, self.totals.bytes, after, self.totals.whole)

    def drop_segment(self, segment: int) -> None:
        """Forget a segment, and every block that is said to be in it."""
        self.drop_beyond(segment, 0)
        self.db.conn.execute("DELETE FROM segments WHERE id = ?", (segment,))

    def drop_beyond(self, segment: int, end: int) -> None:
        """Forget the blocks of a segment that are not wholly before the offset ``end``."""
        gone = "DELETE FROM blocks WHERE segment = ? AND offset + length > ? RETURNING size, length"
        for size, length in self.db.conn.execute(gone, (segment, end)).fetchall():
            self._count(-1, -size)
            self._live[segment] -= length

    def quarantine(self, multihash: bytes, reason: str) -> None:
        """Move a block from the index to the quarantine, which keeps the newest DISK_QUARANTINE_MAX."""
        entry = self.drop(multihash)
        if entry is None:
            return
        table(self.db, "quarantine").insert(
            {
                "multihash": multihash,
                "codec": entry.codec,
                "size": entry.size,
                "segment": entry.segment,
                "offset": entry.offset,
                "length": entry.length,
                "reason": reason,
            }
        )
        self.db.conn.execute(
            "DELETE FROM quarantine WHERE id <= (SELECT id FROM quarantine ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (DISK_QUARANTINE_MAX.value,),
        )

    def set_whole(self, whole: bool) -> None:
        """Say whether the index knows all segments."""
        self.totals = Totals(self.totals.blocks, self.totals.bytes, self.totals.next_segment, whole)

    def recount(self) -> None:
        """Count totals and live bytes anew from the blocks, in time proportional to them."""
        self.finish()
        self.db.conn.execute(_RECOUNT)
        blocks, size_sum = self.db.conn.execute("SELECT count(*), coalesce(sum(size), 0) FROM blocks").fetchone()
        self.totals = Totals(blocks, size_sum, self.totals.next_segment, self.totals.whole)

    def finish(self) -> None:
        """Write the live bytes and totals that have changed."""
        for segment, change in self._live.items():
            if change:
                change_live = "UPDATE segments SET live_bytes = max(0, live_bytes + ?) WHERE id = ?"
                self.db.conn.execute(change_live, (change, segment))
        self._live.clear()
        new = self.totals
        set_totals = "UPDATE totals SET blocks = ?, bytes = ?, next_segment = ?, whole = ? WHERE id = 1"
        self.db.conn.execute(set_totals, (new.blocks, new.bytes, new.next_segment, new.whole))

    def _count(self, blocks: int, size: int) -> None:
        old = self.totals
        new_bytes = max(0, old.bytes + size)
        self.totals = Totals(max(0, old.blocks + blocks), new_bytes, old.next_segment, old.whole)


def _entry(row: Sequence[object] | None) -> Entry | None:
    """The entry of a row; None when there is no row or damage has made nonsense of it."""
    if row is None or not all(isinstance(value, int) and value >= 0 for value in row):
        return None
    codec, size, segment, offset, length, crc = (int(value) for value in row if isinstance(value, int))
    if size > BLOCK_BYTES_MAX.value or length > FRAME_BYTES_MAX or offset > OFFSET_MAX:
        return None  # nothing of such a size may be read, let alone be allocated
    return Entry(codec, size, segment, offset, length, crc)
