"""``bin/bench links``: one file over a long or lossy link, from the request until it is read whole and stored.

Between the holder and the fetcher, who are new for every turn, is a link proxy (``tests/support/link_proxy``): a
process of its own that gives every byte half a round trip of delay.  Its loss is an EMULATION, the same for everybody:
see ``link_proxy_schedule``; over a link that loses, the file is small.  ``tcp`` is what the link itself carries.  A
transfer whose bytes did not all pass through the proxy is a failure.
"""

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from shoal.tests.bench import conditions, fetch
from shoal.tests.bench import options as opts
from shoal.tests.bench.contestant import Pair, Pairing
from shoal.tests.bench.numbers import size_text
from shoal.tests.bench.report import PEAKS, Column, Shape, in_seconds
from shoal.tests.bench.runs import Figures, write_random
from shoal.tests.support.link_proxy import Link, LinkProxy
from shoal.tests.support.processes import ChildFailed

LOSSY_WINDOW_BYTES: Final = 4 * 1024**2
"""In a link that loses: as much as Linux lets a sender leave unacknowledged (tcp_wmem).  What waits behind a loss is
otherwise seconds of traffic, which nobody's requests could overtake."""

SHAPE: Final = Shape(
    columns=(*in_seconds("median s", "seconds"), Column("MiB/s", "mib_per_s", show="{:.2f}".format), *PEAKS),
    compared={"seconds": ""},
)
QUICK: Final = (
    *("--size", "2MiB", "--lossy-size", "1MiB", "--runs", "1"),
    *("--rtt", "20", "--loss", "0,0.5", "--contestants", "shoal,tcp"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument("--size", type=opts.size, default="100MiB", help="of the file (default %(default)s)")
    parser.add_argument(
        "--lossy-size", type=opts.size, default="20MiB", help="where some is lost (default %(default)s)"
    )
    parser.add_argument("--rtt", type=numbers(1e4), default="20,68,200", help="round trips in ms (default %(default)s)")
    parser.add_argument("--loss", type=numbers(99), default="0,0.5", help="of segments, in %% (default %(default)s)")
    opts.shared(parser, "file", runs=3)
    parser.set_defaults(contestants="shoal,kubo,py-libp2p,tcp")


def numbers(largest: float) -> Callable[[str], list[float]]:
    """Numbers from 0, separated by commas."""

    def numbers(text: str) -> list[float]:
        found = [float(word) for word in text.split(",")]
        if not all(0 <= each <= largest for each in found):
            raise argparse.ArgumentTypeError(f"{text!r}: each is to be from 0 to {largest:g}")
        return list(dict.fromkeys(found))

    return numbers


def links(rtts_ms: list[float], losses_percent: list[float], seed: int) -> dict[str, Link]:
    """Every link, by what the table calls it."""
    found = {}
    for loss in losses_percent:
        for rtt in rtts_ms:
            window = LOSSY_WINDOW_BYTES if loss else None
            name = f"{rtt:g} ms" + (f", {loss:g} %" if loss else "")
            found[name] = Link(rtt_s=rtt / 1000, loss=loss / 100, window=window, seed=seed)
    return found


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run everything; the report, ready for JSON.  ``folder`` is empty and ours."""
    whole = write_random(folder / "whole.bin", options.size, options.seed)
    lossy = write_random(folder / "lossy.bin", options.lossy_size, options.seed)
    there = links(options.rtt, options.loss, options.seed)

    def attempt(who: Pairing, condition: str, place: Path) -> Figures:
        source, size = (lossy, options.lossy_size) if there[condition].loss else (whole, options.size)
        with ExitStack() as stack:
            holder = stack.enter_context(who.holder.start(place / "holder"))
            fetcher = stack.enter_context(who.fetcher.start(place / "fetcher"))
            proxy = stack.enter_context(LinkProxy.start(there[condition], holder.addr))
            fetcher.connect(proxy.addr(holder.addr))
            both = Pair(holder, fetcher)
            seconds = fetch.fetch(both, holder.hold(source), source, place / "fetched.bin", options.timeout)
            through = proxy.stats()
            if through["down_bytes"] < size:
                raise ChildFailed(f"the link carried only {through['down_bytes']} bytes: the others went around it")
            figures = {"seconds": seconds, "mib_per_s": size / 1024**2 / seconds, **fetch.peaks(both)}
            return {**figures, "losses": through["losses"]}

    found = conditions.alternate(list(there), options.contestants, options.runs, folder, attempt)
    title = f"fetch of {size_text(options.size)} over a link, of {size_text(options.lossy_size)} where some is lost"
    title += "; loss is an emulation, see tests/support/link_proxy_schedule"
    asked = {"size_bytes": options.size, "lossy_size_bytes": options.lossy_size}
    asked |= {"rtt_ms": options.rtt, "loss_percent": options.loss}
    return conditions.report(title, asked, found, SHAPE)


def text(found: dict[str, Any]) -> str:
    """The report as a table."""
    return conditions.text(found, SHAPE)
