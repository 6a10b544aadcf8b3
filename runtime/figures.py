"""Figures of the tiers and of the keeper, kept for a while: some of them cost a scan of the catalogue.

Not the metrics' own counters (``metrics``): what is here has to be asked for.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from shoal.messages import blocks, keeping
from shoal.messages.errors import DeadlineExceeded, Unavailable
from shoal.runtime.asking import ask_patiently
from shoal.runtime.edge import Edge

# A scan of the catalogue takes some 0.7 s for a million blocks, in which the keeper does nothing else: it is not
# repeated until this many times as long has gone by.
COST_TIMES: Final = 20
KEEPER_TIMEOUT_S: Final = 10.0  # seconds for the keeper's part: a scan of many million blocks


@dataclass(frozen=True, slots=True)
class Figures:
    """What was answered.  ``keeper`` is None when it did not answer."""

    repo: blocks.RepoStats
    keeper: keeping.KeeperStats | None


class FiguresCache:
    """Asks for figures, not too often.  Thread-safe; those who come while it asks wait for the same answer."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._lock = threading.Lock()
        self._figures: Figures | None = None
        self._asked_at = 0.0
        self._dear_until = 0.0

    def get(self, age_s: float) -> Figures:
        """Figures of at most ``age_s`` seconds ago, or older ones when getting them took long.

        Raises Unavailable or DeadlineExceeded when not even the tiers' own can be had.
        """
        with self._lock:
            now = self._edge.now()
            old = self._figures
            if old is not None and (now < self._asked_at + age_s or now < self._dear_until):
                return old
            repo = ask_patiently(self._edge, blocks.RepoStats, blocks.RepoStat())
            began = self._edge.now()
            keeper: keeping.KeeperStats | None = None
            try:
                keeper = self._edge.ask_for(keeping.KeeperStats, keeping.KeeperStat(), KEEPER_TIMEOUT_S)
            except (Unavailable, DeadlineExceeded):
                pass  # the tiers' own figures are worth having all the same
            self._asked_at = self._edge.now()
            self._dear_until = self._asked_at + COST_TIMES * (self._asked_at - began)
            self._figures = Figures(repo, keeper)
            return self._figures
