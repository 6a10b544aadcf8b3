"""Sizes, docstrings and habits, held for every Python file of the project, and for the scripts where they apply."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.tests.house.imports import tree
from shoal.tests.support.generated import ROOT, TOP_FOLDERS, python_files

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70

PRODUCT = list(python_files(*TOP_FOLDERS))
PYTHON = [*PRODUCT, *python_files("tests", "bin")]
SCRIPTS = [path.relative_to(ROOT) for path in sorted((ROOT / "bin").iterdir()) if path.is_file()]

# Written so that this file does not name what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w./-])/(?:work|tmp|root|home)/")
BARE_EXCUSE = re.compile(r"#\s*(?:type:\s*ignore(?:\[[^\]]*\])?|noqa(?::\s*[A-Z0-9, ]+)?)\s*$")


def text(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def long_functions(module: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{node.name}: {lines} lines", node.lineno


def matches(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    return [
        f"{path}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(text(path).splitlines(), start=1)
        if pattern.search(line)
    ]


def test_no_module_is_long() -> None:
    sizes = {str(path): text(path).count("\n") for path in PYTHON}
    assert {path: lines for path, lines in sizes.items() if lines > MODULE_LINES_MAX} == {}


def test_every_function_fits_a_screen() -> None:
    assert [f"{path}:{line}: {what}" for path in PRODUCT for what, line in long_functions(tree(path))] == []


def test_every_module_says_what_it_is() -> None:
    assert [str(path) for path in PYTHON if not ast.get_docstring(tree(path))] == []


def test_nothing_names_a_place_on_some_machine() -> None:
    assert matches(MACHINE_PATH, [*PRODUCT, *SCRIPTS]) == []


def test_an_exception_to_a_check_gives_its_reason() -> None:
    assert matches(BARE_EXCUSE, PYTHON) == []


def test_scripts_can_be_run_from_a_bare_clone() -> None:
    for path in SCRIPTS:
        if not path.name.startswith("_"):
            assert text(path).startswith("#!"), path
            assert (ROOT / path).stat().st_mode & 0o111 == 0o111, path


def test_the_checks_see_what_they_look_for() -> None:
    long = "def f():\n" + "    pass\n" * FUNCTION_LINES_MAX
    assert [what for what, _ in long_functions(ast.parse(long))] == [f"f: {FUNCTION_LINES_MAX + 1} lines"]
    for line in ("open('/" + "tmp/x')", "x = '/" + "home/me/shoal'"):
        assert MACHINE_PATH.search(line), line
    assert not MACHINE_PATH.search("/unix/run/shoal.sock")


@pytest.mark.parametrize(
    ("line", "bare"),
    [
        ("x = 1  # type" + ": ignore[assignment]", True),
        ("x = 1  # no" + "qa: E501", True),
        ("x = 1  # type" + ": ignore[assignment]  # the stub is wrong", False),
        ("x = 1  # no" + "qa: E501 - a URL", False),
    ],
)
def test_a_bare_excuse_is_seen(line: str, bare: bool) -> None:
    assert bool(BARE_EXCUSE.search(line)) == bare
