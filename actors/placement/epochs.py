"""When everything that began before a moment has ended: what a deletion waits for.  Pure.

As in epoch-based reclamation (Fraser, "Practical lock-freedom", 2004): readers enter and leave, a deletion is put off
until all that had entered before it have left; who enters later sees the world without what is deleted.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable


class Epochs:
    """Readers under way, by the order of their entry."""

    def __init__(self) -> None:
        self._inside: dict[int, None] = {}
        self._tokens = itertools.count(1)
        self._waiting: deque[tuple[int, Callable[[], object]]] = deque()  # (the newest token to wait for, what then)

    @property
    def inside(self) -> int:
        """How many readers there are."""
        return len(self._inside)

    def enter(self) -> int:
        """A reader begins; the token to leave with."""
        token = next(self._tokens)
        self._inside[token] = None
        return token

    def leave(self, token: int) -> None:
        """It has ended, once; what waited for it and for nobody else is done now."""
        del self._inside[token]
        while self._waiting and self._oldest() > self._waiting[0][0]:
            self._waiting.popleft()[1]()

    def after_all(self, call: Callable[[], object]) -> None:
        """Make ``call`` once all that are inside now have left; at once when there are none."""
        if not self._inside:
            call()
            return
        self._waiting.append((next(reversed(self._inside)), call))

    def _oldest(self) -> float:
        return next(iter(self._inside), float("inf"))
