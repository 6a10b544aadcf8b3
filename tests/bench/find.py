"""``bin/bench find``: many shoals that know one of their number; how soon any of them finds who has a CID.

Each is a process of its own on loopback that was told of the first alone.  Again and again one of them adds a few
bytes, and when it has told what it tells, another is asked who has them: by every source, each to its end, so that the
sources can be compared.  Then it fetches them.  Times are of the node's own clock, from the start of the search.
"""

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from shoal.tests.bench import options as opts
from shoal.tests.bench.numbers import percentile
from shoal.tests.bench.table import render
from shoal.tests.support.processes import ChildFailed
from shoal.tests.support.shoal import Shoal

QUICK: Final = ("--nodes", "4", "--trials", "2")
FILE_BYTES: Final = 16 * 1024
SEARCH_S: Final = 10.0  # seconds that a search may take
MET_S: Final = 90.0  # seconds in which a node has found others, on a machine that starts thirty of them
TOLD_S: Final = 60.0  # seconds in which an add has been announced
MET: Final = 4  # connected peers from which a node counts as having joined
ANY: Final = "any source"


@dataclass(slots=True)
class Sums:
    """What was found: seconds to the first provider by source, and what it took to tell and to fetch."""

    firsts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    asked: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    told: list[float] = field(default_factory=list)
    fetched: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument("--nodes", type=opts.count, default=30, help="shoals (default %(default)s)")
    parser.add_argument("--trials", type=opts.count, default=60, help="adds and searches (default %(default)s)")
    parser.add_argument("--sources", default="bootstrap,dht,pubsub,filters", help="of every node (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of who adds and who asks (default %(default)s)")


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run everything; the report."""
    if options.nodes < 2:
        raise SystemExit("bench find: --nodes 2 or more: one adds, another asks")
    rng, sums = random.Random(options.seed), Sums()
    with ExitStack() as stack:
        began = time.monotonic()
        first = stack.enter_context(Shoal.start(folder / "node-0", sources=options.sources))
        entry = ("--bootstrap", first.addrs[0])
        others = [
            stack.enter_context(Shoal.start(folder / f"node-{number}", sources=options.sources, extra=entry))
            for number in range(1, options.nodes)
        ]
        nodes = [first, *others]
        wanted = min(MET, options.nodes - 1)
        for node in nodes:
            until(lambda node=node: len(node.peers()) >= wanted, MET_S)  # type: ignore[misc]  # bound at once
        joined_s = time.monotonic() - began
        for number in range(options.trials):
            trial(number, nodes, rng, sums)
        peers = sorted(len(node.peers()) for node in nodes)
    return {
        "asked": {"nodes": options.nodes, "trials": options.trials, "sources": options.sources, "seed": options.seed},
        "joined_s": joined_s,
        "connected_to": {"least": peers[0], "median": peers[len(peers) // 2], "most": peers[-1]},
        "first_provider_s": dict(sums.firsts),
        "searches": dict(sums.asked),
        "told_s": sums.told,
        "fetched_s": sums.fetched,
        "contestants": {"shoal": {"failure": "; ".join(sums.lost)}} if sums.lost else {},
    }


def trial(number: int, nodes: Sequence[Shoal], rng: random.Random, sums: Sums) -> None:
    """One adds, another finds and fetches."""
    adder, finder = rng.sample(nodes, 2)
    data = rng.randbytes(FILE_BYTES)
    cid = adder.add(data)
    began = time.monotonic()
    if not until(lambda: adder.call("shoal/announcements")["NeverTold"] == 0, TOLD_S):
        sums.lost.append(f"trial {number}: not announced in {TOLD_S:g} s")
        return
    sums.told.append(time.monotonic() - began)
    options: dict[str, str | int | bool] = {"num-providers": 0}
    raw = b"".join(finder.stream("shoal/find", cid, timeout_s=SEARCH_S, **options))
    note(sums, adder.id, [json.loads(line) for line in raw.splitlines()], number)
    began = time.monotonic()
    try:
        if finder.cat(cid, timeout_s=SEARCH_S) != data:
            sums.lost.append(f"trial {number}: other bytes came")
    except ChildFailed as fault:
        sums.lost.append(f"trial {number}: {str(fault)[:300]}")
        return
    sums.fetched.append(time.monotonic() - began)


def note(sums: Sums, holder: str, lines: Sequence[dict[str, Any]], number: int) -> None:
    """Enter what one search told, line by line."""
    *found, ended = lines
    right = [line for line in found if line["Peer"] == holder]
    sums.asked[ANY] += 1
    if right:
        sums.firsts[ANY].append(right[0]["Seconds"])
    else:
        sums.lost.append(f"trial {number}: its holder was not found")
    for report in ended["Sources"]:
        sums.asked[report["Source"]] += 1
        if report["First"] is not None:
            sums.firsts[report["Source"]].append(report["First"])


def until(true: Callable[[], bool], limit_s: float) -> bool:
    """Wait for something; whether it came about in time."""
    end = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def text(found: dict[str, Any]) -> str:
    """The report as a table."""
    asked, connected = found["asked"], found["connected_to"]
    rows = []
    for source, searches in found["searches"].items():
        firsts = sorted(found["first_provider_s"].get(source, []))
        times = [f"{1000 * percentile(firsts, rank):.1f}" if firsts else "-" for rank in (50, 95)]
        rows.append((source, str(searches), str(len(firsts)), *times))
    rows.append(span("told others of an add", found["told_s"]))
    rows.append(span("fetched after the search", found["fetched_s"]))
    head = ("time to the first provider", "searches", "found", "p50 ms", "p95 ms")
    lines = [
        f"{asked['nodes']} shoals that know one bootstrapper; sources {asked['sources']}",
        f"all joined after {found['joined_s']:.0f} s; connected to {connected['least']} - {connected['most']} others",
        "",
        render(head, rows),
    ]
    for entry in found["contestants"].values():
        lines.append(f"FAILED: {entry['failure']}")
    return "\n".join(lines)


def span(title: str, seconds: Sequence[float]) -> tuple[str, str, str, str, str]:
    """A row of times that are of no source."""
    times = [f"{1000 * percentile(seconds, rank):.1f}" if seconds else "-" for rank in (50, 95)]
    return (title, str(len(seconds)), "", *times)
