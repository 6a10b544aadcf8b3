"""yamux frames: making headers, and cutting a byte stream into frames.  A pure core with no I/O and no clock.

Source: hashicorp/yamux spec.md.  A frame is twelve bytes (version, type, flags, stream, length) and, for DATA only,
``length`` bytes.  Payload is passed on as views of what was fed, as it comes: an announced length allocates nothing.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from shoal.messages.errors import RemoteError

DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
GONE_NORMAL, GONE_PROTOCOL = 0, 1  # what a GO_AWAY's length says

HEADER_BYTES: Final = 12
U32_MAX: Final = 0xFFFFFFFF
_HEADER: Final = struct.Struct("!BBHII")


class Head(NamedTuple):
    """A frame's header.  ``length`` is payload bytes, a window's increment, a ping's value or a reason."""

    kind: int
    flags: int
    stream: int
    length: int


def header(kind: int, flags: int, stream: int, length: int) -> bytes:
    """The twelve bytes of a header, version 0."""
    return _HEADER.pack(0, kind, flags, stream, length)


class FrameParser:
    """Cuts whatever it is fed, however it is cut, into headers and the payload behind them."""

    def __init__(self) -> None:
        self._cut = b""  # the start of a header whose end has not come
        self._missing = 0  # bytes of the payload under way

    def feed(self, data: bytes | memoryview) -> Iterator[Head | memoryview]:
        """Each header as soon as it is whole, then its payload in one or more pieces.

        To be taken to its end before the next feed.  Raises RemoteError for a version or a type that does not exist.
        """
        view = memoryview(data)
        at, end = 0, len(view)
        while at < end:
            if self._missing:
                piece = view[at : at + self._missing]
                at += len(piece)
                self._missing -= len(piece)
                yield piece
                continue
            if self._cut or end - at < HEADER_BYTES:
                piece = view[at : at + HEADER_BYTES - len(self._cut)]
                at += len(piece)
                self._cut += piece
                if len(self._cut) < HEADER_BYTES:
                    return
                head = _parse(self._cut, 0)
                self._cut = b""
            else:
                head = _parse(view, at)
                at += HEADER_BYTES
            if head.kind == DATA:
                self._missing = head.length
            yield head


def _parse(data: bytes | memoryview, at: int) -> Head:
    version, kind, flags, stream, length = _HEADER.unpack_from(data, at)
    if version:
        raise RemoteError(f"a yamux frame of version {version}", "yamux")
    if kind > GO_AWAY:
        raise RemoteError(f"a yamux frame of type {kind}", "yamux")
    return Head(kind, flags, stream, length)
