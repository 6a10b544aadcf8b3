"""Each table measures, compares and tells, with contestants that copy.  What the figures are is nobody's test."""

import argparse
import os
from pathlib import Path
from typing import Any

import pytest

from shoal.tests.bench import __main__ as bench
from shoal.tests.bench import add, blocks, directory, fetch, latency, memory, start, tables
from shoal.tests.bench.contestant import Pairing
from shoal.tests.bench.copying import StoringPeer, copying
from shoal.tests.support.processes import ChildFailed


def refusing(data: bytes) -> bytes:
    raise ChildFailed("it would not")


@pytest.fixture
def contestants() -> list[Pairing]:
    return [copying("kubo"), copying("copy"), copying("liar", lambda data: data[:-1]), copying("mule", refusing)]


def options(contestants: list[Pairing], **given: Any) -> argparse.Namespace:
    return argparse.Namespace(contestants=contestants, runs=2, timeout=5.0, seed=1, **given)


def check(found: dict[str, Any], told: str) -> None:
    """The honest have two runs and ratios; who spoils what is fetched has failed, each in its way."""
    entries = found["contestants"]
    assert {name: len(entry["runs"]) for name, entry in entries.items()} == {"kubo": 2, "copy": 2, "liar": 0, "mule": 0}
    assert all(entries["copy"]["times"][figure]["kubo"]["median"] > 0 for figure in entries["copy"]["times"])
    assert "failure" in entries["liar"]
    assert entries["mule"]["failure"] == "it would not"
    assert "mule FAILED after 0 runs: it would not" in told
    assert "copies, as copy" in told


def test_fetch(tmp_path: Path, contestants: list[Pairing]) -> None:
    found = fetch.measure(options(contestants, size=10_000), tmp_path)
    check(found, fetch.text(found))
    assert "not those that were held" in found["contestants"]["liar"]["failure"]
    assert [path.name for path in tmp_path.iterdir()] == ["source.bin"], "every run's folder is gone"


def test_who_only_stores_is_compared_too(tmp_path: Path) -> None:
    for number, (table, fault) in enumerate(((fetch, "not those that were held"), (directory, "not the one"))):
        honest = copying("kubo", kind=StoringPeer)
        liar = copying("liar", lambda data: data[:-1], kind=StoringPeer)
        (tmp_path / str(number)).mkdir()
        found = table.measure(options([honest, liar], size=100, files=2), tmp_path / str(number))
        assert len(found["contestants"]["kubo"]["runs"]) == 2
        assert fault in found["contestants"]["liar"]["failure"]


def test_latency(tmp_path: Path, contestants: list[Pairing]) -> None:
    found = latency.measure(options(contestants, size=100, blocks=3), tmp_path)
    check(found, latency.text(found))
    assert "99 other bytes" in found["contestants"]["liar"]["failure"]
    entry = found["contestants"]["copy"]
    assert len(entry["samples_ms"]) == 2 * 3, "of each run all but the first block"
    assert entry["figures"]["all_p99_ms"]["max"] == max(entry["samples_ms"])


def test_blocks(tmp_path: Path, contestants: list[Pairing]) -> None:
    found = blocks.measure(options(contestants, size=64, blocks=30), tmp_path)
    check(found, blocks.text(found))
    assert (tmp_path / "source.bin").stat().st_size == 30 * 64
    assert set(found["cids"].values()) == {str(tmp_path / "source.bin")}


@pytest.mark.parametrize(("link_bytes", "kind"), [(directory.LINK_BYTES, "one node"), (20_000, "HAMT")])
def test_directory(
    tmp_path: Path, contestants: list[Pairing], monkeypatch: pytest.MonkeyPatch, link_bytes: int, kind: str
) -> None:
    monkeypatch.setattr(directory, "LINK_BYTES", link_bytes)  # as if the names were so long
    found = directory.measure(options(contestants, size=16, files=20), tmp_path)
    check(found, directory.text(found))
    assert kind in found["title"]
    assert "not the one that was held" in found["contestants"]["liar"]["failure"]


def test_a_tree_differs_by_name_by_bytes_and_by_what_is_missing(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        directory.write_tree(tmp_path / name, 3, 16, 1)
    (tmp_path / "b" / "more").mkdir()
    (tmp_path / "c" / "file-000001.bin").write_bytes(b"x" * 16)
    (tmp_path / "d" / "file-000001.bin").rename(tmp_path / "d" / "file-000009.bin")
    a, b, c, d = (directory.contents(tmp_path / name) for name in "abcd")
    assert len(a) == 3
    assert a not in (b, c, d)


def test_add(tmp_path: Path, contestants: list[Pairing]) -> None:
    found = add.measure(options(contestants[:2], size=10_000), tmp_path)
    assert [len(entry["runs"]) for entry in found["contestants"].values()] == [2, 2]
    assert f"{tmp_path / 'source.bin'}: kubo, copy" in add.text(found)


def test_start(tmp_path: Path, contestants: list[Pairing]) -> None:
    found = start.measure(options(contestants[:2], rest=0.0, idle=0.01), tmp_path)
    assert [len(entry["runs"]) for entry in found["contestants"].values()] == [2, 2]
    assert found["contestants"]["copy"]["figures"]["idle_rss_bytes"]["min"] > 0
    assert "by itself" in start.text(found)


def test_memory(tmp_path: Path, contestants: list[Pairing], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="bin/bench installs it")
    monkeypatch.setattr(memory, "BEFORE_AND_AFTER_S", 0.2)
    monkeypatch.setattr(memory, "PERIOD_S", 0.01)
    found = memory.measure(options(contestants, size=10_000, png=tmp_path / "plot.png", dir=tmp_path), tmp_path)
    check(found, memory.text(found))
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert [len(run) > 1 for run in found["samples"]["copy"]] == [True, True]
    assert all(rss > 0 for run in found["samples"]["copy"] for sample in run for rss in sample[1:])


def test_cpu_time_is_that_of_the_process() -> None:
    pid = os.getpid()
    before = start.cpu_seconds(pid)
    assert before > 0
    assert start.cpu_seconds(pid) >= before


@pytest.mark.parametrize("arguments", [*tables.ALL, *tables.quick()], ids=" ".join)
def test_what_all_runs_is_understood(arguments: tuple[str, ...]) -> None:
    options = bench.parser().parse_args(arguments)
    assert options.table == arguments[0]
    assert options.table in tables.TABLES
