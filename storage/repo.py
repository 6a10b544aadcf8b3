"""The node's folder: one process at a time, and files in it that are written whole or not at all.

Not the stores that live in it: this gives them their paths.  Begin at ``Repo.open``.

    repo.lock       held with flock for as long as the node runs; names its process
    version         the layout of this folder, one decimal number
    identity.key    the node's private key, readable by its owner only
    blocks.sqlite   the disk tier
    cold/           the cold tier's segments, or their index where they are in an object store
    catalog/        the keeper's: pins, and how blocks were used
    records.sqlite  what the public DHT keeps for others; records-lan.sqlite, the LAN's
    api             the address of the running node's API, removed when it stops
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from shoal.messages.errors import BadConfig, LocalError, NotFound, RepoBusy, StorageFault, StorageFull

LAYOUT_VERSION: Final = 1
VERSION_DIGITS_MAX: Final = 9
SMALL_FILE_BYTES_MAX: Final = 64 * 1024  # of any file that ``read_small`` reads whole: a key, an address, a number

_LOCK: Final = "repo.lock"
_VERSION: Final = "version"
_TEMPORARY: Final = (".write-", ".tmp")  # prefix and suffix of a file that is being written
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_NO_SUCH_PLACE: Final = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
)
_LEFT_BY_FILE_SYSTEMS: Final = ("lost+found",)
_LOOSE: Final = stat.S_IRWXG | stat.S_IRWXO


class Repo:
    """An opened, locked folder.  Made by ``open``; a context manager that closes itself."""

    def __init__(self, path: Path, lock: int) -> None:
        """Used by ``open``: ``lock`` is the descriptor that holds the flock."""
        self.path = path
        self._lock: int | None = lock

    @classmethod
    def open(cls, path: Path) -> Repo:
        """Make the folder when it is missing, lock it, and check its layout.

        Raises RepoBusy when another process has it, BadConfig when it cannot be used as a repo, StorageFull or
        StorageFault when the disk refuses.
        """
        path = path.absolute()
        try:
            _make_folder(path)
            lock = _take_lock(path)
        except OSError as fault:
            raise _fault(fault, f"cannot use the folder {path}") from fault
        repo = cls(path, lock)
        try:
            repo._check_layout()
            repo._sweep()
        except OSError as fault:
            repo.close()
            raise _fault(fault, f"cannot use the folder {path}") from fault
        except BaseException:
            repo.close()
            raise
        return repo

    @property
    def blocks_path(self) -> Path:
        """The disk tier's file."""
        return self.path / "blocks.sqlite"

    @property
    def cold_path(self) -> Path:
        """The cold tier's folder."""
        return self.path / "cold"

    @property
    def catalog_path(self) -> Path:
        """The folder of the keeper's catalogue: pins, and how blocks were used."""
        return self.path / "catalog"

    @property
    def identity_path(self) -> Path:
        """The private key's file."""
        return self.path / "identity.key"

    @property
    def api_path(self) -> Path:
        """The file that tells where the running node's API listens."""
        return self.path / "api"

    def read_identity(self) -> bytes | None:
        """The private key's bytes, or None when there is none yet.

        Raises BadConfig when others than its owner may read or write it.
        """
        try:
            return read_private(self.identity_path)
        except NotFound:
            return None

    def write_identity(self, key: bytes) -> None:
        """Keep the private key, durably and for its owner's eyes only."""
        atomic_write(self.identity_path, key, 0o600)

    def write_api(self, address: str) -> None:
        """Say where the API listens."""
        atomic_write(self.api_path, address.encode() + b"\n", 0o600)

    def remove_api(self) -> None:
        """Say that the API no longer listens.  Safe when it never did; the next start tries what a disk refuses now."""
        with contextlib.suppress(OSError):
            self.api_path.unlink()

    def close(self) -> None:
        """Let the next process in.  Safe to call twice."""
        lock, self._lock = self._lock, None
        if lock is not None:
            # The file stays: to remove it would let two processes lock two files of the same name.
            with contextlib.suppress(OSError):
                os.ftruncate(lock, 0)
            os.close(lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_layout(self) -> None:
        """Write the version into an empty folder; raise BadConfig for a folder of another kind or a newer layout."""
        version = self.path / _VERSION
        if not version.exists():
            others = [name for name in os.listdir(self.path) if not _is_ours_when_new(name)]
            if others:
                raise BadConfig(
                    f"{self.path} is not a shoal folder and is not empty (it has {others[0]!r})",
                    "give the node a folder of its own",
                )
            atomic_write(version, f"{LAYOUT_VERSION}\n".encode(), 0o600)
            return
        text = _read_small(version).strip()
        if not text.isdigit() or len(text) > VERSION_DIGITS_MAX:
            raise BadConfig(
                f"{version} does not hold a number", f"write {LAYOUT_VERSION} into it if it is a shoal repo"
            )
        if int(text) > LAYOUT_VERSION:
            raise BadConfig(
                f"{self.path} has layout {int(text)}, and this shoal knows {LAYOUT_VERSION}",
                "upgrade shoal, or give the node another folder",
            )

    def _sweep(self) -> None:
        """Remove what a killed process left: files half written, and an API address that is no longer true."""
        for name in os.listdir(self.path):
            if name.startswith(_TEMPORARY[0]) and name.endswith(_TEMPORARY[1]):
                (self.path / name).unlink()
        self.api_path.unlink(missing_ok=True)


def atomic_write(path: Path, data: bytes, mode: int) -> None:
    """Make ``path`` hold exactly ``data`` with permissions ``mode``: after any crash it is the old file or the new.

    The file and its folder are synced before this returns.  Raises StorageFull or StorageFault; then ``path`` is as
    it was.
    """
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(_TEMPORARY[1], _TEMPORARY[0], path.parent)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
        temporary = None
        sync_folder(path.parent)
    except OSError as fault:
        raise _fault(fault, f"cannot write {path}") from fault
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def read_private(path: Path) -> bytes:
    """The bytes of a file that is for its owner only, at most SMALL_FILE_BYTES_MAX.

    Raises NotFound when it is not there, BadConfig when others than its owner may read or write it.
    """
    try:
        # The permissions are those of the file that is read, not of what the name may point to a moment later.
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_mode & _LOOSE:
                mode = stat.S_IMODE(status.st_mode)
                raise BadConfig(f"{path} may be used by others than its owner (mode {mode:04o})", f"chmod 600 {path}")
            return _bounded(file.read(SMALL_FILE_BYTES_MAX + 1), path)
    except FileNotFoundError:
        raise NotFound(f"there is no {path}") from None
    except OSError as fault:
        raise _fault(fault, f"cannot read {path}") from fault


def _read_small(path: Path) -> bytes:
    with open(path, "rb") as file:
        return _bounded(file.read(SMALL_FILE_BYTES_MAX + 1), path)


def _bounded(data: bytes, path: Path) -> bytes:
    if len(data) > SMALL_FILE_BYTES_MAX:
        raise BadConfig(f"{path} has more than {SMALL_FILE_BYTES_MAX} bytes", "restore it from a copy, or remove it")
    return data


def _make_folder(path: Path) -> None:
    """Make ``path`` and its parents, the last one for its owner only.  One that exists keeps its permissions:
    a container's volume is often mounted with loose ones that we may not change."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not path.is_dir():
            raise BadConfig(f"{path} is a file, not a folder", "give the node a folder of its own") from None
    else:
        sync_folder(path.parent)


def _take_lock(path: Path) -> int:
    """The descriptor of the lock file, locked and holding our process id.  Raises RepoBusy."""
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        os.close(lock)
        who = f"process {holder}" if holder.isdigit() else "another process"
        raise RepoBusy(f"repo {path} is in use by {who}", "stop that node, or give this one another folder") from None
    except BaseException:
        os.close(lock)
        raise
    return lock


def _is_ours_when_new(name: str) -> bool:
    """Whether a folder that we were killed in while making it may hold this."""
    temporary = name.startswith(_TEMPORARY[0]) and name.endswith(_TEMPORARY[1])
    return temporary or name == _LOCK or name in _LEFT_BY_FILE_SYSTEMS


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable.  Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _fault(fault: OSError, doing: str) -> LocalError:
    """The LocalError for what the operating system said while ``doing``."""
    said = f"{doing}: {fault.strerror or fault}"
    if fault.errno in _FULL:
        return StorageFull(said, "free some space on that volume")
    if fault.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return BadConfig(said, "make it accessible to the user that runs the node, or use another folder")
    if fault.errno in _NO_SUCH_PLACE:
        return BadConfig(said, "give the node a folder of its own")
    return StorageFault(said, "check the disk and the kernel log")
