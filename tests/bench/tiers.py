"""``bin/bench tiers``: put, get and has of every tier, beside one file a block (Kubo's flatfs) and diskcache.

Of each of shoal's stores there is the store alone, its actor as placement asks it, and a node's storage as its edge
asks it.  All have the same blocks in the same order, one request after another; puts are as durable as the store can
make them.  What is read was put moments ago: every store reads from the page cache, and what is measured is the way,
not the device.  A ``batch`` is put with one call.  Which tier a block is in, and who finds it where, is ``zipf``.
"""

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from shoal.tests.bench import options as opts
from shoal.tests.bench.numbers import Spread, percentile, size_text, speed_ratio, spread_text
from shoal.tests.bench.report import spread_of
from shoal.tests.bench.runs import Figures, settle, told
from shoal.tests.bench.table import render
from shoal.tests.bench.tiers_actors import node_cold, node_disk, node_memory, tier
from shoal.tests.bench.tiers_material import Material
from shoal.tests.bench.tiers_shelves import Kind, cold, disk, diskcache, flatfs, memory
from shoal.tests.support.processes import ChildFailed

MIB: Final = 1024**2
HASHED: Final = "a read is hashed before it is handed out"
KINDS: Final = (
    Kind(
        "flatfs", "one file a block, synced, renamed, its folder synced; reads are not hashed", flatfs, many_files=True
    ),
    Kind(
        "diskcache",
        "its defaults but for more room: nothing is synced; from 32 KiB on a file a block",
        diskcache,
        many_files=True,
    ),
    Kind(
        "diskcache FULL",
        "sqlite_synchronous=FULL: rows are synced; files of large blocks still are not",
        partial(diskcache, sqlite_synchronous=2),
        many_files=True,
    ),
    Kind("memory store", "storage.memory, called", memory),
    Kind("memory tier", "its actor, asked by another", tier("memory")),
    Kind("memory node", "blocks that were read twice before", node_memory, frozenset({"get"})),
    Kind("disk store", f"storage.disk, called: every put is synced, {HASHED}", disk),
    Kind("disk store unhashed", "the same, reads as they are", partial(disk, verify_reads=False), frozenset({"get"})),
    Kind("disk tier", "its actor, asked by another", tier("disk")),
    Kind("disk node", "memory, disk, cold, keeper and placement, asked by the edge", node_disk),
    Kind("cold store", f"storage.cold, called: every put is synced, {HASHED}", cold),
    Kind("cold tier", "its actor, asked by another", tier("cold")),
    Kind("cold node", "as disk node, with a disk tier that is full", node_cold),
    Kind("cold store text", "blocks that zstd makes a third of", cold, text=True),
    Kind("cold tier text", "the same", tier("cold"), text=True),
)
YARDSTICKS: Final = ("flatfs", "diskcache")


@dataclass(frozen=True, slots=True)
class Load:
    """Blocks of ``size`` bytes: so many batches for a hundred blocks that are put alone, and blocks of a batch."""

    size: int
    batches_percent: int
    batch: int


LOADS: Final = (Load(256 * 1024, 6, 16), Load(4 * 1024, 6, 64))
TASKS: Final = {
    "put": "put, one block each, durable",
    "batch": "put, {batch} blocks at one time, durable",
    "get": "get, one block each",
    "has": "has, one block each, half of them absent",
}
QUICK: Final = ("--blocks", "20", "--runs", "1")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    names = ", ".join(kind.name for kind in KINDS)
    parser.add_argument("--blocks", type=opts.count, default=256, help="of each size, put alone (default %(default)s)")
    parser.add_argument("--runs", type=opts.count, default=5, help="of each contestant (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all bytes (default %(default)s)")
    parser.add_argument("--contestants", type=chosen, default=KINDS, help=f"beginnings of names (of {names}; all)")


