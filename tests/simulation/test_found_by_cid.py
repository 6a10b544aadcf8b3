"""Whole nodes that know one entrance and a CID: what is added anywhere is fetched anywhere, whatever dies meanwhile."""

import random
from pathlib import Path

import pytest

from shoal.messages import routing
from shoal.messages.errors import LocalError
from shoal.runtime.http.backend import AddOptions
from shoal.runtime.simulation.internet import InternetConfig
from shoal.runtime.simulation.links import LinkConfig
from shoal.runtime.simulation.swarm import SimNode, Swarm, found_by

NODES = 12
SETTLE_S = 30.0  # virtual seconds for the DHT's tables to fill
LINKS = InternetConfig(link=LinkConfig(latency_s=0.02, jitter_s=0.01))
ROUGH = InternetConfig(link=LinkConfig(latency_s=0.02, jitter_s=0.02, loss=0.01))
CHUNKS = AddOptions(chunker="size-16384")


def grown(swarm: Swarm, count: int = NODES) -> list[SimNode]:
    """``count`` nodes, all of which know the first."""
    gate = swarm.add("gate")
    nodes = [swarm.add(f"n{number}") for number in range(count - 1)]
    for node in nodes:
        swarm.connect(node, gate)
    swarm.world.run_for(SETTLE_S)
    return [gate, *nodes]


def part(node: SimNode, other: SimNode, gate: SimNode) -> None:
    """Let ``node`` leave all but the gate, ``other`` last: what that one has must be found, not just asked for."""
    for _ in range(10):
        here = sorted({info.peer for info in node.api.swarm_peers()} - {gate.host.peer_id, other.host.peer_id})
        for peer in [*here, other.host.peer_id]:
            try:
                node.api.swarm_disconnect(peer)
            except LocalError:  # it has gone by itself
                pass
        if other.host.peer_id not in {info.peer for info in node.api.swarm_peers()}:
            return
    raise AssertionError("they are connected again and again")


def stats(node: SimNode) -> routing.RoutingStats:
    return node.api.edge.ask_for(routing.RoutingStats, routing.RoutingStat(), 5.0)


@pytest.mark.parametrize("sources", [("dht",), ("dht", "pubsub")], ids=" ".join)
def test_a_file_added_anywhere_is_fetched_by_its_cid_anywhere(sources: tuple[str, ...], tmp_path: Path) -> None:
    with Swarm(3, tmp_path, LINKS, found_by(*sources)) as swarm:
        gate, *nodes = grown(swarm)
        rng = random.Random(3)
        for _ in range(6):
            holder, fetcher = rng.sample(nodes, 2)
            data = rng.randbytes(60_000)
            cid = holder.add(data, CHUNKS)
            swarm.world.run_for(20.0)
            part(fetcher, holder, gate)
            began = swarm.world.now()
            assert fetcher.cat(cid) == data
            print(f"{holder.name} -> {fetcher.name}: {swarm.world.now() - began:.2f} s")
        for node in nodes:
            print(node.name, stats(node))
