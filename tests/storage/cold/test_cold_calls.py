"""kill -9, EIO and ENOSPC at every write-side system call of a cold store's day: put, seal, delete, compact, upload.

strace attaches to a waiting child and breaks one call of it.  What was acknowledged must be there afterwards, with the
index that the child left and with one made anew; what was deleted must be gone as long as the index is there.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from shoal.messages.block import Block
from shoal.storage.cold.places import INDEX_NAME
from shoal.storage.cold.store import ColdStore
from shoal.tests.storage.cold import workload
from shoal.tests.storage.cold.sites import S3, Site, whole_archive
from shoal.tests.storage.cold.workload import BATCHES, DAY, KEPT, SEGMENT_BYTES
from shoal.tests.storage.disk import tracing
from shoal.tests.storage.disk.samples import child_environment
from shoal.tests.storage.disk.test_disk_damage import folder

pytestmark = pytest.mark.faults

CALLS: Final = ("pwritev", "pwritev2", "pwrite64", "fdatasync", "fsync", "ftruncate", "unlink", "mkdir")
EVERY: Final = ",".join(CALLS)


@dataclass
class Day:
    """What one child said."""

    begun: set[int] = field(default_factory=set)
    done: set[int] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    status: int = 0

    def hear(self, line: str) -> bool:
        """Take one line; False for the last."""
        word, _, rest = line.partition(" ")
        if word == "begin":
            self.begun.add(int(rest))
        elif word == "done":
            self.done.add(int(rest))
        elif word == "fault":
            self.faults.append(rest)
        elif word == "end":
            self.status = int(rest)
            return False
        else:
            raise AssertionError(line)
        return True


@dataclass
class Forker:
    """The process that forks the children."""

    process: subprocess.Popen[str]

    def day(self, site: Site, strace: list[str]) -> Day:
        """One child's day in ``site``, with strace's options for what to break or watch."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{site.folder} {site.url or '-'}\n")
        self.process.stdin.flush()
        word, pid = self.process.stdout.readline().split()
        assert word == "pid"
        tracer = subprocess.Popen(["strace", "-f", *strace, "-p", pid], stderr=subprocess.PIPE, text=True)
        assert tracer.stderr is not None
        try:
            said = tracer.stderr.readline()
            assert "attached" in said, said
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
            day = Day()
            while day.hear(self.process.stdout.readline().rstrip("\n")):
                pass
            return day
        finally:
            if tracer.poll() is None:
                tracer.wait(10)
            tracer.stderr.close()


@contextmanager
def running_forker() -> Iterator[Forker]:
    argv = [sys.executable, "-B", workload.__file__]
    pipe = subprocess.PIPE
    process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, env=child_environment(), text=True)
    try:
        yield Forker(process)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    reason = tracing.why_not()
    if reason is not None:
        pytest.skip(f"NOT TESTED WITH A FAULT AT EACH CALL: {reason}")
    with running_forker() as running:
        yield running


def counted(forker: Forker, url: str = "") -> Counter[str]:
    """How many of each call an undisturbed day has; it must do all that the tests are about."""
    with folder() as place:
        log = place / "log"
        site = Site(place / "cold", url)
        day = forker.day(site, ["-o", str(log), "-e", f"trace={EVERY}"])
        assert (day.status, day.faults) == (0, [])
        assert len(day.done) == len(DAY)
        assert "0000.car.zst" not in [path.name for path in site.files()], "it was sealed, compacted and removed"
        assert (len(site.files()) > 1) != bool(url)
        return Counter(re.findall(r"^(?:\d+ +)?(\w+)\(", log.read_text(), re.MULTILINE))


def held(store: ColdStore, blocks: list[Block]) -> list[bool]:
    """Which of ``blocks`` are here; AssertionError for one that is here and not itself."""
    got = store.get_many([block.cid for block in blocks])
    assert all(found is None or found == block for found, block in zip(got, blocks, strict=True))
    return [found is not None for found in got]


