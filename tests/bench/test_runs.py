"""Runs in turn, their material, and the options that choose them."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from shoal.tests.bench import options as opts
from shoal.tests.bench.contestant import Pairing, pair
from shoal.tests.bench.contestants.registry import PAIRINGS
from shoal.tests.bench.copying import copying
from shoal.tests.bench.runs import Figures, alternate, write_random
from shoal.tests.support.processes import ChildFailed


def test_contestants_take_turns_in_new_folders_that_go(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []

    def attempt(who: Pairing, place: Path, run: int) -> Figures:
        assert not list(place.iterdir())
        (place / "left").write_text("behind")
        seen.append((who.name, run))
        return {"seconds": float(run)}

    results = alternate([copying("a"), copying("b")], 2, tmp_path, attempt)
    assert seen == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert [result.runs for result in results] == [[{"seconds": 0.0}, {"seconds": 1.0}]] * 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fault", [ChildFailed("it would not"), OSError("it would not")])
def test_who_fails_has_no_further_turn_and_keeps_what_it_has(tmp_path: Path, fault: Exception) -> None:
    def attempt(who: Pairing, place: Path, run: int) -> Figures:
        if who.name == "b" and run == 1:
            raise fault
        return {"seconds": 1.0}

    a, b = alternate([copying("a"), copying("b")], 3, tmp_path, attempt)
    assert (len(a.runs), a.failure) == (3, "")
    assert (len(b.runs), b.failure) == (1, "it would not")


def test_who_cannot_run_here_is_not_tried(tmp_path: Path) -> None:
    def attempt(who: Pairing, place: Path, run: int) -> Figures:
        raise AssertionError

    (result,) = alternate([copying("a", why_not="of another machine")], 2, tmp_path, attempt)
    assert (result.runs, result.failure) == ([], "of another machine")


def test_a_pair_of_two_kinds_is_two_processes_and_one_connection(tmp_path: Path) -> None:
    a, b = copying("a").holder, copying("b", why_not="not here").holder
    mixed = Pairing(a, b)
    assert mixed.name == "a->b"
    assert mixed.why_not() == "not here"
    assert "a holds, b fetches" in mixed.note
    with pair(a, b, tmp_path) as (holder, fetcher):
        pids = holder.process.pid, fetcher.process.pid
        assert len(set(pids)) == 2
        (tmp_path / "file").write_bytes(b"content")
        fetcher.fetch(holder.hold(tmp_path / "file"), tmp_path / "out", 1)
    assert (tmp_path / "out").read_bytes() == b"content"
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_the_file_follows_from_the_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_random(tmp_path / name, 2_500_000, seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert len(a) == 2_500_000
    assert a == b != c


def test_the_registry_has_pairs_of_a_kind_and_mixed_ones() -> None:
    assert list(PAIRINGS) == ["shoal", "kubo", "kubo-pin", "py-libp2p", "tcp", "kubo->shoal", "shoal->kubo"]
    assert all(each.name == name for name, each in PAIRINGS.items())
    assert list(opts.who_can("node", mixed=False)) == ["shoal", "kubo"]
    assert "tcp" not in opts.who_can("block")


def test_contestants_are_chosen_by_name() -> None:
    assert [each.name for each in opts.chosen("file")("tcp, kubo->shoal,tcp")] == ["tcp", "kubo->shoal"]
    for refused in ("tcp,nobody", "kubo->shoal", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="no contestant here is called"):
            opts.chosen("file", mixed=False)(refused)


@pytest.mark.parametrize(("read", "text"), [(opts.count, "0"), (opts.count, "x"), (opts.size, "4QiB")])
def test_a_wrong_option_is_told_by_its_value(read: Callable[[str], int], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=text):
        read(text)
