"""Runs of all contestants in turn, and the material that they work on.

Begin with ``alternate``.  Contestants take turns within a run, so that what slows the machine for a while slows all of
them, and every turn has a new folder.  What one turn measured is a ``Figures``.
"""

import os
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from shoal.tests.bench.contestant import Pairing
from shoal.tests.support.processes import ChildFailed

PIECE_BYTES: Final = 1024 * 1024

Figures = dict[str, float]
"""What one run of one contestant measured, by name; the name ends in its unit."""

Attempt = Callable[[Pairing, Path, int], Figures]
"""One run: who, an empty folder, the number of the run from 0.  ChildFailed or OSError: the contestant could not."""


@dataclass(slots=True)
class Result:
    """What one contestant did: the figures of each run, or why it could not."""

    contestant: Pairing
    runs: list[Figures] = field(default_factory=list)
    failure: str = ""


def alternate(
    contestants: Sequence[Pairing], runs: int, folder: Path, attempt: Attempt, *, keep: bool = False
) -> list[Result]:
    """Run everything; progress goes to standard error.  One that fails once has no further turn.

    A turn's folder is removed after it, unless ``keep`` leaves it to who made ``folder``: ext4 looks at every inode
    that was freed in the last minutes before it takes a new one, so that a turn that makes thousands of files pays
    twenty times their price for those that the turn before removed.
    """
    results = [Result(each) for each in contestants]
    for run in range(runs):
        for number, result in enumerate(results):
            if not result.failure:
                place = folder / f"{run}-{number}"
                place.mkdir()
                turn(result, attempt, place, run)
                if not keep:
                    shutil.rmtree(place)
                said = f"failed: {result.failure}" if result.failure else told(result.runs[-1])
                print(f"run {run + 1} of {runs}: {result.contestant.name}: {said}", file=sys.stderr, flush=True)
    return results


def turn(result: Result, attempt: Attempt, place: Path, run: int) -> None:
    """One run of one contestant."""
    why_not = result.contestant.why_not()
    if why_not is not None:
        result.failure = why_not
        return
    try:
        result.runs.append(attempt(result.contestant, place, run))
    except (ChildFailed, OSError) as fault:
        result.failure = str(fault)


def told(figures: Figures) -> str:
    """All figures of a run on one line."""
    return ", ".join(f"{name} {value:.5g}" for name, value in figures.items())


# --- material --------------------------------------------------------------------------------------


def write_random(path: Path, size: int, seed: int) -> Path:
    """A file that nothing can compress, the same for the same seed."""
    rng = random.Random(seed)
    with path.open("wb") as file:
        for start in range(0, size, PIECE_BYTES):
            file.write(rng.randbytes(min(PIECE_BYTES, size - start)))
    return path


def settle() -> None:
    """Write out what earlier turns left unwritten, so that nobody pays for another's bytes."""
    os.sync()
