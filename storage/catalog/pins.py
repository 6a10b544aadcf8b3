"""The pins: which roots are kept, alone or with all they link to.  Hard state: durable when a call returns.

Not what a recursive pin reaches: that takes the blocks, and is found by a marking.  Begin at ``PinBook.pin``.

As in Kubo a CID has at most one pin: a recursive one takes the place of a direct one, and a direct one beside a
recursive one is refused.  CIDv0 and CIDv1 are one root here; it is shown as it was pinned last.  The same bytes under
another codec are another root, since they have other links or none.

A pin that is silently lost is content that is silently deleted, so every row carries a hash of itself, and one more
row counts them and keeps the exclusive or of the hashes; ``open`` reads them all, and refuses a file that does not add
up.  Source: boxo pinning/pinner/dspinner.
"""

from __future__ import annotations

import hashlib
import math
import sqlite3
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from shoal.messages.cid import CID, DAG_PB
from shoal.messages.errors import BadInput, NotFound, RemoteError, StorageFull
from shoal.messages.limits import PINS_MAX
from shoal.storage.catalog.files import PinFile
from shoal.storage.catalog.rows import PIN_KINDS, Pin, PinKind, check_batch, check_name, check_time, page_size
from shoal.storage.disk.batches import stored_cid

_COLUMNS: Final = "multihash, codec, version, recursive, name, at, seal"
_ALL: Final = f"SELECT {_COLUMNS} FROM pins ORDER BY multihash, codec"
_GET: Final = f"SELECT {_COLUMNS} FROM pins WHERE multihash = ? AND codec = ?"
_OF_BYTES: Final = f"SELECT {_COLUMNS} FROM pins WHERE multihash = ? ORDER BY codec <> ?, recursive DESC, codec LIMIT 1"
_PUT: Final = f"INSERT OR REPLACE INTO pins ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"
_DROP: Final = "DELETE FROM pins WHERE multihash = ? AND codec = ?"
_PAGE: Final = f"""
    SELECT {_COLUMNS} FROM pins WHERE (multihash, codec) > (:multihash, :codec)
        AND (:recursive IS NULL OR recursive = :recursive) AND instr(name, :name) ORDER BY multihash, codec LIMIT :limit
"""
_LEDGER: Final = "SELECT pins, seals FROM ledger WHERE id = 1"
_SET_LEDGER: Final = "UPDATE ledger SET pins = ?, seals = ? WHERE id = 1"


