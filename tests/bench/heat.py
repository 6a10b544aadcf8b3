"""``bin/bench heat``: which blocks are in memory: hits of shoal's memory tier beside LRU, 2Q and the best placement.

A simulation on a virtual clock, with the very code that decides in a node: no bytes are moved, and the same seed gives
the same hits on every machine.  Blocks of 1 KiB to 1 MiB are read by Zipf's law; memory has room for a fiftieth of all
bytes.  ``best`` knows the chance of each block beforehand and never changes what it holds.  Only the last table, what a
use costs, is measured, in processor time.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from shoal.actors.placement.hot import HotSet
from shoal.messages.cid import CID
from shoal.storage.memory import cost_of
from shoal.tests.bench import options as opts
from shoal.tests.bench.heat_shelves import Fixed, Lru, Shelf, Shoal, TwoQueues
from shoal.tests.bench.heat_trace import Blocks, timed
from shoal.tests.bench.numbers import size_text
from shoal.tests.bench.table import render

MEMORY_PARTS: Final = 50  # memory has room for a fiftieth of all bytes
SPANS: Final = {"10 min": 600.0, "6 h": 6 * 3600.0, "2 days": 48 * 3600.0}  # in which all reads take place
WINDOW_S: Final = 600.0  # of the curve after a change
WARM_S: Final = 3 * 3600.0  # of one pattern before another
AFTER_S: Final = 2 * 3600.0
LEAF: Final = 256 * 1024
QUICK: Final = ("--blocks", "1000", "--reads", "20000")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument("--blocks", type=opts.count, default=50_000, help="that are read (default %(default)s)")
    parser.add_argument("--reads", type=opts.count, default=500_000, help="of each trace (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of sizes and reads (default %(default)s)")


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All tables, ready for JSON."""
    blocks = Blocks.made(options.blocks, options.seed)
    capacity = room(blocks)
    return {
        "title": f"{options.blocks} blocks, {options.reads} reads; memory for {size_text(capacity)}, 1/{MEMORY_PARTS}",
        "asked": {"blocks": options.blocks, "reads": options.reads, "seed": options.seed},
        "steady": {name: steady(blocks, options.reads, span, options.seed) for name, span in SPANS.items()},
        "change": change(blocks, options.reads, options.seed),
        "use_us": costs(options.reads // 4),
    }


def room(blocks: Blocks) -> int:
    """The capacity of memory in bytes."""
    return sum(cost_of(size) for size in blocks.sizes) // MEMORY_PARTS


def contestants(blocks: Blocks, capacity: int) -> dict[str, Shelf]:
    """All shelves, empty."""
    return {
        "best": Fixed(blocks, capacity),
        "shoal": Shoal(blocks.sizes, capacity),
        "2Q": TwoQueues(blocks.sizes, capacity),
        "LRU": Lru(blocks.sizes, capacity),
    }


def hits(shelf: Shelf, reads: Iterable[tuple[float, int]]) -> float:
    """The share of these reads, at least one, that find their block in memory."""
    found = [shelf.read(number, now) for now, number in reads]
    return sum(found) / len(found)


def steady(blocks: Blocks, reads: int, span: float, seed: int) -> dict[str, float]:
    """Hits in the second half of one pattern, by contestant; the first half warms up."""
    trace = blocks.reads(reads, seed + 1)
    half = len(trace) // 2
    found = {}
    for name, shelf in contestants(blocks, room(blocks)).items():
        moments = timed(trace, 0.0, span)
        hits(shelf, itertools.islice(moments, half))
        found[name] = hits(shelf, moments)
    return found


def change(blocks: Blocks, reads: int, seed: int) -> dict[str, Any]:
    """Windows of WINDOW_S each: the last before, and those after other blocks have become the hot ones.

    ``hits`` by contestant; ``best`` knows when the change comes.  ``placed``: of the reads that ``best`` would find,
    the share that are of blocks which shoal has in memory too, at the end of each window.
    """
    before, count = int(WARM_S / WINDOW_S), int((WARM_S + AFTER_S) / WINDOW_S)
    each = max(1, reads // count)
    after = blocks.moved(seed + 2)
    trace = blocks.reads(before * each, seed + 3) + after.reads((count - before) * each, seed + 4)
    moments = list(timed(trace, 0.0, WARM_S + AFTER_S))
    windows = [moments[at : at + each] for at in range(0, len(moments), each)]
    capacity = room(blocks)
    best = [Fixed(blocks, capacity)] * before + [Fixed(after, capacity)] * (count - before)
    curves = {"best": [hits(shelf, window) for shelf, window in zip(best, windows, strict=True)]}
    placed: list[float] = []
    for name, shelf in contestants(blocks, capacity).items():
        if name == "best":
            continue
        curves[name] = []
        for target, window in zip(best, windows, strict=True):
            curves[name].append(hits(shelf, window))
            if name == "shoal":
                placed.append(share_placed(shelf, target, blocks if target is best[0] else after))
    last = before - 1
    return {"hits": {name: curve[last:] for name, curve in curves.items()}, "placed": placed[last:]}


def share_placed(shelf: Shelf, target: Fixed, blocks: Blocks) -> float:
    """Of the reads that ``target`` finds, the share that are of blocks which ``shelf`` has too."""
    chances = blocks.chances()
    common = sum(chances[number] for number in target.held if shelf.holds(number))
    return common / sum(chances[number] for number in target.held)


def costs(count: int) -> dict[str, float]:
    """Microseconds of a use, in processor time: of blocks that never come again, memory being full, and of one held."""
    cids = [CID.of(number.to_bytes(4, "big")) for number in range(count)]
    hot = HotSet(64 * cost_of(LEAF))
    for cid in cids[:64] * 2:
        hot.used(cid, LEAF, 0.0)
    held = cids[0]
    return {
        "never again": microseconds(lambda number: hot.used(cids[number], LEAF, 1.0), count),
        "in memory": microseconds(lambda _: hot.used(held, LEAF, 1.0), count),
        "asked whether it is there": microseconds(lambda number: hot.holds(cids[number]), count),
    }


def microseconds(call: Callable[[int], object], count: int) -> float:
    """Of one call, over ``count`` with another number each."""
    start = time.process_time()
    for number in range(count):
        call(number)
    return (time.process_time() - start) / count * 1e6


def text(found: Mapping[str, Any]) -> str:
    """Three tables."""
    shares = "{:.1%}".format
    rows = []
    for span, each in found["steady"].items():
        ratio = each["shoal"] / each["best"] if each["best"] else 0.0
        rows.append([f"all reads in {span}", *map(shares, each.values()), f"{ratio:.3f}"])
    head = ["hits", *next(iter(found["steady"].values())), "shoal / best"]
    curves = found["change"]["hits"]
    moves = [
        [
            label(number),
            *(shares(curve[number]) for curve in curves.values()),
            shares(found["change"]["placed"][number]),
        ]
        for number in range(len(found["change"]["placed"]))
    ]
    uses = [[what, f"{us:.2f}"] for what, us in found["use_us"].items()]
    return "\n".join(
        [
            found["title"],
            "",
            render(head, rows),
            "",
            f"other blocks become the hot ones after {WARM_S / 3600:g} h; of what best holds, shoal holds (by reads):",
            render(["hits", *curves, "of best's"], moves),
            "",
            render(["what a use costs", "us"], uses),
        ]
    )


def label(number: int) -> str:
    """The name of a window of the curve."""
    minutes = WINDOW_S / 60
    return f"{minutes:.0f} min before" if number == 0 else f"until {number * minutes:.0f} min after"
