"""Plain TCP: the ceiling.  sendfile at one end, recv and write at the other, made durable once at the end.

No names, no hashes, no crypto, no store: nobody who has those can be quicker.  Its process is ``tcp_child``.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from shoal.tests.bench.contestant import Contestant
from shoal.tests.bench.contestants.calls import call
from shoal.tests.support.processes import Child, ChildFailed

CALL_TIMEOUT_S: Final = 30.0  # seconds for all but a fetch


class TcpPeer:
    """One process, which serves the file that it holds to whoever connects and asks."""

    def __init__(self, child: Child, port: int) -> None:
        self.process = child
        self.addr = f"/ip4/127.0.0.1/tcp/{port}/p2p/tcp"  # of the form that all have; there is no peer id

    def connect(self, addr: str) -> None:
        call(self.process, CALL_TIMEOUT_S, call="connect", port=int(addr.split("/")[4]))

    def hold(self, path: Path, chunk_bytes: int | None = None) -> str:
        call(self.process, CALL_TIMEOUT_S, call="hold", path=str(path))
        return path.name

    def fetch(self, name: str, out: Path, timeout_s: float, *, tree: bool = False) -> None:
        call(self.process, timeout_s, call="fetch", path=str(out))

    def put_block(self, data: bytes) -> str:
        raise ChildFailed("plain TCP has no blocks")

    def get_block(self, cid: str, timeout_s: float) -> bytes:
        raise ChildFailed("plain TCP has no blocks")

    def peak_rss(self) -> int:
        return self.process.peak_rss_bytes()

    def rss(self) -> int:
        return self.process.rss_bytes()


@contextmanager
def start(folder: Path) -> Iterator[TcpPeer]:
    """One process on a free loopback port; it has no files of its own."""
    argv = [sys.executable, "-P", "-m", "shoal.tests.bench.contestants.tcp_child"]
    with Child.start(argv, name=f"tcp {folder.name}") as child:
        yield TcpPeer(child, int(child.json_line(CALL_TIMEOUT_S)["port"]))


TCP: Final = Contestant(
    "tcp", "plain TCP, sendfile to recv and write, fsync at the end; the ceiling", start, can=frozenset({"file"})
)