def check(site: Site, day: Day) -> None:
    """The store against what the child said, then the same with a new index."""
    done = {DAY[number][:2] for number in day.done}
    begun = {DAY[number][:2] for number in day.begun}
    for without_index in (False, True):
        if without_index:
            (site.folder / INDEX_NAME).unlink(missing_ok=True)
        store = site.open(segment_bytes=SEGMENT_BYTES)
        for number, batch in enumerate(BATCHES):
            if ("put", number) in done:
                sure = batch if ("delete", number) not in begun else KEPT[number]
                assert all(held(store, sure)), f"acknowledged batch {number}, without index: {without_index}"
            if number in KEPT and ("delete", number) in done and not without_index:
                assert not any(held(store, workload.doomed(number)))
        stats = store.stats()
        assert (stats.quarantined, stats.damaged_reads) == (0, 0)
        assert store.repairs.lost == []
        names = store.list(None, 1000)
        assert (stats.blocks, stats.bytes) == (len(names), sum(size or 0 for size in store.sizes(names)))
        while store.compact(1 << 20).segment is not None:
            pass
        store.put_many(BATCHES[5])
        assert all(held(store, BATCHES[5]))
        store.close()
        for path in site.files():
            assert whole_archive(path) or not path.stat().st_size


def test_killed_at_every_call(forker: Forker) -> None:
    killed = 0
    for call, count in counted(forker).items():
        for nth in range(1, count + 1):
            with folder() as place:
                site = Site(place / "cold")
                day = forker.day(site, ["-o", os.devnull, "-e", f"inject={call}:signal=KILL:when={nth}"])
                assert not [fault for fault in day.faults if "bug" in fault]
                killed += day.status == 9
                check(site, day)
    assert killed > 50, "most of the calls are made again in the same order, and kill"


def test_killed_while_segments_go_to_an_object_store(forker: Forker, s3: S3) -> None:
    killed = 0
    for call, count in counted(forker, s3.url()).items():
        for nth in range(1, count + 1, 1 if call == "unlink" else 4):
            with folder() as place:
                site = Site(place / "cold", s3.url())
                day = forker.day(site, ["-o", os.devnull, "-e", f"inject={call}:signal=KILL:when={nth}"])
                killed += day.status == 9
                check(site, day)
    assert killed > 15


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_an_error_at_every_call(forker: Forker, error: str) -> None:
    met = 0
    for call, count in counted(forker).items():
        for nth in range(1, count + 1):
            with folder() as place:
                site = Site(place / "cold")
                day = forker.day(site, ["-o", os.devnull, "-e", f"inject={call}:error={error}:when={nth}"])
                assert day.status == 0, f"{call} {nth}"
                assert all("Storage" in fault for fault in day.faults), day.faults
                met += bool(day.faults)
                check(site, day)
    assert met > 30, "most errors must be told"


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_errors_again_and_again(forker: Forker, error: str) -> None:
    met = 0
    for call, count in counted(forker).items():
        for first in range(count // 2, count // 2 + 4):  # behind what opening takes: it would never succeed
            with folder() as place:
                site = Site(place / "cold")
                day = forker.day(site, ["-o", os.devnull, "-e", f"inject={call}:error={error}:when={first + 1}+4"])
                assert day.status == 0
                assert all("Storage" in fault for fault in day.faults), day.faults
                met += len(day.faults)
                check(site, day)
    assert met > 30


def test_what_is_acknowledged_was_synced(forker: Forker, tmp_path: Path) -> None:
    """Behind each run of writes to a segment comes its sync, and a delete syncs the index's log."""
    log = tmp_path / "log"
    site = Site(tmp_path / "cold")
    day = forker.day(site, ["-y", "-o", str(log), "-e", f"trace={EVERY},write"])
    assert day.faults == []
    steps: dict[int, list[str]] = {}
    current = -1
    for line in log.read_text().splitlines():
        if found := re.search(r'^(?:\d+ +)?write\(1<.*?"(begin|done) (\d+)', line):
            current = int(found[2]) if found[1] == "begin" else -1
        elif (found := re.search(r"^(?:\d+ +)?(\w+)\((?:\d+)?<?([^>,]*)", line)) and current >= 0:
            steps.setdefault(current, []).append(f"{found[1]} {Path(found[2]).name}")
    for number, (what, _, _) in enumerate(DAY):
        calls = steps.get(number, [])
        if what == "put":
            writes = [index for index, call in enumerate(calls) if call.startswith("pwritev") and ".car.zst" in call]
            syncs = [index for index, call in enumerate(calls) if call.startswith("fdatasync") and ".car.zst" in call]
            assert len(writes) == len(syncs) == 1, calls
            assert writes[0] < syncs[0]
        if what == "delete":
            assert any(call.startswith(("fdatasync", "fsync")) and "-wal" in call for call in calls), calls
        if what == "compact" and any(call.startswith("unlink") for call in calls):
            gone = next(index for index, call in enumerate(calls) if call.startswith("unlink"))
            assert any(call.startswith(("fdatasync", "fsync")) and "-wal" in call for call in calls[:gone]), calls
