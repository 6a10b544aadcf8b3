"""The client's side of the RPC: find the node, send one request, read its answer to the end or say why not.

Only the standard library's http.client, which starts fast; no retries.  A request's body is sent by a thread of its
own while the answer is read, so that neither side ever waits for the other, and an early refusal is seen.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

CONNECT_TIMEOUT_S: Final = 10.0
PATIENCE_S: Final = 10.0  # beyond the --timeout that the node is given
READ_BYTES: Final = 256 * 1024
MESSAGE_BYTES_MAX: Final = 64 * 1024  # of an answer that is an error
LINE_BYTES_MAX: Final = 16 * 1024 * 1024
API_FILE: Final = "api"  # in the repo of a running node
API_FILE_BYTES_MAX: Final = 4096

Option = str | int | bool | None


class RpcError(Exception):
    """What to tell the user, and the exit code: 1, or 2 when the request itself was wrong."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of http://HOST:PORT, HOST:PORT, or /ip4/HOST/tcp/PORT as Kubo writes its api file."""
    found = re.fullmatch(r"/(?:ip4|ip6|dns|dns4|dns6)/([^/]+)/tcp/([0-9]{1,5})(?:/http)?/?", text) or re.fullmatch(
        r"(?:http://)?(\[[0-9A-Fa-f:.%]+\]|[^\s/:\[\]]+):([0-9]{1,5})/?", text
    )
    if not found or not 0 < int(found[2]) < 65536:
        raise RpcError(f"{text!r} is not an API address: give one like http://127.0.0.1:5001", 2)
    return found[1].strip("[]"), int(found[2])


def find_api(given: str | None, env: Mapping[str, str]) -> tuple[str, int]:
    """Where the node is: --api, SHOAL_API, else what the running node wrote into its repo."""
    if text := given or env.get("SHOAL_API"):
        return parse_address(text)
    repo = Path(env.get("SHOAL_REPO") or Path(env.get("HOME") or Path.home()) / ".shoal").expanduser()
    try:
        with (repo / API_FILE).open("rb") as file:
            return parse_address(file.read(API_FILE_BYTES_MAX).decode("utf-8", "replace").strip())
    except FileNotFoundError:
        raise RpcError(
            f"no node is running in {repo}: start one with bin/run-node, or say where it is with --api or SHOAL_REPO"
        ) from None
    except OSError as fault:
        raise RpcError(f"cannot read {repo / API_FILE}: {fault.strerror}") from None


class Reply:
    """A good answer.  Read it once, as ``json``, ``lines`` or ``chunks``."""

    def __init__(self, api: Api, response: http.client.HTTPResponse, upload: _Upload | None) -> None:
        self._api = api
        self._response = response
        self._upload = upload

    def chunks(self) -> Iterator[bytes]:
        """The bytes as they come.  Raises RpcError when the answer breaks off."""
        try:
            while data := self._response.read1(READ_BYTES):
                yield data
        except (OSError, http.client.HTTPException) as fault:
            raise self._broken(fault) from None
        if self._response.length:
            raise self._broken(None)

    def lines(self) -> Iterator[Any]:
        """JSON lines.  An error among them is raised."""
        rest = b""
        for data in self.chunks():
            *whole, rest = (rest + data).split(b"\n")
            yield from (_checked(line) for line in whole if line)
            if len(rest) > LINE_BYTES_MAX:
                raise RpcError("the node's answer is not what this client expects")
        if rest:
            yield _checked(rest)

    def json(self) -> Any:
        """One JSON value."""
        return _parsed(b"".join(self.chunks()))

    def _broken(self, fault: Exception | None) -> RpcError:
        """Why the answer broke off, as far as the node can still say."""
        if self._upload is not None and self._upload.fault is not None:
            return self._upload.fault
        request = self._response.headers.get("X-Shoal-Request", "")
        if request:
            try:
                return RpcError(str(self._api.call("shoal/failure", request).json()["Message"]))
            except (RpcError, KeyError, TypeError):
                pass
        detail = f" ({fault})" if isinstance(fault, OSError) else ""
        return RpcError(f"the answer broke off: the node stopped, or its log says why{detail}")


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        raise RpcError("the answer is not JSON: is that address a node's API?") from None


def _checked(line: bytes) -> Any:
    value = _parsed(line)
    if isinstance(value, dict) and value.get("Type") == "error":
        raise RpcError(str(value.get("Message", "")))
    return value


