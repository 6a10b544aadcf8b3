"""The segment in use: records are appended, synced, and then either kept or taken back.

Not the index, and no block is read here.  Begin at ``Tail.append``.  A sealed segment is one that no Tail writes
to any more; what is in a file is never written over.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from shoal.messages.errors import LocalError
from shoal.storage.cold.folder import translated
from shoal.storage.repo import sync_folder

_BUFFERS_MAX: Final = 512  # in one call of the system, which takes 1,024


class Tail:
    """An append-only file.  ``end`` is what has been kept; after ``append`` comes ``keep`` or ``take_back``."""

    def __init__(self, segment: int, path: Path, header: bytes, end: int = 0) -> None:
        """Of the file at ``path``, which is made at the first append when ``end`` is 0."""
        self.segment = segment
        self.path = path
        self.end = end
        self.broken = False  # what is behind ``end`` could not be taken away: nothing may be appended any more
        self._header = header
        self._written = end
        self._handle: int | None = None
        self._named = end > 0  # the file's name is durable

    def append(self, frames: Sequence[bytes]) -> list[int]:
        """Write ``frames`` behind ``end`` and sync them: the offset of each.

        Raises StorageFull or StorageFault; then, too, ``take_back`` is to be called.
        """
        buffers = list(frames) if self.end else [self._header, *frames]
        with translated(f"store blocks in {self.path}"):
            handle = self._opened()
            self._written = _write(handle, buffers, self.end)
            os.fdatasync(handle)
            if not self._named:
                sync_folder(self.path.parent)
                self._named = True
        offsets: list[int] = []
        at = self.end if self.end else len(self._header)
        for frame in frames:
            offsets.append(at)
            at += len(frame)
        return offsets

    @property
    def written(self) -> int:
        """The offset behind what was appended last."""
        return self._written

    def keep(self) -> None:
        """What was appended last is part of the segment."""
        self.end = self._written

    def take_back(self) -> None:
        """Cut off what was appended last, or half of it.  Where even that fails, the segment is ``broken``."""
        self._written = self.end
        try:
            with translated(f"shorten {self.path}"):
                if self._handle is not None:
                    os.ftruncate(self._handle, self.end)
        except LocalError:
            self.broken = True

    def close(self) -> None:
        """Let go of the file.  May be called twice."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def cut(self) -> None:
        """Make the file end at ``end``, durably: what a crash left behind it is taken away."""
        with translated(f"shorten {self.path}"):
            handle = self._opened()
            os.ftruncate(handle, self.end)
            os.fsync(handle)

    def _opened(self) -> int:
        if self._handle is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._handle = os.open(self.path, flags, 0o600)
        return self._handle


def _write(handle: int, buffers: Sequence[bytes], offset: int) -> int:
    """Write all of ``buffers`` from ``offset`` on: the offset behind them.  Raises OSError."""
    for first in range(0, len(buffers), _BUFFERS_MAX):
        part = buffers[first : first + _BUFFERS_MAX]
        size = sum(map(len, part))
        done = os.pwritev(handle, part, offset)
        if done < size:  # a short write: the rest in one piece, however many calls it takes
            rest = memoryview(b"".join(part))[done:]
            while rest:
                count = os.pwrite(handle, rest, offset + size - len(rest))
                if not count:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                rest = rest[count:]
        offset += size
    return offset
