"""Multipart bodies, taken apart as they stream: a part's bytes are handed on, never gathered.

Kubo's conventions for uploads (docs.ipfs.tech, Kubo RPC, "add"): a part of type application/x-directory is a folder,
application/symlink a link whose target is the body, all else a file; ``filename`` is a percent-encoded path.

Begin at ``Parts``; ``items`` and ``files`` read it as the RPC's commands need it.  Pure: pulls bytes from an
iterator.  The grammar is python-multipart's; faults are BadInput, for a body comes from a user.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from shoal.messages.errors import BadInput
from shoal.messages.limits import HTTP_PART_HEADER_MAX, HTTP_PART_HEADERS_MAX, HTTP_PATH_BYTES_MAX
from shoal.runtime.http.arguments import shown
from shoal.runtime.http.backend import AddItem

DIRECTORY_TYPE = "application/x-directory"
SYMLINK_TYPE = "application/symlink"


@dataclass(slots=True)
class Part:
    """One part.  ``data`` yields its bytes until the next part is asked for."""

    headers: dict[str, str]
    data: Iterator[bytes] = field(default_factory=lambda: iter(()))

    @property
    def media_type(self) -> str:
        """The part's Content-Type, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def path(self) -> str:
        """The path that ``filename`` stands for: relative, and within the upload.  Raises BadInput."""
        _, options = parse_options_header(self.headers.get("content-disposition", ""))
        name = options.get(b"filename", b"").decode("utf-8", "surrogateescape")
        # As Go's multipart does: only an escaped slash is one of the path.
        return clean_path(unquote_plus(name.rpartition("/")[2], errors="surrogateescape"))


def clean_path(path: str) -> str:
    """``path`` as plain names joined by "/".  Raises BadInput for one that leads out of the upload."""
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names or "\0" in path:
        raise BadInput(f"the file name {shown(path)} leads out of the upload", "give a path without '..' or NUL")
    cleaned = "/".join(names)
    try:
        size = len(cleaned.encode())
    except UnicodeEncodeError:
        raise BadInput(f"the file name {shown(path)} is not UTF-8", "rename the file") from None
    if size > HTTP_PATH_BYTES_MAX.value:
        raise BadInput(f"the file name {shown(path)} is too long", f"use at most {HTTP_PATH_BYTES_MAX.value} bytes")
    return cleaned


def boundary_of(content_type: str) -> bytes:
    """The boundary that a request's Content-Type names.  Raises BadInput when it names none."""
    media_type, options = parse_options_header(content_type)
    if media_type != b"multipart/form-data" or not options.get(b"boundary"):
        given = f"not {shown(content_type)}" if content_type else "and this request has no Content-Type"
        raise BadInput(f"the body must be multipart/form-data, {given}", "send the file as curl -F file=@FILE does")
    return options[b"boundary"]


class Parts:
    """The parts of one body, in order."""

    def __init__(self, chunks: Iterator[bytes], boundary: bytes) -> None:
        self._chunks = chunks
        # Of one chunk at a time, so no longer than it: ("part", headers) ("data", bytes) ("end", None) ("finish", None)
        self._events: deque[tuple[str, object]] = deque()
        self._headers: dict[str, str] = {}
        self._name = b""
        self._value = b""
        self._finished = False
        self._number = 0  # of parts begun
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._headers_reset,
                    "on_header_field": self._on_field,
                    "on_header_value": self._on_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers,
                    "on_part_data": self._on_data,
                    "on_part_end": lambda: self._events.append(("end", None)),
                    "on_end": lambda: self._events.append(("finish", None)),
                },
                max_header_count=HTTP_PART_HEADERS_MAX.value,
                max_header_size=HTTP_PART_HEADER_MAX.value,
            )
        except FormParserError as fault:
            raise BadInput(f"bad multipart boundary: {fault}", "let the HTTP client choose it") from None

    def __iter__(self) -> Iterator[Part]:
        while True:
            kind, value = self._next()
            while kind in ("data", "end"):  # what the caller left of the part before
                kind, value = self._next()
            if kind == "finish":
                return
            assert isinstance(value, dict)
            self._number += 1
            yield Part(value, self._data(self._number))

    def _data(self, number: int) -> Iterator[bytes]:
        while number == self._number:
            if not self._events:
                self._feed()
                continue
            if self._events[0][0] != "data":
                return  # "end" stays, for whoever looks for the next part
            value = self._events.popleft()[1]
            assert isinstance(value, bytes)
            yield value

    def _next(self) -> tuple[str, object]:
        while not self._events:
            if self._finished:
                return "finish", None
            self._feed()
        event = self._events.popleft()
        self._finished = self._finished or event[0] == "finish"
        return event

    def _feed(self) -> None:
        """Parse the next chunk.  Raises BadInput when the body ends before its closing boundary."""
        for data in self._chunks:
            try:
                self._parser.write(data)
            except FormParserError as fault:
                raise BadInput(f"malformed multipart body: {fault}", "send it as curl -F file=@FILE does") from None
            return
        raise BadInput("the multipart body is cut short", "send it again")

    def _headers_reset(self) -> None:
        self._headers, self._name, self._value = {}, b"", b""

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._name = self._value = b""

    def _on_headers(self) -> None:
        self._events.append(("part", self._headers))

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(("data", data[start:end]))


def read_small(data: Iterator[bytes], size_max: int, what: str) -> bytes:
    """All of a part that must be small.  Raises BadInput when it is not, without reading on."""
    gathered = bytearray()
    for piece in data:
        gathered += piece
        if len(gathered) > size_max:
            raise BadInput(f"{what} of more than {size_max} bytes", f"give at most {size_max} bytes")
    return bytes(gathered)


def items(parts: Parts) -> Iterator[AddItem]:
    """The upload of ``add``.  Raises BadInput when there is nothing in it."""
    empty = True
    for part in parts:
        path, empty = part.path, False
        if part.media_type == DIRECTORY_TYPE:
            if path:
                yield AddItem(path, "directory")
        elif part.media_type == SYMLINK_TYPE:
            target = read_small(part.data, HTTP_PATH_BYTES_MAX.value, "a symlink's target")
            try:
                yield AddItem(path, "symlink", target=target.decode())
            except UnicodeDecodeError:
                raise BadInput(f"the target of the symlink {shown(path)} is not UTF-8", "leave it out") from None
        else:
            yield AddItem(path, "file", data=part.data)
    if empty:
        raise BadInput('file argument "path" is required', "send the file as curl -F file=@FILE does")


def files(parts: Parts, name: str) -> Iterator[Iterator[bytes]]:
    """The bytes of each file.  Raises BadInput when there is none."""
    empty = True
    for part in parts:
        if part.media_type != DIRECTORY_TYPE:
            empty = False
            yield part.data
    if empty:
        raise BadInput(f'file argument "{name}" is required', "send the file as curl -F file=@FILE does")
