"""The real network keeps the contract of ``actors/transport/network.py``, as its simulated twin does."""

from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from libp2p.stream_muxer.yamux import yamux

from shoal.runtime.network.config import NetworkConfig
from shoal.runtime.network.identity import generate
from shoal.runtime.network.network import Libp2pNetwork
from shoal.tests.support.network_conformance import SCENARIOS
from shoal.tests.support.network_recorder import Node

PATIENCE_S = 30.0


class RealHarness:
    """Nodes on loopback in one trio run."""

    def __init__(self, nursery: trio.Nursery, config: NetworkConfig) -> None:
        self._nursery = nursery
        self._config = config
        self.nodes: list[Node] = []

    async def node(self) -> Node:
        network = Libp2pNetwork(generate().key, self._config)
        network.bind(self._nursery)
        node = Node(network)
        node.call("start", node.events, ["/ip4/127.0.0.1/tcp/0"])
        await network.ready()
        self.nodes.append(node)
        return node

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.move_on_after(PATIENCE_S):
            while not condition():
                await trio.sleep(0.005)
        assert condition(), [node.events.log[-10:] for node in self.nodes]

    async def idle(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return await coroutine

    def dead_addr(self) -> str:
        return "/ip4/127.0.0.1/tcp/1"


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(lab: SimpleNamespace, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # yamux's window grows to 16 MiB between two fast peers, which would take all that the scenarios send.
    monkeypatch.setattr(yamux, "MAX_WINDOW_SIZE", 1024 * 1024)

    config = lab.Config(linger_s=1.0, stream_window_max=1024 * 1024)

    async def body() -> None:
        async with trio.open_nursery() as nursery:
            harness = RealHarness(nursery, config)
            try:
                await SCENARIOS[name](harness)
            finally:
                for node in harness.nodes:
                    if not node.events.stopped:
                        node.stop()
        for node in harness.nodes:
            node.check()

    lab.run(body, within_s=100)
