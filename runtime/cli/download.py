"""A tar stream from the node, unpacked safely: complete or not at all, and never outside its target.

A peer chose the names in it: ``untar`` refuses those that leave the tree, and ``exporter`` makes everything afresh
through descriptors, in a folder beside the target that is renamed into place at the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import IO, cast

from shoal.messages.errors import LocalError, RemoteError
from shoal.runtime.cli.rpc import RpcError
from shoal.storage.files.exporter import export_tree
from shoal.storage.files.untar import tar_events
from shoal.storage.ipld.tree import TreeEvent


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
    events = tar_events(cast(IO[bytes], _Reader(chunks, on_bytes)))
    try:
        root, first = next(events)
        final = _place(target, root)
        _check_target(final, force)
        export_tree(chain([first], _below(events)), final, overwrite=force)
    except RemoteError as fault:
        raise RpcError(f"refused: {fault}") from None
    except LocalError as fault:
        raise RpcError(str(fault)) from None
    return final


def _below(events: Iterable[tuple[str, TreeEvent]]) -> Iterator[TreeEvent]:
    return (event for _, event in events)


def _place(target: str | None, root: str) -> str:
    """The final path: an existing folder takes the root under its own name, as ``cp`` does."""
    if target is None:
        return os.path.join(os.getcwd(), root)
    return os.path.join(os.path.abspath(target), root) if os.path.isdir(target) else os.path.abspath(target)


def _check_target(final: str, force: bool) -> None:
    """With ``force`` a file replaces a file; a folder is never replaced.  Asked before anything is written."""
    if os.path.lexists(final):
        if os.path.isdir(final) and not os.path.islink(final):
            raise RpcError(f"{final} is a folder that exists: give another name with -o", 2)
        if not force:
            raise RpcError(f"{final} exists: give another name with -o, or replace it with --force", 2)
