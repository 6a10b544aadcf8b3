"""``bin/bench idle``: the bytes that a leecher with every source on sends and receives while nobody wants anything.

Each node is alone in a network namespace on one LAN: workers, a Kubo where one can run, and the leecher, which joins
last and is left alone with them.  What crosses its interface is counted by the kernel, with Ethernet headers, after the
minute in which it gets to know the others.  Needs root.
"""

import argparse
import itertools
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from shoal.tests.bench import options as opts
from shoal.tests.bench.table import render
from shoal.tests.support import kubo as kubos
from shoal.tests.support import namespaces
from shoal.tests.support.kubo import Kubo, KuboOptions
from shoal.tests.support.shoal import Shoal

QUICK: Final = ("--minutes", "0.2", "--workers", "2", "--settle", "1")
SOURCES: Final = "bootstrap,mdns,dht,pubsub,delegated,filters"
BOUND_BYTES_PER_S: Final = 12_000
"""What an idle leecher may use, of both directions: the aim that the table is read against."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument("--minutes", type=float, default=10.0, help="how long it is watched (default %(default)s)")
    parser.add_argument("--settle", type=float, default=60.0, help="seconds before that (default %(default)s)")
    parser.add_argument("--workers", type=opts.count, default=8, help="shoals beside it (default %(default)s)")


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run everything; the report."""
    reason = namespaces.why_unavailable()
    if reason is not None:
        raise SystemExit(f"bench idle: {reason}")
    addresses = [f"10.77.0.{number}" for number in range(1, options.workers + 3)]
    with ExitStack() as stack:
        lan = stack.enter_context(namespaces.Lan.of(*addresses))
        entry: list[str] = ["--bootstrap", "none"]
        for number in range(options.workers):
            host = lan[number]
            worker = Shoal.start(
                folder / f"worker-{number}", sources=SOURCES, listen=[listen(host.address)], host=host, extra=entry
            )
            stack.enter_context(worker)
            entry = ["--bootstrap", worker.addrs[0]] if number == 0 else entry
            worker.add(b"something to tell of %d" % number)
        with_kubo = kubos.why_unavailable() is None
        if with_kubo:
            host = lan[options.workers]
            settings = {"Pubsub.Enabled": True, "Pubsub.Router": "gossipsub"}
            kind = KuboOptions(address=host.address, port=4001, mdns=True, quic=False, settings=settings)
            stack.enter_context(Kubo.start(folder / "kubo", kind, host=host))
        host = lan[options.workers + 1]
        leecher = stack.enter_context(
            Shoal.start(
                folder / "leecher",
                sources=SOURCES,
                role="leecher",
                listen=[listen(host.address)],
                host=host,
                extra=entry,
            )
        )
        time.sleep(options.settle)
        samples = [host.counters()]
        for _ in range(max(1, round(options.minutes))):
            time.sleep(60 * options.minutes / max(1, round(options.minutes)))
            samples.append(host.counters())
        connected = len(leecher.peers())
    return {
        "asked": {"minutes": options.minutes, "settle_s": options.settle, "workers": options.workers},
        "kubo": with_kubo,
        "connected_to": connected,
        "samples": samples,
    }


def listen(address: str) -> str:
    """Where a node of the LAN listens."""
    return f"/ip4/{address}/tcp/4001"


def text(found: dict[str, Any]) -> str:
    """The report as a table: bytes a second in each minute, and over all."""
    samples, asked = found["samples"], found["asked"]
    seconds = 60 * asked["minutes"] / (len(samples) - 1)
    rows = [
        (f"minute {number}", *rates(before, after, seconds))
        for number, (before, after) in enumerate(itertools.pairwise(samples), 1)
    ]
    rows.append(("all", *rates(samples[0], samples[-1], 60 * asked["minutes"])))
    beside = f"{asked['workers']} workers" + (" and a Kubo" if found["kubo"] else "")
    return "\n".join(
        [
            f"an idle leecher with all sources ({SOURCES}) beside {beside}; connected to {found['connected_to']}",
            f"aim: fewer than {BOUND_BYTES_PER_S} bytes a second, both ways together",
            "",
            render(("bytes a second", "received", "sent", "together", "packets a second"), rows),
        ]
    )


def rates(before: dict[str, int], after: dict[str, int], seconds: float) -> tuple[str, str, str, str]:
    """Received, sent, together, and packets, a second."""
    spent = {name: (after[name] - before[name]) / seconds for name in after}
    return (
        f"{spent['rx_bytes']:.0f}",
        f"{spent['tx_bytes']:.0f}",
        f"{spent['rx_bytes'] + spent['tx_bytes']:.0f}",
        f"{spent['rx_packets'] + spent['tx_packets']:.1f}",
    )
