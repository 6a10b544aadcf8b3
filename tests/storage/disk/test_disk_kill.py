"""kill -9 in the middle of puts and deletes: what was acknowledged is there and hashes to its name."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shoal.messages.cid import CID
from shoal.storage.disk.store import DiskStore
from shoal.tests.storage.disk import put_until_killed, tracing
from shoal.tests.storage.disk.put_until_killed import batch_of
from shoal.tests.storage.disk.samples import QUOTA, child_environment

pytestmark = pytest.mark.faults

ROUNDS = 10
DELAY_MAX_S = 0.25


def command(path: Path, first: int) -> list[str]:
    return [sys.executable, "-B", put_until_killed.__file__, str(path), str(first)]


def said_in(output: str) -> list[tuple[str, int]]:
    """The words and numbers of the lines; what is behind the last newline was not said whole."""
    return [(word, int(number)) for word, number in (line.split() for line in output.split("\n")[:-1])]


def run_and_kill(path: Path, first: int, delay_s: float) -> list[tuple[str, int]]:
    """What the child said before it was killed ``delay_s`` after its first word."""
    child = subprocess.Popen(command(path, first), stdout=subprocess.PIPE, env=child_environment(), text=True)
    assert child.stdout is not None
    try:
        head = child.stdout.readline()
        assert head, "the child could not start"
        time.sleep(delay_s)  # the point in its work at which it dies; nothing is asserted about time
    finally:
        child.kill()
        tail = child.stdout.read()
        child.stdout.close()
        child.wait()
    return said_in(head + tail)


def run_until_call(path: Path, first: int, inject: str) -> list[tuple[str, int]]:
    """What the child said before strace killed it on entry to the system call that ``inject`` names."""
    argv = [*tracing.injecting(inject), *command(path, first)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, env=child_environment(), text=True, timeout=120)
    assert done.returncode != 0
    return said_in(done.stdout)


def all_cids(store: DiskStore) -> list[CID]:
    cids: list[CID] = []
    while page := store.list(cids[-1].multihash if cids else None, 100):
        cids.extend(page)
    return cids


class History:
    """What several children said about one file, and the check of the file against it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.started: set[int] = set()
        self.put: set[int] = set()
        self.dropping: set[int] = set()
        self.dropped: set[int] = set()

    @property
    def next(self) -> int:
        return max(self.started, default=-1) + 1

    def add(self, said: list[tuple[str, int]]) -> None:
        words = {"start": self.started, "put": self.put, "drop": self.dropping, "dropped": self.dropped}
        for word, number in said:
            words[word].add(number)

    def check(self) -> None:
        store = DiskStore(self.path, QUOTA)
        store.open()
        for number in sorted(self.put - self.dropping):
            batch = batch_of(number)
            assert store.get_many([block.cid for block in batch]) == batch
        for number in sorted(self.dropped):
            batch = batch_of(number)
            assert store.sizes([block.cid for block in batch]) == [None] * len(batch)
        for number in sorted((self.started - self.put) | (self.dropping - self.dropped)):  # cut short: all or nothing
            batch = batch_of(number)
            assert store.get_many([block.cid for block in batch]) in (batch, [None] * len(batch))
        cids = all_cids(store)
        stats = store.stats()
        assert (stats.blocks, stats.damaged_reads) == (len(cids), 0)
        assert stats.bytes == sum(size or 0 for size in store.sizes(cids))
        assert store._file.db.conn.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        store.close()


def test_killed_at_random_moments(tmp_path: Path) -> None:
    history = History(tmp_path / "blocks.sqlite")
    rng = random.Random(20)
    for _ in range(ROUNDS):
        history.add(run_and_kill(history.path, history.next, rng.uniform(0, DELAY_MAX_S)))
        history.check()
    assert history.put, "no round got as far as one put"


def test_killed_at_chosen_calls(tmp_path: Path) -> None:
    reason = tracing.why_not()
    if reason is not None:
        pytest.skip(f"NOT TESTED WITH A KILL AT EACH CALL: {reason}")
    history = History(tmp_path / "blocks.sqlite")
    # On the first file: while the tables are made.  Later: in the log, at the sync, in a checkpoint.
    for inject in (
        "pwrite64:signal=KILL:when=3",
        "pwrite64:signal=KILL:when=19",
        "fdatasync,fsync:signal=KILL:when=3",
        "pwrite64:signal=KILL:when=101",
        "fdatasync,fsync:signal=KILL:when=14",
        "pwrite64:signal=KILL:when=702",
        "ftruncate,unlink:signal=KILL:when=2",
    ):
        history.add(run_until_call(history.path, history.next, inject))
        history.check()
    assert history.put, "no round got as far as one put"
