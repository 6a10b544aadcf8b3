"""A contestant that copies files: real processes that do nothing, and content that passes through memory and disk.

For the tests of the tables, which are about what is asked of whom, in which order, and what is told of it.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shoal.messages.cid import CID
from shoal.tests.bench.contestant import Contestant, Pairing, Work
from shoal.tests.support.processes import Child

Spoil = Callable[[bytes], bytes]
"""What is done to each file and block that is fetched."""

ALL_WORK: frozenset[Work] = frozenset({"file", "tree", "chunked", "block", "node"})


class CopyingPeer:
    """What it holds is named by its path; blocks are kept for all peers of a contestant."""

    addr = "/ip4/127.0.0.1/tcp/1/p2p/copy"

    def __init__(self, process: Child, blocks: dict[str, bytes], spoil: Spoil) -> None:
        self.process = process
        self.connected = 0
        self._blocks = blocks
        self._spoil = spoil

    def connect(self, addr: str) -> None:
        assert addr == self.addr
        self.connected += 1

    def hold(self, path: Path, chunk_bytes: int | None = None) -> str:
        return str(path)

    def fetch(self, name: str, out: Path, timeout_s: float, *, tree: bool = False) -> None:
        assert self.connected == 1
        if tree:
            shutil.copytree(name, out)
        for path in (out / each.name for each in Path(name).iterdir()) if tree else [out]:
            path.write_bytes(self._spoil(Path(name, path.name).read_bytes() if tree else Path(name).read_bytes()))

    def put_block(self, data: bytes) -> str:
        cid = str(CID.of(data))
        self._blocks[cid] = data
        return cid

    def get_block(self, cid: str, timeout_s: float) -> bytes:
        return self._spoil(self._blocks[cid])

    def peak_rss(self) -> int:
        return self.process.peak_rss_bytes()

    def rss(self) -> int:
        return self.process.rss_bytes()


class StoringPeer(CopyingPeer):
    """One that writes files only when it is told to."""

    def fetch(self, name: str, out: Path, timeout_s: float, *, tree: bool = False) -> None:
        self.tree = tree

    def write_out(self, name: str, out: Path, timeout_s: float) -> None:
        super().fetch(name, out, timeout_s, tree=self.tree)


def copying(
    name: str, spoil: Spoil = bytes, why_not: str | None = None, kind: type[CopyingPeer] = CopyingPeer
) -> Pairing:
    """A pair of them under that name."""
    blocks: dict[str, bytes] = {}

    @contextmanager
    def start(folder: Path) -> Iterator[CopyingPeer]:
        with Child.start(["cat"], name=name) as child:
            yield kind(child, blocks, spoil)

    contestant = Contestant(name, f"copies, as {name}", start, ALL_WORK, lambda: why_not)
    return Pairing(contestant, contestant)
