"""A fetched tree onto this machine's disk, or into a tar.  Blocking; the events come from ``TreeReader``.

A peer wrote the names and symlinks, so nothing is trusted: everything is made under a new name beside the
target and renamed at the end, each file and directory is created afresh through a descriptor of its parent,
and no symlink is ever followed.  What is interrupted leaves nothing at the target.  Begin with ``export_tree``.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import tarfile
from collections.abc import Iterable, Iterator
from typing import Final

from shoal.messages.errors import BadInput, LocalError, RemoteError, StorageFault, StorageFull
from shoal.storage.ipld.names import check_theirs, shown
from shoal.storage.ipld.tree import EnterDir, FileBegin, FileData, FileEnd, LeaveDir, Symlink, TreeEvent
from shoal.storage.ipld.unixfs import Mtime

DIR_MODE: Final = 0o755
FILE_MODE: Final = 0o644
PERMISSION_BITS: Final = 0o777  # set-uid and the like are never taken from a peer
_DIR_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Errors that say the disk has no room: no space, over quota, file too large.
_CANNOT_REPLACE: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR})
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def _name_of(path: str) -> str:
    """The last name in an event's path, checked again: this module trusts no other's word for it."""
    name = path.rsplit("/", 1)[-1]
    if path:
        check_theirs(name)
    return name


class _Writer:
    """Writes events below one directory; ``stack`` holds a descriptor and path for each directory entered.

    The root is made in the directory ``base`` under the name ``root``.
    """

    def __init__(self, base: int, root: str) -> None:
        self._root = root
        self._stack: list[tuple[int, str, EnterDir | None]] = [(base, "", None)]
        self._file: int | None = None
        self._begun: FileBegin | None = None
        self._written = 0

    def close(self) -> None:
        """Close whatever is open."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        while len(self._stack) > 1:
            os.close(self._stack.pop()[0])

    @property
    def complete(self) -> bool:
        """Whether every directory and file that was begun has ended."""
        return len(self._stack) == 1 and self._file is None

    def write(self, event: TreeEvent) -> None:
        """Carry out one event."""
        if isinstance(event, FileData):
            self._write_data(event)
        elif isinstance(event, FileBegin):
            self._file = os.open(self._place(event.path), _FILE_FLAGS, FILE_MODE, dir_fd=self._stack[-1][0])
            self._begun, self._written = event, 0
        elif isinstance(event, FileEnd):
            self._end_file()
        elif isinstance(event, EnterDir):
            self._enter(event)
        elif isinstance(event, LeaveDir):
            self._leave()
        else:
            os.symlink(event.target, self._place(event.path), dir_fd=self._stack[-1][0])

    def _place(self, path: str) -> str:
        """The name of ``path`` within the directory entered last, which must be its parent."""
        if self._file is not None:
            raise RemoteError(f"entry {shown(path)} within a file", "tree")
        name = _name_of(path)
        _, parent, entered = self._stack[-1]
        expected = name if not parent else f"{parent}/{name}"
        if path != ("" if entered is None else expected):
            raise RemoteError(f"entry {shown(path)} outside of its directory", "entry-name")
        return self._root if entered is None else name

    def _enter(self, event: EnterDir) -> None:
        name, parent = self._place(event.path), self._stack[-1][0]
        os.mkdir(name, DIR_MODE, dir_fd=parent)
        self._stack.append((os.open(name, _DIR_FLAGS, dir_fd=parent), event.path, event))

    def _leave(self) -> None:
        fd, _, entered = self._stack[-1]
        if entered is None:
            raise RemoteError("tree that leaves a directory it never entered", "tree")
        # Its owner can always get at it, to remove it if for nothing else.
        _finish(fd, None if entered.mode is None else entered.mode | stat.S_IRWXU, entered.mtime)
        os.close(fd)
        self._stack.pop()

    def _write_data(self, event: FileData) -> None:
        data = event.data
        while data and self._file is not None:
            count = os.write(self._file, data)
            data = data[count:]
            self._written += count

    def _end_file(self) -> None:
        if self._file is None or self._begun is None or self._written != self._begun.size:
            raise RemoteError("file that ends before all its bytes came", "file-size")
        _finish(self._file, self._begun.mode, self._begun.mtime)
        os.close(self._file)
        self._file = None


def _finish(fd: int, mode: int | None, mtime: Mtime | None) -> None:
    """Set the permissions and time that the tree gives, if it does."""
    if mode is not None:
        os.fchmod(fd, mode & PERMISSION_BITS)
    if mtime is not None:
        try:
            os.utime(fd, ns=(mtime.seconds * 10**9 + mtime.nanos,) * 2)
        except (OverflowError, OSError):
            return  # a time that this file system cannot hold is no reason to lose the file


