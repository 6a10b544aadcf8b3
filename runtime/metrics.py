"""A node's figures: prometheus counters and gauges, made on first use and bound once.

One registry a node, since several nodes may live in one process.  Names are made of actor and metric names, never of
what a peer said; their number is bounded all the same.  ``TierMetrics`` shows what is asked of the tiers now and then.
Not here: the HTTP page that shows them.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from shoal.messages.blocks import RepoStats
from shoal.messages.keeping import KeeperStats
from shoal.messages.limits import METRIC_NAMES_MAX

UNFIT: Final = re.compile(r"[^a-zA-Z0-9_]")
OVERFLOW: Final = "other"  # where figures beyond the bound on names go

# Counted by the keeper and the tiers, and shown as 0 before the first time, so that a rate can be had of it.
COUNTED: Final = {
    "keeper": ("blocks_promoted", "blocks_demoted", "bytes_moved", "blocks_collected", "bytes_collected",
               "repaired_blocks"),
    "disk": ("scrubbed_blocks", "damaged_blocks"),
    "cold": ("scrubbed_blocks", "damaged_blocks"),
}  # fmt: skip

Metric = TypeVar("Metric", Counter, Gauge)


class TierMetrics(Collector):
    """The tiers' figures, by tier, as they were told last; nothing before that."""

    def __init__(self) -> None:
        self._repo: RepoStats | None = None
        self._keeper: KeeperStats | None = None

    def show(self, repo: RepoStats, keeper: KeeperStats | None) -> None:
        """Show these from now on."""
        self._repo, self._keeper = repo, keeper

    def collect(self) -> Iterator[Family]:
        """For the registry."""
        if self._repo is not None:
            yield from _of_tiers(self._repo)
        if self._keeper is not None:
            yield from _of_keeper(self._keeper)


def _of_tiers(repo: RepoStats) -> Iterator[Family]:
    gauges = {
        "bytes": "bytes of blocks in a tier",
        "blocks": "blocks in a tier",
        "quota_bytes": "bytes that a tier may hold, 0: bounded by its disk or object store alone",
        "up": "whether a tier answers and takes blocks",
    }
    families = {name: GaugeMetricFamily(f"shoal_tier_{name}", text, labels=["tier"]) for name, text in gauges.items()}
    hits = CounterMetricFamily("shoal_tier_hits", "blocks asked of a tier that it had", labels=["tier"])
    misses = CounterMetricFamily("shoal_tier_misses", "blocks asked of a tier that it did not have", labels=["tier"])
    for tier in repo.tiers:
        values = (tier.size, tier.blocks, tier.capacity, int(tier.state == "ok"))
        for family, value in zip(families.values(), values, strict=True):
            family.add_metric([tier.tier], value)
        hits.add_metric([tier.tier], tier.hits)
        misses.add_metric([tier.tier], tier.misses)
    yield from (*families.values(), hits, misses)


def _of_keeper(keeper: KeeperStats) -> Iterator[Family]:
    heat = GaugeMetricFamily("shoal_tier_blocks_by_heat", "blocks of a heat below le", labels=["tier", "le"])
    edges = [*(f"{edge:g}" for edge in keeper.edges[:-1]), "+Inf"]
    for row in keeper.tiers:
        below = 0
        for edge, count in zip(edges, row.heats, strict=False):
            below += count
            heat.add_metric([row.tier, edge], below)
    yield heat
    scrub = keeper.scrub
    singles = {
        "shoal_pins": ("pins", keeper.pins),
        "shoal_holds": ("requests that hold content while they run", keeper.holds),
        "shoal_scrub_running": ("whether a scrub is under way", int(bool(scrub.tier))),
        "shoal_scrub_sound_blocks": ("blocks found sound by the scrub under way, or the last", scrub.sound),
        "shoal_scrub_damaged_blocks": ("blocks found damaged by it", scrub.damaged),
        "shoal_scrub_repaired_blocks": ("damaged blocks that were found elsewhere", scrub.repaired),
        "shoal_scrub_bytes": ("bytes read by it", scrub.size),
        "shoal_scrub_ended_timestamp_seconds": ("when the last one ended, 0: never, or one is under way", scrub.ended),
    }
    for name, (text, value) in singles.items():
        family = GaugeMetricFamily(name, text)
        family.add_metric([], value)
        yield family


class NodeMetrics:
    """All counters and gauges of one node."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._counters: dict[tuple[str, str], Counter] = {}
        self._gauges: dict[tuple[str, str], Gauge] = {}
        self.tiers = TierMetrics()
        self.registry.register(self.tiers)
        for actor, names in COUNTED.items():
            for name in names:
                self.counter(actor, name)

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
