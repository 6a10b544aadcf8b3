"""``bin/bench soak``: a shoal and a Kubo swap random files for an hour over a connection that keeps being reset.

Files of 1 B to 30 MiB go in both directions at once.  Nothing is started again: the shoal keeps Kubo as a ``--peer``,
and so has to come back through the link proxy after each reset, by itself.  Every file is compared.  A transfer that
takes longer than ``--timeout`` is a hang, and a hang, an error or a wrong byte ends the run as failed, with what the
shoal knew at that moment.  A leak is no failure but shows as growth between the rows of the table, except for wants:
when all is quiet none may be left.

Nothing is deleted from the repos, so what is stored is paced by ``--disk``: when there is more than the time that has
passed allows, the next files are small.
"""

import argparse
import filecmp
import http.client
import json
import math
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from shoal.tests.bench import options as opts
from shoal.tests.bench.numbers import size_text
from shoal.tests.bench.table import render
from shoal.tests.support.kubo import Kubo, KuboOptions
from shoal.tests.support.link_proxy import Link, LinkProxy
from shoal.tests.support.processes import Child, ChildFailed, memory_bytes
from shoal.tests.support.shoal import Shoal

LARGEST: Final = 30 * 1024**2  # bytes
SMALL: Final = 64 * 1024  # bytes: the largest file while the disk's share is used up
PAUSE_S: Final = 0.05  # between two transfers of one direction
SAMPLES_S: Final = 300.0  # between rows of the table
QUIET_S: Final = 5.0  # after the last transfer, before the last row
CONNECT_TIMEOUT_S: Final = 30.0
CHECK_S: Final = 0.25
GROWING: Final = ("rss", "descriptors", "threads", "streams", "dead_letters")  # where a leak shows
SHOAL_HOST: Final = "127.0.0.2"
QUICK: Final = ("--minutes", "0.2", "--resets", "1-3")
CACHED: Final = "shoal_memory_bytes"  # the memory tier's: it fills for a long time, which is no leak
METRICS: Final = {"wants": "shoal_wantlist_wants", "demand": "shoal_wantlist_demand"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (default %(default)s)")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for one transfer (default %(default)s)")
    parser.add_argument(
        "--resets", default="2-20", help="seconds between resets, LOW-HIGH or none (default %(default)s)"
    )
    parser.add_argument("--disk", type=opts.size, default="8GiB", help="stored in both repos (default %(default)s)")
    parser.add_argument("--rtt", type=float, default=0.0, help="of the link, in ms (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of sizes, bytes and resets (default %(default)s)")


@dataclass(slots=True)
class Direction:
    """What went one way so far.  Written by one thread."""

    name: str
    transfers: int = 0
    bytes: int = 0
    slowest_s: float = 0.0
    slowest_bytes: int = 0


@dataclass(slots=True)
class Soak:
    """The run: who takes part, until when, and what broke it."""

    shoal: Shoal
    kubo: Kubo
    proxy: LinkProxy
    folder: Path
    seconds: float
    timeout_s: float
    disk: int
    seed: int
    begun: float = field(default_factory=time.monotonic)
    failure: str = ""
    over: threading.Event = field(default_factory=threading.Event)
    directions: tuple[Direction, Direction] = field(
        default_factory=lambda: (Direction("kubo->shoal"), Direction("shoal->kubo"))
    )

    def elapsed(self) -> float:
        return time.monotonic() - self.begun

    def largest(self) -> int:
        """The largest size that the next file may have."""
        stored = 2 * sum(direction.bytes for direction in self.directions)
        share = self.disk * min(1.0, (self.elapsed() + SAMPLES_S / 10) / self.seconds)
        return LARGEST if stored < share - 2 * LARGEST else SMALL

    def fail(self, text: str) -> None:
        self.failure = self.failure or text
        self.over.set()


def any_size(rng: random.Random, largest: int) -> int:
    """From 1 to ``largest`` bytes, each order of magnitude as likely."""
    return min(largest, round(math.exp(rng.uniform(0, math.log(largest)))))


# --- the transfers -----------------------------------------------------------------------------------


def swap(soak: Soak, direction: Direction, hold: Callable[[Path], str], fetch: Callable[[str, Path], None]) -> None:
    """One direction's thread: file after file, until all is over."""
    rng = random.Random(f"{soak.seed}/{direction.name}")
    source, out = (soak.folder / f"{direction.name}.{end}" for end in ("source", "fetched"))
    while not soak.over.wait(PAUSE_S):
        size = any_size(rng, soak.largest())
        what = f"{direction.name}, transfer {direction.transfers + 1}, {size} bytes"
        begun = time.monotonic()
        try:
            source.write_bytes(rng.randbytes(size))
            cid = hold(source)
            what += f", {cid}"
            begun = time.monotonic()
            fetch(cid, out)
            if not filecmp.cmp(source, out, shallow=False):
                raise ChildFailed("the bytes that came are not those that were held")
            out.unlink()
        except (ChildFailed, OSError) as fault:
            soak.fail(f"{what}: after {time.monotonic() - begun:.1f} s: {fault}")
            return
        seconds = time.monotonic() - begun
        if seconds > direction.slowest_s:
            direction.slowest_s, direction.slowest_bytes = seconds, size
        direction.transfers += 1
        direction.bytes += size


