"""Bits that flip between two runs in any file of a node's folder: never a wrong byte, never a pin lost in silence.

The node starts and serves what is sound, or it says what is wrong and what to do about it.
"""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from shoal.messages.errors import LocalError
from shoal.tests.support.tiers import SETTLED_S, TiersNode, no_bugs
from shoal.tests.support.tiers_day import DAY, Expected, Told, expected
from shoal.tests.support.tiers_faults import NEXT_DAY_S, look_at, site

pytestmark = pytest.mark.faults

# Steps before the first pause behind a collection: both tiers hold something and the logs are not folded in.
MORNING = next(number for number, step in enumerate(DAY) if step.verb == "collect") + 1
SOFT = ("usage.sqlite", "scrub.json", "api", "repo.lock")  # what is in these is told or made anew
Files = dict[str, bytes]


@functools.cache
def left(killed: bool) -> tuple[Files, Expected]:
    """All files that a day leaves, after a stop or as a kill leaves them, and what must be in them."""
    told = Told()
    with site() as place:
        node = TiersNode(place.folder)
        node.start()
        for number, step in enumerate(DAY[:MORNING] if killed else DAY):
            told.begun.add(number)
            step.run(node)
            told.done.add(number)
        if killed:
            files = contents(place.folder)
            node.stop()
        else:
            node.stop()
            files = contents(place.folder)
    return files, expected(told)


def contents(folder: Path) -> Files:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.stat().st_size and not path.name.endswith("-shm")
    }


def write(folder: Path, files: Files) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o600)


def test_what_a_kill_leaves_has_logs_and_segments() -> None:
    """Else there would be little to flip."""
    names = set(left(True)[0])
    assert {"blocks.sqlite", "blocks.sqlite-wal", "cold/index.sqlite-wal", "catalog/pins.sqlite-wal"} <= names
    assert any(name.endswith(".car.zst") for name in left(False)[0])


def use(node: TiersNode, want: Expected) -> None:
    """All that a node does with what it has; it may fail, in words, and give nothing, but no wrong byte."""
    assert node.all_here() is not None
    for name in sorted(want.kept):
        with contextlib.suppress(LocalError):
            node.read(name)
    node.sleep(SETTLED_S)
    for call in (
        node.scrub,
        lambda: node.sleep(SETTLED_S),
        node.collect,
        lambda: node.add("last", pin=True),
        lambda: node.read("last"),
        lambda: node.remove("e"),
        lambda: node.sleep(70),
        node.collect,
    ):
        with contextlib.suppress(LocalError):
            call()
    node.all_here()


def lives_on(files: Files, want: Expected, touched: str) -> str:
    """Start on these files, of which one was ``touched``, twice; what came of it."""
    nothing_lost = touched.rpartition("/")[2] in SOFT
    # What stands behind damage in a log was never committed, for all that SQLite can tell.
    pins_stay = not touched.endswith("-wal")
    with site() as place, no_bugs():
        write(place.folder, files)
        for number in range(2):
            node = TiersNode(place.folder, NEXT_DAY_S * (1 + number))
            try:
                node.start()
            except LocalError as fault:
                assert "(" in str(fault), "it says what to do"  # noqa: PT017 - which error it is, is what is tested
                return f"does not start: {type(fault).__name__}"
            try:
                if nothing_lost:
                    look_at(node, want)
                use(node, want)
                with contextlib.suppress(LocalError):
                    assert want.kept <= node.pins() or not pins_stay, "a pin is gone in silence"
                want = Expected(kept=want.kept | {"last"} if nothing_lost else want.kept)  # the rest was collected
                if nothing_lost:
                    look_at(node, want)
            finally:
                node.stop()
            if node.given_up:
                return "gave up"
        return "starts"


places = st.one_of(
    st.integers(0, 120),
    st.integers(0, 2**20),
    # Headers and cell pointers stand at the beginning of a page, and the newest cells at its end.
    st.builds(lambda page, at: page * 4096 + at, st.integers(0, 30), st.integers(-120, 120).map(lambda at: at % 4096)),
)
flips = st.lists(st.tuples(places, st.integers(0, 7)), min_size=1, max_size=6)


@settings(max_examples=60)
@given(st.booleans(), st.integers(0, 100), flips)
def test_flipped_bits(killed: bool, which: int, bits: list[tuple[int, int]]) -> None:
    files, want = left(killed)
    name = sorted(files)[which % len(files)]
    data = bytearray(files[name])
    for at, bit in bits:
        data[at % len(data)] ^= 1 << bit
    outcome = lives_on({**files, name: bytes(data)}, want, name)
    event(f"{name}: {outcome}")


@pytest.mark.parametrize("killed", [False, True])
def test_every_file_in_turn_cut_in_half(killed: bool) -> None:
    files, want = left(killed)
    for name, data in files.items():
        print(name, lives_on({**files, name: data[: len(data) // 2]}, want, name))


@pytest.mark.parametrize("killed", [False, True])
def test_every_file_in_turn_gone(killed: bool) -> None:
    files, want = left(killed)
    for name in files:
        print(name, lives_on({other: data for other, data in files.items() if other != name}, want, name))
