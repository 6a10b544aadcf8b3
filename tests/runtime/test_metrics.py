"""Figures: one registry a node, names bounded."""

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