class PinBook:
    """The pins of one node, on the thread that called ``open``.  Any method may raise StorageFault or StorageFull."""

    def __init__(self, path: Path) -> None:
        self._file = PinFile(path)

    def open(self, *, may_make: bool) -> None:
        """Open the file, or make it if it ``may_make`` one, and read every pin.

        Raises StorageFault when a pin was changed, lost or added, or when the file is missing and must not be.
        """
        self._file.open(may_make=may_make)
        try:
            self._check_all()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Let go of the file.  May be called twice."""
        self._file.close()

    def pin(self, cid: CID, recursive: bool, name: str, now: float) -> Pin:
        """Keep ``cid`` from now on; the pin as it stands.  A new name replaces the old one, an empty one does not.

        Raises BadInput for a direct pin of what is pinned recursively, and StorageFull above PINS_MAX.
        """
        check_name(name)
        check_time(now)
        with self._file.writing("pin") as conn:
            old = self._row(conn, cid)
            if old is not None and old.recursive and not recursive:
                raise BadInput(f"{cid} already pinned recursively", "unpin it first to pin it alone")
            same_kind = old is not None and old.recursive == recursive
            new = Pin(cid, recursive, name or (old.name if old else ""), old.at if old and same_kind else float(now))
            if new != old:
                conn.execute(_PUT, _row_of(new))
                self._tell_ledger(conn, old, new)
        return new

    def unpin(self, cid: CID, recursive: bool | None) -> Pin:
        """End the pin of ``cid``; the pin that it was.  None, like True, ends a pin of either kind.

        Raises NotFound when it has none of its own, and BadInput for ``recursive=False`` on a recursive one.
        """
        with self._file.writing("unpin") as conn:
            old = self._row(conn, cid)
            if old is None:
                raise NotFound("not pinned or pinned indirectly")
            if old.recursive and recursive is False:
                raise BadInput(f"{cid} is pinned recursively", "unpin it recursively")
            conn.execute(_DROP, (cid.multihash, cid.codec))
            self._tell_ledger(conn, old, None)
        return old

    def settle(self) -> None:
        """Make sure that a pin or unpin that was refused will not happen after all: who relies on what ``list`` says
        for longer than this process lives has to.  Raises StorageFull or StorageFault."""
        self._file.settle()

    def list(self, after: CID | None, limit: int, kind: PinKind, name: str) -> Sequence[Pin]:
        """Up to ``limit`` pins behind the root ``after``, ordered by multihash and codec; an empty page is the end.

        ``name`` is a part of the pin's name, as in Kubo; an empty one is part of every name.
        """
        if kind not in PIN_KINDS:
            raise BadInput(f"the pin type {kind!r}", f"give one of {', '.join(PIN_KINDS)}")
        check_name(name)
        where = {
            "multihash": after.multihash if after else b"",
            "codec": after.codec if after else -1,
            "recursive": None if kind == "all" else int(kind == "recursive"),
            "name": name,
            "limit": page_size(limit),
        }
        with self._file.reading("list pins") as conn:
            return [self._pin_of(row) for row in conn.execute(_PAGE, where).fetchall()]

    def pinned(self, cids: Sequence[CID]) -> Sequence[Pin | None]:
        """The pin of each CID's bytes: of its own codec if there is one, else of another; None where none is."""
        check_batch(cids)
        with self._file.reading("look pins up") as conn:
            rows = [conn.execute(_OF_BYTES, (cid.multihash, cid.codec)).fetchone() for cid in cids]
            return [None if row is None else self._pin_of(row) for row in rows]

    def count(self) -> int:
        """How many pins there are, in constant time."""
        with self._file.reading("count pins") as conn:
            return self._ledger(conn)[0]

    def _row(self, conn: sqlite3.Connection, cid: CID) -> Pin | None:
        row = conn.execute(_GET, (cid.multihash, cid.codec)).fetchone()
        return None if row is None else self._pin_of(row)

    def _pin_of(self, row: tuple[object, ...]) -> Pin:
        """The pin of a row of _COLUMNS.  Raises StorageFault unless it is as it was written."""
        pin = _unsealed(row)
        if pin is None:
            raise self._file.damaged("a pin is not as it was written")
        return pin

    def _ledger(self, conn: sqlite3.Connection) -> tuple[int, int]:
        row = conn.execute(_LEDGER).fetchone()
        if row is None or not all(isinstance(value, int) for value in row):
            raise self._file.damaged("the count of pins is lost")
        return row[0], row[1]

    def _tell_ledger(self, conn: sqlite3.Connection, old: Pin | None, new: Pin | None) -> None:
        """Bring count and seals in line with the change.  Raises StorageFull for a pin above PINS_MAX."""
        pins, seals = self._ledger(conn)
        pins += (new is not None) - (old is not None)
        if pins > PINS_MAX.value:
            raise StorageFull(f"there are {PINS_MAX.value} pins, and no more are kept", "unpin some first")
        for pin in (old, new):
            seals ^= 0 if pin is None else _seal(pin)
        conn.execute(_SET_LEDGER, (pins, seals))

    def _check_all(self) -> None:
        pins, seals, last = 0, 0, (b"", -1)
        with self._file.reading("read the pins") as conn:
            for row in conn.execute(_ALL):
                pin = self._pin_of(row)
                key = (pin.cid.multihash, pin.cid.codec)
                if key <= last:
                    raise self._file.damaged("they are out of order")
                pins, seals, last = pins + 1, seals ^ _seal(pin), key
            if (pins, seals) != self._ledger(conn):
                raise self._file.damaged(f"there are {pins}, and these are not the {self._ledger(conn)[0]} that were")


def _seal(pin: Pin) -> int:
    """63 bits of a hash of all that a pin says."""
    fields = (pin.cid.raw, bytes([pin.recursive]), struct.pack(">d", pin.at), pin.name.encode())
    text = b"".join(len(field).to_bytes(2, "big") + field for field in fields)
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def _row_of(pin: Pin) -> tuple[object, ...]:
    cid = pin.cid
    return cid.multihash, cid.codec, cid.version, int(pin.recursive), pin.name, pin.at, _seal(pin)


def _unsealed(row: tuple[object, ...]) -> Pin | None:
    """The pin that a row says, or None when its seal does not."""
    multihash, codec, version, recursive, name, at, seal = row
    cid = stored_cid(multihash, codec)
    if cid is None or recursive not in (0, 1) or not isinstance(name, str) or not isinstance(at, float):
        return None
    try:
        if version == 0:
            cid = CID(0, DAG_PB, cid.hash_code, cid.digest)
    except RemoteError:
        return None
    pin = Pin(cid, recursive == 1, name, at)
    return pin if math.isfinite(at) and seal == _seal(pin) else None
