"""The same contestants under several conditions, all in turn: what ``links`` and ``holders`` are made of.

Begin with ``alternate``.  A run has a turn for every contestant under every condition; ratios to a yardstick are within
a condition, and ``against`` compares two conditions of one contestant run by run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoal.tests.bench import report as plain
from shoal.tests.bench import runs as turns
from shoal.tests.bench.contestant import Pairing
from shoal.tests.bench.numbers import Spread, speed_ratio, spread_text
from shoal.tests.bench.report import YARDSTICKS, Shape
from shoal.tests.bench.runs import Figures, Result
from shoal.tests.bench.table import render

Attempt = Callable[[Pairing, str, Path], Figures]
"""One turn: who, under which condition, an empty folder."""

Found = Mapping[str, list[Result]]
"""Results by condition."""


@dataclass(frozen=True, slots=True)
class Under(Pairing):
    """A row: a pair under a condition."""

    condition: str

    @property
    def name(self) -> str:
        return f"{self.condition}: {self.alone.name}"

    @property
    def alone(self) -> Pairing:
        """The pair, whatever the condition."""
        return Pairing(self.holder, self.fetcher)


def alternate(
    conditions: Sequence[str], contestants: Sequence[Pairing], runs: int, folder: Path, attempt: Attempt
) -> Found:
    """Run everything."""
    rows = [Under(who.holder, who.fetcher, condition) for condition in conditions for who in contestants]

    def one(row: Pairing, place: Path, _: int) -> Figures:
        assert isinstance(row, Under)
        return attempt(row.alone, row.condition, place)

    results = turns.alternate(rows, runs, folder, one)
    found: dict[str, list[Result]] = {condition: [] for condition in conditions}
    for row, result in zip(rows, results, strict=True):
        found[row.condition].append(Result(row.alone, result.runs, result.failure))
    return found


def report(title: str, asked: Mapping[str, Any], found: Found, shape: Shape) -> dict[str, Any]:
    """All figures; a contestant's entry is called ``condition: name``."""
    entries = {}
    for condition, results in found.items():
        for name, entry in plain.report(title, asked, results, shape)["contestants"].items():
            entries[f"{condition}: {name}"] = entry
    return {"title": title, "asked": dict(asked), "contestants": entries}


def against(found: Found, condition: str, base: str, figure: str) -> dict[str, Spread]:
    """For each contestant that managed both: how many times less of it under ``condition`` than under ``base``."""
    bases = {each.contestant.name: each for each in found[base] if not each.failure}
    return {
        each.contestant.name: speed_ratio(plain.values(each, figure), plain.values(bases[each.contestant.name], figure))
        for each in found[condition]
        if not each.failure and each.contestant.name in bases
    }


def text(found: Mapping[str, Any], shape: Shape, remarks: Sequence[str] = ()) -> str:
    """The report as one table, with what could not be run, remarks, and each contestant's note once."""
    entries: Mapping[str, Any] = found["contestants"]
    whole = {name: entry for name, entry in entries.items() if "failure" not in entry}
    there = [other for other in YARDSTICKS if any(other in _times(entry, shape) for entry in whole.values())]
    head = ["condition and contestant", "runs", *(column.title for column in shape.columns)]
    rows = []
    for name, entry in whole.items():
        cells = [column.show(entry["figures"][column.figure][column.over_runs]) for column in shape.columns]
        ratios = [_times(entry, shape).get(other) for other in there]
        cells += [spread_text(Spread(each["median"], each["min"], each["max"])) if each else "-" for each in ratios]
        rows.append([name, str(len(entry["runs"])), *cells])
    failures = [f"{name} FAILED: {entry['failure']}" for name, entry in entries.items() if "failure" in entry]
    notes = {name.partition(": ")[2]: entry["note"] for name, entry in entries.items()}
    table = render([*head, *(f"x {other}" for other in there)], rows)
    above = [found["title"], plain.MEANING.format(better=shape.better), ""]
    return "\n".join([*above, table, "", *failures, *remarks, *(f"  {name}: {note}" for name, note in notes.items())])


def _times(entry: Mapping[str, Any], shape: Shape) -> Mapping[str, Mapping[str, float]]:
    """How many times less of its one compared figure it has than each yardstick that ran under its condition."""
    (figure,) = shape.compared
    found: Mapping[str, Mapping[str, float]] = entry["times"][figure]
    return found
