"""Text for people: columns, sizes, and no terminal codes from names that others chose."""

import json
import logging
import sys
from types import TracebackType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.runtime.cli import show
from shoal.runtime.cli.logs import JsonFormatter, TextFormatter


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (2**30, "1.0 GiB"), (5 * 2**40, "5.0 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert show.size(count) == text


@given(st.text())
def test_names_move_no_cursor(name: str) -> None:
    shown = show.printable(name)
    assert len(shown) == len(name)
    assert shown.isprintable()


@given(st.lists(st.tuples(st.text(max_size=5), st.integers()), max_size=5))
def test_tables_have_a_line_a_row(rows: list[tuple[str, int]]) -> None:
    lines = show.table(("NAME", "NUMBER"), rows)
    assert len(lines) == len(rows) + 1
    at = lines[0].index("NUMBER")
    for line, row in zip(lines[1:], rows, strict=True):
        assert line[at:] == str(row[1])


def test_listing_names_each_path_when_there_are_several() -> None:
    link = {"Name": "\x1b[2Jf", "Hash": "Qm1", "Size": 3, "Type": 2, "Target": ""}
    one = {"Hash": "QmA", "Links": [link]}
    assert show.listing([one]) == ["Qm1 3 ?[2Jf"]
    assert show.listing([one, one])[0] == "QmA:"


def record(message: str, error: BaseException | None = None) -> logging.LogRecord:
    info: tuple[type[BaseException], BaseException, TracebackType | None] | None = None
    if error is not None:
        info = (type(error), error, error.__traceback__)
    made = logging.LogRecord("shoal.x", logging.WARNING, __file__, 1, message, (), info)
    made.trace = 7
    return made


def test_a_log_line_is_one_line_whatever_it_says() -> None:
    line = TextFormatter().format(record("first\nsecond"))
    assert line.endswith("WARNING shoal.x first\\nsecond trace=7")
    assert "\n" not in line
    told = json.loads(JsonFormatter().format(record("first\nsecond")))
    assert (told["message"], told["trace"], told["level"]) == ("first\nsecond", 7, "warning")


def test_a_traceback_is_kept() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        error = sys.exc_info()[1]
    assert "\n    ValueError: why" in TextFormatter().format(record("m", error))
    assert "ValueError: why" in json.loads(JsonFormatter().format(record("m", error)))["traceback"]
