"""``bin/bench holders``: one file from one holder and from several, with nothing in the way and over slow links.

All holders hold the whole file, and the fetcher is connected to each.  With nothing in the way one holder is as quick
as the fetcher, and several can only show that they do no harm.  Over links of ``--rate`` each, in a link proxy, n
holders are worth n links at best.  Everybody is new for every turn.
"""

import argparse
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from shoal.tests.bench import conditions, fetch
from shoal.tests.bench import options as opts
from shoal.tests.bench.contestant import Pair, Pairing
from shoal.tests.bench.numbers import Spread, size_text, spread_text
from shoal.tests.bench.report import PEAKS, Column, Shape, in_seconds
from shoal.tests.bench.runs import Figures, write_random
from shoal.tests.support.link_proxy import Link, LinkProxy

UNKNOWN: Final = 0.0  # the share of the busiest holder, where no proxy counts

SHAPE: Final = Shape(
    columns=(
        *in_seconds("median s", "seconds"),
        Column("MiB/s", "mib_per_s", show="{:.1f}".format),
        Column("most from one", "most_from_one", show=lambda share: f"{share:.0%}" if share > UNKNOWN else "-"),
        PEAKS[1],
    ),
    compared={"seconds": ""},
)
QUICK: Final = ("--size", "8MiB", "--slow-size", "4MiB", "--runs", "1", "--contestants", "shoal")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument("--size", type=opts.size, default="1GiB", help="with nothing in the way (default %(default)s)")
    parser.add_argument("--slow-size", type=opts.size, default="200MiB", help="over slow links (default %(default)s)")
    parser.add_argument(
        "--rate", type=opts.size, default="20MiB", help="of a slow link, a second (default %(default)s)"
    )
    parser.add_argument("--holders", type=opts.count, default=3, help="how many are several (default %(default)s)")
    opts.shared(parser, "file", mixed=False, runs=3)
    parser.set_defaults(contestants="shoal,kubo")


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run everything; the report, ready for JSON.  ``folder`` is empty and ours."""
    free = write_random(folder / "free.bin", options.size, options.seed)
    slow = write_random(folder / "slow.bin", options.slow_size, options.seed)
    link = Link(rate=options.rate)
    cases = {name(count, rate): (count, rate) for rate in (None, link) for count in (1, options.holders)}

    def attempt(who: Pairing, condition: str, place: Path) -> Figures:
        count, link = cases[condition]
        return swarm(who, count, link, slow if link else free, place, options.timeout)

    found = conditions.alternate(list(cases), options.contestants, options.runs, folder, attempt)
    title = (
        f"fetch of {size_text(options.size)} from holders with nothing in the way, "
        f"of {size_text(options.slow_size)} over links of {size_text(options.rate)}/s"
    )
    asked = {"size_bytes": options.size, "slow_size_bytes": options.slow_size, "rate": options.rate}
    values = conditions.report(title, {**asked, "holders": options.holders}, found, SHAPE)
    values["several_against_one"] = {
        name(options.holders, rate): {
            who: asdict(spread)
            for who, spread in conditions.against(found, name(options.holders, rate), name(1, rate), "seconds").items()
        }
        for rate in (None, link)
    }
    return values


def name(count: int, link: Link | None) -> str:
    """What the table calls a condition."""
    return f"{count} holder{'s' * (count > 1)}" + (", slow" if link else "")


def swarm(who: Pairing, count: int, link: Link | None, source: Path, place: Path, timeout_s: float) -> Figures:
    """One fetch from ``count`` holders, each behind a link of its own if there is one."""
    with ExitStack() as stack:
        holders = [stack.enter_context(who.holder.start(place / f"holder{number}")) for number in range(count)]
        fetcher = stack.enter_context(who.fetcher.start(place / "fetcher"))
        proxies = [stack.enter_context(LinkProxy.start(link, holder.addr)) for holder in holders] if link else []
        cids = {holder.hold(source) for holder in holders}
        for number, holder in enumerate(holders):
            fetcher.connect(proxies[number].addr(holder.addr) if proxies else holder.addr)
        both = Pair(holders[0], fetcher)
        seconds = fetch.fetch(both, cids.pop(), source, place / "fetched.bin", timeout_s)
        sent = [proxy.stats()["down_bytes"] for proxy in proxies]
        size = source.stat().st_size
        figures = {"seconds": seconds, "mib_per_s": size / 1024**2 / seconds, **fetch.peaks(both)}
        return {**figures, "most_from_one": max(sent) / sum(sent) if sent else UNKNOWN}


def text(found: dict[str, Any]) -> str:
    """The report as a table, and below it what several holders are worth."""
    remarks = []
    for condition, ratios in found["several_against_one"].items():
        for who, spread in ratios.items():
            remarks.append(f"{who}, {condition}: {spread_text(Spread(**spread))} times as quick as one such holder")
    return conditions.text(found, SHAPE, [*remarks, ""])
