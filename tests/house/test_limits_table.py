"""SECURITY.md prints the limits that the code keeps, and every limit says what it is for."""

import re
from collections import Counter

from shoal.messages import limits
from shoal.tests.support.generated import ROOT, TOP_FOLDERS, between, python_files, replaced


def test_security_prints_the_table() -> None:
    printed = between((ROOT / "SECURITY.md").read_text(), "limits")
    same = printed == limits.table()
    assert same, "messages/limits.py has changed: run bin/test --write-docs"


def test_the_table_has_a_row_for_every_limit() -> None:
    source = "".join((ROOT / "messages" / name).read_text() for name in ("limits.py", "limits_finding.py"))
    defined = re.findall(r"^(\w+)(?:: Final)? = Limit\(", source, re.MULTILINE)
    rows = limits.table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == defined
    assert len(set(defined)) == len(defined) > 10


def test_every_limit_is_a_bound_with_a_unit_a_reason_and_a_source() -> None:
    for name, limit in limits.all_limits():
        assert limit.value > 0, name
        for words in (limit.unit, limit.reason, limit.source):
            assert words.strip(), name
            assert "|" not in words, f"{name}: a bar ends a cell of the table"


def test_every_limit_is_used() -> None:
    words = Counter[str]()
    for path in python_files(*TOP_FOLDERS):
        words.update(re.findall(r"\b[A-Z][A-Z0-9_]+\b", (ROOT / path).read_text()))
    assert [name for name, _ in limits.all_limits() if words[name] < 2] == []


def test_only_what_stands_between_the_markers_is_replaced() -> None:
    document = replaced((ROOT / "SECURITY.md").read_text(), "limits", "new\n")
    assert between(document, "limits") == "new\n"
    assert replaced(document, "limits", limits.table()) == (ROOT / "SECURITY.md").read_text().replace(
        between((ROOT / "SECURITY.md").read_text(), "limits"), limits.table()
    )
