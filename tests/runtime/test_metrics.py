"""Figures: one registry a node, names bounded."""

from shoal.messages.blocks import RepoStats, TierStat
from shoal.messages.keeping import KeeperStats, Scrubbed, TierHeat
from shoal.messages.limits import METRIC_NAMES_MAX
from shoal.runtime.metrics import OVERFLOW, NodeMetrics


def test_a_metric_is_made_once_and_shown() -> None:
    metrics = NodeMetrics()
    assert metrics.counter("disk", "hits") is metrics.counter("disk", "hits")
    metrics.counter("disk", "hits").inc(3)
    metrics.gauge("disk", "fill").set(0.25)
    text = metrics.exposition().decode()
    assert "shoal_disk_hits_total 3.0" in text
    assert "shoal_disk_fill 0.25" in text


def test_two_nodes_in_one_process_have_figures_of_their_own() -> None:
    one, two = NodeMetrics(), NodeMetrics()
    one.counter("disk", "hits").inc()
    assert two.registry.get_sample_value("shoal_disk_hits_total") is None


def test_names_that_do_not_fit_prometheus_are_made_to() -> None:
    metrics = NodeMetrics()
    metrics.counter("disk", "fault: EIO/1").inc()
    assert metrics.registry.get_sample_value("shoal_disk_fault__EIO_1_total") == 1


def test_names_are_bounded() -> None:
    metrics = NodeMetrics()
    for number in range(METRIC_NAMES_MAX.value + 50):
        metrics.counter("x", f"n{number}").inc()
    assert metrics.registry.get_sample_value(f"shoal_x_{OVERFLOW}_total") == 50
    assert sum(actor == "x" for actor, _ in metrics._counters) == METRIC_NAMES_MAX.value + 1
    metrics.counter("y", "n1").inc()
    assert metrics.registry.get_sample_value("shoal_y_n1_total") == 1


def test_the_tiers_figures_are_shown_by_tier_and_heat_adds_up() -> None:
    metrics = NodeMetrics()
    assert metrics.registry.get_sample_value("shoal_keeper_blocks_promoted_total") == 0
    assert b"shoal_tier_bytes" not in metrics.exposition()
    repo = RepoStats((TierStat("disk", 3, 300, 1000, 5, 2), TierStat("cold", 0, 0, 0, 0, 0, "not answering")))
    heats = (1, 0, 2, 0, 0, 0, 0, 4)
    scrub = Scrubbed("cold", 10, 4096, 2, 1, 100.0, 0.0)
    edges = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0, 400.0)
    metrics.tiers.show(repo, KeeperStats((TierHeat("disk", 7, 300, heats),), edges, 3, 1, 0, 0, 0, 0, 0, "idle", scrub))
    value = metrics.registry.get_sample_value
    assert value("shoal_tier_bytes", {"tier": "disk"}) == 300
    assert value("shoal_tier_quota_bytes", {"tier": "disk"}) == 1000
    assert (value("shoal_tier_up", {"tier": "disk"}), value("shoal_tier_up", {"tier": "cold"})) == (1, 0)
    assert value("shoal_tier_hits_total", {"tier": "disk"}) == 5
    assert value("shoal_tier_misses_total", {"tier": "disk"}) == 2
    below = [value("shoal_tier_blocks_by_heat", {"tier": "disk", "le": le}) for le in ("0.1", "1", "50", "+Inf")]
    assert below == [1, 3, 3, 7]
    assert (value("shoal_pins"), value("shoal_holds"), value("shoal_scrub_running")) == (3, 1, 1)
    assert value("shoal_scrub_damaged_blocks") == 2
    metrics.tiers.show(repo, None)
    assert value("shoal_pins") is None
    assert value("shoal_tier_bytes", {"tier": "disk"}) == 300
