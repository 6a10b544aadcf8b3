"""The simulated network keeps the Network contract, over every kind of link."""

import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from shoal.runtime.simulation.internet import InternetConfig, SimulatedInternet
from shoal.runtime.simulation.links import LinkConfig
from shoal.runtime.simulation.network import SimulatedNetwork
from shoal.runtime.simulation.user import Task
from shoal.tests.support.network_conformance import SCENARIOS, Scenario
from shoal.tests.support.network_recorder import Node
from shoal.tests.support.virtual_time import VirtualTime

LINKS = {
    "usual": LinkConfig(),
    "instant": LinkConfig(latency_s=0.000_001),
    "jittery": LinkConfig(latency_s=0.05, jitter_s=0.2),
    "lossy": LinkConfig(latency_s=0.01, jitter_s=0.01, loss=0.05),
    "narrow": LinkConfig(latency_s=0.01, bandwidth=40_000_000),
}
LIMIT_S = 120.0


class SimulatedHarness:
    def __init__(self, link: LinkConfig, seed: int) -> None:
        self.time = VirtualTime(seed)
        self.internet = SimulatedInternet(self.time, random.Random(seed), InternetConfig(link))
        self.nodes: list[Node] = []

    async def node(self) -> Node:
        host = self.internet.add_host()
        node = Node(SimulatedNetwork(self.internet, host))
        node.call("start", node.events, ["/ip4/0.0.0.0/tcp/0"])
        self.nodes.append(node)
        return node

    async def until(self, condition: Callable[[], bool]) -> None:
        assert self.time.run_until(condition, LIMIT_S), "it did not come about"

    async def idle(self, seconds: float) -> None:
        self.time.run_for(seconds)

    async def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        task = Task(self.time, coroutine)
        await self.until(lambda: task.done)
        return task.result()

    def dead_addr(self) -> str:
        return "/ip4/10.200.200.200/tcp/4001"


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_contract(scenario: Scenario, link: LinkConfig) -> None:
    harness = SimulatedHarness(link, seed=1)
    with pytest.raises(StopIteration):
        scenario(harness).__await__().send(None)  # nothing in it really waits
    harness.time.run_for(5.0)
    for node in harness.nodes:
        node.check()
