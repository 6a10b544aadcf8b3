"""Shoal's choice of what is in memory, against others on the same reads: it must come near the best there is.

The traces are those of ``bin/bench heat``, a tenth as long.  Nothing here depends on a clock or on chance.
"""

from pathlib import Path

import pytest

from shoal.storage.memory import cost_of
from shoal.tests.bench import __main__ as bench
from shoal.tests.bench import heat
from shoal.tests.bench.heat_trace import Blocks, timed

BLOCKS = Blocks.made(5_000, seed=1)
READS = 50_000
SEED = 1
NEAR = 0.9  # of the best


@pytest.mark.parametrize("span", ["10 min", "6 h"])
def test_reads_by_zipf_find_nearly_as_much_as_in_the_best_placement(span: str) -> None:
    found = heat.steady(BLOCKS, READS, heat.SPANS[span], SEED)
    assert found["shoal"] >= NEAR * found["best"]
    assert found["shoal"] >= found["2Q"] >= found["LRU"] > 0


def test_other_hot_blocks_are_in_memory_within_the_hour_that_halves_heat() -> None:
    found = heat.change(BLOCKS, READS, SEED)
    hour = int(3600 / heat.WINDOW_S)
    before, *after = found["hits"]["shoal"]
    assert before >= NEAR * found["hits"]["best"][0]
    assert after[0] < NEAR * before, "else nothing has changed"
    assert after[hour - 1] >= NEAR * before
    assert found["placed"][hour] >= 0.85
    assert all(shoal >= lru for shoal, lru in zip(after[1:], found["hits"]["LRU"][2:], strict=True))


def test_no_shelf_holds_more_than_its_capacity() -> None:
    capacity = heat.room(BLOCKS)
    shelves = heat.contestants(BLOCKS, capacity)
    for now, number in timed(BLOCKS.reads(20_000, SEED), 0.0, 600.0):
        for shelf in shelves.values():
            shelf.read(number, now)
    for shelf in shelves.values():
        held = sum(cost_of(size) for number, size in enumerate(BLOCKS.sizes) if shelf.holds(number))
        assert 0.9 * capacity < held <= capacity


def test_the_table_tells_what_was_found(tmp_path: Path) -> None:
    options = bench.parser().parse_args(["heat", *heat.QUICK])
    found, again = (heat.measure(options, tmp_path) for _ in range(2))
    told = heat.text(found)
    assert "all reads in 6 h" in told
    assert "until 60 min after" in told
    assert found["use_us"]["never again"] > 0
    for each in (found, again):
        del each["use_us"]
    assert found == again, "one seed, one result"
