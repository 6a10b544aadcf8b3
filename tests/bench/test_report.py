"""What was measured, as values, as a table and on record."""

import json
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from shoal.tests.bench import report
from shoal.tests.bench.copying import copying
from shoal.tests.bench.record import Record
from shoal.tests.bench.report import Column, Shape
from shoal.tests.bench.runs import Result

SHAPE = Shape((Column("median s", "s"), Column("most", "bytes", "max", "{:.0f}".format)), {"s": "", "bytes": "small "})


def result(name: str, seconds: Sequence[float], failure: str = "") -> Result:
    return Result(copying(name), [{"s": each, "bytes": 100 * each} for each in seconds], failure)


def test_ratios_are_taken_run_by_run_against_who_finished() -> None:
    results = [
        result("shoal", [1, 10, 1]),
        result("kubo", [2, 20, 4]),
        result("py-libp2p", [3], "it ended"),
    ]
    found = report.report("title", {"size_bytes": 7}, results, SHAPE)
    shoal = found["contestants"]["shoal"]
    assert shoal["figures"]["s"] == {"median": 1, "min": 1, "max": 10}
    assert shoal["times"]["s"] == {"kubo": {"median": 2, "min": 2, "max": 4}}
    assert found["contestants"]["py-libp2p"]["failure"] == "it ended"
    assert json.loads(json.dumps(found)) == found


def test_the_table_shows_figures_ratios_failures_and_notes() -> None:
    results = [result("shoal", [1, 3]), result("kubo", [2, 2]), result("py-libp2p", [], "it ended")]
    told = report.text(report.report("the title", {}, results, SHAPE), SHAPE, ["a remark"])
    lines = told.splitlines()
    assert lines[0] == "the title"
    assert lines[3].split("  ")[-1].strip() == "small x kubo", "a yardstick that failed has no column"
    assert next(line for line in lines if line.startswith("shoal")).split() == [
        *("shoal", "2", "2.000", "300"),
        *("1.33", "(0.67-2.00)", "1.33", "(0.67-2.00)"),
    ]
    assert lines.index("py-libp2p FAILED after 0 runs: it ended") < lines.index("a remark")
    assert "  kubo: copies, as kubo" in lines


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=5))
def test_agreement_names_everybody_once(cids: list[str]) -> None:
    told = report.agreement({f"who{number}": cid for number, cid in enumerate(cids)})
    assert len(told.split("; ")) == len(set(cids))
    assert sorted(told.replace(";", ",").replace(": ", ", ").split(", ")) == sorted(
        [*set(cids), *(f"who{number}" for number in range(len(cids)))]
    )


def test_the_record_is_whole_after_each_table(tmp_path: Path) -> None:
    record = Record(tmp_path, "2026-01-02-030405")
    for number in range(2):
        record.add(["fetch", "--runs", "1"], {"text": f"table {number}", "plot": "/else/where/memory.png"})
        assert len(json.loads((tmp_path / "results.json").read_text())["tables"]) == number + 1
        markdown = (tmp_path / "results.md").read_text()
        assert markdown.count("## bin/bench fetch --runs 1") == number + 1
        assert f"```\ntable {number}\n```" in markdown
        assert "![plot](memory.png)" in markdown
