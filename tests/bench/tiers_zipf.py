"""``bin/bench zipf``: reads by Zipf's law from a node's own tiers: who answers them, and what is moved.

The actors, the stores and the files are a node's; only clock and threads are the simulation's, so that hours of reads
pass in minutes and the same seed gives the same figures on every machine.  Blocks of 1 to 32 KiB are put in an order
that says nothing about how often they are read; memory has room for 2 % of their bytes and the disk tier for 20 %, the
rest is in the cold tier.  Then other blocks become the hot ones.

``best`` knows the chance of each block beforehand and never changes what it holds; it and LRU see the same reads.  What
the choice of memory alone is worth, without the actors, is the table ``heat``; how long an answer takes is ``tiers``.
"""

import argparse
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.policy import Policy
from shoal.storage.memory import cost_of
from shoal.tests.bench import options as opts
from shoal.tests.bench.heat_shelves import Fixed, Lru, Shelf
from shoal.tests.bench.heat_trace import SIZE_MIN, Blocks, timed
from shoal.tests.bench.numbers import size_text
from shoal.tests.bench.table import render
from shoal.tests.bench.tiers_node import TierNode, running

DOUBLINGS: Final = 5  # from the smallest block, 1 KiB, to the largest
MEMORY_PARTS: Final = 50  # memory has room for a fiftieth of all bytes
DISK_PARTS: Final = 5  # and the disk tier for a fifth
WINDOW_S: Final = 600.0  # virtual seconds of one window: a line of the curve
BUSY: Final = 0.25  # of a window, in which its reads come: what passes without any costs nothing here
BEFORE: Final = 9  # windows of the first pattern: an hour and a half
AFTER: Final = 8  # windows of the second: the hour in which heat halves, and a little more
SETTLE_S: Final = 60.0  # virtual seconds between the last put and the first read
QUICK: Final = ("--blocks", "3000", "--reads", "3000", "--window", "60")  # fewer, and memory is too small for 32 KiB

Window = dict[str, float]
"""Shares of its reads: in memory for ``best``, ``shoal`` and ``LRU``; in shoal's memory or disk tier for ``near``, with
``near best`` and ``near LRU``; of what best's memory finds, by reads, ``placed`` is what shoal's has at its end; and
what was moved up and down in it, in blocks and bytes."""


@dataclass(frozen=True, slots=True)
class Pace:
    """``reads`` a window of ``span`` virtual seconds, at even distances in the first ``busy`` of them."""

    reads: int
    span: float
    busy: float


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument("--blocks", type=opts.count, default=50_000, help="that are read (default %(default)s)")
    parser.add_argument("--reads", type=opts.count, default=200_000, help="in all (default %(default)s)")
    parser.add_argument("--window", type=float, default=WINDOW_S, help="virtual seconds (default %(default)s)")
    parser.add_argument("--busy", type=float, default=BUSY, help="part of it with reads (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of bytes, sizes, reads (default %(default)s)")


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All windows, ready for JSON."""
    blocks = made(options.blocks, options.seed)
    legs = list(zip(patterns(blocks, options.seed), (BEFORE, AFTER), strict=True))
    spent = policy(blocks)
    with running(folder, spent, options.seed) as node:
        cids: list[CID] = []
        node.put(data(blocks, options.seed, cids))
        node.rest(node.now + SETTLE_S)
        each = max(1, options.reads // (BEFORE + AFTER))
        pace = Pace(each, options.window, options.window * options.busy)
        windows = played(node, cids, legs, pace, options.seed)
        sizes = node.sizes()
    whole = sum(blocks.sizes)
    return {
        "title": f"{options.blocks} blocks of {size_text(whole)}, {options.reads} reads in "
        f"{(BEFORE + AFTER) * options.window / 3600:.1f} h of virtual time",
        "asked": {name: getattr(options, name) for name in ("blocks", "reads", "window", "busy", "seed")},
        "bytes": whole,
        "room": {"memory": spent.memory_bytes, "disk": spent.disk_bytes},
        "holds": sizes,
        "windows": windows,
    }


# --- material --------------------------------------------------------------------------------------


def made(count: int, seed: int) -> Blocks:
    """Blocks of sizes that are even on a logarithmic scale."""
    dice = random.Random(seed)
    sizes = [int(SIZE_MIN * 2 ** (DOUBLINGS * dice.random())) for _ in range(count)]
    return Blocks(sizes, list(range(count)))


def data(blocks: Blocks, seed: int, cids: list[CID]) -> Iterator[Block]:
    """The blocks themselves, which nothing can compress, one at a time; the name of each is added to ``cids``."""
    dice = random.Random(seed)
    for size in blocks.sizes:
        held = dice.randbytes(size)
        cids.append(CID.of(held))
        yield Block(cids[-1], held)


def room(blocks: Blocks, parts: int) -> int:
    """Bytes of memory for that part of the blocks."""
    return sum(cost_of(size) for size in blocks.sizes) // parts


def policy(blocks: Blocks) -> Policy:
    """A worker's, with room for those parts."""
    return Policy(
        role="worker",
        memory_bytes=room(blocks, MEMORY_PARTS),
        disk_bytes=sum(blocks.sizes) // DISK_PARTS,
        collect_garbage=False,  # nothing is pinned, and nothing shall go
    )


def patterns(blocks: Blocks, seed: int) -> tuple[Blocks, Blocks]:
    """Two, of neither of which the order of the puts says anything."""
    return blocks.moved(seed + 1), blocks.moved(seed + 2)


