"""What was measured, as plain values for JSON and as a table for people.  Pure.

Begin with ``Shape``, which says what a table shows; ``report`` makes the values, ``text`` the table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from shoal.tests.bench.numbers import Spread, size_text, speed_ratio, spread_text
from shoal.tests.bench.runs import Result
from shoal.tests.bench.table import render

YARDSTICKS: Final = ("kubo", "kubo-pin", "py-libp2p")  # ratios are told against these

MEANING: Final = "x kubo: how many times {better} as kubo in the same run; median of the runs (lowest-highest)"


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of every contestant, over its runs."""

    title: str
    figure: str
    over_runs: Literal["median", "min", "max"] = "median"
    show: Callable[[float], str] = "{:.3f}".format


@dataclass(frozen=True, slots=True)
class Shape:
    """``columns``, then for each of ``compared`` (figures of which less is better, and what precedes ``x kubo`` over
    them) a ratio to each yardstick.  ``better``: what one is that has less."""

    columns: tuple[Column, ...]
    compared: Mapping[str, str]
    better: str = "as quick"


def in_seconds(title: str, figure: str) -> tuple[Column, ...]:
    """Median, lowest and highest of a figure."""
    return (Column(title, figure), Column("min", figure, "min"), Column("max", figure, "max"))


PEAKS: Final = (
    Column("RSS holder", "holder_peak_rss_bytes", "max", size_text),
    Column("RSS fetcher", "fetcher_peak_rss_bytes", "max", size_text),
)


def report(title: str, asked: Mapping[str, Any], results: Sequence[Result], shape: Shape) -> dict[str, Any]:
    """All figures.  ``asked`` is what the table was asked to measure."""
    whole = {result.contestant.name: result for result in results if not result.failure}
    entries = {}
    for result in results:
        entry: dict[str, Any] = {"note": result.contestant.note, "runs": result.runs}
        if result.failure:
            entry["failure"] = result.failure
        else:
            entry["figures"] = {name: spread_of(values(result, name)) for name in result.runs[0]}
            entry["times"] = {
                name: {other: times(result, whole[other], name) for other in YARDSTICKS if other in whole}
                for name in shape.compared
            }
        entries[result.contestant.name] = entry
    return {"title": title, "asked": dict(asked), "contestants": entries}


def values(result: Result, name: str) -> list[float]:
    """One figure of all runs."""
    return [run[name] for run in result.runs]


def times(ours: Result, theirs: Result, name: str) -> dict[str, float]:
    """How many times less of a figure we have."""
    return as_values(speed_ratio(values(ours, name), values(theirs, name)))


def spread_of(figures: Sequence[float]) -> dict[str, float]:
    return as_values(Spread.of(figures))


def as_values(spread: Spread) -> dict[str, float]:
    return {"median": spread.median, "min": spread.low, "max": spread.high}


def text(found: Mapping[str, Any], shape: Shape, remarks: Sequence[str] = ()) -> str:
    """The report as a table, with what could not be run, remarks and what each contestant does below it."""
    entries = found["contestants"]
    yardsticks = [name for name in YARDSTICKS if name in entries and "failure" not in entries[name]]
    head = ["contestant", "runs", *(column.title for column in shape.columns)]
    head += [f"{before}x {other}" for before in shape.compared.values() for other in yardsticks]
    rows, failures, notes = [], [], []
    for name, entry in entries.items():
        notes.append(f"  {name}: {entry['note']}")
        if "failure" in entry:
            failures.append(f"{name} FAILED after {len(entry['runs'])} runs: {entry['failure']}")
            continue
        cells = [column.show(entry["figures"][column.figure][column.over_runs]) for column in shape.columns]
        ratios = [entry["times"][figure][other] for figure in shape.compared for other in yardsticks]
        cells += [spread_text(Spread(each["median"], each["min"], each["max"])) for each in ratios]
        rows.append([name, str(len(entry["runs"])), *cells])
    meaning = MEANING.format(better=shape.better)
    return "\n".join([found["title"], meaning, "", render(head, rows), "", *failures, *remarks, *notes])


def agreement(cids: Mapping[str, str]) -> str:
    """Who came to the same CID for the same content."""
    alike: dict[str, list[str]] = {}
    for name, cid in cids.items():
        alike.setdefault(cid, []).append(name)
    return "; ".join(f"{cid}: {', '.join(names)}" for cid, names in alike.items())