def threads_of(soak: Soak) -> list[threading.Thread]:
    shoal, kubo, limit_s = soak.shoal, soak.kubo, soak.timeout_s
    to_shoal, to_kubo = soak.directions
    work = [
        (soak, to_shoal, kubo.add, lambda cid, out: shoal.cat_to(cid, out, limit_s)),
        (soak, to_kubo, shoal.add, lambda cid, out: kubo.get(cid, out, limit_s)),
    ]
    return [threading.Thread(target=swap, args=each, name=each[1].name) for each in work]


# --- what is looked at -------------------------------------------------------------------------------


def of_process(child: Child) -> dict[str, int]:
    """Resident memory in bytes, open descriptors, threads."""
    threads = Path(f"/proc/{child.pid}/task")
    descriptors = Path(f"/proc/{child.pid}/fd")
    try:
        counts = {"descriptors": len(os.listdir(descriptors)), "threads": len(os.listdir(threads))}
    except OSError as fault:
        raise ChildFailed(f"process {child.pid} has ended") from fault
    return {"rss": memory_bytes(child.pid, "VmRSS"), **counts}


def metrics_of(shoal: Shoal) -> dict[str, float]:
    """The node's own gauges and counters, by their prometheus names."""
    connection = http.client.HTTPConnection(shoal.api, timeout=CONNECT_TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException) as fault:
        raise ChildFailed(f"/metrics: {fault!r}{shoal.process.error_text()}") from fault
    finally:
        connection.close()
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def sample(soak: Soak) -> dict[str, Any]:
    """One row of the table."""
    bitswap, metrics, peers = soak.shoal.bitswap_stat(), metrics_of(soak.shoal), soak.shoal.peers()
    actors = soak.shoal.call("shoal/actors")
    inside = {
        "peers": len(peers),
        "streams": sum(len(peer.get("Streams") or ()) for peer in peers),
        "sessions": int(bitswap["Sessions"]),
        "outstanding": int(bitswap["Outstanding"]),
        "queued": sum(actor["Queued"] for actor in actors["Actors"]),
        "restarts": sum(actor["Restarts"] for actor in actors["Actors"]),
        "dead_letters": int(actors["DeadLetters"]),
        "cached": int(metrics.get(CACHED, 0)),
        **{name: int(metrics.get(metric, 0)) for name, metric in METRICS.items()},
    }
    return {
        "seconds": soak.elapsed(),
        "transfers": sum(direction.transfers for direction in soak.directions),
        "bytes": sum(direction.bytes for direction in soak.directions),
        "cuts": soak.proxy.stats()["cut"],
        "shoal": {**of_process(soak.shoal.process), **inside},
        "kubo": of_process(soak.kubo.process),
    }


SHOAL_COLUMNS: Final = ("RSS", "cached", "fds", "threads", "streams", "wants", "demand", "sessions", "queued")
COLUMNS: Final = (
    *("at", "files", "MiB", "resets"),
    *(f"shoal {name}" for name in SHOAL_COLUMNS),
    *("restarts", "dead letters", "kubo RSS", "fds", "threads"),
)


def row(entry: dict[str, Any]) -> list[str]:
    """A sample as cells of the table."""
    shoal, kubo = entry["shoal"], entry["kubo"]
    inside = ("descriptors", "threads", "streams", "wants", "demand", "sessions", "queued", "restarts", "dead_letters")
    return [
        f"{entry['seconds'] / 60:.1f} min",
        str(entry["transfers"]),
        f"{entry['bytes'] / 1024**2:.0f}",
        str(entry["cuts"]),
        size_text(shoal["rss"]),
        size_text(shoal["cached"]),
        *(str(shoal[name]) for name in inside),
        size_text(kubo["rss"]),
        str(kubo["descriptors"]),
        str(kubo["threads"]),
    ]


def known(shoal: Shoal) -> str:
    """What the shoal can still say of itself, for a failure."""
    said = []
    for command in ("bitswap/stat", "bitswap/wantlist", "shoal/actors"):
        try:
            said.append(f"{command}: {json.dumps(shoal.call(command, timeout_s=5))[:2000]}")
        except ChildFailed as fault:
            said.append(f"{command}: {str(fault)[:500]}")
    try:
        said.append(f"swarm/peers: {[(peer['Addr'], peer['Peer']) for peer in shoal.peers()]}")
    except ChildFailed as fault:
        said.append(f"swarm/peers: {str(fault)[:500]}")
    return "\n".join(said) + shoal.process.error_text()


# --- the run -----------------------------------------------------------------------------------------


