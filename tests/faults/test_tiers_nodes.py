"""Real nodes with small tiers, killed while they add, read, move and collect, and on a disk that refuses for a while.

Where ``test_tiers_killed`` breaks every call of one thread of virtual time, here are the threads, the timers and the
HTTP API of ``bin/run-node``.
"""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shoal.tests.support.faults import noise, refuse, wait_until
from shoal.tests.support.shoal import Shoal, ShoalFailed
from shoal.tests.support.tiers_faults import why_not

pytestmark = pytest.mark.faults

KIB = 1024
MIB = 1024 * KIB
FILE_BYTES = 700 * KIB
PINNED_MAX = 10  # files; more than the disk tier holds
ROUNDS = 3
SMALL_TIERS = {
    "SHOAL_OFFLINE": "true",
    "SHOAL_COLD_SEGMENT_BYTES": str(MIB),
    "SHOAL_POLICY_MEMORY_BYTES": str(MIB),
    "SHOAL_POLICY_DISK_BYTES": str(5 * MIB),
    "SHOAL_POLICY_WATERMARK_HIGH": "0.8",
    "SHOAL_POLICY_WATERMARK_LOW": "0.5",
    "SHOAL_POLICY_PROMOTION_HEAT": "2.5",
}
REFUSED = "?pwritev,?pwritev2,pwrite64,fdatasync"


def started(repo: Path) -> Shoal:
    return Shoal.start(repo, env=SMALL_TIERS, listen=())


class Load(threading.Thread):
    """Adds files, reads earlier ones, unpins and collects, until the node is gone.  ``kept``: acknowledged pins."""

    def __init__(self, node: Shoal, kept: dict[str, int], numbers: Iterator[int], seed: int) -> None:
        super().__init__(name="load", daemon=True)
        self.kept = kept
        self.wrong: list[str] = []
        self._node = node
        self._numbers = numbers
        self._rng = random.Random(seed)

    def run(self) -> None:
        try:
            while True:
                self._add()
                for cid in self._rng.sample(sorted(self.kept), min(3, len(self.kept))):
                    if self._node.cat(cid) != content(self.kept[cid]):
                        self.wrong.append(cid)
                if len(self.kept) > PINNED_MAX:
                    self._let_go()
        except ShoalFailed:
            return

    def _add(self) -> None:
        number = next(self._numbers)
        self.kept[self._node.add(content(number))] = number

    def _let_go(self) -> None:
        cid = self._rng.choice(sorted(self.kept))
        del self.kept[cid]
        self._node.call("pin/rm", cid)
        b"".join(self._node.stream("repo/gc"))


def content(number: int) -> bytes:
    return noise(FILE_BYTES, f"tiers {number}")


def tier(node: Shoal, name: str) -> int:
    """Blocks in a tier."""
    rows = {row["Tier"]: row for row in node.call("shoal/tiers")["Tiers"]}
    return int(rows[name]["Blocks"])


def check(node: Shoal, kept: dict[str, int]) -> None:
    pins = set(node.call("pin/ls", type="recursive")["Keys"])
    assert kept.keys() <= pins
    for cid, number in kept.items():
        assert node.cat(cid) == content(number)


def test_killed_while_it_moves_and_collects(tmp_path: Path) -> None:
    rng = random.Random(5)
    kept: dict[str, int] = {}
    numbers = itertools.count()
    cold = 0
    for seed in range(ROUNDS):
        with started(tmp_path / "repo") as node:
            check(node, kept)
            load = Load(node, kept, numbers, seed)
            load.start()
            wait_until(lambda node=node: tier(node, "cold"), "something has gone down")  # type: ignore[misc]  # bound now
            cold = max(cold, tier(node, "cold"))
            time.sleep(rng.uniform(0, 1.5))  # the point in its work at which it dies; nothing is asserted about time
            node.kill9()
            load.join()
            assert load.wrong == []
    with started(tmp_path / "repo") as node:
        check(node, kept)
        b"".join(node.stream("repo/gc"))
        check(node, kept)
        assert node.stop() == 0
    print(f"{len(kept)} files kept, {next(numbers)} added; {cold} blocks and more in the cold tier")
    assert len(kept) > 3


@contextmanager
def refusing(node: Shoal, error: str) -> Iterator[None]:
    """Every write and sync of the node's fails in here."""
    argv = ["strace", "-f", "-o", "/dev/null", "-e", f"inject={REFUSED}:error={error}", "-p", str(node.process.pid)]
    tracer = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    try:
        assert "attached" in (said := tracer.stderr.readline()), said
        yield
    finally:
        tracer.send_signal(signal.SIGINT)  # it lets the node go
        try:
            tracer.wait(20)
        finally:
            tracer.kill()
            tracer.stderr.close()


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_a_disk_that_refuses_for_a_while(tmp_path: Path, error: str) -> None:
    reason = why_not()
    if reason is not None:
        pytest.skip(f"NOT TESTED WITH A DISK THAT REFUSES: {reason}")
    kept: dict[str, int] = {}
    with started(tmp_path / "repo") as node:
        for number in range(6):
            kept[node.add(content(number))] = number
        wait_until(lambda: tier(node, "cold"), "something has gone down")
        with refusing(node, error):
            for number in range(100, 103):
                text = refuse(lambda number=number: node.add(content(number)))  # type: ignore[misc]  # bound now
                print(text)
                assert "disk" in text or "volume" in text
            check(node, kept)
        kept[node.add(content(200))] = 200
        check(node, kept)
        b"".join(node.stream("repo/gc"))
        rows = node.call("shoal/actors")["Actors"]
        assert {row["State"] for row in rows} == {"running"}
        node.kill9()
    with started(tmp_path / "repo") as node:
        check(node, kept)
        assert node.stop() == 0
