"""Segments as files of one folder: the local place, and the spool of what will go to an object store.

Not the writer of the segment in use (``tail``).  Begin at ``FolderPlace.read``.  A file's errors become shoal's here.
"""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from shoal.messages.errors import BadConfig, StorageFault, StorageFull
from shoal.messages.limits import COLD_OPEN_FILES_MAX
from shoal.storage.cold.places import INDEX_NAME, SegmentGone, number_of
from shoal.storage.repo import sync_folder

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_REFUSED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise what the operating system says while ``doing`` (a verb phrase) as StorageFull or StorageFault."""
    try:
        yield
    except OSError as fault:
        said = f"could not {doing}: {fault.strerror or fault}"
        if fault.errno in _FULL:
            raise StorageFull(said, "free some space on that volume") from fault
        if fault.errno in _REFUSED:
            remedy = "make the folder and the files in it writable for the user that runs the node"
            raise StorageFault(said, remedy) from fault
        raise StorageFault(said, "check the disk, its cable and the kernel log, and that no limit is hit") from fault


class FolderPlace:
    """A folder of segments.  Keeps at most COLD_OPEN_FILES_MAX of them open for reading."""

    def __init__(self, folder: Path) -> None:
        """Nothing is touched yet."""
        self.folder = folder
        self._open: OrderedDict[str, int] = OrderedDict()

    @property
    def where(self) -> str:
        """The folder's path."""
        return str(self.folder)

    def make(self) -> None:
        """Make the folder when it is missing.  Raises BadConfig when its name is taken by something else."""
        with translated(f"make the folder {self.folder}"):
            try:
                self.folder.mkdir(mode=0o700, parents=True)
            except FileExistsError:
                if not self.folder.is_dir():
                    raise BadConfig(
                        f"{self.folder} is not a folder", "give the cold tier a folder of its own"
                    ) from None
            else:
                sync_folder(self.folder.parent)

    def close(self) -> None:
        """Let go of every file.  May be called twice."""
        while self._open:
            os.close(self._open.popitem()[1])

    def path_of(self, name: str) -> Path:
        """The file of a segment."""
        return self.folder / name

    def put(self, name: str, path: Path) -> None:
        """Nothing to do for a file that is here already; no other is ever put."""
        if path != self.path_of(name):
            raise StorageFault(f"{path} is not in {self.folder}", "report this as a bug")

    def read(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """See ``Place.read``."""
        with translated(f"read {self.path_of(name)}"):
            handle = self._handle(name)
            try:
                return [_pread(handle, offset, length) for offset, length in ranges]
            except OSError:
                os.close(self._open.pop(name))  # the file may be replaced by one that can be read
                raise

    def delete(self, name: str) -> None:
        """See ``Place.delete``."""
        handle = self._open.pop(name, None)
        with translated(f"remove {self.path_of(name)}"):
            if handle is not None:
                os.close(handle)
            try:
                self.path_of(name).unlink()
            except FileNotFoundError:
                return
            sync_folder(self.folder)

    def list(self) -> dict[int, int]:
        """See ``Place.list``; here it costs next to nothing."""
        found: dict[int, int] = {}
        with translated(f"list {self.folder}"), os.scandir(self.folder) as entries:
            for entry in entries:
                number = number_of(entry.name)
                if number is not None and entry.is_file(follow_symlinks=False):
                    found[number] = entry.stat(follow_symlinks=False).st_size
        return found

    def _handle(self, name: str) -> int:
        handle = self._open.get(name)
        if handle is not None:
            self._open.move_to_end(name)
            return handle
        try:
            handle = os.open(self.path_of(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            # The index stands beside its segments: with it gone as well, it is the volume that is missing.
            if (self.folder / INDEX_NAME).exists():
                raise SegmentGone(f"{self.path_of(name)} is gone", "restore it; its blocks are fetched anew") from None
            raise
        self._open[name] = handle
        if len(self._open) > COLD_OPEN_FILES_MAX.value:
            os.close(self._open.popitem(last=False)[1])
        return handle


def _pread(handle: int, offset: int, length: int) -> bytes:
    """``length`` bytes, or what there is of them."""
    data = os.pread(handle, length, offset)
    while data and len(data) < length:
        more = os.pread(handle, length - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data
