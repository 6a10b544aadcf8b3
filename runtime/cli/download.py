"""A tar stream from the node, unpacked safely: complete or not at all, and never outside its target.

A peer chose the names in it, so every member passes tarfile's "data" filter (no absolute or ``..`` paths, no links out,
no devices), in a fresh folder beside the target that is renamed into place at the end.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Final, cast

from shoal.runtime.cli.rpc import RpcError

PREFIX: Final = ".shoal-get-"


class _Reader:
    """The ``read`` that tarfile wants, over an iterator of bytes."""

    def __init__(self, chunks: Iterator[bytes], on_bytes: Callable[[int], None]) -> None:
        self._chunks = chunks
        self._on_bytes = on_bytes
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; none at the end."""
        while not self._rest:
            data = next(self._chunks, None)
            if data is None:
                return b""
            self._rest = memoryview(data)
        taken, self._rest = self._rest[:size], self._rest[size:]
        self._on_bytes(len(taken))
        return bytes(taken)


def unpack(chunks: Iterator[bytes], target: str | None, force: bool, on_bytes: Callable[[int], None]) -> str:
    """Unpack to ``target``, or under its own name here.  Where it went.  Raises RpcError; then nothing is left."""
    folder = os.path.dirname(os.path.abspath(target)) if target else os.getcwd()
    try:
        work = tempfile.mkdtemp(prefix=PREFIX, dir=folder)
    except OSError as fault:
        raise RpcError(f"cannot write in {folder}: {fault.strerror}") from None
    try:
        root = _extract(chunks, work, on_bytes)
        final = _place(target, root)
        _move(os.path.join(work, root), final, force)
        return final
    except OSError as fault:
        raise RpcError(f"cannot write {fault.filename or folder}: {fault.strerror}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _extract(chunks: Iterator[bytes], work: str, on_bytes: Callable[[int], None]) -> str:
    """Everything into ``work``.  The name of the one root entry."""
    if not hasattr(tarfile, "data_filter"):
        raise RpcError("this Python cannot unpack safely: use 3.11.4 or later")
    reader = _Reader(chunks, on_bytes)
    try:
        with tarfile.open(fileobj=cast(IO[bytes], reader), mode="r|") as tar:
            for member in tar:
                tar.extract(member, work, filter="data")
    except tarfile.FilterError as fault:
        raise RpcError(f"refused: {fault}") from None
    except tarfile.TarError as fault:
        raise RpcError(f"the node's answer is not a tar: {fault}") from None
    while reader.read(512 * 1024):
        pass  # to the end of the answer: only there is it known to be whole
    names = os.listdir(work)
    if len(names) != 1:
        raise RpcError(f"the node's answer has {len(names)} roots, not one")
    return names[0]


def _place(target: str | None, root: str) -> str:
    """The final path: an existing folder takes the root under its own name, as ``cp`` does."""
    if target is None:
        return os.path.join(os.getcwd(), root)
    return os.path.join(os.path.abspath(target), root) if os.path.isdir(target) else os.path.abspath(target)


def _move(source: str, final: str, force: bool) -> None:
    """Rename into place.  With ``force`` a file replaces a file; a folder is never replaced."""
    if os.path.lexists(final):
        if os.path.isdir(final) and not os.path.islink(final):
            raise RpcError(f"{final} is a folder that exists: give another name with -o", 2)
        if not force:
            raise RpcError(f"{final} exists: give another name with -o, or replace it with --force", 2)
        if os.path.isdir(source) and not os.path.islink(source):
            os.unlink(final)
    os.replace(source, final)