class _Upload(threading.Thread):
    """Sends a body, chunk by chunk."""

    def __init__(self, connection: http.client.HTTPConnection, body: Iterator[bytes]) -> None:
        super().__init__(name="shoal-upload", daemon=True)
        self._connection = connection
        self._body = body
        self.fault: RpcError | None = None  # of the body, not of the connection

    def run(self) -> None:
        try:
            for data in self._body:
                if data:
                    self._connection.send(b"%x\r\n" % len(data))
                    self._connection.send(data)
                    self._connection.send(b"\r\n")
            self._connection.send(b"0\r\n\r\n")
        except RpcError as fault:
            self._give_up(fault)
        except OSError as fault:
            if fault.filename is not None:
                self._give_up(RpcError(f"cannot read {fault.filename}: {fault.strerror}"))
            # else the connection: whoever reads the answer sees that too, and perhaps why

    def _give_up(self, fault: RpcError) -> None:
        self.fault = fault
        sock = self._connection.sock
        if sock is not None:
            sock.shutdown(socket.SHUT_RDWR)


class Api:
    """A node's API."""

    def __init__(self, host: str, port: int, timeout_s: float | None = None) -> None:
        self._host, self._port = host, port
        self._timeout_s = timeout_s

    @property
    def url(self) -> str:
        """For messages."""
        return f"http://[{self._host}]:{self._port}" if ":" in self._host else f"http://{self._host}:{self._port}"

    def call(
        self,
        command: str,
        *args: str,
        body: Iterator[bytes] | None = None,
        content_type: str = "",
        **options: Option,
    ) -> Reply:
        """Send a command.  Options of None are left out; ``cid_version`` is cid-version.  Raises RpcError."""
        if self._timeout_s is not None:
            options["timeout"] = f"{self._timeout_s:f}s"
        connection = http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_TIMEOUT_S)
        try:
            connection.connect()
            connection.sock.settimeout(self._timeout_s + PATIENCE_S if self._timeout_s is not None else None)
        except OSError as fault:
            why = fault.strerror or str(fault)
            raise RpcError(
                f"no node answers at {self.url} ({why}): start one with bin/run-node, or give --api"
            ) from None
        upload = _Upload(connection, body) if body is not None else None
        try:
            self._send_head(connection, _target(command, args, options), upload is not None, content_type)
            if upload is not None:
                upload.start()
            response = http.client.HTTPResponse(connection.sock, method="POST")
            response.begin()
        except (OSError, http.client.HTTPException) as fault:
            if upload is not None and upload.fault is not None:
                raise upload.fault from None
            raise RpcError(f"no answer from {self.url}: {fault or type(fault).__name__}") from None
        if response.status != 200:
            raise _refused(response, self.url)
        return Reply(self, response, upload)

    def _send_head(
        self, connection: http.client.HTTPConnection, target: str, has_body: bool, content_type: str
    ) -> None:
        connection.putrequest("POST", target, skip_accept_encoding=True)
        connection.putheader("User-Agent", "shoal")
        if has_body:
            connection.putheader("Content-Type", content_type)
            connection.putheader("Transfer-Encoding", "chunked")
        else:
            connection.putheader("Content-Length", "0")
        connection.endheaders()


def _target(command: str, args: Iterable[str], options: Mapping[str, Option]) -> str:
    pairs = [("arg", arg) for arg in args]
    for name, value in options.items():
        if value is not None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            pairs.append((name.replace("_", "-"), text))
    query = urlencode(pairs, errors="surrogateescape")
    return f"/api/v0/{command}?{query}" if query else f"/api/v0/{command}"


def _refused(response: http.client.HTTPResponse, url: str) -> RpcError:
    """The error that an answer other than 200 carries."""
    try:
        body = response.read(MESSAGE_BYTES_MAX)
    except (OSError, http.client.HTTPException):
        body = b""
    try:
        message = str(json.loads(body)["Message"])
    except (ValueError, KeyError, TypeError):
        text = body.decode("utf-8", "replace").strip()
        message = f"{url} answered {response.status} {response.reason}: {text[:500]}"
    return RpcError(message, 2 if response.status == 400 else 1)


def from_environment(given: str | None, timeout_s: float | None) -> Api:
    """The API that --api, the environment or the repo names."""
    host, port = find_api(given, os.environ)
    return Api(host, port, timeout_s)
