"""Roles of whole simulated nodes, changed while they run."""

from pathlib import Path

import pytest

from shoal.messages.errors import LocalError
from shoal.runtime.simulation.swarm import Swarm


def test_a_leecher_is_dialled_by_nobody_until_it_is_a_worker(tmp_path: Path) -> None:
    with Swarm(1, tmp_path) as swarm:
        a, b = swarm.add("a", "leecher"), swarm.add("b")
        cid = a.add(b"kept for itself until now")
        with pytest.raises(LocalError):
            swarm.connect(b, a)
        a.api.change_role("worker")
        swarm.world.run_for(1.0)
        swarm.connect(b, a)
        assert b.cat(cid) == b"kept for itself until now"
        a.api.change_role("leecher")
        a.api.change_role("worker")
        assert len(a.api.identity().addrs) == 1, "it listens once"
