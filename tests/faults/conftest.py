"""What the tests of broken system calls share: the process that is broken, and the calls that it makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from shoal.tests.support.tiers_faults import Forker, Point, points_of, why_not


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    """The process that lives through days of a node's tiers."""
    reason = why_not()
    if reason is not None:
        pytest.skip(f"NOT TESTED WITH BROKEN SYSTEM CALLS: {reason}")
    with Forker() as process:
        yield process


@pytest.fixture(scope="session")
def points(forker: Forker) -> Sequence[Point]:
    """Every write-side system call of a whole day."""
    return points_of(forker)


@pytest.fixture(scope="session")
def calm_points(forker: Forker) -> Sequence[Point]:
    """The same of a day in which the node runs on: one that meets a broken disk may not start again on it."""
    return points_of(forker, restarts=False)
