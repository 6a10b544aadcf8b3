"""mDNS with a real Kubo and between shoals, on a LAN of its own: each finds the other with no address given."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from shoal.actors.discovery.mdns.announcement import random_name, strings_of
from shoal.runtime.network.mdns import ZeroconfNetwork
from shoal.tests.support.kubo import Kubo, KuboFactory
from shoal.tests.support.namespaces import LanFactory
from shoal.tests.support.shoal import Shoal, ShoalFactory
from shoal.tests.support.waiting import wait_until

FOUND_S = 60.0
"""Seconds for two nodes to find each other: it takes one or two."""

HERE = ["/ip4/0.0.0.0/tcp/4001"]
CONTENT = b"found by mDNS" * 10_000


def knows(node: Shoal, peer: str) -> Callable[[], bool]:
    return lambda: any(row["Peer"] == peer for row in node.peers())


def kubo_knows(node: Kubo, peer: str) -> Callable[[], bool]:
    return lambda: peer in str(node.peers())


def ports(node: Shoal, table: str) -> set[int]:
    """The "tcp" or "udp" ports that a process has open, by the kernel's tables."""
    folder = Path(f"/proc/{node.process.pid}")
    own = {os.readlink(each) for each in (folder / "fd").iterdir()}
    rows = [line.split() for line in (folder / "net" / table).read_text().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in own}


@pytest.mark.interop
def test_a_shoal_that_comes_later_and_a_kubo_find_each_other(
    lan: LanFactory, kubo: KuboFactory, shoal: ShoalFactory, tmp_path: Path
) -> None:
    made = lan("10.77.0.1", "10.77.0.2")
    theirs = kubo(host=made[0], mdns=True)
    ours = shoal(host=made[1], listen=["/ip4/10.77.0.2/tcp/4001"], sources="mdns")
    wait_until(knows(ours, theirs.peer_id), FOUND_S)
    (tmp_path / "file").write_bytes(CONTENT)
    assert ours.cat(theirs.add(tmp_path / "file")) == CONTENT


@pytest.mark.interop
def test_a_kubo_that_comes_later_and_a_shoal_find_each_other(
    lan: LanFactory, kubo: KuboFactory, shoal: ShoalFactory, tmp_path: Path
) -> None:
    made = lan("10.77.0.1", "10.77.0.2")
    ours = shoal(host=made[1], listen=HERE, sources="mdns")
    theirs = kubo(host=made[0], mdns=True)
    wait_until(kubo_knows(theirs, ours.id), FOUND_S)
    theirs.get(ours.add(CONTENT), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.interop
def test_a_shoal_that_nobody_can_dial_finds_a_kubo_by_itself(
    lan: LanFactory, kubo: KuboFactory, shoal: ShoalFactory
) -> None:
    """A leecher listens nowhere, so it has nothing to announce: it was it who asked, heard and dialled."""
    made = lan("10.77.0.1", "10.77.0.2")
    theirs = kubo(host=made[0], mdns=True)
    ours = shoal(host=made[1], listen=HERE, sources="mdns", role="leecher")
    assert ours.addrs == []
    wait_until(knows(ours, theirs.peer_id), FOUND_S)


@pytest.mark.interop
def test_a_kubo_finds_a_shoal_that_is_announced_and_does_not_look_for_it(
    lan: LanFactory, kubo: KuboFactory, shoal: ShoalFactory
) -> None:
    """The announcement is made beside a shoal that has no mDNS, so it was Kubo that heard and dialled."""
    made = lan("10.77.0.1", "10.77.0.2")
    ours = shoal(host=made[1], listen=HERE, sources="none")
    network = ZeroconfNetwork(HERE)
    with made[1].inside():
        network.start()
    try:
        network.announce(random_name(random.Random()), strings_of(tuple(ours.addrs)))
        theirs = kubo(host=made[0], mdns=True)
        wait_until(kubo_knows(theirs, ours.id), FOUND_S)
        assert [row["Peer"] for row in ours.peers()] == [theirs.peer_id]
    finally:
        network.stop()


def test_three_shoals_find_each_other(lan: LanFactory, shoal: ShoalFactory) -> None:
    made = lan("10.77.0.1", "10.77.0.2", "10.77.0.3")
    nodes = [shoal(host=host, listen=HERE, sources="mdns") for host in made.hosts]
    for node in nodes:
        others = {other.id for other in nodes} - {node.id}
        wait_until(lambda node=node, others=others: others <= {row["Peer"] for row in node.peers()}, FOUND_S)
    assert nodes[2].cat(nodes[0].add(CONTENT)) == CONTENT
    sources = {row["Peer"]: row["Sources"] for row in nodes[0].call("shoal/book")["Peers"]}
    assert all("mdns" in sources[node.id] for node in nodes[1:]), "and the book says by whom"


def test_shoals_on_loopback_do_not_find_each_other_on_the_machine(shoal: ShoalFactory) -> None:
    """Every other test stands on this."""
    nodes = [shoal(sources="mdns") for _ in range(2)]
    for node in nodes:  # what would be heard is heard within two looks of the actor, which are a second
        assert ports(node, "tcp") >= {int(node.addrs[0].split("/")[4])}
        assert ports(node, "udp") == set()
    assert nodes[0].peers() == nodes[1].peers() == []


@pytest.mark.faults
def test_who_comes_after_the_actor_was_killed_is_found_too(lan: LanFactory, shoal: ShoalFactory) -> None:
    made = lan("10.77.0.1", "10.77.0.2")
    first = shoal(host=made[0], listen=HERE, sources="mdns")
    first.crash("mdns")
    second = shoal(host=made[1], listen=HERE, sources="mdns")
    wait_until(knows(first, second.id), FOUND_S)
    cid = first.add(CONTENT)
    second.crash("mdns")
    first.crash("mdns")
    assert second.cat(cid) == CONTENT, "what is connected stays so"


@pytest.mark.faults
def test_after_the_transports_death_the_neighbours_are_back(lan: LanFactory, shoal: ShoalFactory) -> None:
    made = lan("10.77.0.1", "10.77.0.2")
    first, second = (shoal(host=host, listen=HERE, sources="mdns") for host in made.hosts)
    wait_until(knows(first, second.id), FOUND_S)
    first.crash("transport")
    second.crash("bootstrap")
    wait_until(knows(first, second.id), FOUND_S)
    assert second.cat(first.add(CONTENT)) == CONTENT
