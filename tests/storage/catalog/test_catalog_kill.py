"""kill -9 in the middle of pins, notes and marks: an acknowledged pin is there, and one that was ended is not."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shoal.storage.catalog.catalog import Catalog
from shoal.storage.catalog.rows import Pin
from shoal.tests.storage.catalog import pin_until_killed
from shoal.tests.storage.catalog.pin_until_killed import KEPT, NOW, pin_of
from shoal.tests.storage.disk import tracing
from shoal.tests.storage.disk.samples import child_environment

pytestmark = pytest.mark.faults

ROUNDS = 8
DELAY_MAX_S = 0.2


def command(folder: Path, first: int) -> list[str]:
    return [sys.executable, "-B", pin_until_killed.__file__, str(folder), str(first)]


def said_in(output: str) -> list[tuple[str, int]]:
    """The words and numbers of the lines; what is behind the last newline was not said whole."""
    return [(word, int(number)) for word, number in (line.split() for line in output.split("\n")[:-1])]


def run_and_kill(folder: Path, first: int, delay_s: float) -> list[tuple[str, int]]:
    """What the child said before it was killed ``delay_s`` after its first word."""
    child = subprocess.Popen(command(folder, first), stdout=subprocess.PIPE, env=child_environment(), text=True)
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


def run_until_call(folder: Path, first: int, inject: str) -> list[tuple[str, int]]:
    """What the child said before strace killed it on entry to the system call that ``inject`` names."""
    argv = [*tracing.injecting(inject), *command(folder, first)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, env=child_environment(), text=True, timeout=120)
    assert done.returncode != 0
    return said_in(done.stdout)


class History:
    """What several children said about one folder, and the check of the folder against it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: dict[str, set[int]] = {"start": set(), "pinned": set(), "drop": set(), "dropped": set()}

    @property
    def next(self) -> int:
        return max(self.said["start"], default=-1) + 1

    def add(self, said: list[tuple[str, int]]) -> None:
        for word, number in said:
            self.said[word].add(number)

    def check(self) -> None:
        catalog = Catalog(self.folder)
        catalog.open()  # which reads every pin and adds them up
        assert (catalog.marking, catalog.rebuilt) == (None, 0)
        assert not (self.folder / "marks.sqlite").exists()
        there = {pin.cid: pin for pin in catalog.pins(None, 4096)}
        assert len(there) == catalog.pin_count()
        for number in self.said["pinned"] - self.said["drop"]:
            cid, recursive, name = pin_of(number)
            assert there[cid] == Pin(cid, recursive, name, NOW + number), "acknowledged, and gone or changed"
        for number in self.said["dropped"]:
            assert pin_of(number)[0] not in there
        known = {pin_of(number)[0] for number in self.said["start"]}
        assert there.keys() <= known
        if self.said["pinned"]:
            (noted,) = catalog.usage([pin_of(min(self.said["pinned"]))[0]])
            assert noted is None or noted.n == 1
        catalog.close()

    def skip_ahead(self) -> int:
        """Where the next child starts: so that it ends no pin whose making was cut short."""
        return self.next + KEPT


def test_killed_at_random_moments(tmp_path: Path) -> None:
    history = History(tmp_path / "catalog")
    rng = random.Random(5)
    first = 0
    for _ in range(ROUNDS):
        history.add(run_and_kill(history.folder, first, rng.uniform(0, DELAY_MAX_S)))
        history.check()
        first = history.skip_ahead()
    assert history.said["pinned"], "no round got as far as one pin"


@pytest.mark.parametrize(
    "inject",
    [
        "pwrite64:signal=KILL:when=3",  # while the tables are made
        "fdatasync,fsync:signal=KILL:when=2",
        "pwrite64:signal=KILL:when=40",
        "fdatasync,fsync:signal=KILL:when=14",
        "pwrite64:signal=KILL:when=301",
        "ftruncate,unlink:signal=KILL:when=6",  # while marks are thrown away
    ],
)
def test_killed_at_chosen_calls(tmp_path: Path, inject: str) -> None:
    reason = tracing.why_not()
    if reason is not None:
        pytest.skip(f"NOT TESTED WITH A KILL AT EACH CALL: {reason}")
    history = History(tmp_path / "catalog")
    history.add(run_until_call(history.folder, 0, inject))
    history.check()
    history.add(run_and_kill(history.folder, history.skip_ahead(), 0.05))
    history.check()
    assert history.said["pinned"]
