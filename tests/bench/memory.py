"""``bin/bench memory``: the resident memory of both ends over the time of one fetch, as a plot and as peaks.

Samples are taken ten times a second, from before the fetch until a little after it.  The kernel keeps the peak itself
(VmHWM, from the start of the process: that includes the holder's import), so none falls between two samples.
"""

import argparse
import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from shoal.tests.bench import options as opts
from shoal.tests.bench import plot, report
from shoal.tests.bench.contestant import Pair, Pairing, pair
from shoal.tests.bench.fetch import compare, peaks, timed
from shoal.tests.bench.numbers import size_text
from shoal.tests.bench.report import PEAKS, Column, Shape
from shoal.tests.bench.runs import Figures, alternate, write_random
from shoal.tests.support.processes import ChildFailed

SHAPE: Final = Shape(
    columns=(
        Column("fetch s", "seconds"),
        *PEAKS,
        Column("before", "fetcher_before_bytes", show=size_text),
        Column("after", "fetcher_after_bytes", show=size_text),
    ),
    compared={"holder_peak_rss_bytes": "holder ", "fetcher_peak_rss_bytes": "fetcher "},
    better="as small",
)

QUICK: Final = ("--size", "8MiB", "--runs", "1")
PERIOD_S: Final = 0.1
BEFORE_AND_AFTER_S: Final = 1.0  # seconds sampled at rest, so that the plot shows where the fetch begins and ends

Sample = tuple[float, int, int]
"""Seconds from the fetch's start, then the resident bytes of holder and fetcher."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument("--size", type=opts.size, default="1GiB", help="of the file (default %(default)s)")
    parser.add_argument("--png", type=Path, metavar="FILE", help="the plot (default: memory.png in --dir)")
    opts.shared(parser, "file", mixed=False)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run everything and plot it; the report, with the samples of every run."""
    source = write_random(folder / "source.bin", options.size, options.seed)
    curves: dict[str, list[list[Sample]]] = defaultdict(list)

    def attempt(who: Pairing, place: Path, _: int) -> Figures:
        with pair(who.holder, who.fetcher, place) as both:
            name = both.holder.hold(source)
            before = both.fetcher.rss()
            with sampled(both) as samples:
                seconds = timed(both, name, place / "fetched.bin", options.timeout)
            curves[who.name].append(samples)
            ends = {"fetcher_before_bytes": before, "fetcher_after_bytes": both.fetcher.rss()}
            figures = {"seconds": seconds, **peaks(both), **ends}
            compare(both, name, source, place / "fetched.bin", options.timeout)
            return figures

    results = alternate(options.contestants, options.runs, folder, attempt)
    title = f"memory through a fetch of {size_text(options.size)}"
    found = report.report(title, {"size_bytes": options.size}, results, SHAPE)
    png = options.png or options.dir / "memory.png"
    plot.memory(title, curves, png)
    return {**found, "plot": str(png), "samples": curves}


@contextlib.contextmanager
def sampled(both: Pair) -> Iterator[list[Sample]]:
    """Sample both, from a little before the body until a little after it."""
    samples: list[Sample] = []
    enough = threading.Event()
    begun = time.perf_counter() + BEFORE_AND_AFTER_S

    def watch() -> None:
        with contextlib.suppress(ChildFailed, OSError):  # one that has ended fails the fetch, and is told there
            while not enough.wait(PERIOD_S):
                samples.append((time.perf_counter() - begun, both.holder.rss(), both.fetcher.rss()))

    watcher = threading.Thread(target=watch, name="memory", daemon=True)
    watcher.start()
    try:
        time.sleep(BEFORE_AND_AFTER_S)
        yield samples
        time.sleep(BEFORE_AND_AFTER_S)
    finally:
        enough.set()
        watcher.join()


def text(found: dict[str, Any]) -> str:
    """The report as a table."""
    return report.text(found, SHAPE, [f"plot: {found['plot']}"])
