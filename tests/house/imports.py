"""Reads the sources as syntax trees, for the tests beside it.  Imports nothing of what it reads."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from shoal.tests.support.generated import ROOT


@dataclass(frozen=True, slots=True)
class Imported:
    """One imported name: ``module`` is dotted in full, ``line`` where it stands, ``level`` > 0 when relative."""

    module: str
    line: int
    level: int


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of ``path``, a path below the project's root."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


def imports(module: ast.Module) -> Iterator[Imported]:
    """Every import, those inside functions and under TYPE_CHECKING too; ``from a import b`` yields ``a.b``."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Imported(alias.name, node.lineno, 0)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield Imported(f"{node.module or ''}.{alias.name}", node.lineno, node.level)


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of an expression that is a dotted name; otherwise empty."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return node.id if isinstance(node, ast.Name) else ""
