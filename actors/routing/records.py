"""How each source has done: how often it knew somebody, how soon, and what follows for when it is asked.  Pure.

The order is by cost.  What this node and its swarm have heard already costs nothing, an HTTP request little, a walk
through the DHT some dozens of messages: so the DHT is given a head start to beat, no longer than the cheaper sources
usually take, and none at all when none of them ever knows anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from shoal.messages.routing import DELEGATED, DHT, PUBSUB, SourceReport, SourceStat

COSTS: Final = {PUBSUB: 0, DELEGATED: 1, DHT: 2}  # rank by what a search costs; sources are actors' names
HEAD_START_S: Final = 0.075  # seconds before the DHT is asked, while nothing is known of the cheaper sources
HEAD_START_MIN_S: Final = 0.02  # seconds, when they are quick
HEAD_START_MAX_S: Final = 0.25  # seconds, when they are slow: a search must not wait for them
HEAD_START_TIMES: Final = 1.5  # of the cheaper source's median
USELESS_SHARE: Final = 0.05  # of searches answered, below which a source is not waited for
SHARE_FIRST: Final = 0.5  # the share that a source begins with: eleven searches in vain make it useless
SHARE_WEIGHT: Final = 0.2  # of the latest search in the share of those answered
FIRSTS_KEPT: Final = 256  # times to a first provider, of each source


class SourceRecord:
    """One source since start; ``share`` weighs its latest searches most."""

    def __init__(self) -> None:
        self.searches = 0
        self.answered = 0
        self.providers = 0
        self.failures = 0
        self.share = SHARE_FIRST
        self.firsts: deque[float] = deque(maxlen=FIRSTS_KEPT)
        self.running = True

    def note(self, report: SourceReport, *, whole: bool) -> None:
        """One search.  ``whole``: the source had its time; one that was stopped early has not failed to know."""
        self.searches += 1
        self.providers += report.providers
        if report.providers:
            self.answered += 1
            if report.first_s >= report.began_s:
                self.firsts.append(report.first_s - report.began_s)
        if report.providers or whole:
            self.share += (bool(report.providers) - self.share) * SHARE_WEIGHT

    def failed(self) -> None:
        """It did not answer at all."""
        self.failures += 1

    def percentile(self, share: float) -> float:
        """Of the times to a first provider, in seconds from when it was asked; 0 when there are none."""
        if not self.firsts:
            return 0.0
        ordered = sorted(self.firsts)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


class Records:
    """All sources."""

    def __init__(self) -> None:
        self.sources: dict[str, SourceRecord] = {}

    def of(self, source: str) -> SourceRecord:
        """One source's record, made on first need."""
        return self.sources.setdefault(source, SourceRecord())

    def plan(self, sources: Iterable[str]) -> list[tuple[str, float]]:
        """The sources to ask, cheapest first, each with the seconds from the start of a search at which it is asked."""
        ordered = sorted(sources, key=lambda name: (COSTS.get(name, 1), name))
        return [(name, self._head_start(ordered[:index], name)) for index, name in enumerate(ordered)]

    def _head_start(self, cheaper: Sequence[str], name: str) -> float:
        if COSTS.get(name, 1) < COSTS[DHT]:
            return 0.0
        rivals = [record for other in cheaper if (record := self.of(other)).running and record.share >= USELESS_SHARE]
        if not rivals:
            return 0.0
        known = [record.percentile(0.5) for record in rivals if record.firsts]
        if not known:
            return HEAD_START_S
        return min(max(HEAD_START_TIMES * min(known), HEAD_START_MIN_S), HEAD_START_MAX_S)

    def stats(self) -> tuple[SourceStat, ...]:
        """For the user."""
        return tuple(
            SourceStat(
                name,
                record.searches,
                record.answered,
                record.providers,
                record.failures,
                record.percentile(0.5),
                record.percentile(0.95),
                record.running,
            )
            for name, record in sorted(self.sources.items())
        )
