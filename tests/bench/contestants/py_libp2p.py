"""py-libp2p's own bitswap to itself: what shoal would be if it used what its library offers.

Stock everything: ``new_host``, ``BitswapClient`` on a ``FilesystemBlockStore``, ``MerkleDag.add_file`` and
``fetch_file``.  Its process is ``py_libp2p_child``.  It has no directories and no repo that outlives a process.
"""

import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from shoal.tests.bench.contestant import Contestant
from shoal.tests.bench.contestants.calls import call
from shoal.tests.support.processes import Child

START_TIMEOUT_S: Final = 60.0  # seconds; the import alone takes one
ADD_TIMEOUT_S: Final = 600.0  # seconds to take in a file


class PyLibp2pPeer:
    """One host.  It fetches from the peer that it was connected to last; blocks pass through files."""

    def __init__(self, child: Child, addr: str, files: Path) -> None:
        self.process = child
        self.addr = addr
        self._files = files
        self._count = itertools.count()

    def connect(self, addr: str) -> None:
        call(self.process, START_TIMEOUT_S, call="connect", addr=addr)

    def hold(self, path: Path, chunk_bytes: int | None = None) -> str:
        return str(call(self.process, ADD_TIMEOUT_S, call="add", path=str(path), chunk=chunk_bytes)["cid"])

    def fetch(self, name: str, out: Path, timeout_s: float, *, tree: bool = False) -> None:
        call(self.process, timeout_s, call="get", cid=name, path=str(out), limit_s=timeout_s)

    def put_block(self, data: bytes) -> str:
        path = self._files / str(next(self._count))
        path.write_bytes(data)
        try:
            return str(call(self.process, ADD_TIMEOUT_S, call="put_block", path=str(path))["cid"])
        finally:
            path.unlink()

    def get_block(self, cid: str, timeout_s: float) -> bytes:
        path = self._files / str(next(self._count))
        try:
            call(self.process, timeout_s, call="get_block", cid=cid, path=str(path), limit_s=timeout_s)
            return path.read_bytes()
        finally:
            path.unlink(missing_ok=True)

    def peak_rss(self) -> int:
        return self.process.peak_rss_bytes()

    def rss(self) -> int:
        return self.process.rss_bytes()


@contextmanager
def start(folder: Path) -> Iterator[PyLibp2pPeer]:
    """One host on a free loopback port."""
    files = folder / "files"
    files.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-P", "-m", "shoal.tests.bench.contestants.py_libp2p_child", str(folder / "blocks")]
    with Child.start(argv, name=f"py-libp2p {folder.name}") as child:
        yield PyLibp2pPeer(child, str(child.json_line(START_TIMEOUT_S)["addr"]), files)


PY_LIBP2P: Final = Contestant(
    "py-libp2p",
    "py-libp2p 0.8.1 libp2p.bitswap, FilesystemBlockStore (never synced), then written to a file",
    start,
    can=frozenset({"file", "chunked", "block"}),
)
