"""Make a sound store out of a damaged file: every payload that still hashes to its name goes into a new one.

Not run by the node on its own: it takes as much room again and a read of the whole file.  Begin at ``salvage``.
The old file's index is not trusted at all; its payloads name themselves.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shoal.messages.block import Block
from shoal.messages.errors import BadInput
from shoal.messages.limits import DISK_PUT_BLOCKS_MAX, MIB
from shoal.storage.disk.batches import stored_cid
from shoal.storage.disk.faults import is_damage, translate
from shoal.storage.disk.store import DiskStore

BATCH_BYTES: Final = 8 * MIB  # a put's size: large enough to share a sync, small beside the memory of any node
STEADY_STEPS: Final = 4096  # unreadable ids to try one by one before the steps double: more than one page holds
PAYLOAD_ID_MAX: Final = 2**62

_NEXT: Final = "SELECT id FROM payloads WHERE id > ? ORDER BY id LIMIT 1"
_ROW: Final = "SELECT multihash, codec, data FROM payloads WHERE id = ?"


@dataclass(frozen=True, slots=True)
class Salvaged:
    """``kept`` blocks are in the new store; ``lost`` counts payloads that were found and were not sound."""

    kept: int
    lost: int


def salvage(damaged: Path, store: DiskStore) -> Salvaged:
    """Put every sound block of the file ``damaged`` into the open ``store``.

    The damaged file is not written to, apart from the play-back of its log.  Raises StorageFault when not even its
    first page can be read, and what ``store.put_many`` raises.
    """
    kept = lost = 0
    batch: list[Block] = []
    batch_bytes = 0
    for block in _payloads(damaged):
        if block is None:
            lost += 1
            continue
        if batch and (batch_bytes + len(block) > BATCH_BYTES or len(batch) == DISK_PUT_BLOCKS_MAX.value):
            store.put_many(batch)
            batch, batch_bytes = [], 0
        batch.append(block)
        batch_bytes += len(block)
        kept += 1
    store.put_many(batch)
    return Salvaged(kept, lost)


def _payloads(damaged: Path) -> Iterator[Block | None]:
    """Each payload in the order it came: the block, or None when it is not sound."""
    if not damaged.is_file():
        raise BadInput(f"there is no file {damaged}", "name the block store's file")
    try:
        conn = sqlite3.connect(damaged, isolation_level=None)
        try:
            conn.execute("PRAGMA writable_schema = ON")  # or SQLite refuses a file that was cut short
            for payload in _ids(conn):
                yield _block(conn, payload)
        finally:
            conn.close()
    except sqlite3.Error as fault:
        raise translate(fault, "salvage blocks", damaged) from fault


def _ids(conn: sqlite3.Connection) -> Iterator[int]:
    """Every id that can be found; over a stretch whose pages are unreadable, steps that grow."""
    last, failed = 0, 0
    while last < PAYLOAD_ID_MAX:
        try:
            row = conn.execute(_NEXT, (last,)).fetchone()
        except sqlite3.Error as fault:
            if not is_damage(fault):
                raise
            failed += 1
            last += 1 if failed <= STEADY_STEPS else 2 ** min(62, failed - STEADY_STEPS)
            continue
        if row is None or not isinstance(row[0], int) or row[0] <= last:
            return
        failed, last = 0, row[0]
        yield last


def _block(conn: sqlite3.Connection, payload: int) -> Block | None:
    try:
        row = conn.execute(_ROW, (payload,)).fetchone()
    except sqlite3.Error as fault:
        if not is_damage(fault):
            raise
        return None
    if row is None or not isinstance(row[2], bytes):
        return None
    cid = stored_cid(row[0], row[1])
    return Block(cid, row[2]) if cid is not None and cid.matches(row[2]) else None
