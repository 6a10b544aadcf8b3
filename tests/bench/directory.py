"""``bin/bench directory``: many small files in one directory, fetched whole and written out as files.

6,000 files have names enough for a HAMT, 1,000 have not.  ``again`` is the same fetch once all is here: reading the
store, packing and writing the files.  shoal's client unpacks a tar in Python; Kubo writes the files itself.
"""

import argparse
import random
from pathlib import Path
from typing import Any, Final

from shoal.storage.ipld.profile import UNIXFS_V0_2015
from shoal.tests.bench import options as opts
from shoal.tests.bench import report
from shoal.tests.bench.contestant import Pair, Pairing, pair
from shoal.tests.bench.fetch import peaks, timed, written
from shoal.tests.bench.numbers import size_text
from shoal.tests.bench.report import PEAKS, Column, Shape, in_seconds
from shoal.tests.bench.runs import Figures, alternate
from shoal.tests.support.processes import ChildFailed

SHAPE: Final = Shape(
    columns=(
        *in_seconds("median s", "seconds"),
        Column("files/s", "files_per_s", show="{:.0f}".format),
        Column("again s", "again_seconds"),
        *PEAKS,
    ),
    compared={"seconds": ""},
)

QUICK: Final = ("--files", "50", "--runs", "1")
NAME: Final = "file-{:06d}.bin"
LINK_BYTES: Final = len(NAME.format(0)) + 34  # a name and a CIDv0: what the HAMT threshold counts


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument("--files", type=opts.count, default=1000, help="in the directory (default %(default)s)")
    parser.add_argument("--size", type=opts.size, default="1KiB", help="of a file (default %(default)s)")
    opts.shared(parser, "tree")


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run everything; the report, with the CID of everyone's directory."""
    source = folder / "source"
    write_tree(source, options.files, options.size, options.seed)
    cids: dict[str, str] = {}

    def attempt(who: Pairing, place: Path, _: int) -> Figures:
        with pair(who.holder, who.fetcher, place) as both:
            name = cids[who.name] = both.holder.hold(source)
            seconds = fetch(both, name, source, place / "fetched", options.timeout)
            again = fetch(both, name, source, place / "again", options.timeout)
            per_s = options.files / seconds
            return {"seconds": seconds, "files_per_s": per_s, "again_seconds": again, **peaks(both)}

    results = alternate(options.contestants, options.runs, folder, attempt, keep=True)
    sharded = options.files * LINK_BYTES >= UNIXFS_V0_2015.hamt_threshold_bytes
    kind = "a HAMT" if sharded else "one node"
    title = f"fetch of a directory ({kind}) of {options.files} files of {size_text(options.size)}"
    asked = {"files": options.files, "file_bytes": options.size, "sharded": sharded}
    return {**report.report(title, asked, results, SHAPE), "cids": cids}


def write_tree(folder: Path, files: int, size: int, seed: int) -> None:
    """A new directory of files that nothing can compress, the same for the same seed."""
    rng = random.Random(seed)
    folder.mkdir()
    for number in range(files):
        (folder / NAME.format(number)).write_bytes(rng.randbytes(size))


def fetch(both: Pair, name: str, source: Path, out: Path, timeout_s: float) -> float:
    """Fetch a directory and compare it with what was held; the seconds that the fetch took."""
    seconds = timed(both, name, out, timeout_s, tree=True)
    written(both, name, out, timeout_s)
    if contents(source) != contents(out):
        raise ChildFailed("the directory that was fetched is not the one that was held")
    return seconds


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder and its bytes, None for a directory."""
    return {str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")}


def text(found: dict[str, Any]) -> str:
    """The report as a table."""
    again = "again s: the same call with everything here: reading, packing and writing files"
    return report.text(found, SHAPE, [again, report.agreement(found["cids"])])
