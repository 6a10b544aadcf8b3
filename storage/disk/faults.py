"""What SQLite says when a disk misbehaves, told in shoal's words.

Not a retry policy: one ``sqlite3.Error`` goes in, one LocalError with a remedy comes out.  SQLite reports a full
disk in two ways (SQLITE_FULL from a write; SQLITE_IOERR where a quota or the wal-index could not grow), so an
I/O error is called "full" when the file system says that it has no room.  Source: sqlite.org/rescode.html.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from shoal.messages.errors import LocalError, StorageFault, StorageFull
from shoal.storage.repo import sync_folder

# Primary result codes: what is left of an extended code (IOERR_FSYNC, CORRUPT_INDEX, ...) in its low byte.
_PRIMARY: Final = 0xFF

# A volume with less room than this cannot take one page and its bookkeeping: an I/O error there means "full".
FULL_BELOW_BYTES: Final = 128 * 1024

_DAMAGE: Final = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_ERROR,
)

_REMEDIES: Final[dict[int, str]] = {
    sqlite3.SQLITE_IOERR: "check the disk, its cable and the kernel log, and that no quota or file-size limit is hit",
    sqlite3.SQLITE_READONLY: "make the folder and the files in it writable for the user that runs the node",
    sqlite3.SQLITE_PERM: "make the folder and the files in it writable for the user that runs the node",
    sqlite3.SQLITE_CANTOPEN: "check that the folder exists and that the user that runs the node may write to it",
    sqlite3.SQLITE_BUSY: "stop the other program that has the file open",
    sqlite3.SQLITE_LOCKED: "stop the other program that has the file open",
    sqlite3.SQLITE_CORRUPT: "stop the node and salvage the file into a new one, or remove it and fetch blocks again",
    sqlite3.SQLITE_NOTADB: "move the file away: the node makes a new one and fetches blocks again",
    sqlite3.SQLITE_NOMEM: "give the process more memory, or lower the sizes of its tiers",
}


def primary_code(fault: sqlite3.Error) -> int:
    """SQLite's primary result code, or -1 when the error did not come from SQLite itself."""
    code = getattr(fault, "sqlite_errorcode", None)
    return code & _PRIMARY if isinstance(code, int) else -1


def is_damage(fault: sqlite3.Error) -> bool:
    """Whether the error speaks of the bytes in the file rather than of the device under it.

    A value too big to be a block, or text that does not decode (an OperationalError without a code), comes from a
    flipped bit in a row's header.
    """
    code = primary_code(fault)
    return code in _DAMAGE or (code == -1 and isinstance(fault, sqlite3.OperationalError))


@contextmanager
def readable_schema() -> Iterator[None]:
    """Whatever is made of a damaged schema (KeyError, ValueError, UnicodeDecodeError), as SQLite's error for one.

    For the body that reads or makes tables through sqlite-utils, or that first looks into the file.
    """
    try:
        yield
    except (sqlite3.Error, LocalError, OSError):
        raise
    except Exception as fault:
        raise sqlite3.OperationalError(f"the schema cannot be read: {fault!r}") from fault


def sync_name(path: Path) -> None:
    """Make the name of a new file durable: SQLite syncs the name of its log, not that of its file.

    Raises StorageFault.
    """
    try:
        sync_folder(path.parent)
    except OSError as fault:
        raise StorageFault(f"cannot sync the folder {path.parent}: {fault}", "check the disk and its log") from fault


def free_bytes(folder: Path) -> int:
    """Room on the folder's file system for a user who is not root.  Raises OSError."""
    space = os.statvfs(folder)
    return space.f_bavail * space.f_frsize


def translate(fault: sqlite3.Error, doing: str, path: Path) -> LocalError:
    """The LocalError for ``fault``, met while ``doing`` (a verb phrase) with the store at ``path``."""
    code = primary_code(fault)
    name = getattr(fault, "sqlite_errorname", type(fault).__name__)
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path.parent)):
        return StorageFull(f"no room on the disk to {doing} in {path}", "free some space on that volume")
    remedy = _REMEDIES.get(code, "salvage the file into a new one, or restore it from a copy")
    return StorageFault(f"could not {doing} in {path}: {fault} [{name}]", remedy)


def _is_full(folder: Path) -> bool:
    try:
        return free_bytes(folder) < FULL_BELOW_BYTES
    except OSError:
        return False
