"""EIO and ENOSPC at the write-side system calls of a node's tiers: clear errors, nothing lost, and it goes on.

The same day as in ``test_tiers_killed``; what fails is told as a LocalError, or not at all where another tier or
another try took its place.  Everything acknowledged is readable at the end of the day, by the same process.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from shoal.tests.support.tiers_child import LAST
from shoal.tests.support.tiers_day import DAY, Told
from shoal.tests.support.tiers_faults import Break, Forker, Point, sample, site, telling

pytestmark = pytest.mark.faults

WRITES = ("pwrite64", "pwritev", "pwritev2", "write", "fsync", "fdatasync", "rename", "renameat", "renameat2")
ERRORS = ("EIO", "ENOSPC")


def check_words(told: Told) -> None:
    """Every fault names a LocalError and says something; at most what it says depends on the disk."""
    for fault in told.faults:
        _, kind, text = fault.split(" ", 2)
        assert kind.rstrip(":") in ("StorageFault", "StorageFull", "Unavailable", "NotFound", "DeadlineExceeded"), fault
        assert len(text) > 20, fault
        assert "Errno" not in text or "(" in text, fault


@pytest.mark.parametrize("error", ERRORS)
def test_one_call_fails(forker: Forker, points: Sequence[Point], error: str) -> None:
    told_of = 0
    chosen = sample(points, 16, 4)
    for point in chosen:
        one = Break(point, f"error={error}")
        with site() as place, telling(one):
            told = forker.broken(place.folder, one)
            assert told.status == 0
            assert len(told.begun) > len(DAY), "it was started again, and the day went on to its end"
            assert sum("Storage" in fault for fault in told.faults) <= 1, told.faults
            assert LAST in told.done, "what had been acknowledged was readable at the end"
            check_words(told)
            told_of += bool(told.faults)
            place.check(told)
    print(f"{len(chosen)} of {len(points)} calls failed with {error}, {told_of} were told")
    assert told_of > 4


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("until", ["+", "+3"])
def test_calls_that_fail_from_now_on(forker: Forker, calm_points: Sequence[Point], error: str, until: str) -> None:
    """All of a kind, or every third: what had been acknowledged is served on, and is there when the disk is mended."""
    chosen = sample([point for point in calm_points if point.call in WRITES and point.step >= 0], 8, 5)
    told_of = 0
    for point in chosen:
        one = Break(point, f"error={error}", until)
        with site() as place, telling(one):
            told = forker.broken(place.folder, one, restarts=False)
            assert told.status == 0
            assert not [fault for fault in told.faults if fault.startswith(f"{LAST} ")], told.faults
            check_words(told)
            told_of += bool(told.faults)
            place.check(told)
    assert told_of > 2
