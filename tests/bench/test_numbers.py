"""The arithmetic of measurements, and sizes, tables and machines as text."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.tests.bench import machine
from shoal.tests.bench.numbers import Spread, parse_size, percentile, size_text, speed_ratio, spread_text
from shoal.tests.bench.table import render

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


@given(seconds, st.floats(0.1, 100))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values: list[float], rank: float) -> None:
    found = percentile(values, rank)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= rank * len(values) * (1 - 1e-9)
    assert sum(value < found for value in values) * 100 < rank * len(values) * (1 + 1e-9)


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


def test_the_machine_is_named(tmp_path: Path) -> None:
    facts = machine.describe(tmp_path)
    assert all(facts.values())
    assert machine.file_system(Path("/proc")) == "proc"
    assert machine.installed("no-such-package-at-all") == ""
