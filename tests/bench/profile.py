"""``bin/bench profile``: where the time of a fetch goes, in the holder and in the fetcher, thread by thread.

py-spy samples both processes while one file is fetched: once for the table (the functions that ran, by their own time)
and, in a second fetch by new processes, once for a flame graph of each, which is left in ``bench-out/profile-...``.
Only Python is seen: time in C is told of the Python function that called it.  py-spy leaves out threads that idle
where the kernel lets it know them; where it does not, the table leaves out the functions in WAITING, and the flame
graphs show them.  Sampling stops a process for a moment each time: the seconds told here compare with nothing else.

It is not part of ``all``: it is for those who look for what to make faster.  py-spy reads another process's memory:
where ptrace is restricted (kernel.yama.ptrace_scope), it needs to run as root.
"""

import argparse
import re
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from shoal.tests.bench import fetch
from shoal.tests.bench import options as opts
from shoal.tests.bench.contestant import Pair, Pairing
from shoal.tests.bench.contestants.registry import CONTESTANTS
from shoal.tests.bench.numbers import size_text
from shoal.tests.bench.runs import write_random
from shoal.tests.bench.table import render
from shoal.tests.support.link_proxy import Link, LinkProxy
from shoal.tests.support.processes import Child, ChildFailed

Format = Literal["raw", "flamegraph"]

PY_SPY: Final = Path(sys.executable).with_name("py-spy")  # the package is a program, with nothing to import
PYTHONS: Final = ("shoal", "py-libp2p")  # contestants that py-spy can look into
SAMPLES_PER_S: Final = 200
SAMPLING_MAX_S: Final = 3600  # py-spy's own end, should nobody tell it
SAMPLER_START_S: Final = 1.0  # it says nothing that could be waited for when its output is a file
SAMPLER_END_S: Final = 60.0
WAITING: Final = re.compile(
    r"^(Condition\.wait|EpollIOManager\.get_events|WorkerThread\._work|Event\.wait|wait|select) \("
)
NODE_PREFIX: Final = re.compile(r"^shoal-[^-]+-")  # of an actor's thread: some letters of the peer id
THREAD: Final = re.compile(r"^thread \((?:0x)?[0-9a-fA-F]+\)(?:: (?P<name>.*))?$")
SHOWN_SHARE: Final = 0.01  # threads with less than this are not in the table
QUICK: Final = ("--size", "16MiB", "--top", "3")

Tops = Mapping[str, Mapping[str, list[tuple[str, int]]]]
"""Side -> thread -> functions and their samples, most first."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument("--size", type=opts.size, default="200MiB", help="of the file (default %(default)s)")
    parser.add_argument("--contestant", choices=PYTHONS, default="shoal", help="both sides (default %(default)s)")
    parser.add_argument("--rtt", type=float, default=0.0, help="of a link between them, in ms (default none)")
    parser.add_argument("--top", type=opts.count, default=8, help="functions of each thread (default %(default)s)")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one fetch (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all random bytes (default %(default)s)")


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Two fetches; the report, ready for JSON."""
    who = Pairing(CONTESTANTS[options.contestant], CONTESTANTS[options.contestant])
    graphs = options.dir / time.strftime("profile-%Y%m%d-%H%M%S")
    entry: dict[str, Any] = {"note": who.note}
    found = {"title": f"profile of a fetch of {size_text(options.size)}", "graphs": str(graphs)}
    try:
        if not PY_SPY.exists():
            raise ChildFailed("py-spy is not installed: it is in the extra `bench`")
        source = write_random(folder / "source.bin", options.size, options.seed)
        graphs.mkdir()
        sampled(who, "flamegraph", source, folder / "first", graphs, options)
        entry["seconds"] = sampled(who, "raw", source, folder / "second", graphs, options)
        entry["threads"] = {side: read_raw(graphs / f"{side}.raw") for side in Pair._fields}
    except (ChildFailed, OSError) as fault:
        entry["failure"] = str(fault)
    return {**found, "top": options.top, "contestants": {who.name: entry}}


