"""``bin/bench blocks``: many small blocks of one DAG: a file in chunks of 1 KiB with raw leaves, fetched whole.

All but py-libp2p hold the very same DAG: shoal's importer makes the blocks for Kubo too (see ``contestants.kubo``).
"""

import argparse
from pathlib import Path
from typing import Any, Final

from shoal.tests.bench import options as opts
from shoal.tests.bench import report
from shoal.tests.bench.contestant import Pairing, pair
from shoal.tests.bench.fetch import fetch, peaks
from shoal.tests.bench.numbers import size_text
from shoal.tests.bench.report import PEAKS, Column, Shape, in_seconds
from shoal.tests.bench.runs import Figures, alternate, write_random

SHAPE: Final = Shape(
    columns=(*in_seconds("median s", "seconds"), Column("blocks/s", "blocks_per_s", show="{:.0f}".format), *PEAKS),
    compared={"seconds": ""},
)

QUICK: Final = ("--blocks", "500", "--runs", "1")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument("--blocks", type=opts.count, default=10_000, help="leaves (default %(default)s)")
    parser.add_argument("--size", type=opts.size, default="1KiB", help="of a leaf (default %(default)s)")
    opts.shared(parser, "chunked")


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run everything; the report, with the CID of everyone's DAG."""
    source = write_random(folder / "source.bin", options.blocks * options.size, options.seed)
    cids: dict[str, str] = {}

    def attempt(who: Pairing, place: Path, _: int) -> Figures:
        with pair(who.holder, who.fetcher, place) as both:
            name = cids[who.name] = both.holder.hold(source, options.size)
            seconds = fetch(both, name, source, place / "fetched.bin", options.timeout)
            return {"seconds": seconds, "blocks_per_s": options.blocks / seconds, **peaks(both)}

    results = alternate(options.contestants, options.runs, folder, attempt)
    title = f"fetch of {options.blocks} blocks of {size_text(options.size)} that are one file"
    found = report.report(title, {"blocks": options.blocks, "block_bytes": options.size}, results, SHAPE)
    return {**found, "cids": cids}


def text(found: dict[str, Any]) -> str:
    """The report as a table."""
    return report.text(found, SHAPE, [report.agreement(found["cids"])])
