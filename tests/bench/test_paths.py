"""The tables over links, of several holders, of the raw stream, the soak and the profile: what can be wrong in them.

One real transfer, of plain TCP through a link proxy; the rest is arithmetic and telling.
"""

import argparse
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.tests.bench import conditions, holders, links, profile, soak, stream
from shoal.tests.bench.contestant import Pairing
from shoal.tests.bench.contestants.registry import PAIRINGS
from shoal.tests.bench.report import Column, Shape
from shoal.tests.bench.runs import Figures
from shoal.tests.support.processes import ChildFailed

SHAPE = Shape((Column("s", "seconds"),), {"seconds": ""})
TOOK = {("near", "shoal"): 2.0, ("near", "kubo"): 3.0, ("far", "shoal"): 8.0}


def scripted(who: Pairing, condition: str, place: Path) -> Figures:
    if (condition, who.name) not in TOOK:
        raise ChildFailed("it would not")
    return {"seconds": TOOK[condition, who.name]}


@pytest.fixture
def found(tmp_path: Path) -> conditions.Found:
    return conditions.alternate(["near", "far"], [PAIRINGS["shoal"], PAIRINGS["kubo"]], 3, tmp_path, scripted)


def test_every_contestant_has_its_turns_under_every_condition(found: conditions.Found) -> None:
    turns = {(condition, each.contestant.name): len(each.runs) for condition in found for each in found[condition]}
    assert turns == {("near", "shoal"): 3, ("near", "kubo"): 3, ("far", "shoal"): 3, ("far", "kubo"): 0}


def test_ratios_are_within_a_condition_and_those_of_conditions_within_a_contestant(found: conditions.Found) -> None:
    entries = conditions.report("title", {}, found, SHAPE)["contestants"]
    assert entries["near: shoal"]["times"]["seconds"]["kubo"]["median"] == 1.5
    assert entries["far: shoal"]["times"]["seconds"] == {}
    assert {who: spread.median for who, spread in conditions.against(found, "far", "near", "seconds").items()} == {
        "shoal": 0.25
    }


def test_a_note_is_told_once_and_a_failure_under_its_condition(found: conditions.Found) -> None:
    told = conditions.text(conditions.report("title", {}, found, SHAPE), SHAPE, ["a remark"])
    note = PAIRINGS["shoal"].note
    assert told.count(note) == 1
    assert "far: kubo FAILED: it would not" in told
    assert "near: shoal" in told
    assert "a remark" in told
    assert "1.50 (1.50-1.50)" in told


# --- links and holders -------------------------------------------------------------------------------


def test_links_are_named_and_made_of_round_trips_and_losses() -> None:
    there = links.links([20, 68.5], [0, 0.5], 7)
    assert list(there) == ["20 ms", "68.5 ms", "20 ms, 0.5 %", "68.5 ms, 0.5 %"]
    lossy = there["20 ms, 0.5 %"]
    assert (lossy.rtt_s, lossy.loss, lossy.seed, lossy.window_bytes) == (0.02, 0.005, 7, 4 * 1024**2)
    assert there["20 ms"].window_bytes == 16 * 1024**2


@pytest.mark.parametrize("text", ["-1", "20,101"])
def test_numbers_out_of_range_are_refused(text: str) -> None:
    assert links.numbers(100)("20, 5,20") == [20, 5]
    with pytest.raises(argparse.ArgumentTypeError, match="from 0 to 100"):
        links.numbers(100)(text)


