"""Real nodes on loopback tell each other what they hold, and need no questions for it."""

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shoal.messages import adverts, lifecycle
from shoal.messages.errors import Unavailable
from shoal.runtime.config import Config
from shoal.runtime.http.backend import AddItem, AddOptions
from shoal.runtime.node import Node
from shoal.tests.support.waiting import wait_until

COUNT = 4
WAIT_S = 60.0


def config(folder: Path) -> Config:
    return Config(repo=str(folder), listen=("/ip4/127.0.0.1/tcp/0",), api="127.0.0.1:0", sources=("filters",))


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Node]]:
    with ExitStack() as running:
        started: list[Node] = []
        for number in range(COUNT):
            node = running.enter_context(Node(config(tmp_path / str(number))))
            for other in started:
                node.api.swarm_connect(other.identity().addrs[0], 30.0)
            started.append(node)
        yield started


def add(node: Node, data: bytes) -> str:
    *_, last = node.api.add([AddItem("file", "file", iter([data]))], AddOptions(chunker="size-16384"))
    return str(last.cid)


def cat(node: Node, cid: str) -> bytes:
    return b"".join(node.api.cat(cid, 0, None, WAIT_S))


def stat(node: Node) -> adverts.AdvertStats:
    return node.api.edge.ask_for(adverts.AdvertStats, adverts.AdvertStat(), 10.0)


def count(node: Node) -> int:
    """CIDs in its filter; -1 while the actor is being restarted."""
    try:
        return stat(node).count
    except Unavailable:
        return -1


def counted(node: Node, name: str) -> int:
    machine = node.api.machine
    return int(machine.metrics.registry.get_sample_value(f"shoal_bitswap_{name}_total") or 0)


def test_nodes_tell_what_they_hold_and_are_asked_for_nothing_else(nodes: list[Node]) -> None:
    wait_until(lambda: all(stat(node).peers == COUNT - 1 for node in nodes), WAIT_S)
    rng = random.Random(1)
    files = {add(node, data): (node, data) for node in nodes for data in (rng.randbytes(300_000),)}
    held = [stat(node).count for node in nodes]
    wait_until(lambda: all(stat(node).count >= 19 for node in nodes), WAIT_S)
    assert max(held) <= 20
    told = sum(stat(node).sent for node in nodes)
    wait_until(lambda: sum(stat(node).received for node in nodes) >= told, WAIT_S)
    time.sleep(0.5)  # for the last of it to be told on to bitswap
    before = [counted(node, "want_haves") for node in nodes]
    for cid, (holder, data) in files.items():
        for node in nodes:
            if node is not holder:
                assert cat(node, cid) == data
    asked = [counted(node, "want_haves") - earlier for node, earlier in zip(nodes, before, strict=True)]
    blocks = sum(node.api.bitswap_stat().blocks_received for node in nodes)
    assert blocks >= 19 * COUNT * (COUNT - 1)
    assert sum(asked) < 0.05 * blocks


def test_a_node_whose_adverts_actor_dies_goes_on_and_is_told_again(nodes: list[Node]) -> None:
    wait_until(lambda: all(stat(node).peers == COUNT - 1 for node in nodes), WAIT_S)
    data = random.Random(2).randbytes(300_000)
    cid = add(nodes[0], data)
    nodes[1].api.edge.ask(lifecycle.CrashActor("adverts"), 10.0)
    assert cat(nodes[1], cid) == data
    wait_until(lambda: count(nodes[1]) >= 19, WAIT_S)