def export_tree(events: Iterable[TreeEvent], target: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write the tree to ``target``, which appears whole or not at all.

    Raises BadInput when ``target`` exists and ``overwrite`` is not set, or its parent is no directory;
    RemoteError for names that repeat or would escape; StorageFull or StorageFault when the disk refuses;
    and whatever ``events`` raises.
    """
    path = os.path.abspath(os.fspath(target))
    if os.path.lexists(path) and not overwrite:
        raise BadInput(f"{shown(path)} exists", "name another target, or ask to overwrite it")
    parent, name = os.path.split(path)
    if not name:
        raise BadInput(f"cannot write to {shown(path)} itself", "name a target within it")
    try:
        base = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as fault:
        raise BadInput(f"cannot write into {shown(parent)}: {fault.strerror}", "make that directory first") from None
    fresh = f".{name[:64]}.{secrets.token_hex(8)}.part"
    try:
        _write_all(events, base, fresh)
        _move(base, fresh, name, overwrite)
    except OSError as fault:
        raise _disk_fault(path, fault) from fault
    finally:
        _remove(os.path.join(parent, fresh))
        os.close(base)


def _write_all(events: Iterable[TreeEvent], base: int, root: str) -> None:
    """Write every event below ``base``."""
    writer = _Writer(base, root)
    try:
        for event in events:
            try:
                writer.write(event)
            except FileExistsError:
                raise RemoteError("directory in which two entries have one name", "entry-name") from None
        if not writer.complete:
            raise RemoteError("tree that ends before it is complete", "tree")
    finally:
        writer.close()


def _move(base: int, fresh: str, name: str, overwrite: bool) -> None:
    """Give what is complete its own name."""
    try:
        os.rename(fresh, name, src_dir_fd=base, dst_dir_fd=base)
        return
    except OSError as fault:
        if not overwrite or fault.errno not in _CANNOT_REPLACE:
            raise
    # A full directory, or one and a file, cannot be renamed over: what was there is put aside and goes last.
    old = f"{fresh}.old"
    os.rename(name, old, src_dir_fd=base, dst_dir_fd=base)
    try:
        os.rename(fresh, name, src_dir_fd=base, dst_dir_fd=base)
    except OSError:
        os.rename(old, name, src_dir_fd=base, dst_dir_fd=base)
        raise
    _remove(old, dir_fd=base)


def _remove(path: str, dir_fd: int | None = None) -> None:
    """Remove a file, symlink or tree, if it is there."""
    try:
        os.unlink(path, dir_fd=dir_fd)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        shutil.rmtree(path, ignore_errors=True, dir_fd=dir_fd)


def _disk_fault(path: str, fault: OSError) -> LocalError:
    """The LocalError for what the disk said."""
    if fault.errno in _FULL:
        return StorageFull(f"no room to write {shown(path)}", "free some space; nothing was left there")
    return StorageFault(f"cannot write {shown(path)}: {fault.strerror}", "check the disk and its permissions")


# --- tar -----------------------------------------------------------------------------------------


def tar_stream(events: Iterable[TreeEvent], name: str) -> Iterator[bytes | memoryview]:
    """The tree as a POSIX (pax) tar whose root is called ``name``, as Kubo's ``get`` answers.

    Yields headers, data by reference and padding.  Raises BadInput for a ``name`` that is none.
    """
    try:
        check_theirs(name)
    except RemoteError as fault:
        raise BadInput(f"cannot name an archive's root {shown(name)}: {fault}", "name it after its CID") from None
    return _tar(events, name)


def _tar(events: Iterable[TreeEvent], name: str) -> Iterator[bytes | memoryview]:
    written = size = 0
    for event in events:
        if isinstance(event, FileData):
            written += len(event.data)
            yield event.data
        elif isinstance(event, FileEnd):
            if written != size:
                raise RemoteError("file that ends before all its bytes came", "file-size")
            yield bytes(-written % tarfile.BLOCKSIZE)
        elif not isinstance(event, LeaveDir):
            if isinstance(event, FileBegin):
                written, size = 0, event.size
            yield _tar_header(event, name)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _tar_header(event: EnterDir | FileBegin | Symlink, root: str) -> bytes:
    """The header of one member."""
    for part in event.path.split("/") if event.path else ():
        check_theirs(part)
    info = tarfile.TarInfo(f"{root}/{event.path}" if event.path else root)
    if isinstance(event, Symlink):
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, event.target, PERMISSION_BITS
    else:
        is_dir = isinstance(event, EnterDir)
        info.type = tarfile.DIRTYPE if is_dir else tarfile.REGTYPE
        info.mode = (DIR_MODE if is_dir else FILE_MODE) if event.mode is None else event.mode & PERMISSION_BITS
        info.mtime = max(event.mtime.seconds, 0) if event.mtime else 0
        if isinstance(event, FileBegin):
            info.size = event.size
    return info.tobuf(tarfile.PAX_FORMAT)
