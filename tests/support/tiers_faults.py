"""Drives ``tiers_child``: one day after the other, each with another of its system calls killed or failing.

Begin at ``Forker.live``.  ``Site.check`` opens what a day has left, as the next start of the node would, and holds it
to what the day had been told.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from shoal.tests.support.processes import ROOT
from shoal.tests.support.tiers import BLOCK_MAX, DURABLE, FILES, POLICY, SETTLED_S, TiersNode
from shoal.tests.support.tiers_day import Expected, Told, expected

EVERY_VARIABLE: Final = "FAULTS_EVERY"
"""Set to 1 in the environment, it has every point broken instead of a sample."""

FAST_FOLDER: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # where a sync costs nothing
NEXT_DAY_S: Final = 10_000.0  # the clock of a life begins behind the end of the one before

CALLS: Final = (
    "pwrite64", "pwritev", "pwritev2", "write", "fsync", "fdatasync", "rename", "renameat", "renameat2",
    "unlink", "unlinkat", "ftruncate", "mkdir", "mkdirat", "openat",
)  # fmt: skip
"""Every call by which a file or folder of a node changes; ``openat`` counts where it may make one."""

TRACE: Final = ",".join(f"?{call}" for call in CALLS)  # not every machine has each of them


@dataclass(frozen=True, slots=True)
class Point:
    """The ``nth`` call of its name in a life, counted from 1, made in a ``step`` of the day (-1: before the first)."""

    call: str
    nth: int
    step: int = -1


@dataclass(frozen=True, slots=True)
class Break:
    """What happens at a point: ``how`` is strace's ``signal=KILL`` or ``error=EIO``.

    ``until`` is behind the number, in strace's words: "..7" for more calls, "+" for all, "+3" for every third.
    """

    point: Point
    how: str
    until: str = ""

    def __str__(self) -> str:
        return f"{self.point.call}:{self.how}:when={self.point.nth}{self.until}"


def why_not() -> str | None:
    """Why strace cannot be used here, or None when it can."""
    strace = shutil.which("strace")
    if strace is None:
        return "strace is not installed"
    tried = subprocess.run([strace, "-o", os.devnull, "true"], capture_output=True, text=True)
    return tried.stderr.strip() or "strace failed" if tried.returncode else None


class Forker:
    """The process that forks the children.  A context manager that ends it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            environment = {**os.environ, "PYTHONPATH": str(ROOT / ".links"), "PYTHONHASHSEED": "0"}
            self._process = subprocess.Popen(
                [sys.executable, "-B", "-m", "shoal.tests.support.tiers_child"],
                stdin=subprocess.PIPE, stdout=theirs.fileno(), env=environment, text=True, bufsize=1,
            )  # fmt: skip
        self._ours = ours
        self._said = ours.makefile("r", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._said.close()
        self._ours.close()

    def live(self, folder: Path, strace: Sequence[str], at: float = 0.0, *, restarts: bool = True) -> Told:
        """One life in ``folder``, from the start of the node to its end, with strace's options for what to break."""
        self._tell(f"{folder} {at} {int(restarts)}")
        word, pid = self._line().split()
        assert word == "pid"
        tracer = subprocess.Popen(["strace", *strace, "-p", pid], stderr=subprocess.PIPE, text=True)
        assert tracer.stderr is not None
        try:
            said = tracer.stderr.readline()
            assert "attached" in said, said
            self._tell("go")
            told = Told()
            while self._hear(self._line(), told):
                pass
            tracer.wait(60)
        finally:
            if tracer.poll() is None:
                tracer.kill()
                tracer.wait()
            tracer.stderr.close()
        return told

    def broken(self, folder: Path, *breaks: Break, at: float = 0.0, restarts: bool = True) -> Told:
        """A life of which some calls are broken; of one name there may be one break."""
        options = [word for each in breaks for word in ("-e", f"inject={each}")]
        told = self.live(folder, ["-o", os.devnull, *options], at, restarts=restarts)
        assert told.bugs == [], told.bugs[0]
        return told

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _line(self) -> str:
        line = self._said.readline()
        assert line, "the forking process has ended"
        return line.rstrip("\n")

    def _hear(self, line: str, told: Told) -> bool:
        """Take one line; False for the last."""
        word, _, rest = line.partition(" ")
        match word:
            case "begin":
                told.begun.add(int(rest))
            case "done":
                told.done.add(int(rest))
            case "fault":
                told.faults.append(rest)
            case "bug" | "gave":
                told.bugs.append(line)
            case "end":
                told.status = int(rest)
                return False
            case _:
                raise AssertionError(line)
        return True


def points_of(forker: Forker, *, restarts: bool = True) -> list[Point]:
    """Every write-side call of a whole life, in order."""
    with site() as one:
        log = one.folder.with_name("trace")
        told = forker.live(one.folder, ["-o", str(log), "-e", f"trace={TRACE},sendto"], restarts=restarts)
        assert (told.status, told.faults, told.bugs) == (0, [], [])
        one.check(told)
        return read_points(log.read_text())


def read_points(trace: str) -> list[Point]:
    """The calls in a log of strace's.  Of ``openat`` only those that may make a file count, but all are numbered."""
    counts = Counter[str]()
    points: list[Point] = []
    step = -1
    for line in trace.splitlines():
        found = re.match(r"(?:\d+ +)?(\w+)\(", line)
        if found is None:
            continue
        call = found[1]
        if call == "sendto":
            said = re.search(r'"begin (\d+)', line)
            step = int(said[1]) if said else step
            continue
        counts[call] += 1
        if call != "openat" or "O_CREAT" in line:
            points.append(Point(call, counts[call], step))
    return points


def sample(points: Sequence[Point], count: int, seed: int) -> list[Point]:
    """``count`` of the points, by turns from every kind of call and from every step; in the exhaustive mode all."""
    if os.environ.get(EVERY_VARIABLE) == "1" or count >= len(points):
        return list(points)
    rng = random.Random(seed)
    groups: dict[str | int, list[Point]] = {}
    for point in rng.sample(points, len(points)):
        groups.setdefault(point.call, []).append(point)
        groups.setdefault(point.step, []).append(point)
    chosen: set[Point] = set()
    while len(chosen) < count:
        for group in rng.sample(list(groups.values()), len(groups)):
            if group and len(chosen) < count:
                chosen.add(group.pop())
    return [point for point in points if point in chosen]


# --- what is left ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """The folder of one node, in which lives follow each other."""

    folder: Path

    def check(self, *lives: Told) -> None:
        """Open the folder as the next starts would, and see that all is as these lives say."""
        want = expected(*lives)
        at = NEXT_DAY_S * len(lives)
        with TiersNode(self.folder, at) as node:
            first = node.snapshot()
            look_at(node, want)
        with TiersNode(self.folder, at + 100) as node:
            assert node.snapshot() == first, "a second start finds the same"
            node.sleep(SETTLED_S)
            look_at(node, want)
            settled(node)
            node.collect()  # what was read within the last seconds may stay; nothing that is pinned may go
            node.add("last", pin=True)
            node.read("last")
            look_at(node, Expected(kept=want.kept | {"last"}, perhaps=want.perhaps))
            assert node.given_up == ""
        with TiersNode(self.folder, at + 200) as node:
            node.sleep(SETTLED_S)
            node.collect()
            pinned = {block.cid.multihash for name in node.pins() for block in FILES[name].blocks}
            assert node.all_here() == pinned, "a collection takes what nobody keeps, and nothing else"


@contextmanager
def telling(what: object) -> Iterator[None]:
    """Say at which break a check failed."""
    try:
        yield
    except BaseException as fault:
        fault.add_note(f"after {what}")
        raise


@contextmanager
def site() -> Iterator[Site]:
    """A folder that goes when the test is over."""
    place = Path(tempfile.mkdtemp(dir=FAST_FOLDER))
    try:
        yield Site(place / "repo")
    finally:
        shutil.rmtree(place)


def look_at(node: TiersNode, want: Expected) -> None:
    """Whether all that is wanted is here, with its bytes and its pins, and the tiers are within their quotas."""
    for name in sorted(want.kept | want.whole):
        missing = {block.cid.multihash for block in FILES[name].blocks} - node.here(name)
        assert not missing, f"{len(missing)} blocks of {name} are lost"
    node.all_here()
    for name in sorted(want.kept):
        node.read(name)
    pins = node.pins()
    assert want.kept <= pins, f"pins are lost: {want.kept - pins}"
    assert pins <= want.kept | want.perhaps, f"pins that nobody wants: {pins - want.kept - want.perhaps}"
    for name in want.gone:
        shared = {block.cid.multihash for other in FILES for block in FILES[other].blocks if other != name}
        assert not (node.here(name) - shared), f"{name} was removed and has come back"
    for tier, quota in zip(DURABLE, (POLICY.disk_bytes, POLICY.cold_bytes), strict=True):
        held, stat = node.held(tier), node.stat(tier)
        assert (stat.blocks, stat.size) == (len(held), sum(held.values())), f"the {tier} tier counts itself wrong"
        assert stat.size <= quota + BLOCK_MAX


def settled(node: TiersNode) -> None:
    """After a while no block is in two tiers, and the catalogue knows of each where it is."""
    disk, cold = (node.held(tier) for tier in DURABLE)
    assert not disk.keys() & cold.keys(), "second copies were not dropped"
    for tier, held in zip(DURABLE, (disk, cold), strict=True):
        for name in held:
            cid = next(block.cid for file in FILES.values() for block in file.blocks if block.cid.multihash == name)
            assert node.api.keeping.usage(str(cid)).tier == tier, f"the catalogue has {cid} elsewhere than in {tier}"
