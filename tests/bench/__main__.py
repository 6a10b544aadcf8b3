"""``bin/bench TABLE``: side-by-side measurements, all of one table in one run on one machine.

A table is a module with ``arguments``, ``measure`` and ``text``; to add one, write it and enter it in TABLES.  The exit
code is 1 when a contestant failed.  No figure here is a pass or a fail: ratios are for people to read.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Final

from shoal.tests.bench import fetch, machine
from shoal.tests.support.processes import ROOT

TABLES: Final[dict[str, ModuleType]] = {"fetch": fetch}


def main() -> int:
    """Measure, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(prog="bin/bench", description="Side-by-side measurements.")
    commands = parser.add_subparsers(dest="table", required=True)
    for name, module in TABLES.items():
        command = commands.add_parser(name, help=(module.__doc__ or "").splitlines()[0])
        module.arguments(command)
        command.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
        command.add_argument(
            "--dir", type=Path, default=ROOT / "bench-out", help="where repos are made (default %(default)s)"
        )
    options = parser.parse_args()
    module = TABLES[options.table]
    options.dir.mkdir(parents=True, exist_ok=True)
    facts = machine.describe(options.dir)
    folder = Path(tempfile.mkdtemp(prefix=f"{options.table}-", dir=options.dir))
    try:
        found = module.measure(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    found["machine"] = facts
    print(module.text(found))
    print("machine: " + "; ".join(f"{name} {value}" for name, value in facts.items()))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return int(any("failure" in entry for entry in found["contestants"].values()))


if __name__ == "__main__":
    sys.exit(main())
