"""Gossipsub among whole nodes on a rough simulated network: every message reaches everybody, once, and by seed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from shoal.actors.discovery.pubsub.actor import PubsubActor
from shoal.actors.discovery.pubsub.mesh import D_HIGH
from shoal.messages import pubsub
from shoal.messages.block import Buffer
from shoal.runtime.edge import ReplyStream
from shoal.runtime.simulation.internet import InternetConfig
from shoal.runtime.simulation.links import LinkConfig
from shoal.runtime.simulation.swarm import SimNode, Swarm, found_by

NODES = 30
LINKS = 4  # earlier nodes that each node stays connected to: nobody is near everybody
LOSSY = InternetConfig(link=LinkConfig(latency_s=0.03, jitter_s=0.03, bandwidth=2_000_000, loss=0.02))
TOPIC = "weather"
HOUR = 3600.0


def ask(node: SimNode, message: pubsub.Message) -> object:
    assert node.machine is not None
    return node.machine.edge.ask(message, 10.0)


def subscribe(node: SimNode, topic: str = TOPIC) -> ReplyStream:
    assert node.machine is not None
    return node.machine.edge.stream(pubsub.Subscribe(topic, 1), 24 * HOUR)


def heard(stream: ReplyStream) -> list[bytes]:
    """What has come on a subscription and was not looked at yet."""
    found = []
    while stream.waiting:
        message = stream.take()
        assert isinstance(message, pubsub.TopicMessage), message
        found.append(bytes(message.data.data))
    return found


def publish(node: SimNode, data: bytes, topic: str = TOPIC) -> int:
    answer = ask(node, pubsub.Publish(topic, Buffer(data)))
    assert isinstance(answer, pubsub.Published)
    return answer.peers


def core(node: SimNode) -> PubsubActor:
    actor = node.swarm.world.hosts[f"{node.name}/pubsub"].cell.actor
    assert isinstance(actor, PubsubActor)
    return actor


def connected(swarm: Swarm, count: int, links: int = LINKS) -> list[SimNode]:
    """Nodes that each keep a few connections to earlier ones."""
    rng = random.Random(f"{swarm.world.seed}/shape")
    nodes: list[SimNode] = []
    for number in range(count):
        node = swarm.add(f"n{number}")
        for other in rng.sample(nodes, min(links, len(nodes))):
            swarm.keep(node, other)
        nodes.append(node)
    swarm.world.run_for(5.0)
    return nodes


def story(seed: int, folder: Path, config: InternetConfig = LOSSY, count: int = NODES) -> str:
    rng = random.Random(seed)
    with Swarm(seed, folder, config, found_by("pubsub")) as swarm:
        nodes = connected(swarm, count)
        streams = [subscribe(node) for node in nodes]
        swarm.world.run_for(5.0)
        said = []
        for number in range(20):
            said.append(b"message %d" % number)
            publish(rng.choice(nodes), said[-1])
            swarm.world.run_for(rng.uniform(0.0, 1.0))
        swarm.world.run_for(10.0)
        for node, stream in zip(nodes, streams, strict=True):
            assert sorted(heard(stream)) == sorted(said), node.name
            mesh = core(node).router.mesh
            for topic, members in mesh.links.items():
                assert len(members) <= D_HIGH, (node.name, topic)
        return swarm.world.digest()


@pytest.mark.parametrize("seed", range(3))
def test_every_message_reaches_every_subscriber_once(seed: int, tmp_path: Path) -> None:
    story(seed, tmp_path)
