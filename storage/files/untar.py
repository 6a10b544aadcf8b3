"""The events of a tree out of a tar stream: the way back from ``tar``, for a client that asked a node for one.

Not a general unpacker: it takes what ``tar_stream`` and Kubo's ``get`` write (directories, files and symlinks, each
directory before what is in it) and raises RemoteError for everything else.  A peer chose the names, so they are
checked here, and once more by whoever writes them (``exporter``).  Begin with ``tar_events``.
"""

from __future__ import annotations

import math
import posixpath
import tarfile
from collections.abc import Iterator
from typing import IO, Final

from shoal.messages.errors import RemoteError
from shoal.storage.files.exporter import DIR_MODE, FILE_MODE
from shoal.storage.ipld.names import check_theirs, shown
from shoal.storage.ipld.tree import EnterDir, FileBegin, FileData, FileEnd, LeaveDir, Symlink, TreeEvent
from shoal.storage.ipld.unixfs import Mtime

READ_BYTES: Final = 256 * 1024  # of a file's data at a time
OTHERS_WRITE: Final = 0o022  # never taken from a peer, as in tarfile's "data" filter


def tar_events(stream: IO[bytes]) -> Iterator[tuple[str, TreeEvent]]:
    """Each event with the root's name, which is the same in all of them.  ``stream`` is read in order, to its end.

    Raises RemoteError for a stream that is no tar, or one whose members leave the tree; and what ``stream`` raises.
    """
    folders: list[str] = []  # entered and not left, as names below the root
    root = None
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=READ_BYTES) as tar:
            while member := tar.next():
                name, below = _split(member.name)
                if name != (root or name):
                    raise RemoteError(f"tar with a second root {shown(name)}", "tree")
                root = name
                for _ in range(_leave(folders, below)):
                    yield root, LeaveDir()
                for event in _events(tar, member, below):
                    yield root, event
                if member.isdir():
                    folders.append(below)
                tar.members.clear()  # type: ignore[attr-defined]  # not in the stubs; every header read is kept there
    except tarfile.TarError as fault:
        raise RemoteError(f"answer that is not a tar: {fault}", "tree") from None
    while stream.read(READ_BYTES):
        pass  # to the end of the answer: only there is it known to be whole
    if root is None:
        raise RemoteError("tar without anything in it", "tree")
    for _ in folders:
        yield root, LeaveDir()


def _split(name: str) -> tuple[str, str]:
    """The root's name and the path below it.  Raises RemoteError for a path that would leave the tree."""
    root, *below = name.strip("/").split("/")
    for one in (root, *below):
        check_theirs(one)
    return root, "/".join(below)


def _leave(folders: list[str], below: str) -> int:
    """Drop the folders that a member at ``below`` is not in; how many."""
    before = len(folders)
    while folders and not (folders[-1] == "" or below.startswith(f"{folders[-1]}/")):
        folders.pop()
    return before - len(folders)


def _events(tar: tarfile.TarFile, member: tarfile.TarInfo, below: str) -> Iterator[TreeEvent]:
    """What one member is.  A mode that is the usual one counts as none: the user's umask then decides."""
    mtime = Mtime(int(member.mtime)) if member.mtime and math.isfinite(member.mtime) else None
    usual = DIR_MODE if member.isdir() else FILE_MODE
    mode = None if member.mode == usual else member.mode & ~OTHERS_WRITE
    if member.isdir():
        yield EnterDir(below, mode, mtime)
    elif member.issym():
        _check_link(below, member.linkname)
        yield Symlink(below, member.linkname)
    elif member.isreg():
        yield FileBegin(below, member.size, mode, mtime)
        data = tar.extractfile(member) if member.size else None
        while data and (piece := data.read(READ_BYTES)):
            yield FileData(memoryview(piece))
        yield FileEnd()
    else:
        raise RemoteError(f"tar with {shown(member.name)}, which is no file, folder or symlink", "tree")


def _check_link(below: str, target: str) -> None:
    """Raise RemoteError for a symlink that leads out of the tree."""
    end = posixpath.normpath(posixpath.join("root", posixpath.dirname(below), target))
    if target.startswith("/") or not below or not (end == "root" or end.startswith("root/")):
        raise RemoteError(f"symlink {shown(below)} that leads out of the tree, to {shown(target)}", "tree")
