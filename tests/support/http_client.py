"""A plain HTTP client for tests of the API: one request, one connection, nothing hidden."""

import http.client
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

BOUNDARY = "----------------------------test-boundary"
WAIT_S = 30.0


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


def part(
    data: bytes | Iterable[bytes], filename: str | None = "file", media_type: str = "application/octet-stream"
) -> Iterator[bytes]:
    """One part of a multipart body; ``filename`` is escaped as Kubo's clients do."""
    named = "" if filename is None else f'; filename="{quote(filename, safe="")}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"{named}\r\nContent-Type: {media_type}\r\n\r\n'
    yield head.encode()
    if isinstance(data, bytes):
        yield data
    else:
        yield from data
    yield b"\r\n"


def multipart(*parts: Iterable[bytes]) -> Iterator[bytes]:
    """A whole body."""
    for each in parts:
        yield from each
    yield f"--{BOUNDARY}--\r\n".encode()


MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def request(
    address: str,
    path: str,
    *,
    method: str = "POST",
    body: bytes | Iterator[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request; raises what http.client raises when the answer is cut short."""
    connection = http.client.HTTPConnection(address, timeout=WAIT_S)
    try:
        connection.request(method, path, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


def rpc(
    address: str, command: str, *args: str, upload: Iterator[bytes] | None = None, **options: str | int | bool
) -> Answer:
    """One RPC: ``cid_version=1`` is the option cid-version=1."""
    pairs = [("arg", arg) for arg in args]
    for name, value in options.items():
        pairs.append((name.replace("_", "-"), str(value).lower() if isinstance(value, bool) else str(value)))
    query = f"?{urlencode(pairs)}" if pairs else ""
    return request(address, f"/api/v0/{command}{query}", body=upload, headers=MULTIPART if upload else None)
