"""What fault tests need beside running nodes: links that are slow or cut, downloads to watch, actors to kill.

``SlowLink`` is a TCP proxy in front of a node, so that a transfer of a few MiB lasts long enough to be broken in
the middle.  ``Download`` reads a file through the API in a thread of its own.  ``wait_until`` polls.  The nodes are
``tests/support/shoal.py``'s.
"""

import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

from shoal.tests.support.shoal import Shoal, ShoalFailed

PIECE_BYTES: Final = 16 * 1024
POLL_S: Final = 0.02
WAIT_S: Final = 30.0
"""How long anything is waited for, unless a test says otherwise; a machine that is busy needs many times the usual."""

ACTORS: Final = (
    "memory",
    "disk",
    "cold",
    "keeper",
    "placement",
    "wantlist",
    "transport",
    "bitswap",
    "bootstrap",
    "routing",
)


def noise(size: int, seed: str) -> bytes:
    """``size`` bytes that are the same for the same seed, in no two places alike."""
    return hashlib.shake_256(seed.encode()).digest(size)


def wait_until(holds: Callable[[], Any], what: str, within_s: float = WAIT_S) -> Any:
    """Poll until ``holds()`` is true; what it gave.  AssertionError, naming ``what``, after ``within_s``."""
    end = time.monotonic() + within_s
    while True:
        if found := holds():
            return found
        assert time.monotonic() < end, f"not within {within_s} s: {what}"
        time.sleep(POLL_S)


def refuse(call: Callable[[], object]) -> str:
    """The text with which a node refuses ``call``; AssertionError when it does not."""
    try:
        result = call()
    except ShoalFailed as refused:
        return str(refused).partition("\n--- standard error")[0]
    raise AssertionError(f"not refused, but answered {result!r:.200}")


# --- actors ----------------------------------------------------------------------------------------------


def actor(node: Shoal, name: str) -> dict[str, Any]:
    """One row of ``shoal/actors``."""
    rows = {row["Name"]: row for row in node.call("shoal/actors")["Actors"]}
    return dict(rows[name])


def crash(node: Shoal, name: str, within_s: float = 5.0) -> float:
    """Kill an actor and wait until its next generation serves; the seconds that it took."""
    before = actor(node, name)["Generation"]
    began = time.monotonic()
    node.crash(name)

    def is_back() -> bool:
        row = actor(node, name)
        return bool(row["Generation"] > before and row["State"] == "running")

    wait_until(is_back, f"{name} serves again", within_s)
    return time.monotonic() - began


# --- downloads -------------------------------------------------------------------------------------------


class Download:
    """A file being read through a node's API.  ``received`` grows; ``failure`` is the node's text once it failed."""

    def __init__(self, node: Shoal, cid: str, timeout_s: float = WAIT_S) -> None:
        self.received = 0
        self.failure = ""
        self.seconds = 0.0
        self._hash = hashlib.sha256()
        self._pieces = node.stream("cat", cid, timeout_s=timeout_s)
        self._timeout_s = timeout_s
        self._thread = threading.Thread(target=self._run, name=f"download {cid[-6:]}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        began = time.monotonic()
        try:
            for piece in self._pieces:
                self._hash.update(piece)
                self.received += len(piece)
        except ShoalFailed as failed:
            self.failure = str(failed).partition("\n--- standard error")[0]
        self.seconds = time.monotonic() - began

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def reach(self, size: int) -> None:
        """Wait until ``size`` bytes have come; AssertionError if it ends before."""
        wait_until(lambda: self.received >= size or not self.running, f"{size} bytes of a download")
        assert self.received >= size, f"it ended after {self.received} bytes: {self.failure}"

    def end(self) -> None:
        """Wait for its end: at most its own timeout and a grace, since nothing may hang."""
        self._thread.join(self._timeout_s + WAIT_S)
        assert not self.running, f"a download hangs after {self.received} bytes"

    def expect(self, content: bytes) -> None:
        """It ends with these bytes."""
        self.end()
        assert not self.failure, f"after {self.received} of {len(content)} bytes: {self.failure}"
        assert self.received == len(content)
        assert self._hash.digest() == hashlib.sha256(content).digest()


# --- links -----------------------------------------------------------------------------------------------


class SlowLink:
    """A TCP proxy on loopback to ``target``, of ``rate`` bytes a second in each direction of each connection.

    It may stall (``flowing.clear()``): connections stay, and nothing passes.
    """

    def __init__(self, target: int, rate: int) -> None:
        self.target = target
        self.rate = rate
        self.flowing = threading.Event()
        self.flowing.set()
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="slow link", daemon=True).start()

    def addr_of(self, node: Shoal) -> str:
        """The multiaddr by which ``node`` is reached through this link, which leads to it from now on."""
        self.target = tcp_port(node)
        return f"/ip4/127.0.0.1/tcp/{self.port}/p2p/{node.id}"

    def cut(self) -> None:
        """Break every connection off."""
        with self._lock:
            held, self._sockets = self._sockets, set()
        for each in held:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def close(self) -> None:
        self.flowing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    near.close()
                    continue
                with self._lock:
                    self._sockets |= {near, far}
                for source, sink in ((near, far), (far, near)):
                    source.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * PIECE_BYTES)
                    threading.Thread(target=self._pump, args=(source, sink), name="slow link", daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        due = time.monotonic()
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE_BYTES):
                self.flowing.wait()
                sink.sendall(data)
                due = max(due, time.monotonic() - 0.05) + len(data) / self.rate
                time.sleep(max(0.0, due - time.monotonic()))
        for each in (source, sink):
            with self._lock:
                self._sockets.discard(each)
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@contextmanager
def silent_port() -> Iterator[int]:
    """A TCP port that accepts and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


def free_port() -> int:
    """A TCP port of loopback that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def tcp_port(node: Shoal) -> int:
    """Where ``node`` listens."""
    addrs = node.call("id")["Addresses"]
    return int(next(addr for addr in addrs if "/tcp/" in addr).split("/")[4])


def disconnect(*nodes: Shoal) -> None:
    """Close all connections among ``nodes``, and wait until each of them knows: one that does not would not dial."""
    for node in nodes:
        for peer in {row["Peer"] for row in node.peers()}:
            with contextlib.suppress(ShoalFailed):  # gone meanwhile
                node.call("swarm/disconnect", f"/p2p/{peer}")
    wait_until(lambda: not any(node.peers() for node in nodes), "no connection is left")
