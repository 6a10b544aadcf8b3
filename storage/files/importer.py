"""A file, directory or symlink on this machine's disk into blocks.  Blocking; run it off any actor's handler.

What becomes of the bytes is ``storage.ipld``'s affair; here is the walk over the disk: never through a
symlink, never into a pipe or device, one descriptor and one chunk at a time.  Begin with ``import_path``.
Directories are walked depth first and their entries gathered level by level.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Protocol

from shoal.messages.block import Block
from shoal.messages.errors import BadInput
from shoal.messages.limits import IMPORT_BATCH_BYTES, MIB, TREE_DEPTH_MAX
from shoal.storage.ipld.builder import Entry, FileBuilder, build_symlink
from shoal.storage.ipld.directory import DirectoryBuilder
from shoal.storage.ipld.names import shown
from shoal.storage.ipld.profile import ImportProfile

Put = Callable[[list[Block]], None]
Progress = Callable[[str, int], None]

READ_BYTES = 1 * MIB  # per read: large enough that the call costs nothing, small beside a batch


class Readable(Protocol):
    """What ``import_stream`` reads: ``read(n)`` returns at most n bytes, none at the end."""

    def read(self, size: int, /) -> bytes: ...


class _Batch:
    """Gathers blocks and hands them to ``put`` once they come to IMPORT_BATCH_BYTES."""

    def __init__(self, put: Put) -> None:
        self._put = put
        self._blocks: list[Block] = []
        self._bytes = 0

    def add(self, blocks: list[Block]) -> None:
        self._blocks += blocks
        self._bytes += sum(map(len, blocks))
        if self._bytes >= IMPORT_BATCH_BYTES.value:
            self.flush()

    def flush(self) -> None:
        if self._blocks:
            blocks, self._blocks, self._bytes = self._blocks, [], 0
            self._put(blocks)


def import_stream(source: Readable, profile: ImportProfile, put: Put, progress: Progress | None = None) -> Entry:
    """Everything that ``source`` still holds, as one file.  See ``import_path`` for the rest."""
    batch = _Batch(put)
    entry = _add_stream(source, "", profile, batch, progress)
    batch.flush()
    return entry


def import_path(
    path: str | os.PathLike[str],
    profile: ImportProfile,
    put: Put,
    progress: Progress | None = None,
    *,
    hidden: bool = False,
) -> Entry:
    """The file, directory (with all below it) or symlink at ``path``, as its root.

    ``put`` is given all blocks, children before parents, about 8 MiB at a time, and must have stored them
    when it returns.  ``progress`` is told the path, relative to ``path``'s parent, and the bytes read since it
    was told last.  Entries whose name begins with a dot are left out unless ``hidden``; ``path`` itself is not.
    Raises BadInput for what does not exist, cannot be read, or is none of the three.
    """
    batch = _Batch(put)
    text = os.fspath(path)
    name = os.path.basename(os.path.abspath(text))
    entry = _Importer(profile, batch, progress, hidden).add(text, name, 0)
    batch.flush()
    return entry


def _add_stream(
    source: Readable, shown_as: str, profile: ImportProfile, batch: _Batch, progress: Progress | None
) -> Entry:
    builder = FileBuilder(profile)
    while data := source.read(READ_BYTES):
        batch.add(builder.feed(data))
        if progress is not None:
            progress(shown_as, len(data))
    blocks, entry = builder.finish()
    batch.add(blocks)
    return entry


class _Importer:
    """One import of a path: the settings that all its levels share."""

    def __init__(self, profile: ImportProfile, batch: _Batch, progress: Progress | None, hidden: bool) -> None:
        self._profile = profile
        self._batch = batch
        self._progress = progress
        self._hidden = hidden

    def add(self, path: str, relative: str, depth: int) -> Entry:
        """Whatever is at ``path``."""
        try:
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                return self._add_symlink(path)
            if stat.S_ISDIR(mode):
                return self._add_directory(path, relative, depth)
            if stat.S_ISREG(mode):
                return self._add_file(path, relative)
        except OSError as fault:
            raise BadInput(
                f"cannot read {shown(path)}: {fault.strerror}", "check the path and its permissions"
            ) from None
        raise BadInput(f"{shown(path)} is no file, directory or symlink", "leave it out")

    def _add_file(self, path: str, relative: str) -> Entry:
        # Between lstat and here the name may have come to mean something else: a symlink is refused, a pipe not
        # waited for.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(path, flags), "rb", buffering=0) as source:
            if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                raise BadInput(f"{shown(path)} changed while it was added", "add it again")
            return _add_stream(source, relative, self._profile, self._batch, self._progress)

    def _add_symlink(self, path: str) -> Entry:
        target = os.readlink(path)
        try:
            target.encode()
        except UnicodeEncodeError:
            raise BadInput(f"symlink {shown(path)} points to what is not UTF-8", "leave it out") from None
        block, entry = build_symlink(target, self._profile)
        self._batch.add([block])
        return entry

    def _add_directory(self, path: str, relative: str, depth: int) -> Entry:
        if depth >= TREE_DEPTH_MAX.value:
            raise BadInput(f"{shown(path)} lies more than {TREE_DEPTH_MAX.value} directories deep", "add its parts")
        builder = DirectoryBuilder(self._profile)
        for name in sorted(os.listdir(path)):
            if self._hidden or not name.startswith("."):
                builder.add(name, self.add(os.path.join(path, name), f"{relative}/{name}", depth + 1))
        blocks, entry = builder.finish()
        self._batch.add(blocks)
        return entry
