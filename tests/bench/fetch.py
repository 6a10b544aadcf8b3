"""``bin/bench fetch``: one file, from a holder to a fetcher, from the request until it is read whole and stored.

Every run of every contestant has two fresh processes, fresh folders and a connection that is up already.
Contestants take turns within a run, so that what slows the machine for a while slows all of them; what earlier ones
left unwritten is synced before the clock starts.  The bytes are compared after it has stopped.
"""

import argparse
import filecmp
import os
import random
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from shoal.tests.bench.contestant import Pairing, pair
from shoal.tests.bench.contestants.registry import PAIRINGS
from shoal.tests.bench.numbers import Spread, parse_size, size_text, speed_ratio, spread_text
from shoal.tests.bench.table import render
from shoal.tests.support.processes import ChildFailed

YARDSTICKS: Final = ("kubo", "py-libp2p")  # ratios are told against these
PIECE_BYTES: Final = 1024 * 1024


@dataclass(slots=True)
class Result:
    """What one contestant did: ``seconds`` of each run, or why it could not."""

    contestant: Pairing
    seconds: list[float] = field(default_factory=list)
    memory: list[dict[str, int]] = field(default_factory=list)
    failure: str = ""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument("--size", type=size, default="100MiB", help="of the file (default %(default)s)")
    parser.add_argument("--runs", type=positive, default=5, help="of each contestant (default %(default)s)")
    parser.add_argument(
        "--contestants", type=chosen, default=list(PAIRINGS), help=f"some of {','.join(PAIRINGS)} (default all)"
    )
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one fetch (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the file's random bytes (default %(default)s)")


def size(text: str) -> int:
    """Bytes."""
    try:
        return parse_size(text)
    except ValueError as fault:
        raise argparse.ArgumentTypeError(str(fault)) from None


def positive(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of runs: 1 or more")
    return int(text)


def chosen(text: str) -> list[str]:
    """Names of contestants, separated by commas."""
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in PAIRINGS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no contestant is called {unknown[0]}: there are {', '.join(PAIRINGS)}")
    return list(dict.fromkeys(names))


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run everything; the report, ready for JSON.  ``folder`` is empty and ours."""
    source = folder / "source.bin"
    write_random(source, options.size, options.seed)
    results = [Result(PAIRINGS[name]) for name in options.contestants]
    for run in range(options.runs):
        for result in results:
            if not result.failure:
                place = folder / f"{run}-{result.contestant.name}"
                place.mkdir()
                attempt(result, source, place, options.timeout)
                shutil.rmtree(place)
                said = f"{result.seconds[-1]:.3f} s" if not result.failure else f"failed: {result.failure}"
                print(f"run {run + 1} of {options.runs}: {result.contestant.name}: {said}", file=sys.stderr, flush=True)
    return report(results, options.size)


def attempt(result: Result, source: Path, place: Path, timeout_s: float) -> None:
    """One run of one contestant."""
    why_not = result.contestant.why_not()
    if why_not is not None:
        result.failure = why_not
        return
    try:
        with pair(result.contestant.holder, result.contestant.fetcher, place) as (holder, fetcher):
            name = holder.hold(source)
            out = place / "fetched.bin"
            os.sync()
            begun = time.perf_counter()
            fetcher.fetch(name, out, timeout_s)
            seconds = time.perf_counter() - begun
            memory = {"holder": holder.peak_rss(), "fetcher": fetcher.peak_rss()}
            if not filecmp.cmp(source, out, shallow=False):
                raise ChildFailed("the bytes that were fetched are not those that were held")
    except (ChildFailed, OSError) as fault:
        result.failure = str(fault)
        return
    result.seconds.append(seconds)
    result.memory.append(memory)


def write_random(path: Path, size: int, seed: int) -> None:
    """A file that nothing can compress, the same for the same seed."""
    rng = random.Random(seed)
    with path.open("wb") as file:
        for start in range(0, size, PIECE_BYTES):
            file.write(rng.randbytes(min(PIECE_BYTES, size - start)))


# --- telling ---------------------------------------------------------------------------------------


def report(results: Sequence[Result], size: int) -> dict[str, Any]:
    """All figures, as plain values."""
    whole = {result.contestant.name: result for result in results if not result.failure}
    entries = {}
    for result in results:
        entry: dict[str, Any] = {"note": result.contestant.note, "seconds": result.seconds}
        if result.failure:
            entry["failure"] = result.failure
        else:
            spread = Spread.of(result.seconds)
            entry["median_s"], entry["min_s"], entry["max_s"] = spread.median, spread.low, spread.high
            entry["bytes_per_s"] = size / spread.median
            entry["peak_rss_bytes"] = {
                side: max(memory[side] for memory in result.memory) for side in ("holder", "fetcher")
            }
            entry["speed_against"] = {
                name: vars_of(speed_ratio(result.seconds, whole[name].seconds)) for name in YARDSTICKS if name in whole
            }
        entries[result.contestant.name] = entry
    return {"size_bytes": size, "contestants": entries}


def vars_of(spread: Spread) -> dict[str, float]:
    return {"median": spread.median, "min": spread.low, "max": spread.high}


def text(found: dict[str, Any]) -> str:
    """The report as a table, with what could not be run and what each contestant does below it."""
    head = ["contestant", "runs", "median s", "min", "max", "MiB/s"]
    head += [f"x {name}" for name in YARDSTICKS] + ["RSS holder", "RSS fetcher"]
    rows, failures, notes = [], [], []
    for name, entry in found["contestants"].items():
        notes.append(f"  {name}: {entry['note']}")
        if "failure" in entry:
            failures.append(f"{name} FAILED after {len(entry['seconds'])} runs: {entry['failure']}")
            continue
        ratios = [entry["speed_against"].get(other) for other in YARDSTICKS]
        rows.append(
            [
                name,
                str(len(entry["seconds"])),
                *(f"{entry[key]:.3f}" for key in ("median_s", "min_s", "max_s")),
                f"{entry['bytes_per_s'] / 1024**2:.1f}",
                *(spread_text(Spread(r["median"], r["min"], r["max"])) if r else "-" for r in ratios),
                *(size_text(entry["peak_rss_bytes"][side]) for side in ("holder", "fetcher")),
            ]
        )
    title = f"fetch of {size_text(found['size_bytes'])}, two processes on loopback"
    meaning = "x kubo: how many times as quick as kubo in the same run; median of the runs (lowest-highest)"
    return "\n".join([title, meaning, "", render(head, rows), "", *failures, *notes])