def sampled(who: Pairing, kind: Format, source: Path, place: Path, graphs: Path, options: argparse.Namespace) -> float:
    """One fetch with a sampler on each side, which leaves ``holder`` and ``fetcher`` in ``graphs``; its seconds."""
    place.mkdir()
    suffix = "svg" if kind == "flamegraph" else "raw"
    with ExitStack() as stack:
        holder = stack.enter_context(who.holder.start(place / "holder"))
        fetcher = stack.enter_context(who.fetcher.start(place / "fetcher"))
        addr = holder.addr
        if options.rtt:
            addr = stack.enter_context(LinkProxy.start(Link(rtt_s=options.rtt / 1000), addr)).addr(addr)
        fetcher.connect(addr)
        both = Pair(holder, fetcher)
        name = holder.hold(source)
        with ExitStack() as samplers:
            for side, peer in zip(Pair._fields, both, strict=True):
                samplers.enter_context(sampler(peer.process.pid, kind, graphs / f"{side}.{suffix}"))
            time.sleep(SAMPLER_START_S)
            return fetch.fetch(both, name, source, place / "fetched.bin", options.timeout)


@contextmanager
def sampler(pid: int, kind: Format, out: Path) -> Iterator[None]:
    """py-spy on one process, told to end and awaited at the end.  ChildFailed when it left nothing."""
    command = [str(PY_SPY), "record", "--pid", str(pid), "--format", kind]
    command += ["--output", str(out), "--threads", "--function", "--rate", str(SAMPLES_PER_S)]
    command += ["--duration", str(SAMPLING_MAX_S)]
    with Child.start(command, name=f"py-spy of {out.name}") as child:
        yield
        if child.poll() is None:
            child.signal(signal.SIGINT)
        code = child.wait(SAMPLER_END_S)
        if not out.exists():
            raise ChildFailed(f"py-spy ended with code {code} and left no {out.name}{child.error_text()}")


# --- telling -----------------------------------------------------------------------------------------


def read_raw(path: Path) -> dict[str, list[tuple[str, int]]]:
    """``self_time`` of a file of py-spy's."""
    return self_time(path.read_text(encoding="utf-8"))


def self_time(raw: str) -> dict[str, list[tuple[str, int]]]:
    """By thread, busiest first: functions and the samples in which they ran themselves, most first.  Pure.

    ``raw`` is py-spy's: lines of ``frame;frame;frame samples``, the thread first.  Threads of one name are one.
    """
    threads: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for line in raw.splitlines():
        stack, _, samples = line.rpartition(" ")
        frames = stack.split(";")
        known = THREAD.match(frames[0])
        thread = NODE_PREFIX.sub("", known["name"] or "") if known else ""
        if not WAITING.match(frames[-1]):
            threads[thread or "unnamed"][frames[-1]] += int(samples)
    busiest = sorted(threads.items(), key=lambda item: (-item[1].total(), item[0]))
    return {thread: counts.most_common() for thread, counts in busiest}


def text(found: dict[str, Any]) -> str:
    """The top functions of each thread, as seconds and in percent of what was sampled of its process."""
    ((name, entry),) = found["contestants"].items()
    if "failure" in entry:
        return f"{found['title']}\n{name} FAILED: {entry['failure']}"
    rows = []
    for side, threads in entry["threads"].items():
        whole = sum(samples for functions in threads.values() for _, samples in functions) or 1
        for thread, functions in threads.items():
            busy = sum(samples for _, samples in functions)
            if busy / whole >= SHOWN_SHARE:
                rows.append([f"{side}: {thread}", *share(busy, whole)])
                rows += [[f"    {what}", *share(samples, whole)] for what, samples in functions[: found["top"]]]
    what = "own time, and its share of all that ran in the process; waiting is left out"
    head = [found["title"], f"{name}, {entry['seconds']:.2f} s while being sampled; {what}", ""]
    return "\n".join([*head, render(["thread, function", "s", "share"], rows), "", f"flame graphs: {found['graphs']}"])


def share(samples: int, whole: int) -> tuple[str, str]:
    return f"{samples / SAMPLES_PER_S:.2f}", f"{samples / whole:.1%}"
