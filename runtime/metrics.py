"""A node's figures: prometheus counters and gauges, made on first use and bound once.

One registry a node, since several nodes may live in one process.  Names are made of actor and metric names, never of
what a peer said; their number is bounded all the same.  Not here: the HTTP page that shows them.
"""

from __future__ import annotations

import re
import threading
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from shoal.messages.limits import METRIC_NAMES_MAX

UNFIT: Final = re.compile(r"[^a-zA-Z0-9_]")
OVERFLOW: Final = "other"  # where figures beyond the bound on names go

Metric = TypeVar("Metric", Counter, Gauge)


class NodeMetrics:
    """All counters and gauges of one node."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._counters: dict[tuple[str, str], Counter] = {}
        self._gauges: dict[tuple[str, str], Gauge] = {}

    def counter(self, actor: str, name: str) -> Counter:
        """The counter ``shoal_<actor>_<name>_total``."""
        found = self._counters.get((actor, name))
        return found if found is not None else self._make(self._counters, Counter, actor, name)

    def gauge(self, actor: str, name: str) -> Gauge:
        """The gauge ``shoal_<actor>_<name>``."""
        found = self._gauges.get((actor, name))
        return found if found is not None else self._make(self._gauges, Gauge, actor, name)

    def exposition(self) -> bytes:
        """Everything in prometheus' text format."""
        text: bytes = generate_latest(self.registry)
        return text

    def _make(self, table: dict[tuple[str, str], Metric], kind: type[Metric], actor: str, name: str) -> Metric:
        with self._lock:
            if sum(known == actor for known, _ in table) >= METRIC_NAMES_MAX.value:
                name = OVERFLOW
            metric = table.get((actor, name))
            if metric is None:
                text = UNFIT.sub("_", f"shoal_{actor}_{name}")
                metric = kind(text, f"{name.replace('_', ' ')} of {actor}", registry=self.registry)
                table[actor, name] = metric
            return metric
