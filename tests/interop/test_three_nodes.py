"""A large file from two shoals to a third, each a process of its own: the bytes, the memory, and that both gave.

1 GiB, in 30 to 60 s on two cores; ``SHOAL_TEST_LARGE_MIB=256`` makes it less.
"""

import hashlib
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from shoal.tests.interop.content import MIB
from shoal.tests.support.shoal import Shoal, ShoalFactory

pytestmark = pytest.mark.interop

LARGE_MIB: Final = int(os.environ.get("SHOAL_TEST_LARGE_MIB", "1024"))
PEAK_RSS_MAX: Final = 300 * MIB
SHARE_MIN: Final = 0.1
"""Of the blocks, from each holder."""

TIMEOUT_S: Final = 240.0


def content(seed: int, digest: "hashlib._Hash") -> Iterator[bytes]:
    """The file that ``seed`` stands for, in pieces, and its digest as they pass."""
    rng = random.Random(seed)
    for _ in range(LARGE_MIB):
        piece = rng.randbytes(MIB)
        digest.update(piece)
        yield piece


def blocks_sent(holder: Shoal) -> int:
    return int(holder.bitswap_stat()["BlocksSent"])


def test_a_large_file_comes_from_both_holders_in_little_memory(shoal: ShoalFactory, tmp_path: Path) -> None:
    fetcher, holders = shoal(), [shoal(), shoal()]
    seed = random.SystemRandom().getrandbits(64)
    digests = [hashlib.sha256() for _ in holders]
    cids = {holder.add(content(seed, digest), TIMEOUT_S) for holder, digest in zip(holders, digests, strict=True)}
    assert len(cids) == 1
    for holder in holders:
        fetcher.connect(holder.addrs[0])

    fetched = hashlib.sha256()
    for piece in fetcher.stream("cat", cids.pop(), timeout_s=TIMEOUT_S):
        fetched.update(piece)

    assert fetched.digest() == digests[0].digest()
    assert fetcher.peak_rss() < PEAK_RSS_MAX
    sent = [blocks_sent(holder) for holder in holders]
    received = fetcher.bitswap_stat()
    assert min(sent) > SHARE_MIN * sum(sent)
    assert received["BlocksReceived"] >= LARGE_MIB * 4
    assert received["DupBlksReceived"] < 0.05 * received["BlocksReceived"]
    for node in (fetcher, *holders):
        node.close()
    shutil.rmtree(tmp_path)
