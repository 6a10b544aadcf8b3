"""DiskStore: blocks in one SQLite file, durable when a put returns.

Not a cache (the memory tier is one), not thread-safe, no actor.  Begin at ``put_many`` and ``get_many``.

One thread, one connection.  The actor that owns the store opens it in its own thread; reads and writes take turns
there.  A second connection for reads was left out: a commit of 4 MiB holds the thread for some 5 ms (one in four pays
for a checkpoint, some 50 ms), the memory tier takes the hot reads, and a reader of its own could pin the log and let
it grow past its bound.

Durability.  A put is one ``BEGIN IMMEDIATE`` transaction in WAL mode with ``synchronous = FULL``: when it returns, the
log is synced.  The cost of a sync is shared by the batch, so callers put together what waits in their mailbox.

Names.  A block is stored under its multihash: CIDv0, CIDv1 and any codec of the same bytes are one row, which
remembers the codec it came with first.  An identity CID carries its bytes and needs no row.

Damage.  Every read is hashed by default, not only the first one: a disk rots after the first read as well as before
it, sha2-256 runs at 1.7 GiB/s with the GIL let go, and blocks that are read often are in memory.  A block that does
not hash to its name is moved to quarantine and reported as absent, so that it is fetched again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from shoal.messages.block import Block
from shoal.messages.cid import CID, IDENTITY
from shoal.messages.errors import LocalError, StorageFault, StorageFull
from shoal.messages.limits import (
    DISK_DELETE_MAX,
    DISK_GET_BLOCKS_MAX,
    DISK_LIST_MAX,
    DISK_RESERVE_BYTES,
    DISK_SIZES_MAX,
    DISK_WAL_BYTES,
)
from shoal.storage.disk import quarantine
from shoal.storage.disk.batches import check_count, distinct, sane_size, stored_cid
from shoal.storage.disk.database import StoreFile, count_index
from shoal.storage.disk.faults import free_bytes, is_damage, translate
from shoal.storage.disk.quarantine import Damaged
from shoal.storage.disk.schema import PAGE_BYTES

CIDs: TypeAlias = list[CID]  # inside the class, ``list`` is the method

WRITES_PER_BLOCK: Final = 2  # a block's bytes go to the log and then to the file

_ADD_INDEX: Final = "INSERT INTO blocks (multihash, size, codec, payload) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_ADD_PAYLOAD: Final = "INSERT INTO payloads (id, multihash, codec, data) VALUES (?, ?, ?, ?)"
_DROP_INDEX: Final = "DELETE FROM blocks WHERE multihash = ? RETURNING size, payload"
_FIND: Final = "SELECT payload FROM blocks WHERE multihash = ?"
_READ: Final = "SELECT data FROM payloads WHERE id = ?"
_SIZE: Final = "SELECT size FROM blocks WHERE multihash = ?"
_LIST: Final = "SELECT multihash, codec FROM blocks WHERE multihash > ? ORDER BY multihash LIMIT ?"


@dataclass(frozen=True, slots=True)
class DiskStats:
    """``bytes`` and ``dead_bytes`` (of damaged blocks) count towards the quota; the rest is of the files."""

    blocks: int
    bytes: int
    dead_bytes: int
    quota_bytes: int
    quarantined: int
    damaged_reads: int  # since this object was made
    file_bytes: int
    log_bytes: int
    reusable_bytes: int  # inside the file, left by deletes


class DiskStore:
    """A bounded, durable shelf of blocks.  Every method may raise StorageFault; see each for the rest."""

    def __init__(
        self,
        path: Path,
        quota_bytes: int,
        *,
        reserve_bytes: int = DISK_RESERVE_BYTES.value,
        verify_reads: bool = True,
    ) -> None:
        """Say where and how much; nothing is opened yet.

        ``quota_bytes`` bounds the sum of block sizes; ``reserve_bytes`` is what a put leaves free on the volume.
        ``verify_reads=False`` is for a caller that hashes every block it gets itself.
        """
        self._file = StoreFile(path)
        self._quota_bytes = quota_bytes
        self._reserve_bytes = reserve_bytes
        self._verify_reads = verify_reads
        self._damaged_reads = 0

    def open(self) -> None:
        """Open, or make, the file in the calling thread and play back its log.

        Raises BadConfig for a file of a newer shoal or of another program, StorageFull when there is no room for it.
        """
        self._file.open()

    def close(self) -> None:
        """Fold the log into the file and let go of it.  May be called twice."""
        self._file.close()

    # --- writing -----------------------------------------------------------------------------------

    def put_many(self, blocks: Sequence[Block]) -> None:
        """Store all of ``blocks`` or none, durably; those already here are passed over.

        The caller vouches that each block hashes to its CID.  Raises StorageFull when the quota or the volume has
        no room, and BadInput for a batch above DISK_PUT_BLOCKS_MAX or DISK_PUT_BYTES_MAX or a block above
        BLOCK_BYTES_MAX.
        """
        fresh = distinct(blocks)
        if not fresh:
            return
        with self._file.writing("store blocks") as writer:
            conn = writer.db.conn
            added: list[tuple[int, bytes, int, memoryview]] = []
            for multihash, block in fresh.items():
                row = (multihash, len(block), block.cid.codec, writer.next_payload)
                if conn.execute(_ADD_INDEX, row).rowcount == 1:
                    added.append((writer.next_payload, multihash, block.cid.codec, block.data))
                    writer.next_payload += 1
                    writer.totals = writer.totals.plus(1, len(block))
            if added:
                # Asked only now, so that a store at its quota still takes blocks that it has.
                self._check_room(sum(len(data) for *_, data in added), writer.totals.bytes + writer.totals.dead_bytes)
                conn.executemany(_ADD_PAYLOAD, added)

    def delete_many(self, cids: Sequence[CID]) -> int:
        """Forget ``cids`` durably, and say how many of them were here.  At most DISK_DELETE_MAX at a time."""
        check_count(len(cids), DISK_DELETE_MAX)
        gone = 0
        with self._file.writing("delete blocks") as writer:
            for multihash in {cid.multihash for cid in cids}:
                for size, payload in writer.db.conn.execute(_DROP_INDEX, (multihash,)).fetchall():
                    gone += 1
                    writer.totals = writer.totals.plus(-1, -sane_size(size))
                    quarantine.free_payload(writer, payload, multihash, sane_size(size))
        return gone

    def set_quota(self, quota_bytes: int) -> None:
        """Change the quota.  What is above it stays until the caller deletes; puts are refused meanwhile."""
        self._quota_bytes = quota_bytes

    def recount(self) -> None:
        """Count blocks and bytes anew from the index, in time proportional to the blocks: after damage, never else."""
        with self._file.writing("count blocks") as writer:
            writer.totals = count_index(writer.db, writer.totals.dead_bytes)

    def shrink(self, bytes_max: int) -> int:
        """Hand some of what deletes left in the file back to the file system; the bytes handed back.

        At most ``bytes_max`` and DISK_WAL_BYTES at a time, as each page that goes may move another through the log.
        """
        pages = min(bytes_max, DISK_WAL_BYTES.value, self.stats().reusable_bytes) // PAGE_BYTES
        if pages <= 0:
            return 0
        with self._file.writing("shrink the block store") as writer:
            conn = writer.db.conn
            before = int(conn.execute("PRAGMA page_count").fetchone()[0])
            for _ in range(pages):  # the module steps a statement without columns only once, and so by one page
                conn.execute("PRAGMA incremental_vacuum(1)")
            after = int(conn.execute("PRAGMA page_count").fetchone()[0])
        with self._file.reading("shorten the block store") as db:
            db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return (before - after) * PAGE_BYTES

    def fold(self) -> None:
        """Write what is in the log into the file, as far as no reader needs it, and have the log begin anew.

        Of no effect on what is stored, nor on how durable it is.  Raises StorageFault or StorageFull.
        """
        with self._file.reading("fold the log into the block store") as db:
            db.conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    # --- reading -----------------------------------------------------------------------------------

    def get_many(self, cids: Sequence[CID]) -> list[Block | None]:
        """The block of each CID, in their order; None for one that is absent or was found damaged.

        At most DISK_GET_BLOCKS_MAX at a time.  Raises StorageFault only when the device fails.
        """
        check_count(len(cids), DISK_GET_BLOCKS_MAX)
        damaged: dict[bytes, Damaged] = {}
        found: list[Block | None] = []
        for cid in cids:
            data = cid.digest if cid.hash_code == IDENTITY else self._read(cid)
            if isinstance(data, Damaged):
                damaged[data.multihash] = data
            found.append(Block(cid, data) if isinstance(data, bytes) else None)
        if damaged:
            self._set_aside(list(damaged.values()))
        return found

    def sizes(self, cids: Sequence[CID]) -> list[int | None]:
        """The size in bytes of each block, or None where absent: from the index, no block is read.

        At most DISK_SIZES_MAX at a time.  Who is told that a block is here may let go of another copy of it: while a
        delete that failed might yet happen, this raises StorageFault or StorageFull.
        """
        check_count(len(cids), DISK_SIZES_MAX)
        self._file.settle()
        return [len(cid.digest) if cid.hash_code == IDENTITY else self._size(cid) for cid in cids]

    def stats(self) -> DiskStats:
        """Counts and bytes as of now: constant time, however many blocks there are."""
        with self._file.reading("count blocks") as db:
            free_pages = int(db.conn.execute("PRAGMA freelist_count").fetchone()[0])
            quarantined = quarantine.count(db)
        return DiskStats(
            blocks=self._file.totals.blocks,
            bytes=self._file.totals.bytes,
            dead_bytes=self._file.totals.dead_bytes,
            quota_bytes=self._quota_bytes,
            quarantined=quarantined,
            damaged_reads=self._damaged_reads,
            file_bytes=_file_bytes(self._file.path),
            log_bytes=_file_bytes(self._file.log_path),
            reusable_bytes=free_pages * PAGE_BYTES,
        )

    def _read(self, cid: CID) -> bytes | Damaged | None:
        """The bytes that hash to ``cid``; None when absent; Damaged when they are here but not sound."""
        row = self._row(_FIND, cid.multihash)
        if row is None:
            return None
        payload = row[0] if isinstance(row[0], int) else -1
        conn = self._file.db.conn
        try:
            data = conn.execute(_READ, (payload,)).fetchone()
        except sqlite3.Error as fault:
            self._raise_unless_damage(fault)
            return Damaged(cid.multihash, payload, f"cannot be read: {fault}")
        if data is None or not isinstance(data[0], bytes):
            return Damaged(cid.multihash, payload, "payload is gone")
        if self._verify_reads and not cid.matches(data[0]):
            return Damaged(cid.multihash, payload, "does not hash to its name")
        return data[0]

    def _size(self, cid: CID) -> int | None:
        row = self._row(_SIZE, cid.multihash)
        return row[0] if row is not None and isinstance(row[0], int) else None

    def _row(self, query: str, multihash: bytes) -> tuple[object, ...] | None:
        """The index row; None when it is absent or the page it should be on is damaged."""
        conn = self._file.db.conn
        try:
            found: tuple[object, ...] | None = conn.execute(query, (multihash,)).fetchone()
        except sqlite3.Error as fault:
            self._raise_unless_damage(fault)
            self._damaged_reads += 1
            return None
        return found

    def _raise_unless_damage(self, fault: sqlite3.Error) -> None:
        if isinstance(fault, sqlite3.ProgrammingError):
            raise fault
        if not is_damage(fault):
            raise translate(fault, "read blocks", self._file.path) from fault

    def _set_aside(self, damaged: list[Damaged]) -> None:
        """Quarantine what a read found; where that fails, the next read finds it again."""
        self._damaged_reads += len(damaged)
        try:
            with self._file.writing("set damaged blocks aside") as writer:
                quarantine.set_aside(writer, damaged)
        except LocalError:
            pass

    def _check_room(self, new_bytes: int, total_bytes: int) -> None:
        """Raise StorageFull when ``new_bytes`` more would break the quota or eat the volume's reserve."""
        if total_bytes > self._quota_bytes:
            raise StorageFull(
                f"{new_bytes} more bytes would take the disk tier above its quota of {self._quota_bytes}",
                "delete or unpin blocks, or raise the quota",
            )
        folder = self._file.path.parent
        needed = self._reserve_bytes + WRITES_PER_BLOCK * new_bytes
        try:
            free = free_bytes(folder)
        except OSError as fault:
            raise StorageFault(f"cannot tell how full {folder} is: {fault}", "check the volume") from fault
        if free < needed and free + self.stats().reusable_bytes < needed:
            raise StorageFull(
                f"only {free} bytes are free on the volume of {folder}, of which {self._reserve_bytes} are kept back",
                "free some space on that volume",
            )

    def list(self, after: bytes | None, limit: int) -> CIDs:
        """Up to ``limit`` (at most DISK_LIST_MAX) CIDs, ordered by multihash, from the one behind ``after`` on.

        ``after`` is the ``multihash`` of the last CID of the page before, or None to begin.  An empty list is the
        end.  Each is a CIDv1 of the codec that the block was first stored under.
        """
        cids: CIDs = []
        cursor = after or b""
        limit = min(limit, DISK_LIST_MAX.value)
        with self._file.reading("list blocks") as db:
            while len(cids) < limit:
                rows = db.conn.execute(_LIST, (cursor, limit - len(cids))).fetchall()
                if not rows:
                    break
                if not isinstance(rows[-1][0], bytes) or rows[-1][0] <= cursor:
                    raise StorageFault(f"the index of {self._file.path} is out of order", "salvage it into a new file")
                cursor = rows[-1][0]
                cids.extend(cid for cid in (stored_cid(*row) for row in rows) if cid is not None)
        return cids


def _file_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
