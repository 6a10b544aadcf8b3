"""SECURITY.md's table of bad inputs is true: every number of the list has its row, and every test that a row names is
there."""

import ast
import re
from functools import cache

from shoal.tests.house.imports import tree
from shoal.tests.support.generated import ROOT

# Framing and negotiation 1-11, CIDs and blocks 12-26, bitswap 27-40, identify 55-60, DHT 61-67, gossipsub 68-72,
# mDNS 73-77, messages between actors 85-91.
NUMBERS = [*range(1, 41), *range(55, 78), *range(85, 92)]

ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| (`.+`) \|$", re.MULTILINE)
TEST = re.compile(r"`(tests/\S+\.py)::(test_\w+)`")


def section() -> str:
    """The text under SECURITY.md's heading."""
    _, _, rest = (ROOT / "SECURITY.md").read_text().partition("\n## Bad inputs\n")
    return rest.partition("\n## ")[0]


def rows() -> dict[int, list[tuple[str, str]]]:
    """The tests of each number, as (file, function)."""
    return {int(number): TEST.findall(tests) for number, _, _, tests in ROW.findall(section())}


@cache
def functions(path: str) -> frozenset[str]:
    """The top-level functions of a test file, and none for a file that is not there."""
    if not (ROOT / path).is_file():
        return frozenset()
    return frozenset(
        node.name for node in tree((ROOT / path).relative_to(ROOT)).body if isinstance(node, ast.FunctionDef)
    )


def missing(table: dict[int, list[tuple[str, str]]]) -> list[str]:
    return [f"{n}: {path}::{name}" for n, tests in table.items() for path, name in tests if name not in functions(path)]


def test_every_input_has_one_row_in_order() -> None:
    numbers = [int(match[0]) for match in ROW.findall(section())]
    assert numbers == NUMBERS
    assert section().count("\n| ") == len(NUMBERS) + 2, "a row that is not read as one"


def test_every_row_names_tests_that_are_there() -> None:
    assert [number for number, tests in rows().items() if not tests] == []
    assert missing(rows()) == []


def test_a_test_that_is_gone_is_seen() -> None:
    assert missing({1: [("tests/messages/test_varint.py", "test_of_nothing")]}) != []
    assert missing({1: [("tests/messages/test_nothing.py", "test_of_nothing")]}) != []
    assert missing({1: [("tests/messages/test_varint.py", "test_malformed_varints_are_refused")]}) == []