# --- reads -----------------------------------------------------------------------------------------


def played(
    node: TierNode, cids: Sequence[CID], legs: Sequence[tuple[Blocks, int]], pace: Pace, seed: int
) -> list[Window]:
    """Read one pattern after another, for so many windows each, from the node and its rivals."""
    rivals: dict[str, Shelf] = {
        "LRU": Lru(legs[0][0].sizes, room(legs[0][0], MEMORY_PARTS)),
        "near LRU": Lru(legs[0][0].sizes, room(legs[0][0], DISK_PARTS)),
    }
    windows = []
    for number, (pattern, count) in enumerate(legs):
        best = Fixed(pattern, room(pattern, MEMORY_PARTS))
        still: dict[str, Shelf] = {"best": best, "near best": Fixed(pattern, room(pattern, DISK_PARTS))}
        trace = pattern.reads(count * pace.reads, seed + 3 + number)
        for at in range(0, len(trace), pace.reads):
            end = node.now + pace.span
            moments = list(timed(trace[at : at + pace.reads], node.now, pace.busy))
            found = window(node, cids, pattern.sizes, moments, end, {**rivals, **still})
            windows.append({**found, "placed": placed(node, cids, pattern, best)})
            print(f"window {len(windows)}: {found['shoal']:.1%} in memory", file=sys.stderr, flush=True)
    return windows


def window(
    node: TierNode,
    cids: Sequence[CID],
    sizes: Sequence[int],
    trace: Sequence[tuple[float, int]],
    end: float,
    others: Mapping[str, Shelf],
) -> Window:
    """Reads, each at its time, and what is moved until ``end``.

    Raises RuntimeError when the tiers' own count is not that of the reads.
    """
    hits, moves = node.hits(), node.keeper()
    theirs = dict.fromkeys(others, 0)
    for now, number in trace:
        node.rest(now)
        node.read(cids[number], sizes[number])
        for name, shelf in others.items():
            theirs[name] += shelf.read(number, now)
    node.rest(end)
    ours = {tier: count - hits[tier] for tier, count in node.hits().items()}
    if sum(ours.values()) != len(trace):
        raise RuntimeError(f"{len(trace)} reads, and the tiers answered {ours}")
    then = node.keeper()
    return {
        "shoal": ours["memory"] / len(trace),
        "near": (ours["memory"] + ours["disk"]) / len(trace),
        **{name: count / len(trace) for name, count in theirs.items()},
        "up": then.moved_up - moves.moved_up,
        "down": then.moved_down - moves.moved_down,
        "moved_bytes": then.moved_bytes - moves.moved_bytes,
    }


def placed(node: TierNode, cids: Sequence[CID], pattern: Blocks, best: Fixed) -> float:
    """Of the reads that ``best`` finds in memory, the share that are of blocks which the node has there too."""
    chances = pattern.chances()
    common = sum(chances[number] for number in best.held if node.in_memory(cids[number]))
    return common / sum(chances[number] for number in best.held)


# --- telling ---------------------------------------------------------------------------------------


def steady(windows: Sequence[Window]) -> Window:
    """The second half of the first pattern: shares in the mean, moves in sum."""
    half = windows[BEFORE // 2 : BEFORE]
    sums = {name: sum(one[name] for one in half) for name in half[0]}
    return {name: total if name in ("up", "down", "moved_bytes") else total / len(half) for name, total in sums.items()}


def text(found: Mapping[str, Any]) -> str:
    """Room, hits, and the curve."""
    share = "{:.1%}".format
    whole, minutes = found["bytes"], found["asked"]["window"] / 60
    rooms = [
        [tier, size_text(found["room"][tier]) if tier in found["room"] else "-", size_text(size), share(size / whole)]
        for tier, size in found["holds"].items()
    ]
    half = steady(found["windows"])
    hits = [
        [name, share(half[best]), share(half[ours]), share(half[lru]), f"{half[ours] / half[best]:.3f}"]
        for name, best, ours, lru in (
            ("in memory", "best", "shoal", "LRU"),
            ("in memory or on disk", "near best", "near", "near LRU"),
        )
    ]
    return "\n".join(
        [
            found["title"],
            "",
            render(["tier", "room", "holds at the end", "of all bytes"], rooms),
            "",
            f"reads found, last {(BEFORE - BEFORE // 2) * minutes:.0f} min of the first pattern "
            f"(a placement for {share(1 / DISK_PARTS)} of the bytes on the second line):",
            render(["", "best", "shoal", "LRU", "shoal / best"], hits),
            "",
            f"other blocks become the hot ones after {BEFORE * minutes:.0f} min; moves are between disk and cold:",
            curve(found["windows"], minutes),
        ]
    )


def curve(windows: Sequence[Window], minutes: float) -> str:
    """A line a window: hits in memory, of best's memory what is there, and moves."""
    share = "{:.1%}".format
    lines = []
    for number, one in enumerate(windows, 1 - BEFORE):
        shares = [one[name] for name in ("best", "shoal", "LRU", "placed")]
        moves = [f"{one['up']:.0f}", f"{one['down']:.0f}", size_text(one["moved_bytes"])]
        nearer = [one["near"] - one["shoal"], 1 - one["near"]]
        lines.append([f"{number * minutes:.0f} min", *map(share, shares), *map(share, nearer), *moves])
    return render(["until", "best", "shoal", "LRU", "of best's", "disk", "cold", "up", "down", "bytes"], lines)