def resets(text: str) -> tuple[float, float] | None:
    """``2-20`` as seconds, None for ``none``.  Raises ValueError."""
    if text == "none":
        return None
    low, _, high = text.partition("-")
    return float(low), float(high or low)


def free_port() -> int:
    """A loopback port that is free now: Kubo must know before it starts what it listens on and what it announces."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def running(options: argparse.Namespace, folder: Path) -> Iterator[Soak]:
    """Both nodes, with the proxy between them as the only way.

    It is the only address that Kubo tells of itself.  Kubo for its part would dial the shoal where identify says that
    it listens, as soon as a connection is lost: that is on another loopback address, which Kubo is told not to dial.
    """
    link = Link(rtt_s=options.rtt / 1000, resets=resets(options.resets), seed=options.seed)
    with LinkProxy.start(link) as proxy:
        port = free_port()
        settings = {
            "Addresses.Announce": [f"/ip4/127.0.0.1/tcp/{proxy.port}"],
            "Swarm.AddrFilters": [f"/ip4/{SHOAL_HOST}/ipcidr/32"],
        }
        with Kubo.start(folder / "kubo", KuboOptions(quic=False, port=port, settings=settings)) as kubo:
            proxy.aim(port)
            addr = f"/ip4/127.0.0.1/tcp/{proxy.port}/p2p/{kubo.peer_id}"
            listen = [f"/ip4/{SHOAL_HOST}/tcp/0"]
            with Shoal.start(folder / "shoal", listen=listen, extra=["--peer", addr]) as shoal:
                seconds = options.minutes * 60
                yield Soak(shoal, kubo, proxy, folder, seconds, options.timeout, options.disk, options.seed)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run all of it; the report, ready for JSON."""
    with running(options, folder) as soak:
        samples: list[dict[str, Any]] = []

        def look() -> None:
            samples.append(sample(soak))
            print("\t".join(row(samples[-1])), file=sys.stderr, flush=True)

        print("\t".join(COLUMNS), file=sys.stderr)
        threads = threads_of(soak)
        try:
            look()
            for thread in threads:
                thread.start()
            next_look = min(SAMPLES_S, soak.seconds / 6)
            while not soak.over.wait(CHECK_S) and soak.elapsed() < soak.seconds:
                if soak.elapsed() >= next_look:
                    next_look += min(SAMPLES_S, soak.seconds / 6)
                    look()
            if soak.failure:
                soak.failure += f"\n{known(soak.shoal)}"
            soak.over.set()
            for thread in threads:
                thread.join()
            if not soak.failure:
                time.sleep(QUIET_S)
                look()
                check_quiet(soak, samples[-1])
        except ChildFailed as fault:
            soak.fail(f"looking at the nodes: {fault}")
            for thread in threads:
                if thread.is_alive():
                    thread.join()
        return report(soak, samples)


def check_quiet(soak: Soak, last: dict[str, Any]) -> None:
    """When nothing is asked for nothing may be wanted, and all bytes must have passed through the proxy."""
    left = {name: last["shoal"][name] for name in METRICS if last["shoal"][name]}
    if left:
        soak.fail(f"nothing is asked for, and the shoal still has {left}\n{known(soak.shoal)}")
    through = soak.proxy.stats()
    if through["up_bytes"] + through["down_bytes"] < last["bytes"]:
        soak.fail(f"{last['bytes']} bytes were swapped, and the proxy carried only {through}: they went around it")


def report(soak: Soak, samples: list[dict[str, Any]]) -> dict[str, Any]:
    """All figures, as plain values."""
    entry: dict[str, Any] = {
        direction.name: {
            "transfers": direction.transfers,
            "bytes": direction.bytes,
            "slowest_s": direction.slowest_s,
            "slowest_bytes": direction.slowest_bytes,
        }
        for direction in soak.directions
    }
    if soak.failure:
        entry["failure"] = soak.failure
    return {"minutes": soak.elapsed() / 60, "samples": samples, "contestants": {"soak": entry}}


def text(found: dict[str, Any]) -> str:
    """The rows, and what broke it."""
    entry = found["contestants"]["soak"]
    samples = found["samples"]
    lines = [f"soak of {found['minutes']:.1f} minutes, shoal and kubo over a link that is reset again and again", ""]
    lines += [render(COLUMNS, [row(each) for each in samples]), ""]
    for name, each in entry.items():
        if name != "failure":
            lines.append(
                f"{name}: {each['transfers']} files, {size_text(each['bytes'])}; slowest {each['slowest_s']:.1f} s "
                f"({size_text(each['slowest_bytes'])})"
            )
    if len(samples) > 1:
        seen = (samples[0], samples[1], samples[-1])  # the second is warm: its caches have been used
        grown = (f"{name} {' -> '.join(str(each['shoal'][name]) for each in seen)}" for name in GROWING)
        lines.append(f"shoal at the start, warm, at the end: {', '.join(grown)}")
    lines.append(f"FAILED: {entry['failure']}" if "failure" in entry else "no transfer failed, hung or came out wrong")
    return "\n".join(lines)
