"""Plain TCP: the ceiling.  sendfile at one end, recv and write at the other, made durable once at the end.

No names, no hashes, no crypto, no store: nobody who has those can be quicker.  Its processes are ``tcp_child``.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shoal.tests.bench.contestant import Contestant, Memory
from shoal.tests.support.processes import Child

START_TIMEOUT_S: Final = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class TcpPair:
    """A sender and a receiver."""

    holder: Child
    fetcher: Child

    def hold(self, path: Path) -> str:
        self.holder.send(str(path))
        return self.holder.line(START_TIMEOUT_S)

    def fetch(self, name: str, out: Path, timeout_s: float) -> None:
        self.fetcher.send(str(out))
        self.fetcher.line(timeout_s)

    def memory(self) -> Memory:
        return Memory(self.holder.peak_rss_bytes(), self.fetcher.peak_rss_bytes())


@contextmanager
def pair(folder: Path) -> Iterator[TcpPair]:
    """Two processes with one connection."""
    module = "shoal.tests.bench.contestants.tcp_child"
    with ExitStack() as stack:
        holder = stack.enter_context(Child.start([sys.executable, "-P", "-m", module, "hold"], name="tcp holder"))
        port = holder.line(START_TIMEOUT_S)
        argv = [sys.executable, "-P", "-m", module, "fetch", port]
        fetcher = stack.enter_context(Child.start(argv, name="tcp fetcher"))
        fetcher.line(START_TIMEOUT_S)
        yield TcpPair(holder, fetcher)


TCP: Final = Contestant("tcp", "plain TCP, sendfile to recv and write, fsync at the end; the ceiling", pair)
