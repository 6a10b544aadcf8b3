"""``bin/bench add``: a file's import: from the request to its CID, as durable as each makes it.

shoal's file is uploaded over HTTP by a client in Python; Kubo and py-libp2p read it themselves.
"""

import argparse
import time
from pathlib import Path
from typing import Any, Final

from shoal.tests.bench import options as opts
from shoal.tests.bench import report
from shoal.tests.bench.contestant import Pairing
from shoal.tests.bench.numbers import size_text
from shoal.tests.bench.report import Column, Shape, in_seconds
from shoal.tests.bench.runs import Figures, alternate, settle, write_random

SHAPE: Final = Shape(
    columns=(
        *in_seconds("median s", "seconds"),
        Column("MiB/s", "mib_per_s", show="{:.1f}".format),
        Column("RSS", "peak_rss_bytes", "max", size_text),
    ),
    compared={"seconds": ""},
)

QUICK: Final = ("--size", "8MiB", "--runs", "1")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument("--size", type=opts.size, default="1GiB", help="of the file (default %(default)s)")
    opts.shared(parser, "block", mixed=False)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run everything; the report, with the CID that each came to."""
    source = write_random(folder / "source.bin", options.size, options.seed)
    cids: dict[str, str] = {}

    def attempt(who: Pairing, place: Path, _: int) -> Figures:
        with who.holder.start(place / "holder") as holder:
            settle()
            begun = time.perf_counter()
            cids[who.name] = holder.hold(source)
            seconds = time.perf_counter() - begun
            mib_per_s = options.size / 1024**2 / seconds
            return {"seconds": seconds, "mib_per_s": mib_per_s, "peak_rss_bytes": holder.peak_rss()}

    results = alternate(options.contestants, options.runs, folder, attempt)
    found = report.report(f"import of {size_text(options.size)}", {"size_bytes": options.size}, results, SHAPE)
    return {**found, "cids": cids}


def text(found: dict[str, Any]) -> str:
    """The report as a table."""
    return report.text(found, SHAPE, [report.agreement(found["cids"])])
