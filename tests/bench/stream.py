"""``bin/bench stream``: one stream of bytes between two processes on loopback, each way, stack by stack.

What is below bitswap: the socket, Noise and yamux, without blocks, hashes or stores.  ``shoal`` and ``shoal, stock
wire`` go through the interface that the transport actor uses (``NetworkConfig.wire``), in frames of 2 MiB, each
granted as it is read; ``py-libp2p`` is its host as it comes, reading what its stream gives; ``tcp`` is the same loop on
a bare socket, the ceiling.  The stacks take turns, each time in two fresh processes, and each way is warmed up first.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from shoal.tests.bench import options as opts
from shoal.tests.bench.numbers import Spread, size_text, speed_ratio, spread_text
from shoal.tests.bench.report import spread_of
from shoal.tests.bench.table import render
from shoal.tests.support.processes import Child, ChildFailed

STACKS: Final = {
    "shoal": ("shoal", "shoal's own Noise sessions and yamux, through Network"),
    "shoal, stock wire": ("stock", "py-libp2p's Noise and yamux, guarded and tuned by shoal, through Network"),
    "py-libp2p": ("py-libp2p", "py-libp2p 0.8.1 as it comes: Noise and yamux, new_stream, read and write"),
    "tcp": ("tcp", "plain TCP on trio, no encryption: the ceiling"),
}
YARDSTICK: Final = "py-libp2p"
WAYS: Final = ("to dialer", "to listener")
WARM_UP_BYTES: Final = 16 * 1024 * 1024
START_TIMEOUT_S: Final = 60.0
QUICK: Final = ("--size", "8MiB", "--runs", "1")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument("--size", type=opts.size, default="256MiB", help="each way (default %(default)s)")
    parser.add_argument("--runs", type=opts.count, default=5, help="of each stack (default %(default)s)")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one way (default %(default)s)")


@dataclass(slots=True)
class Result:
    """One stack: the seconds of each run, by way."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in WAYS})
    failure: str = ""


@contextmanager
def ends(stack: str) -> Iterator[tuple[Child, Child]]:
    """The dialer and the listener, with the stream between them."""
    argv = [sys.executable, "-P", "-m", "shoal.tests.bench.stream_child", stack]
    with Child.start([*argv, "listen"], name=f"{stack} listener") as listener:
        where = listener.line(START_TIMEOUT_S).split()
        with Child.start([*argv, "dial", *where], name=f"{stack} dialer") as dialer:
            for each in (dialer, listener):
                if (said := each.line(START_TIMEOUT_S)) != "ready":
                    raise ChildFailed(f"{stack} said {said!r}{each.error_text()}")
            yield dialer, listener


def ask(end: Child, size: int, timeout_s: float) -> float:
    """Have the other end send; the seconds until all had come."""
    end.send(str(size))
    return float(end.line(timeout_s))


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run everything; the report, ready for JSON."""
    results = {name: Result() for name in STACKS}
    for run in range(options.runs):
        for name, result in results.items():
            if not result.failure:
                attempt(result, STACKS[name][0], options)
                said = result.failure or [
                    f"{options.size / each[-1] / 1e6:.0f} MB/s" for each in result.seconds.values()
                ]
                print(f"run {run + 1} of {options.runs}: {name}: {said}", file=sys.stderr, flush=True)
    return report(results, options.size)


def attempt(result: Result, stack: str, options: argparse.Namespace) -> None:
    """One run of one stack."""
    try:
        with ends(stack) as both:
            seconds = []
            for end in both:
                ask(end, WARM_UP_BYTES, options.timeout)
                seconds.append(ask(end, options.size, options.timeout))
    except ChildFailed as fault:
        result.failure = str(fault)
        return
    for way, each in zip(WAYS, seconds, strict=True):
        result.seconds[way].append(each)


def report(results: dict[str, Result], size: int) -> dict[str, Any]:
    """All figures, as plain values."""
    entries: dict[str, Any] = {}
    yardstick = results[YARDSTICK]
    for name, result in results.items():
        entry = entries[name] = {"note": STACKS[name][1], "seconds": result.seconds}
        if result.failure:
            entry["failure"] = result.failure
            continue
        entry["mb_per_s"] = {
            way: spread_of([size / each / 1e6 for each in seconds]) for way, seconds in result.seconds.items()
        }
        if not yardstick.failure:
            ratios = {way: speed_ratio(result.seconds[way], yardstick.seconds[way]) for way in WAYS}
            entry["times"] = {way: [each.median, each.low, each.high] for way, each in ratios.items()}
    return {"title": f"one stream, {size_text(size)} each way", "contestants": entries}


def text(found: dict[str, Any]) -> str:
    """The report as a table."""
    head = ["stack", "runs", *(f"MB/s {way}" for way in WAYS), *(f"x {YARDSTICK} {way}" for way in WAYS)]
    rows, below = [], []
    for name, entry in found["contestants"].items():
        if "failure" in entry:
            below.append(f"{name} FAILED: {entry['failure']}")
            continue
        below.append(f"  {name}: {entry['note']}")
        speeds = [entry["mb_per_s"][way] for way in WAYS]
        rows.append(
            [
                name,
                str(len(entry["seconds"][WAYS[0]])),
                *(f"{each['median']:.0f} ({each['min']:.0f}-{each['max']:.0f})" for each in speeds),
                *(spread_text(Spread(*entry["times"][way])) if "times" in entry else "-" for way in WAYS),
            ]
        )
    return "\n".join([found["title"], "", render(head, rows), "", *below])
