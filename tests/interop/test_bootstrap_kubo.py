"""Into a network by one name: a /dnsaddr and a DNS server lead a shoal to a real Kubo, over two levels."""

from pathlib import Path

import pytest

from shoal.tests.support.dns_server import DnsServer
from shoal.tests.support.kubo import Kubo, KuboFactory
from shoal.tests.support.namespaces import LanFactory
from shoal.tests.support.shoal import ShoalFactory
from shoal.tests.support.waiting import wait_until

pytestmark = pytest.mark.interop

FOUND_S = 60.0


def zone_of(kubo: Kubo) -> dict[tuple[str, str], list[str]]:
    """boot.test leads to one.boot.test, which is the Kubo; beside it somebody else."""
    other = "/ip4/127.0.0.1/tcp/1/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN"
    return {
        ("_dnsaddr.boot.test", "TXT"): [
            f"dnsaddr={other}",
            f"dnsaddr=/dnsaddr/one.boot.test/p2p/{kubo.peer_id}",
            "v=unrelated",
        ],
        ("_dnsaddr.one.boot.test", "TXT"): [f"dnsaddr={addr}" for addr in kubo.addrs],
    }


def test_a_shoal_enters_by_a_dnsaddr_that_leads_to_a_kubo(kubo: KuboFactory, shoal: ShoalFactory) -> None:
    theirs = kubo()
    with DnsServer(zone_of(theirs)) as server:
        ours = shoal(
            sources="bootstrap",
            extra=["--bootstrap", f"/dnsaddr/boot.test/p2p/{theirs.peer_id}"],
            env={"SHOAL_DNS_SERVER": f"127.0.0.1:{server.address[1]}"},
        )
        wait_until(lambda: [row["Peer"] for row in ours.peers()] == [theirs.peer_id], FOUND_S)
        assert sorted(server.asked) == [("_dnsaddr.boot.test", "TXT"), ("_dnsaddr.one.boot.test", "TXT")]


def test_a_kept_peer_and_a_dialled_one_may_have_names(kubo: KuboFactory, shoal: ShoalFactory) -> None:
    kept, dialled = kubo(), kubo()
    port = dialled.addrs[0].split("/tcp/")[1].split("/")[0]
    zone = {**zone_of(kept), ("kubo.test", "A"): ["127.0.0.1"]}
    with DnsServer(zone) as server:
        ours = shoal(
            extra=["--peer", f"/dnsaddr/boot.test/p2p/{kept.peer_id}"],
            env={"SHOAL_DNS_SERVER": f"127.0.0.1:{server.address[1]}"},
        )
        wait_until(lambda: [row["Peer"] for row in ours.peers()] == [kept.peer_id], FOUND_S)
        ours.connect(f"/dns4/kubo.test/tcp/{port}/p2p/{dialled.peer_id}")
        assert {row["Peer"] for row in ours.peers()} == {kept.peer_id, dialled.peer_id}


@pytest.mark.faults
def test_the_death_of_the_actor_or_of_the_bootstrapper_costs_time_alone(
    kubo: KuboFactory, shoal: ShoalFactory, tmp_path: Path
) -> None:
    theirs = kubo(repo=tmp_path / "kubo")
    port = int(theirs.addrs[0].split("/tcp/")[1].split("/")[0])
    with DnsServer(zone_of(theirs)) as server:
        ours = shoal(
            sources="bootstrap",
            extra=["--bootstrap", f"/dnsaddr/boot.test/p2p/{theirs.peer_id}"],
            env={"SHOAL_DNS_SERVER": f"127.0.0.1:{server.address[1]}"},
        )
        ours.crash("bootstrap")
        wait_until(lambda: bool(ours.peers()), FOUND_S)
        theirs.close()
        wait_until(lambda: not ours.peers(), FOUND_S)
        ours.crash("bootstrap")
        kubo(repo=tmp_path / "kubo", port=port, quic=False)
        wait_until(lambda: [row["Peer"] for row in ours.peers()] == [theirs.peer_id], FOUND_S)


def test_a_restarted_shoal_enters_by_those_it_had_met(shoal: ShoalFactory, tmp_path: Path) -> None:
    """No bootstrapper is named: the peer book alone leads back."""
    other = shoal()
    alone = {"sources": "bootstrap", "extra": ["--bootstrap", "none"], "repo": tmp_path / "again"}
    first = shoal(**alone)
    first.connect(other.addrs[0])
    assert first.stop() == 0
    second = shoal(**alone)
    wait_until(lambda: [row["Peer"] for row in second.peers()] == [other.id], FOUND_S)


def test_in_a_network_of_its_own(lan: LanFactory, kubo: KuboFactory, shoal: ShoalFactory) -> None:
    made = lan("8.8.4.1", "8.8.4.2", "8.8.4.3")
    theirs = kubo(host=made[0])
    with DnsServer(zone_of(theirs), host=made[2]) as server:
        ours = shoal(
            host=made[1],
            listen=["/ip4/8.8.4.2/tcp/4001"],
            sources="bootstrap",
            extra=["--bootstrap", f"/dnsaddr/boot.test/p2p/{theirs.peer_id}"],
            env={"SHOAL_DNS_SERVER": f"8.8.4.3:{server.address[1]}"},
        )
        wait_until(lambda: [row["Peer"] for row in ours.peers()] == [theirs.peer_id], FOUND_S)
