"""ARCHITECTURE.md prints the routes that the router keeps."""

from shoal.runtime.supervisor.routes import render
from shoal.tests.support.generated import ROOT, between


def test_architecture_prints_the_table() -> None:
    same = between((ROOT / "ARCHITECTURE.md").read_text(), "routes") == render()
    assert same, "ROUTES has changed: run bin/test --write-docs"
