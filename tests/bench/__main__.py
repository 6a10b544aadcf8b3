"""``bin/bench TABLE``: side-by-side measurements, all of one table in one run on one machine.

Tables are in ``tables``.  The exit code is 1 when a contestant failed.  No figure here is a pass or a fail: ratios are
for people to read.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from shoal.tests.bench import machine
from shoal.tests.bench.tables import TABLES
from shoal.tests.support.processes import ROOT


def main() -> int:
    """Measure, print, and write JSON if asked."""
    options = parser().parse_args()
    options.dir.mkdir(parents=True, exist_ok=True)
    found = run(TABLES[options.table], options)
    print(found["text"])
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return int(failed(found))


def parser() -> argparse.ArgumentParser:
    """One subcommand a table."""
    whole = argparse.ArgumentParser(prog="bin/bench", description="Side-by-side measurements.")
    commands = whole.add_subparsers(dest="table", required=True)
    for name, module in TABLES.items():
        command = commands.add_parser(name, help=(module.__doc__ or "").splitlines()[0])
        module.arguments(command)
        command.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
        command.add_argument(
            "--dir", type=Path, default=ROOT / "bench-out", help="where repos and plots are made (default %(default)s)"
        )
    return whole


def run(module: ModuleType, options: argparse.Namespace) -> dict[str, Any]:
    """One table: its values, the machine's and ``text``."""
    facts = machine.describe(options.dir)
    folder = Path(tempfile.mkdtemp(prefix=f"{options.table}-", dir=options.dir))
    try:
        found: dict[str, Any] = module.measure(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    found["machine"] = facts
    found["text"] = f"{module.text(found)}\nmachine: {'; '.join(f'{name} {value}' for name, value in facts.items())}"
    return found


def failed(found: dict[str, Any]) -> bool:
    """Whether a contestant failed."""
    return any("failure" in entry for entry in found["contestants"].values())


if __name__ == "__main__":
    sys.exit(main())
