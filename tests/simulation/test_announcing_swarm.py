"""Whole nodes on a virtual clock: what is added is announced, through crashes and power cuts."""

from __future__ import annotations

import random
from pathlib import Path

from shoal.messages import lifecycle
from shoal.messages.cid import CID
from shoal.runtime.simulation.swarm import SimNode, Swarm, found_by

NODES = 8
DAY_S = 86_400.0
SOON_S = 120.0
WAYS = frozenset({"dht", "pubsub"})


def swarm_of(seed: int, folder: Path, *sources: str) -> tuple[Swarm, list[SimNode]]:
    """Nodes that all know the first."""
    swarm = Swarm(seed, folder, finding=found_by(*sources))
    nodes = [swarm.add(f"node{number}") for number in range(NODES)]
    for node in nodes[1:]:
        swarm.connect(node, nodes[0])
    swarm.world.run_for(30.0)
    return swarm, nodes


def told(node: SimNode, ways: frozenset[str] = WAYS) -> bool:
    """Whether all that the node announces over these ways has been told."""
    rows = [row for row in node.api.announcements().rows if row.way in ways]
    return bool(rows) and all(row.told_s < DAY_S for row in rows)


def finders(nodes: list[SimNode], cid: CID, giver: SimNode) -> set[str]:
    """Who finds the giver by the CID alone."""
    return {
        node.name
        for node in nodes
        if node is not giver
        and any(one.peer == giver.host.peer_id for one in node.api.find_providers(str(cid), 0, 20.0))
    }


def wait_until_told(swarm: Swarm, node: SimNode, ways: frozenset[str] = WAYS) -> None:
    for _ in range(40):
        if told(node, ways):
            return
        swarm.world.run_for(SOON_S / 10)
    raise AssertionError(f"{node.name} has not told: {node.api.announcements()}")


def test_what_one_adds_all_find(tmp_path: Path) -> None:
    swarm, nodes = swarm_of(1, tmp_path, "dht", "pubsub")
    with swarm:
        cid = nodes[3].add(b"for all")
        wait_until_told(swarm, nodes[3])
        others = {node.name for node in nodes} - {"node3"}
        assert finders(nodes, cid, nodes[3]) == others
        assert nodes[6].cat(cid) == b"for all"


def test_same_seed_same_trace(tmp_path: Path) -> None:
    digests = []
    for run in ("one", "two"):
        swarm, nodes = swarm_of(2, tmp_path / run, "dht", "pubsub")
        with swarm:
            nodes[1].add(b"again")
            wait_until_told(swarm, nodes[1])
            digests.append(swarm.world.digest())
    assert digests[0] == digests[1]


def test_a_power_cut_before_anybody_was_told(tmp_path: Path) -> None:
    swarm, nodes = swarm_of(3, tmp_path, "dht", "pubsub")
    with swarm:
        cid = nodes[2].add(b"nearly lost")
        nodes[2].power_off()
        swarm.world.run_for(60.0)
        nodes[2].start()
        assert nodes[2].api.announcements().total == 2
        swarm.connect(nodes[2], nodes[0])
        wait_until_told(swarm, nodes[2])
        assert len(finders(nodes, cid, nodes[2])) == NODES - 1


def test_crashes_of_every_part_cost_time_alone(tmp_path: Path) -> None:
    swarm, nodes = swarm_of(4, tmp_path, "dht", "pubsub")
    giver, rng = nodes[5], random.Random(4)
    with swarm:
        cids = []
        for number in range(6):
            cids.append(giver.add(f"part {number}".encode()))
            for name in rng.sample(["announce", "dht", "pubsub", "keeper", "placement", "disk"], 2):
                swarm.world.crash(giver.name, name)
                swarm.world.run_for(rng.uniform(0.01, 2.0))
        assert {row.cid for row in giver.api.announcements(1000).rows} <= set(cids)
        swarm.world.run_for(SOON_S)
        wait_until_told(swarm, giver)
        for cid in cids:
            assert len(finders(nodes, cid, giver)) == NODES - 1


def test_what_is_withdrawn_is_not_told_again(tmp_path: Path) -> None:
    swarm, nodes = swarm_of(5, tmp_path, "dht", "pubsub")
    with swarm:
        cid = nodes[4].add(b"for a while")
        wait_until_told(swarm, nodes[4])
        nodes[4].api.withdraw(str(cid))
        nodes[4].stop()
        swarm.world.run_for(10.0)
        nodes[4].start()
        swarm.connect(nodes[4], nodes[0])
        swarm.world.run_for(SOON_S)
        shown = nodes[4].api.announcements()
        assert (shown.rows, shown.told) == ((), 0), "though it is pinned, and policy announces pinned roots"


def test_a_leecher_tells_nobody(tmp_path: Path) -> None:
    swarm, nodes = swarm_of(6, tmp_path, "dht", "pubsub")
    with swarm:
        quiet = nodes[7]
        quiet.api.edge.ask_for(lifecycle.PolicyNow, lifecycle.ChangeRole("leecher"), 10.0)
        cid = quiet.add(b"mine alone")
        swarm.world.run_for(600.0)
        assert finders(nodes, cid, quiet) == set()
        assert quiet.api.announcements().total == 0
