"""What a contestant of a measurement is: two fresh processes on loopback, a holder and a fetcher.

Begin with ``Contestant.pair``.  Contestants are in ``contestants/``, one module each, listed in ``CONTESTANTS`` there.
Each does what its own user would do and keeps its own promises about what is stored; ``note`` says what those are.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak resident memory of the two processes, in bytes."""

    holder: int
    fetcher: int


class Pair(Protocol):
    """A running holder and fetcher, connected, with nothing fetched yet."""

    def hold(self, path: Path) -> str:
        """Have the holder take in the file; what it is called from now on (a CID)."""

    def fetch(self, name: str, out: Path, timeout_s: float) -> None:
        """Have the fetcher fetch it: all bytes in ``out``, and stored as this contestant stores.  This is timed."""

    def memory(self) -> Memory:
        """Peaks so far."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """``pair`` starts two processes whose files are in a new empty folder; leaving it kills both."""

    name: str
    note: str
    pair: Callable[[Path], AbstractContextManager[Pair]]
    why_not: Callable[[], str | None] = lambda: None  # why it cannot run here
