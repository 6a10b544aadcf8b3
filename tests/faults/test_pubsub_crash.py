"""The pubsub actor killed in real nodes: its users hear so, and all goes on once it is back."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from shoal.actors.discovery.pubsub.announcements import TOPIC as SWARM
from shoal.messages import lifecycle, pubsub
from shoal.messages.errors import Unavailable
from shoal.messages.replies import Done
from shoal.tests.support.pubsub_node import Talker, gather, running, taken, until

pytestmark = pytest.mark.faults


def crash(node: Talker, actor: str) -> None:
    assert node.edge.ask(lifecycle.CrashActor(actor), 10.0) == Done()


def test_a_killed_pubsub_is_said_to_its_users_and_comes_back(tmp_path: Path) -> None:
    with ExitStack() as stack:
        nodes = [stack.enter_context(running(tmp_path / f"node-{number}")) for number in range(3)]
        middle = nodes[1].identity
        for node in (nodes[0], nodes[2]):
            node.dial(middle.peer, middle.addrs[0])
        streams = [node.listen() for node in nodes]
        until(lambda: [len(node.peers()) for node in nodes] == [1, 2, 1])
        until(lambda: all(node.stats().mesh >= 2 for node in nodes))
        crash(nodes[1], "pubsub")
        with pytest.raises(Unavailable):
            streams[1].next(20.0)
        until(lambda: nodes[1].stats().mesh == 2)
        topics = nodes[1].edge.ask_for(pubsub.TopicsListed, pubsub.ListTopics(), 10.0).topics
        assert topics == (SWARM,), "its own topic is joined again, its users' are theirs to ask for"
        streams[1] = nodes[1].listen()
        until(lambda: [len(node.peers()) for node in nodes] == [1, 2, 1])
        until(lambda: all(node.stats().mesh >= 2 for node in nodes) and nodes[1].stats().mesh == 4)
        nodes[0].say(b"from one end to the other")
        for stream in streams:
            assert gather(lambda one=stream: taken(one), 1) == [(nodes[0].identity.peer, b"from one end to the other")]


def test_a_killed_transport_takes_the_mesh_down_for_a_while_only(tmp_path: Path) -> None:
    with running(tmp_path / "a") as a, running(tmp_path / "b") as b:
        a.dial(b.identity.peer, b.identity.addrs[0])
        streams = [a.listen(), b.listen()]
        until(lambda: a.stats().mesh == b.stats().mesh == 2)
        crash(b, "transport")
        until(lambda: b.stats().peers == 0 or b.stats().mesh < 2)
        until(lambda: a.stats().peers == b.stats().peers == 1)
        until(lambda: a.stats().mesh == b.stats().mesh == 2)
        b.say(b"back")
        for stream in streams:
            assert gather(lambda one=stream: taken(one), 1)[0][1] == b"back"
