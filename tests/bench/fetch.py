"""``bin/bench fetch``: one file, from a holder to a fetcher, from the request until it is read whole and stored.

Every run of every contestant has two fresh processes, fresh folders and a connection that is up already; what earlier
ones left unwritten is synced before the clock starts.  The bytes are compared after it has stopped.
"""

import argparse
import filecmp
import time
from pathlib import Path
from typing import Any, Final

from shoal.tests.bench import options as opts
from shoal.tests.bench import report
from shoal.tests.bench.contestant import Pair, Pairing, StoresOnly, pair
from shoal.tests.bench.numbers import size_text
from shoal.tests.bench.report import PEAKS, Column, Shape, in_seconds
from shoal.tests.bench.runs import Figures, alternate, settle, write_random
from shoal.tests.support.processes import ChildFailed

SHAPE: Final = Shape(
    columns=(*in_seconds("median s", "seconds"), Column("MiB/s", "mib_per_s", show="{:.1f}".format), *PEAKS),
    compared={"seconds": ""},
)

QUICK: Final = ("--size", "8MiB", "--runs", "1")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument("--size", type=opts.size, default="100MiB", help="of the file (default %(default)s)")
    opts.shared(parser, "file")


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run everything; the report, ready for JSON.  ``folder`` is empty and ours."""
    source = write_random(folder / "source.bin", options.size, options.seed)

    def attempt(who: Pairing, place: Path, _: int) -> Figures:
        with pair(who.holder, who.fetcher, place) as both:
            seconds = fetch(both, both.holder.hold(source), source, place / "fetched.bin", options.timeout)
            return {"seconds": seconds, "mib_per_s": options.size / 1024**2 / seconds, **peaks(both)}

    results = alternate(options.contestants, options.runs, folder, attempt)
    title = f"fetch of {size_text(options.size)}, two processes on loopback"
    return report.report(title, {"size_bytes": options.size}, results, SHAPE)


def fetch(both: Pair, name: str, source: Path, out: Path, timeout_s: float) -> float:
    """Fetch a file and compare it with what was held; the seconds that the fetch took."""
    seconds = timed(both, name, out, timeout_s)
    compare(both, name, source, out, timeout_s)
    return seconds


def timed(both: Pair, name: str, out: Path, timeout_s: float, *, tree: bool = False) -> float:
    """Fetch a file or directory; the seconds that it took."""
    settle()
    begun = time.perf_counter()
    both.fetcher.fetch(name, out, timeout_s, tree=tree)
    return time.perf_counter() - begun


def compare(both: Pair, name: str, source: Path, out: Path, timeout_s: float) -> None:
    """Raise ChildFailed unless the file that was fetched is the one that was held."""
    written(both, name, out, timeout_s)
    if not filecmp.cmp(source, out, shallow=False):
        raise ChildFailed("the bytes that were fetched are not those that were held")


def written(both: Pair, name: str, out: Path, timeout_s: float) -> None:
    """See to it that what was fetched is at ``out``."""
    if isinstance(both.fetcher, StoresOnly):
        both.fetcher.write_out(name, out, timeout_s)


def peaks(both: Pair) -> Figures:
    """The highest resident memory of the two."""
    return {"holder_peak_rss_bytes": both.holder.peak_rss(), "fetcher_peak_rss_bytes": both.fetcher.peak_rss()}


def text(found: dict[str, Any]) -> str:
    """The report as a table."""
    return report.text(found, SHAPE)
