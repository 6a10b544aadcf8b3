"""mDNS with a real Kubo, on a LAN of its own: each finds the other with no address given, and a file goes over."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shoal.tests.support.kubo import Kubo, KuboFactory
from shoal.tests.support.namespaces import LanFactory
from shoal.tests.support.shoal import Shoal, ShoalFactory
from shoal.tests.support.waiting import wait_until

pytestmark = pytest.mark.interop

FOUND_S = 60.0
"""Seconds for two nodes to find each other: it takes one, and Kubo asks every four at first."""


def knows(node: Shoal, peer: str) -> Callable[[], bool]:
    return lambda: any(row["Peer"] == peer for row in node.peers())


def kubo_knows(node: Kubo, peer: str) -> Callable[[], bool]:
    return lambda: peer in str(node.peers())


def test_a_shoal_that_comes_later_and_a_kubo_find_each_other(
    lan: LanFactory, kubo: KuboFactory, shoal: ShoalFactory, tmp_path: Path
) -> None:
    made = lan("10.77.0.1", "10.77.0.2")
    theirs = kubo(host=made[0], mdns=True)
    ours = shoal(host=made[1], listen=["/ip4/10.77.0.2/tcp/4001"], sources="mdns")
    wait_until(knows(ours, theirs.peer_id), FOUND_S)
    (tmp_path / "file").write_bytes(b"found by mDNS" * 10_000)
    assert ours.cat(theirs.add(tmp_path / "file")) == b"found by mDNS" * 10_000


def test_a_kubo_that_comes_later_and_a_shoal_find_each_other(
    lan: LanFactory, kubo: KuboFactory, shoal: ShoalFactory, tmp_path: Path
) -> None:
    made = lan("10.77.0.1", "10.77.0.2")
    ours = shoal(host=made[1], listen=["/ip4/0.0.0.0/tcp/4001"], sources="mdns")
    theirs = kubo(host=made[0], mdns=True)
    wait_until(kubo_knows(theirs, ours.id), FOUND_S)
    theirs.get(ours.add(b"found by mDNS" * 10_000), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"found by mDNS" * 10_000
