"""Real nodes that know one entrance: an actor that finds is killed in all of them, and content is found after all."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shoal.messages import lifecycle
from shoal.messages.errors import LocalError
from shoal.messages.replies import Done
from shoal.runtime.config import Config
from shoal.runtime.http.backend import AddItem, AddOptions
from shoal.runtime.node import Node
from shoal.tests.support.waiting import wait_until

pytestmark = pytest.mark.faults

SOURCES = ("bootstrap", "dht", "pubsub", "filters")
KILLED = ("dht", "walk", "pubsub", "adverts", "announce", "routing", "bootstrap")
NODES = 4  # beside the entrance
WAIT_S = 90.0
FETCH_S = 60.0


def started(stack: ExitStack, folder: Path, bootstrap: tuple[str, ...]) -> Node:
    config = Config(
        repo=str(folder),
        listen=("/ip4/127.0.0.1/tcp/0",),
        api="127.0.0.1:0",
        sources=SOURCES,
        bootstrap=bootstrap,
    )
    return stack.enter_context(Node(config))


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    """An entrance, first, and nodes that know nobody else."""
    folder = tmp_path_factory.mktemp("swarm")
    with ExitStack() as stack:
        gate = started(stack, folder / "gate", ())
        nodes = [started(stack, folder / str(number), (gate.identity().addrs[0],)) for number in range(NODES)]
        for node in nodes:
            wait_until(lambda node=node: bool(node.api.swarm_peers()), WAIT_S, "a way into the network")
        yield [gate, *nodes]


def crash(nodes: list[Node], actor: str) -> None:
    """Kill it in every node that runs it now."""
    for node in nodes:
        try:
            assert node.api.edge.ask(lifecycle.CrashActor(actor), 10.0) == Done()
        except LocalError:  # it is being started again already
            pass


def running(node: Node, actor: str) -> bool:
    listed = node.api.edge.ask_for(lifecycle.ActorsListed, lifecycle.ListActors(), 10.0)
    return all(one.state == "running" for one in listed.actors if one.name == actor)


def add(node: Node, data: bytes) -> str:
    *_, last = node.api.add([AddItem("file", "file", iter([data]))], AddOptions(chunker="size-16384"))
    return str(last.cid)


def part(one: Node, other: Node) -> None:
    """End their connection, if there is one; they may meet again."""
    try:
        one.api.swarm_disconnect(other.identity().peer)
    except LocalError:
        pass


@pytest.mark.parametrize("actor", KILLED)
def test_an_actor_killed_in_all_nodes_delays_what_is_found_and_no_more(actor: str, swarm: list[Node]) -> None:
    """It dies as soon as something is added, so before or while that is announced, and again when it is looked for."""
    rng = random.Random(actor)
    _, *nodes = swarm
    holder, fetcher = rng.sample(nodes, 2)
    data = rng.randbytes(200_000)
    cid = add(holder, data)
    crash(swarm, actor)
    part(fetcher, holder)
    wait_until(lambda: all(running(node, actor) for node in swarm), WAIT_S, f"{actor} again")
    crash(swarm, actor)
    began = time.monotonic()
    assert b"".join(fetcher.api.cat(cid, 0, None, FETCH_S)) == data
    print(f"{actor}: {time.monotonic() - began:.2f} s")
    wait_until(lambda: all(running(node, actor) for node in swarm), WAIT_S, f"{actor} again")
