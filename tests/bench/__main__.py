"""``bin/bench TABLE``: side-by-side measurements, all of one table in one run on one machine; ``all`` runs every table.

Tables are in ``tables``.  The exit code is 1 when a contestant failed.  No figure here is a pass or a fail: ratios are
for people to read.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from shoal.tests.bench import machine, tables
from shoal.tests.bench.record import Record
from shoal.tests.bench.tables import TABLES
from shoal.tests.support.processes import ROOT


def main() -> int:
    """Measure, print, and write JSON if asked."""
    options = parser().parse_args()
    options.dir.mkdir(parents=True, exist_ok=True)
    if options.table == "all":
        return run_all(options.dir, quick=options.quick)
    found = run(TABLES[options.table], options)
    print(found["text"])
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return int(failed(found))


def parser() -> argparse.ArgumentParser:
    """One subcommand a table, and ``all``."""
    whole = argparse.ArgumentParser(prog="bin/bench", description="Side-by-side measurements.")
    commands = whole.add_subparsers(dest="table", required=True)
    folder = argparse.ArgumentParser(add_help=False)
    folder.add_argument(
        "--dir", type=Path, default=ROOT / "bench-out", help="where repos and plots are made (default %(default)s)"
    )
    for name, module in TABLES.items():
        summary = (module.__doc__ or "").partition("\n")[0].partition("``: ")[2]
        command = commands.add_parser(name, parents=[folder], help=summary, description=module.__doc__)
        module.arguments(command)
        command.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    everything = commands.add_parser("all", parents=[folder], help="every table with its defaults, on record in --dir")
    everything.add_argument("--quick", action="store_true", help="the smallest case of each table, run once")
    return whole


def run_all(place: Path, *, quick: bool) -> int:
    """Every table in turn, in a new folder named by date; whether one had a failure."""
    date = time.strftime("%Y-%m-%d-%H%M%S")
    record = Record(place / date, date)
    record.folder.mkdir()
    failures = False
    for arguments in tables.quick() if quick else tables.ALL:
        options = parser().parse_args([*arguments, "--dir", str(record.folder)])
        found = run(TABLES[options.table], options)
        print(found["text"], end="\n\n", flush=True)
        record.add(arguments, found)
        failures = failures or failed(found)
    print(f"on record in {record.folder}")
    return int(failures)


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
    return any("failure" in entry for entry in found.get("contestants", {}).values())


if __name__ == "__main__":
    sys.exit(main())
