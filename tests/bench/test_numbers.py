"""The arithmetic and the telling of measurements.  What they measure is nobody's test."""

import argparse
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.tests.bench import fetch, machine
from shoal.tests.bench import options as opts
from shoal.tests.bench.contestant import Contestant, Pairing, Peer
from shoal.tests.bench.numbers import Spread, parse_size, size_text, speed_ratio, spread_text
from shoal.tests.bench.runs import write_random
from shoal.tests.bench.table import render
from shoal.tests.support.processes import Child, ChildFailed

seconds = st.lists(st.floats(0.001, 1000), min_size=1, max_size=9)


@given(seconds)
def test_the_median_lies_within_the_spread(values: list[float]) -> None:
    spread = Spread.of(values)
    assert min(values) == spread.low <= spread.median <= spread.high == max(values)
    assert sum(value <= spread.median for value in values) * 2 >= len(values)


@given(seconds, st.floats(0.1, 10))
def test_ratios_compare_run_by_run(values: list[float], factor: float) -> None:
    ratio = speed_ratio(values, [value * factor for value in values])
    assert all(math.isclose(each, factor) for each in (ratio.median, ratio.low, ratio.high))


def test_a_slow_run_of_both_does_not_spread_the_ratio() -> None:
    assert speed_ratio([1.0, 10.0, 1.0], [2.0, 20.0, 2.0]) == Spread(2.0, 2.0, 2.0)
    with pytest.raises(ValueError, match="3 runs against 2"):
        speed_ratio([1, 1, 1], [1, 1])


@pytest.mark.parametrize(
    ("text", "size"),
    [("100MiB", 104_857_600), ("64 kib", 65_536), ("1GB", 10**9), ("1.5KiB", 1536), ("7", 7), ("7B", 7)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "1 XiB", "-1", "1e3", "1,5MiB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@given(st.integers(0, 2**40))
def test_size_text_is_within_a_thousandth(size: int) -> None:
    assert abs(parse_size(size_text(size)) - size) <= max(1, size / 1000)


def test_spreads_are_told() -> None:
    assert spread_text(Spread(1.5, 1.25, 2)) == "1.50 (1.25-2.00)"


@given(st.lists(st.lists(st.text("abc", max_size=9), min_size=3, max_size=3), max_size=5))
def test_columns_are_aligned(rows: list[list[str]]) -> None:
    lines = render(["first", "b", "c"], rows).split("\n")
    assert len(lines) == 2 + len(rows)
    width = len(lines[1])
    assert all(len(line) <= width for line in lines)
    for cells, line in zip(rows, lines[2:], strict=True):
        assert line.startswith(cells[0])
        assert line.endswith(cells[2]) or not cells[2]


def test_a_crooked_row_is_refused() -> None:
    with pytest.raises(ValueError, match="2 cells"):
        render(["a", "b", "c"], [["1", "2"]])


class CopyingPeer:
    """Holds by name, fetches by copying; ``spoil`` is done to the copy."""

    addr = "/ip4/127.0.0.1/tcp/1/p2p/copy"
    process: Child

    def __init__(self, spoil: Callable[[bytes], bytes]) -> None:
        self.spoil = spoil

    def connect(self, addr: str) -> None:
        assert addr == self.addr

    def hold(self, path: Path, chunk_bytes: int | None = None) -> str:
        return str(path)

    def fetch(self, name: str, out: Path, timeout_s: float, *, tree: bool = False) -> None:
        out.write_bytes(self.spoil(Path(name).read_bytes()))

    def put_block(self, data: bytes) -> str:
        raise ChildFailed("no blocks")

    def get_block(self, cid: str, timeout_s: float) -> bytes:
        raise ChildFailed("no blocks")

    def peak_rss(self) -> int:
        return 5 * 1024**2

    def rss(self) -> int:
        return 3 * 1024**2


def copying(name: str, spoil: Callable[[bytes], bytes] = lambda data: data) -> Contestant:
    def start(_: Path) -> AbstractContextManager[Peer]:
        return nullcontext(CopyingPeer(spoil))

    return Contestant(name, f"copies, as {name}", start, frozenset({"file"}))


def refusing(data: bytes) -> bytes:
    raise ChildFailed("it would not")


def test_fetch_measures_compares_and_tells(tmp_path: Path) -> None:
    contestants = [copying("kubo"), copying("copy"), copying("liar", lambda d: d[:-1]), copying("mule", refusing)]
    pairings = [Pairing(each, each) for each in contestants]
    options = argparse.Namespace(size=10_000, runs=3, contestants=pairings, timeout=5.0, seed=1)
    found = fetch.measure(options, tmp_path)
    entries = found["contestants"]
    assert [len(entries[each.name]["runs"]) for each in contestants] == [3, 3, 0, 0]
    assert "not those that were held" in entries["liar"]["failure"]
    assert entries["mule"]["failure"] == "it would not"
    assert entries["kubo"]["times"] == {"seconds": {"kubo": {"median": 1, "min": 1, "max": 1}}}
    assert entries["copy"]["figures"]["fetcher_peak_rss_bytes"]["max"] == 5 * 1024**2
    assert [path.name for path in tmp_path.iterdir()] == ["source.bin"], "every run's folder is gone"
    told = fetch.text(found)
    assert "5 MiB" in told
    assert "mule FAILED after 0 runs: it would not" in told
    assert "copies, as copy" in told


def test_the_file_follows_from_the_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_random(tmp_path / name, 2_500_000, seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert len(a) == 2_500_000
    assert a == b != c


def test_contestants_are_chosen_by_name() -> None:
    assert [each.name for each in opts.chosen("file")("tcp, kubo->shoal,tcp")] == ["tcp", "kubo->shoal"]
    for refused in ("tcp,nobody", "kubo->shoal"):
        with pytest.raises(argparse.ArgumentTypeError, match="no contestant here is called"):
            opts.chosen("file", mixed=False)(refused)


@pytest.mark.parametrize(("read", "text"), [(opts.count, "0"), (opts.count, "x"), (opts.size, "4QiB")])
def test_a_wrong_option_is_told_by_its_value(read: Callable[[str], int], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=text):
        read(text)


def test_the_machine_is_named(tmp_path: Path) -> None:
    facts = machine.describe(tmp_path)
    assert all(facts.values())
    assert machine.file_system(Path("/proc")) == "proc"
    assert machine.installed("no-such-package-at-all") == ""