def chosen(text: str) -> list[Kind]:
    """Contestants by the beginnings of their names, separated by commas."""
    wanted = [name.strip() for name in text.split(",")]
    for name in wanted:
        if not name or not any(kind.name.startswith(name) for kind in KINDS):
            raise argparse.ArgumentTypeError(f"no contestant's name begins with {name!r}")
    return [kind for kind in KINDS if kind.name.startswith(tuple(wanted))]


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All sizes, all contestants in turn."""
    found: dict[str, Any] = {}
    for load in LOADS:
        place = folder / str(load.size)
        place.mkdir()
        entries = alternate(load, options.contestants, options, place)
        found |= {f"{size_text(load.size)}: {name}": entry for name, entry in entries.items()}
        shutil.rmtree(place)
    return {
        "title": f"tiers, {options.blocks} blocks of each size",
        "asked": {"blocks": options.blocks, "runs": options.runs, "seed": options.seed},
        "contestants": found,
    }


def alternate(load: Load, kinds: Sequence[Kind], options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Runs of one size.  One that fails once has no further turn.

    Folders of many files stay until the end of all runs, as ``runs.alternate`` says why.
    """
    count = options.blocks
    batches = max(1, count * load.batches_percent // 100)
    material = {
        text: Material.made(load.size, count, batches, load.batch, options.seed, text=text)
        for text in {kind.text for kind in kinds}
    }
    entries: dict[str, Any] = {kind.name: {"note": kind.note, "runs": []} for kind in kinds}
    for run in range(options.runs):
        for number, kind in enumerate(kinds):
            entry, place = entries[kind.name], folder / f"{run}-{number}"
            if "failure" in entry:
                continue
            place.mkdir()
            try:
                entry["runs"].append(attempt(kind, material[kind.text], place, options.seed + run))
                said = told({name: value for name, value in entry["runs"][-1].items() if name.endswith("seconds")})
            except (ChildFailed, OSError) as fault:
                said = entry["failure"] = str(fault)
            if not kind.many_files:
                shutil.rmtree(place)
            print(f"run {run + 1} of {options.runs}: {size_text(load.size)}: {kind.name}: {said}", file=sys.stderr)
    compare(entries)
    return entries


def attempt(kind: Kind, material: Material, place: Path, seed: int) -> Figures:
    """One run of one contestant: of each of TASKS that it can do the seconds, the rate, and how long one call took."""
    figures: Figures = {}

    def note(task: str, times: list[float], rate: float) -> None:
        figures[f"{task}_seconds"] = sum(times)
        figures[f"{task}_per_s"] = rate / sum(times)
        figures[f"{task}_p50_ms"], figures[f"{task}_p99_ms"] = (percentile(times, rank) * 1e3 for rank in (50, 99))

    def mib(blocks: Sequence[Sized]) -> float:
        return sum(map(len, blocks)) / MIB

    settle()
    with kind.open(place) as shelf:
        alone = shelf.put([[block] for block in material.singles])
        if "put" in kind.can:
            note("put", alone, mib(material.singles))
            note("batch", shelf.put(material.batches), sum(map(mib, material.batches)))
        if "get" in kind.can:
            note("get", shelf.get(material.shuffled(seed)), mib(material.singles))
        if "has" in kind.can:
            note("has", shelf.has(material.asked), len(material.asked))
    return figures


def compare(entries: dict[str, Any]) -> None:
    """Add medians and spreads, and ratios to the yardsticks of the same runs."""
    whole = {name: entry for name, entry in entries.items() if "failure" not in entry}
    for entry in whole.values():
        entry["figures"] = {name: spread_of([run[name] for run in entry["runs"]]) for name in entry["runs"][0]}
        entry["times"] = {
            task: {
                other: spread_values(entry["runs"], whole[other]["runs"], f"{task}_seconds")
                for other in YARDSTICKS
                if other in whole
            }
            for task in TASKS
            if f"{task}_seconds" in entry["figures"]
        }


def spread_values(ours: Sequence[Figures], theirs: Sequence[Figures], name: str) -> dict[str, float]:
    """How many times quicker ours are, run by run."""
    ratio = speed_ratio([run[name] for run in ours], [run[name] for run in theirs])
    return {"median": ratio.median, "min": ratio.low, "max": ratio.high}


# --- telling ---------------------------------------------------------------------------------------


def text(found: Mapping[str, Any]) -> str:
    """A table for each size and task, then what could not be run and what each contestant does."""
    entries: Mapping[str, Any] = found["contestants"]
    parts = [found["title"], "medians of the runs; x: how many times as quick in the same run (lowest-highest)"]
    for load in LOADS:
        size = size_text(load.size)
        own = {name.removeprefix(f"{size}: "): entry for name, entry in entries.items() if name.startswith(f"{size}: ")}
        parts += [table(f"{size}: {title.format(batch=load.batch)}", task, own) for task, title in TASKS.items()]
    failures = [f"{name} FAILED: {entry['failure']}" for name, entry in entries.items() if "failure" in entry]
    notes = {name.partition(": ")[2]: entry["note"] for name, entry in entries.items()}
    return "\n\n".join([*parts, "\n".join([*failures, *(f"  {name}: {note}" for name, note in notes.items())])])


def table(title: str, task: str, entries: Mapping[str, Any]) -> str:
    """One task: a line for each contestant that did it."""
    done = {name: entry for name, entry in entries.items() if task in entry.get("times", {})}
    there = [other for other in YARDSTICKS if other in done]
    rows = []
    for name, entry in done.items():
        figures = {what: entry["figures"][f"{task}_{what}"]["median"] for what in ("per_s", "p50_ms", "p99_ms")}
        rate = f"{figures['per_s']:,.0f}" if figures["per_s"] >= 100 else f"{figures['per_s']:.1f}"
        ratios = [Spread(each["median"], each["min"], each["max"]) for each in entry["times"][task].values()]
        rows.append([name, rate, f"{figures['p50_ms']:.3f}", f"{figures['p99_ms']:.3f}", *map(ratio_text, ratios)])
    head = [title, "per s" if task == "has" else "MiB/s", "p50 ms", "p99 ms", *(f"x {other}" for other in there)]
    return render(head, rows)


def ratio_text(ratio: Spread) -> str:
    """As ``numbers.spread_text``, without decimals where they say nothing."""
    if ratio.median < 10:
        return spread_text(ratio)
    return f"{ratio.median:,.0f} ({ratio.low:,.0f}-{ratio.high:,.0f})"
