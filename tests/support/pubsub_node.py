"""Real nodes that find by pubsub alone, in the test's process, and what their users hear.  Begin with ``running``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from shoal.messages import pubsub, transport
from shoal.messages.block import Buffer
from shoal.messages.errors import Unavailable
from shoal.runtime.config import Config
from shoal.runtime.edge import ReplyStream
from shoal.runtime.machine import Machine
from shoal.runtime.node import Node

TOPIC: Final = "weather"
PATIENCE_S: Final = 30.0


class Talker:
    """A node in this process, and what its user hears."""

    def __init__(self, machine: Machine) -> None:
        self.edge = machine.edge
        self.streams: list[ReplyStream] = []

    def listen(self, topic: str = TOPIC) -> ReplyStream:
        """Subscribe."""
        self.streams.append(self.edge.stream(pubsub.Subscribe(topic, len(self.streams)), 600.0))
        return self.streams[-1]

    def say(self, data: bytes, topic: str = TOPIC) -> int:
        """Publish; to how many peers."""
        return self.edge.ask_for(pubsub.Published, pubsub.Publish(topic, Buffer(data)), 10.0).peers

    @property
    def identity(self) -> transport.Identity:
        """Its peer id and addresses."""
        return self.edge.ask_for(transport.Identity, transport.WhoAmI(), 10.0)

    def stats(self) -> pubsub.PubsubStats:
        """Its figures."""
        return self.edge.ask_for(pubsub.PubsubStats, pubsub.PubsubStat(), 10.0)

    def peers(self, topic: str = TOPIC) -> tuple[str, ...]:
        """Who is subscribed."""
        return self.edge.ask_for(pubsub.TopicPeersListed, pubsub.TopicPeers(topic), 10.0).peers

    def dial(self, peer: str, addr: str) -> None:
        """Connect."""
        self.edge.ask_for(transport.Dialed, transport.Dial(peer, (addr.rsplit("/p2p/", 1)[0],)), 20.0)


@contextmanager
def running(folder: Path) -> Iterator[Talker]:
    """A node on a free loopback port."""
    node = Node(Config(repo=str(folder), api="127.0.0.1:0", listen=("/ip4/127.0.0.1/tcp/0",), sources=("pubsub",)))
    node.start()
    try:
        assert node._machine is not None
        yield Talker(node._machine)
    finally:
        node.stop(8.0)


def until(condition: Callable[[], bool]) -> None:
    """Wait for it, with patience; an actor that is being restarted does not answer."""
    end = time.monotonic() + PATIENCE_S
    while not _holds(condition):
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.05)


def _holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except Unavailable:
        return False


def taken(stream: ReplyStream) -> list[tuple[str, bytes]]:
    """Author and data of each message that has come on a subscription."""
    found = []
    while stream.waiting:
        message = stream.take()
        assert isinstance(message, pubsub.TopicMessage), message
        found.append((message.peer, bytes(message.data.data)))
    return found


def gather(source: Callable[[], list[tuple[str, bytes]]], count: int) -> list[tuple[str, bytes]]:
    """All that a source gives until it is as much as that."""
    found: list[tuple[str, bytes]] = []

    def enough() -> bool:
        found.extend(source())
        return len(found) >= count

    until(enough)
    return found
