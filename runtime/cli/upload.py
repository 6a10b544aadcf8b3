"""Files and folders of this machine as a multipart body, streamed: one chunk of one file is in memory.

Parts as Kubo's RPC wants them (docs.ipfs.tech, "add"): folders first, names percent-encoded, symlinks as links.
"""

from __future__ import annotations

import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from typing import IO, Final
from urllib.parse import quote

from shoal.runtime.cli.rpc import RpcError

CHUNK_BYTES: Final = 256 * 1024
DEPTH_MAX: Final = 128  # folders within folders; the node refuses deeper ones
OnBytes = Callable[[int], None]


def nothing(count: int, /) -> None:
    """Report no progress."""


class Upload:
    """The body of one request.  ``content_type`` is its header; ``body`` may be read once."""

    def __init__(self, on_bytes: OnBytes = nothing) -> None:
        self._boundary = secrets.token_hex(16)
        self._on_bytes = on_bytes

    @property
    def content_type(self) -> str:
        """The request's Content-Type."""
        return f"multipart/form-data; boundary={self._boundary}"

    def body(self, paths: tuple[str, ...], recursive: bool, hidden: bool = True) -> Iterator[bytes]:
        """Every path, "-" being standard input.  Raises RpcError for what cannot be sent."""
        for path in paths:
            if path == "-":
                yield from self._file(sys.stdin.buffer, "")
            else:
                yield from self._entry(path, os.path.basename(os.path.abspath(path)), recursive, hidden, 0)
        yield b"--" + self._boundary.encode() + b"--\r\n"

    def _entry(self, path: str, name: str, recursive: bool, hidden: bool, depth: int) -> Iterator[bytes]:
        # A link that the user named is followed; links within a folder are sent as links.
        mode = (os.stat if depth == 0 else os.lstat)(path).st_mode
        if stat.S_ISREG(mode):
            with open(path, "rb") as file:
                yield from self._file(file, name)
        elif stat.S_ISLNK(mode):
            yield self._head(name, "application/symlink") + os.readlink(os.fsencode(path)) + b"\r\n"
        elif not stat.S_ISDIR(mode):
            raise RpcError(f"{path} is neither a file nor a folder nor a symlink", 2)
        elif not recursive:
            raise RpcError(f"{path} is a folder: give -r to add it with all that is in it", 2)
        elif depth > DEPTH_MAX:
            raise RpcError(f"{path}: more than {DEPTH_MAX} folders within folders", 2)
        else:
            yield self._head(name, "application/x-directory") + b"\r\n"
            for child in sorted(os.listdir(path), key=os.fsencode):
                if hidden or not child.startswith("."):
                    yield from self._entry(f"{path}/{child}", f"{name}/{child}", recursive, hidden, depth + 1)

    def _file(self, file: IO[bytes], name: str) -> Iterator[bytes]:
        yield self._head(name, "application/octet-stream")
        while data := self._read(file, name):
            self._on_bytes(len(data))
            yield data
        yield b"\r\n"

    def _read(self, file: IO[bytes], name: str) -> bytes:
        try:
            return file.read(CHUNK_BYTES)
        except OSError as fault:
            raise RpcError(f"cannot read {name or 'standard input'}: {fault.strerror}") from None

    def _head(self, name: str, media_type: str) -> bytes:
        escaped = quote(os.fsencode(name), safe="")
        return (
            f"--{self._boundary}\r\nContent-Disposition: form-data; "
            f'name="file"; filename="{escaped}"\r\nContent-Type: {media_type}\r\n\r\n'
        ).encode()
