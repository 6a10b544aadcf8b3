"""Where a damaged block goes: out of the index, so that it is never served and can be stored anew.

Not a repair: nothing here mends bytes, and nothing here frees them.  A bit that flips in a page's link can make a
payload run on into the pages of another block; to free it would throw that one away too.  So the payload stays, as
``dead_bytes`` that count towards the quota, until ``salvage`` makes a new file of what is sound.
Every function runs inside the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from sqlite_utils import Database

from shoal.messages.limits import DISK_QUARANTINE_MAX
from shoal.storage.disk.batches import sane_size
from shoal.storage.disk.database import Writer
from shoal.storage.disk.faults import is_damage
from shoal.storage.disk.schema import table


@dataclass(frozen=True, slots=True)
class Damaged:
    """An index entry whose payload is not what its multihash says, and why we think so."""

    multihash: bytes
    payload: int
    reason: str


def set_aside(writer: Writer, damaged: list[Damaged]) -> None:
    """Move each entry from the index to the quarantine table, which keeps the newest DISK_QUARANTINE_MAX."""
    conn = writer.db.conn
    for one in damaged:
        dropped = conn.execute("DELETE FROM blocks WHERE multihash = ? RETURNING size, codec", (one.multihash,))
        for size, codec in dropped.fetchall():
            writer.totals = writer.totals.plus(-1, -sane_size(size), dead=sane_size(size))
            table(writer.db, "quarantine").insert(
                {
                    "multihash": one.multihash,
                    "codec": codec,
                    "size": size,
                    "payload": one.payload,
                    "reason": one.reason,
                }
            )
    conn.execute(
        "DELETE FROM quarantine WHERE id <= (SELECT id FROM quarantine ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (DISK_QUARANTINE_MAX.value,),
    )


def count(db: Database) -> int:
    """How many damaged blocks are kept."""
    return int(db.conn.execute("SELECT count(*) FROM quarantine").fetchone()[0])


def free_payload(writer: Writer, payload: object, multihash: bytes, size: int) -> None:
    """Delete the payload of a block that has left the index; one whose pages cannot be walked becomes dead bytes."""
    try:
        with writer.db.atomic():  # a savepoint: the rest of the transaction goes on
            # An entry may have been damaged into naming another block's payload: the multihash tells.
            writer.db.conn.execute("DELETE FROM payloads WHERE id = ? AND multihash = ?", (payload, multihash))
    except sqlite3.DatabaseError as fault:
        if not is_damage(fault):
            raise
        writer.totals = writer.totals.plus(0, 0, dead=size)
