"""A fetched tree onto this machine's disk.  Blocking; the events come from ``TreeReader``.  Tars are in ``tar``.

A peer wrote the names and symlinks, so nothing is trusted: everything is made in a new directory beside the
target and renamed at the end, each file and directory is created afresh through a descriptor of its parent,
and no symlink is ever followed.  What is interrupted leaves nothing at the target.  Begin with ``export_tree``.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable
from typing import Final

from shoal.messages.errors import BadInput, LocalError, RemoteError, StorageFault, StorageFull
from shoal.storage.ipld.names import check_theirs, shown
from shoal.storage.ipld.tree import EnterDir, FileBegin, FileData, FileEnd, LeaveDir, TreeEvent
from shoal.storage.ipld.unixfs import Mtime

DIR_MODE: Final = 0o755
FILE_MODE: Final = 0o644
PERMISSION_BITS: Final = 0o777  # set-uid and the like are never taken from a peer
NEW: Final = "new"  # the tree while it is written, within its own directory
OLD: Final = "old"  # what it replaces
_DIR_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Errors of a rename onto what cannot be replaced in one step.
_CANNOT_REPLACE: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR})
# Errors that say the disk has no room: no space, over quota, file too large.
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def _name_of(path: str) -> str:
    """The last name in an event's path, checked again: this module trusts no other's word for it."""
    name = path.rsplit("/", 1)[-1]
    if path:
        check_theirs(name)
    return name


class _Writer:
    """Writes events below one directory; ``stack`` holds a descriptor and path for each directory entered.

    The root is made in the directory ``base`` under the name ``NEW``.
    """

    def __init__(self, base: int) -> None:
        self._stack: list[tuple[int, str, EnterDir | None]] = [(base, "", None)]
        self._file: int | None = None
        self._begun: FileBegin | None = None
        self._written = 0
        self._made = False

    def close(self) -> None:
        """Close whatever is open."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        while len(self._stack) > 1:
            os.close(self._stack.pop()[0])

    @property
    def complete(self) -> bool:
        """Whether something was made, and every directory and file that was begun has ended."""
        return self._made and len(self._stack) == 1 and self._file is None

    def write(self, event: TreeEvent) -> None:
        """Carry out one event."""
        self._made = True
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
        return NEW if entered is None else name

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
        # Beside the target, so that the last step is a rename; nobody else may look into it.
        folder = tempfile.mkdtemp(prefix=f".{name[:16]}.", suffix=".part", dir=parent)
    except OSError as fault:
        raise BadInput(f"cannot write into {shown(parent)}: {fault.strerror}", "make that directory first") from None
    try:
        _write_all(events, folder)
        _move(folder, path, overwrite)
    except OSError as fault:
        raise _disk_fault(path, fault) from fault
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_all(events: Iterable[TreeEvent], folder: str) -> None:
    """Write every event, the root as ``NEW`` in ``folder``."""
    base = os.open(folder, _DIR_FLAGS)
    writer = _Writer(base)
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
        os.close(base)


def _move(folder: str, path: str, overwrite: bool) -> None:
    """Give what is complete its own name."""
    new, old = os.path.join(folder, NEW), os.path.join(folder, OLD)
    try:
        os.rename(new, path)
        return
    except OSError as fault:
        if not overwrite or fault.errno not in _CANNOT_REPLACE:
            raise
    # A full directory, or one and a file, cannot be renamed over: what was there is put aside and goes last.
    os.rename(path, old)
    try:
        os.rename(new, path)
    except OSError:
        os.rename(old, path)
        raise


def _disk_fault(path: str, fault: OSError) -> LocalError:
    """The LocalError for what the disk said."""
    if fault.errno in _FULL:
        return StorageFull(f"no room to write {shown(path)}", "free some space; nothing was left there")
    return StorageFault(f"cannot write {shown(path)}: {fault.strerror}", "check the disk and its permissions")
