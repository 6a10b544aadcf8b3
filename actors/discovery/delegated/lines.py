"""Bytes as they come, cut into lines of bounded length.  Pure."""

from __future__ import annotations

from shoal.messages.errors import RemoteError


class Lines:
    """The lines of a stream.  A last one without its newline counts."""

    def __init__(self, line_max: int) -> None:
        """``line_max``: bytes of one line, without its newline."""
        self._max = line_max
        self._rest: list[bytes] = []
        self._size = 0  # of the rest

    def feed(self, data: bytes) -> list[bytes]:
        """Lines that ``data`` completes, blank ones left out.  Raises RemoteError "line-length"."""
        *whole, rest = data.split(b"\n")
        lines = []
        for piece in whole:
            self._keep(piece)
            if line := self._take():
                lines.append(line)
        self._keep(rest)
        return lines

    def end(self) -> list[bytes]:
        """What is left when nothing more comes."""
        line = self._take()
        return [line] if line else []

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._max:
            raise RemoteError(f"a line of more than {self._max} bytes", "line-length")
        if piece:
            self._rest.append(piece)

    def _take(self) -> bytes:
        line = b"".join(self._rest).strip()
        self._rest.clear()
        self._size = 0
        return line
