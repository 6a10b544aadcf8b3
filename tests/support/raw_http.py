"""An HTTP server on loopback that does what a test says, down to the bytes: also what no server should do.

Begin with ``RawServer``: ``answer`` is called for each request, in the connection's own thread, and writes what it
likes.  ``plain`` makes an ordinary answer.  Everything is closed with the context.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

BACKLOG: Final = 64
TICK_S: Final = 0.05


@dataclass
class Request:
    """One request, and the connection to answer on."""

    path: str
    headers: Mapping[str, str]
    number: int  # of requests to this server, from 1
    socket: socket.socket
    server: RawServer

    def send(self, data: bytes) -> None:
        """Write; ConnectionError when the client has gone."""
        self.socket.sendall(data)

    def say_nothing(self) -> None:
        """Keep the client waiting until it goes, or the test is over."""
        self.socket.settimeout(TICK_S)
        while not self.server.over.is_set():
            try:
                if not self.socket.recv(1024):
                    return
            except TimeoutError:
                continue

    def hang_up(self) -> None:
        """End the connection."""
        self.socket.shutdown(socket.SHUT_RDWR)

    def wait(self, seconds: float) -> bool:
        """Wait; whether the test is over."""
        return self.server.over.wait(seconds)

    def reply(self, body: bytes = b"", media_type: str = "application/json", status: int = 200, **headers: str) -> None:
        """An ordinary answer."""
        self.send(plain(body, media_type, status, **headers))


def plain(body: bytes = b"", media_type: str = "application/json", status: int = 200, **headers: str) -> bytes:
    """The bytes of an ordinary answer; ``retry_after`` is the header retry-after."""
    fields = {"content-type": media_type, "content-length": str(len(body)), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Because\r\n{head}\r\n".encode() + body


Answer = Callable[[Request], None]


@dataclass
class RawServer:
    """Serves until its context ends.  ``paths`` has the path of every request so far."""

    answer: Answer
    paths: list[str] = field(default_factory=list)
    requests: list[Mapping[str, str]] = field(default_factory=list)
    connections: int = 0
    open_now: int = 0
    open_peak: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    port: int = 0  # 0: any free one
    tls: ssl.SSLContext | None = None

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=BACKLOG)
        self.port = self._listener.getsockname()[1]
        self._sockets: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, name="raw http", daemon=True)]
        self._threads[0].start()
        return self

    @property
    def url(self) -> str:
        """http://127.0.0.1:PORT, or https."""
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes ``accept``
        except OSError:
            pass
        self._listener.close()
        with self._lock:
            for one in self._sockets:
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while not self.over.is_set():
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._sockets.add(accepted)
            thread = threading.Thread(target=self._serve, args=(accepted,), name="raw http", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, accepted: socket.socket) -> None:
        with self._lock:
            self.open_now += 1
            self.open_peak = max(self.open_peak, self.open_now)
        try:
            if self.tls is not None:
                accepted = self.tls.wrap_socket(accepted, server_side=True)
            with accepted, accepted.makefile("rb") as lines:
                while (request := self._read(lines.readline, accepted)) is not None:
                    self.answer(request)
        except OSError:
            pass
        finally:
            with self._lock:
                self.open_now -= 1
                self._sockets.discard(accepted)

    def _read(self, line: Callable[[], bytes], accepted: socket.socket) -> Request | None:
        first = line().split()
        if len(first) != 3:
            return None
        headers = {}
        while (text := line().strip()) != b"":
            name, _, value = text.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        with self._lock:
            self.paths.append(first[1].decode("latin-1"))
            self.requests.append(headers)
            return Request(first[1].decode("latin-1"), headers, len(self.paths), accepted, self)
