"""kill -9 at the write-side system calls of a node's tiers: put, move, pin, unpin, remove, collect, compact, restart.

Every life is the same day (``tests.support.tiers_day``), killed at another call.  What was acknowledged and may not be
collected is there afterwards, with its bytes and its pins; the tiers are within their quotas; a second start finds what
the first one found; and after a while no block is in two tiers.  A sample is broken, spread over the day and the kinds
of calls; FAULTS_EVERY=1 in the environment breaks each.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from shoal.actors.keeper.actor import KeeperActor
from shoal.actors.tiers.cold.actor import ColdTierActor
from shoal.storage.cold.store import ColdStore
from shoal.tests.support.tiers import TiersNode
from shoal.tests.support.tiers_day import DAY
from shoal.tests.support.tiers_faults import NEXT_DAY_S, Break, Forker, Point, sample, site, telling

pytestmark = pytest.mark.faults

KILL = "signal=KILL"
KILLED = 9  # of os.waitpid
BUSY = [
    number for number, step in enumerate(DAY) if step.verb in ("sleep", "collect")
]  # when the node moves and deletes


def test_the_day_moves_collects_and_compacts() -> None:
    """Else the tests below would show little."""
    up = down = collected = compacted = 0
    with site() as place, TiersNode(place.folder) as node:
        for step in DAY:
            before = cold_store(node).stats()
            step.run(node)
            after = cold_store(node).stats()
            # Blocks that stay, in less room: they were moved out of a segment that was mostly dead.
            compacted += after.blocks == before.blocks > 0 and after.stored_bytes < before.stored_bytes
            keeper = node.actor("keeper")
            assert isinstance(keeper, KeeperActor)
            up, down = max(up, keeper.moved_up), max(down, keeper.moved_down)
            collected = max(collected, keeper.collected)
    print(f"{up} blocks up, {down} down, {collected} collected, {compacted} compactions of what is alive")
    assert min(up, down, collected, compacted) > 0


def cold_store(node: TiersNode) -> ColdStore:
    actor = node.actor("cold")
    assert isinstance(actor, ColdTierActor)
    return actor.cold


def test_the_day_has_all_calls_that_are_to_be_broken(points: Sequence[Point]) -> None:
    counts = Counter(point.call for point in points)
    print(len(points), dict(counts))
    assert counts["pwrite64"] > 100
    assert counts["fdatasync"] > 20
    assert {"pwrite64", "fdatasync", "fsync", "openat"} <= counts.keys()
    assert counts.keys() & {"pwritev", "pwritev2"}, "segments"
    assert counts.keys() & {"rename", "renameat", "renameat2"}
    assert counts.keys() & {"unlink", "unlinkat"}


def test_killed_at_a_call(forker: Forker, points: Sequence[Point]) -> None:
    busy = [point for point in points if point.step in BUSY]
    chosen = list(dict.fromkeys([*sample(points, 20, 1), *sample(busy, 24, 1)]))
    reached: set[int] = set()
    for point in chosen:
        one = Break(point, KILL)
        with site() as place, telling(one):
            told = forker.broken(place.folder, one)
            assert told.status == KILLED, "the day makes the same calls each time"
            reached.add(max(told.begun, default=-1))
            place.check(told)
    print(f"{len(chosen)} of {len(points)} calls; killed in {len(reached)} of {len(DAY)} steps")
    assert len(reached) > len(DAY) // 3


def test_killed_and_killed_again_while_it_starts(forker: Forker, points: Sequence[Point]) -> None:
    """The repair that a start makes is cut short too."""
    rng = random.Random(2)
    killed = 0
    for point in sample(points, 8, 2):
        first, again = Break(point, KILL), Break(Point("pwrite64", rng.randrange(1, 40)), KILL)
        with site() as place, telling((first, again)):
            lives = [forker.broken(place.folder, first)]
            lives.append(forker.broken(place.folder, again, at=NEXT_DAY_S))
            killed += lives[-1].status == KILLED
            place.check(*lives)
    assert killed > 4


def test_killed_some_time_after_a_call_that_failed(forker: Forker, points: Sequence[Point]) -> None:
    """A commit that failed stands in a log: what was acknowledged since must not be undone by playing it back."""
    rng = random.Random(3)
    syncs = [point for point in points if point.call == "fdatasync" and point.step >= 0]
    killed = 0
    chosen = sample(syncs, 26, 3)
    for point in chosen:
        after = rng.randrange(1, 4)  # steps that are still done
        later = [one for one in points if one.call == "pwrite64" and one.step > point.step + after]
        if not later:
            continue
        breaks = Break(point, "error=EIO"), Break(later[rng.randrange(min(3, len(later)))], KILL)
        with site() as place, telling(breaks):
            told = forker.broken(place.folder, *breaks)
            killed += told.status == KILLED
            place.check(told)
    print(f"{len(chosen)} of {len(syncs)} syncs failed, {killed} killed")
    assert killed > len(chosen) // 2
