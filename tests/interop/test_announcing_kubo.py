"""What a shoal adds is announced by itself: a Kubo that has never met it finds it by CID alone, and so do shoals."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from shoal.messages import routing
from shoal.runtime.config import Config
from shoal.runtime.node import Node
from shoal.tests.support.kept_node import add, noise, until
from shoal.tests.support.kubo import KuboFactory

pytestmark = pytest.mark.interop

LAN: dict[str, Any] = {"Routing": {"Type": "dht", "LoopbackAddressesOnLanDHT": True}}
PATIENCE_S = 40.0

StartNode = Callable[..., Node]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[StartNode]:
    """A factory: ``node("a")`` runs a shoal on loopback in the folder "a"; stopped at the end, unless it was before."""
    with ExitStack() as stack:

        def start(name: str, **changes: Any) -> Node:
            sources = changes.pop("sources", ("dht",))
            listen = ("/ip4/127.0.0.1/tcp/0",)
            config = Config(
                repo=str(tmp_path / name), listen=listen, api="127.0.0.1:0", sources=sources, bootstrap=(), **changes
            )
            made = Node(config)
            made.start()
            stack.callback(made.stop, config.timeouts.stop_s)
            return made

        yield start


def connect(one: Node, addr: str) -> None:
    one.api.swarm_connect(addr, PATIENCE_S)


def told(one: Node) -> bool:
    """Whether all that is announced over the DHT has been told."""
    shown = [row.told_s < PATIENCE_S for row in one.api.announcements().rows if row.way == "dht"]
    return bool(shown) and all(shown)


def test_a_kubo_finds_what_was_only_added(kubo: KuboFactory, node: StartNode, tmp_path: Path) -> None:
    middle, shoal = kubo(settings=LAN), node("shoal")
    connect(shoal, middle.addrs[0])
    data = noise(400_000, 1)
    cid = add(shoal, data)
    until(lambda: told(shoal), "the root is in the DHT")
    stranger = kubo(settings=LAN)
    stranger.connect(middle.addrs[0])
    stranger.get(str(cid), tmp_path / "got", PATIENCE_S)
    assert (tmp_path / "got").read_bytes() == data


@pytest.mark.parametrize("source", [routing.LAN_DHT, routing.PUBSUB])
def test_shoals_find_each_other_by_either_way(node: StartNode, source: str) -> None:
    """All know the one in the middle; who adds and who fetches have never met."""
    sources = ("dht",) if source == routing.LAN_DHT else ("pubsub",)
    middle = node("middle", sources=sources)
    (addr,) = middle.identity().addrs
    giver, taker = node("giver", sources=sources), node("taker", sources=sources)
    for one in (giver, taker):
        connect(one, addr)
    data = noise(400_000, 2)
    cid = add(giver, data)
    until(
        lambda: any(
            found.peer == giver.identity().peer and found.source == source
            for found in taker.api.find_providers(str(cid), 0, 5.0)
        ),
        f"who has it is found by {source}",
    )
    assert b"".join(taker.api.cat(str(cid), 0, None, PATIENCE_S)) == data


def test_the_backlog_goes_on_after_a_restart(node: StartNode) -> None:
    lonely = node("lonely")
    cid = add(lonely, b"nobody to tell")
    assert lonely.api.announcements().never_told == 2
    lonely.stop(10)
    middle = node("middle")
    again = node("lonely")
    assert again.api.announcements().never_told == 2
    connect(again, middle.identity().addrs[0])
    until(lambda: told(again), "told by the next run")
    until(
        lambda: any(found.peer == again.identity().peer for found in middle.api.find_providers(str(cid), 0, 5.0)),
        "and found",
    )
