"""Gossipsub with a real Kubo: messages both ways, alone and in a mesh with three shoals, signed and checked by both."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from shoal.messages import pubsub
from shoal.tests.support.kubo import KuboFactory
from shoal.tests.support.pubsub_node import TOPIC, gather, running, taken, until

pytestmark = pytest.mark.interop

WITH_PUBSUB: Final[dict[str, Any]] = {"settings": {"Pubsub": {"Enabled": True, "Router": "gossipsub"}}, "quic": False}


@pytest.mark.parametrize("key", ["ed25519", "rsa"])
@pytest.mark.parametrize("we_dial", [True, False])
def test_messages_both_ways(kubo: KuboFactory, tmp_path: Path, key: str, we_dial: bool) -> None:
    """An RSA peer's id does not carry its key: the message does."""
    other = kubo(key=key, **WITH_PUBSUB)
    theirs = other.subscribe(TOPIC)
    with running(tmp_path / "shoal") as shoal:
        ours = shoal.listen()
        me = shoal.identity
        if we_dial:
            shoal.dial(other.peer_id, other.addrs[0])
        else:
            other.connect(me.addrs[0])
        until(lambda: other.peer_id in shoal.peers() and me.peer in other.topic_peers(TOPIC))
        until(lambda: shoal.stats().mesh >= 1)
        for number in range(5):
            assert shoal.say(b"from shoal \x00 %d" % number) == 1
            other.publish(TOPIC, b"from kubo \x00 %d" % number)
        told = [(me.peer, b"from shoal \x00 %d" % number) for number in range(5)]
        told += [(other.peer_id, b"from kubo \x00 %d" % number) for number in range(5)]
        assert sorted(gather(lambda: other.messages(theirs), 10)) == sorted(told)
        assert sorted(gather(lambda: taken(ours), 10)) == sorted(told)
        assert shoal.stats().rejected == 0


def test_a_kubo_in_a_mesh_of_three_shoals(kubo: KuboFactory, tmp_path: Path) -> None:
    """A chain: what one end says reaches the other through Kubo, which drops what it does not believe."""
    other = kubo(**WITH_PUBSUB)
    theirs = other.subscribe(TOPIC)
    with ExitStack() as stack:
        shoals = [stack.enter_context(running(tmp_path / f"shoal-{number}")) for number in range(3)]
        ours = [shoal.listen() for shoal in shoals]
        for shoal in shoals[:2]:
            shoal.dial(other.peer_id, other.addrs[0])
        last, middle = shoals[2].identity, shoals[1].identity
        shoals[2].dial(middle.peer, middle.addrs[0])
        until(lambda: len(other.topic_peers(TOPIC)) == 2 and last.peer in shoals[1].peers())
        # Kubo or the next shoal on each side, and among shoals the topic of announcements: who joins a mesh after a
        # message was said is not told of it any more (gossip is for those outside the mesh).
        until(lambda: [shoal.stats().mesh for shoal in shoals] == [1, 3, 2])
        told = []
        for number, shoal in enumerate(shoals):
            shoal.say(b"shoal %d" % number)
            told.append((shoal.identity.peer, b"shoal %d" % number))
        other.publish(TOPIC, b"kubo")
        told.append((other.peer_id, b"kubo"))
        assert sorted(gather(lambda: other.messages(theirs), 4)) == sorted(told)
        for stream in ours:
            assert sorted(gather(lambda one=stream: taken(one), 4)) == sorted(told)
        assert [shoal.stats().rejected for shoal in shoals] == [0, 0, 0]


def test_a_large_message_and_one_too_large(kubo: KuboFactory, tmp_path: Path) -> None:
    other = kubo(**WITH_PUBSUB)
    theirs = other.subscribe(TOPIC)
    with running(tmp_path / "shoal") as shoal:
        ours = shoal.listen()
        shoal.dial(other.peer_id, other.addrs[0])
        until(lambda: shoal.identity.peer in other.topic_peers(TOPIC) and shoal.stats().mesh >= 1)
        large = bytes(range(256)) * 4000  # a megabyte, less two per cent
        shoal.say(large)
        assert gather(lambda: other.messages(theirs), 1)[0][1] == large
        other.publish(TOPIC, large + b"!")
        assert sorted(len(data) for _, data in gather(lambda: taken(ours), 2)) == [len(large), len(large) + 1]


def test_who_leaves_hears_nothing_more(kubo: KuboFactory, tmp_path: Path) -> None:
    other = kubo(**WITH_PUBSUB)
    with running(tmp_path / "shoal") as shoal:
        shoal.dial(other.peer_id, other.addrs[0])
        shoal.listen()
        until(lambda: shoal.identity.peer in other.topic_peers(TOPIC))
        shoal.edge.ask(pubsub.Unsubscribe(0), 10.0)
        until(lambda: shoal.identity.peer not in other.topic_peers(TOPIC))
