"""A DHT of five hundred nodes that come and go, with loss and liars: it finds, within bounds, and in time."""

from __future__ import annotations

import pytest

from shoal.messages.limits import DHT_LOOKUP_REQUESTS
from shoal.messages.routing import SourceEnded
from shoal.tests.support.dht_churn import PATIENCE_S, Trial


@pytest.mark.timeout(1800)  # a hundred seconds of a core that nobody else uses
def test_five_hundred_nodes_with_churn_loss_and_liars_find_what_is_provided() -> None:
    trial = Trial(size=500, liars=0.05, loss=0.01, searches=200).run_apart(seed=1)
    print(trial.report())
    assert len(trial.counted) >= 190, "few askers died"
    assert trial.died >= 40
    assert trial.lied >= 100, "liars were asked"
    assert trial.success >= 0.99
    assert trial.longest_s <= PATIENCE_S
    ends = [asked.last for asked, _ in trial.counted]
    assert all(isinstance(end, SourceEnded) and end.messages <= DHT_LOOKUP_REQUESTS.value for end in ends)


def test_a_small_dht_half_of_which_lies_still_finds_most() -> None:
    trial = Trial(size=40, liars=0.5, churn_s=20.0, contents=5, searches=60).run(seed=2)
    print(trial.report())
    assert trial.success >= 0.9
    assert trial.longest_s <= PATIENCE_S