def parsed(table: Any, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    table.arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize("table", [links, holders, stream, soak, profile])
def test_defaults_and_the_quick_case_can_be_read(table: Any) -> None:
    parsed(table)
    parsed(table, *table.QUICK)


def test_a_file_really_passes_a_link(tmp_path: Path) -> None:
    words = [
        "--size",
        "256KiB",
        "--lossy-size",
        "100KiB",
        "--rtt",
        "4",
        "--loss",
        "0,1",
        "--runs",
        "1",
        "--contestants",
        "tcp",
    ]
    found = links.measure(parsed(links, *words), tmp_path)
    assert {name: entry.get("failure") for name, entry in found["contestants"].items()} == {
        "4 ms: tcp": None,
        "4 ms, 1 %: tcp": None,
    }
    assert "4 ms, 1 %: tcp" in links.text(found)


def test_several_holders_are_told_against_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def swarm(who: Pairing, count: int, link: object, source: Path, place: Path, timeout_s: float) -> Figures:
        seconds = source.stat().st_size / 1000 / (count if link else 1)
        return {"seconds": seconds, "mib_per_s": 1, "most_from_one": bool(link) / count, "fetcher_peak_rss_bytes": 1}

    monkeypatch.setattr(holders, "swarm", swarm)
    found = holders.measure(parsed(holders, "--size", "4000", "--slow-size", "6000", "--holders", "4"), tmp_path)
    assert found["several_against_one"]["4 holders, slow"]["shoal"] == {"median": 4, "low": 4, "high": 4}
    told = holders.text(found)
    assert "shoal, 4 holders: 1.00 (1.00-1.00) times" in told
    assert "shoal, 4 holders, slow: 4.00 (4.00-4.00) times" in told
    assert "25%" in told


# --- the raw stream ----------------------------------------------------------------------------------


def test_the_stream_is_told_each_way_against_py_libp2p() -> None:
    results = {name: stream.Result() for name in stream.STACKS}
    for name, (to_dialer, to_listener) in {"shoal": (1, 2), "py-libp2p": (4, 4), "tcp": (0.5, 0.25)}.items():
        results[name].seconds = {"to dialer": [to_dialer], "to listener": [to_listener]}
    results["shoal, stock wire"].failure = "it would not"
    told = stream.text(stream.report(results, 1_000_000))
    assert "4.00 (4.00-4.00)" in told
    assert "2.00 (2.00-2.00)" in told
    assert "shoal, stock wire FAILED: it would not" in told


# --- the soak ----------------------------------------------------------------------------------------


@given(st.integers(1, soak.LARGEST), st.integers(0, 9))
def test_sizes_are_from_one_byte_to_the_largest(largest: int, seed: int) -> None:
    rng = random.Random(seed)
    assert all(1 <= soak.any_size(rng, largest) <= largest for _ in range(50))


def test_small_files_are_as_likely_as_large_ones() -> None:
    rng = random.Random(1)
    sizes = [soak.any_size(rng, soak.LARGEST) for _ in range(4000)]
    below = sum(size < soak.LARGEST**0.5 for size in sizes)
    assert 1800 < below < 2200


@pytest.mark.parametrize(("text", "seconds"), [("2-20", (2.0, 20.0)), ("5", (5.0, 5.0)), ("none", None)])
def test_resets_are_read(text: str, seconds: tuple[float, float] | None) -> None:
    assert soak.resets(text) == seconds


def soaked(**changes: int) -> dict[str, Any]:
    inside = ("peers", "streams", "sessions", "outstanding", "queued", "restarts", "dead_letters", "wants", "demand")
    process = {"rss": 5 * 1024**2, "descriptors": 20, "threads": 11}
    shoal = {**process, "cached": 0, **dict.fromkeys(inside, 0), **changes}
    return {"seconds": 60.0, "transfers": 7, "bytes": 9, "cuts": 2, "shoal": shoal, "kubo": process}


def test_the_soak_is_told_with_growth_and_failure() -> None:
    direction = {"transfers": 3, "bytes": 2048, "slowest_s": 1.5, "slowest_bytes": 1024}
    found = {
        "minutes": 1.0,
        "samples": [soaked(), soaked(descriptors=22), soaked(descriptors=99, cached=3 * 1024**2)],
        "contestants": {"soak": {"a->b": direction}},
    }
    told = soak.text(found)
    assert "descriptors 20 -> 22 -> 99" in told
    assert told.count("3 MiB") == 1, "what memory holds of its own will is told apart"
    assert "a->b: 3 files, 2 KiB; slowest 1.5 s (1 KiB)" in told
    assert "no transfer failed" in told
    found["contestants"]["soak"]["failure"] = "a hang"  # type: ignore[index]  # one dictionary of several types
    assert "FAILED: a hang" in soak.text(found)


# --- the profile -------------------------------------------------------------------------------------

RAW = """thread (0x7F12): shoal-abc123-disk;run (a.py:1);write (b.py:2) 30
thread (0x7F13): shoal-xyz789-disk;run (a.py:1);write (b.py:2);hash (c.py:3) 10
thread (0x7F14): MainThread;wait (threading.py:295) 900
thread (0x7F15);epoll (d.py:4) 5
thread (0x7F16): shoal-http;get_events;EpollIOManager.get_events (trio/_core/_io_epoll.py:238) 700
"""


def test_own_time_is_that_of_the_last_frame_by_thread_and_waiting_is_none() -> None:
    assert profile.self_time(RAW) == {
        "disk": [("write (b.py:2)", 30), ("hash (c.py:3)", 10)],
        "unnamed": [("epoll (d.py:4)", 5)],
    }


def test_the_profile_is_told_in_shares_of_a_process() -> None:
    threads = profile.self_time(RAW)
    entry = {"note": "", "seconds": 1.0, "threads": {"holder": threads, "fetcher": {}}}
    told = profile.text({"title": "title", "graphs": "somewhere", "top": 1, "contestants": {"shoal": entry}})
    assert "holder: disk" in told
    assert "88.9%" in told
    assert "66.7%" in told
    assert "hash" not in told
