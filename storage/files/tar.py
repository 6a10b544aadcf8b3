"""A fetched tree as a tar stream, as Kubo's ``get`` answers.  No disk; the events come from ``TreeReader``."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator

from shoal.messages.errors import BadInput, RemoteError
from shoal.storage.files.exporter import DIR_MODE, FILE_MODE, PERMISSION_BITS
from shoal.storage.ipld.names import check_theirs, fault_of, shown
from shoal.storage.ipld.tree import EnterDir, FileBegin, FileData, FileEnd, LeaveDir, Symlink, TreeEvent


def tar_stream(events: Iterable[TreeEvent], name: str) -> Iterator[bytes | memoryview]:
    """The tree as a POSIX (pax) tar whose root is called ``name``: headers, data by reference, padding.

    Raises BadInput at once for a ``name`` that is none; while it runs, RemoteError for names that would
    escape and for a tree that is cut short, and whatever ``events`` raises.
    """
    fault = fault_of(name)
    if fault:
        raise BadInput(f"cannot name an archive's root {shown(name)}: {fault}", "name it after its CID")
    return _stream(events, name)


def _stream(events: Iterable[TreeEvent], name: str) -> Iterator[bytes | memoryview]:
    written = size = depth = 0
    for event in events:
        if isinstance(event, FileData):
            written += len(event.data)
            yield event.data
        elif isinstance(event, FileEnd):
            if written != size:
                raise RemoteError("file that ends before all its bytes came", "file-size")
            depth -= 1
            if padding := -written % tarfile.BLOCKSIZE:
                yield bytes(padding)
        elif isinstance(event, LeaveDir):
            depth -= 1
        else:
            if isinstance(event, FileBegin):
                written, size = 0, event.size
            depth += not isinstance(event, Symlink)
            yield _header(event, name)
    if depth:
        raise RemoteError("tree that ends before it is complete", "tree")
    yield bytes(2 * tarfile.BLOCKSIZE)


def _header(event: EnterDir | FileBegin | Symlink, root: str) -> bytes:
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
