"""Both DHTs with real Kubos: what one provides, another that has never met it finds and fetches by CID alone."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from shoal.messages import dht, routing
from shoal.messages.cid import CID
from shoal.messages.policy import LEECHER, WORKER, Policy
from shoal.tests.support.dht_host import DhtHost, until
from shoal.tests.support.kubo import Kubo, KuboFactory
from shoal.tests.support.namespaces import Host, LanFactory

pytestmark = pytest.mark.interop

SERVES: dict[str, Any] = {"Internal": {"Libp2pForceReachability": "public"}}
PATIENCE_S = 40.0
PUBLIC = ("8.1.1.1", "8.2.2.2", "8.3.3.3", "8.4.4.4")

StartShoal = Callable[..., DhtHost]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[StartShoal]:
    """A factory: ``host()`` runs a shoal on loopback, ``host(lan[0])`` one in a namespace."""
    with ExitStack() as stack:

        def start(where: Host | None = None, policy: Policy = WORKER) -> DhtHost:
            folder = tmp_path / f"shoal-{secrets.token_hex(4)}"
            if where is None:
                return stack.enter_context(DhtHost.start(folder, policy=policy))
            with where.inside():
                return stack.enter_context(DhtHost.start(folder, [f"/ip4/{where.address}/tcp/4001"]))

        yield start


def meet(shoal: DhtHost, kubo: Kubo) -> None:
    addr, _, peer = kubo.addrs[0].rpartition("/p2p/")
    shoal.connect(peer, [addr])


def connected(shoal: DhtHost) -> set[str]:
    return {peer.peer for peer in shoal.api.swarm_peers()}


def serves(shoal: DhtHost, *, lan: bool, peers: int) -> bool:
    return until(lambda: shoal.stats(lan=lan).peers >= peers, PATIENCE_S)


def found(shoal: DhtHost, cid: CID, peer: str) -> routing.Provider:
    """What the DHT says of ``cid``, asked again until it is ``peer``: Kubo provides some time after it has added."""
    answers: list[routing.Provider] = []

    def asked() -> bool:
        answers[:] = [one for one in shoal.find(cid).providers if one.peer == peer]
        return bool(answers)

    assert until(asked, PATIENCE_S), f"{peer} was not found"
    return answers[0]


def exchange(shoal: DhtHost, middle: Kubo, kubo: Callable[[], Kubo], folder: Path, *, lan: bool) -> None:
    """Through ``middle``, whom all know: a Kubo provides, the shoal finds; the shoal provides, a Kubo finds."""
    meet(shoal, middle)
    assert serves(shoal, lan=lan, peers=1)

    provider = kubo()
    provider.connect(middle.addrs[0])
    (folder / "from-kubo").write_bytes(b"kubo" * 10_000)
    theirs = CID.parse(provider.add(folder / "from-kubo"))
    at = found(shoal, theirs, provider.peer_id)
    assert at.source == (routing.LAN_DHT if lan else routing.DHT)
    shoal.connect(at.peer, at.addrs)
    assert b"".join(shoal.api.cat(str(theirs), 0, None, PATIENCE_S)) == b"kubo" * 10_000

    ours = shoal.add(b"shoal" * 10_000)
    told = shoal.provide(ours)
    assert (told.failed, told.records >= 1) == ((), True)
    stranger = kubo()
    stranger.connect(middle.addrs[0])
    stranger.get(str(ours), folder / "from-shoal", PATIENCE_S)
    assert (folder / "from-shoal").read_bytes() == b"shoal" * 10_000


def test_providers_both_ways_on_the_lan_dht(kubo: KuboFactory, host: StartShoal, tmp_path: Path) -> None:
    settings = {"Routing": {"Type": "dht", "LoopbackAddressesOnLanDHT": True}}
    shoal = host()
    exchange(shoal, kubo(settings=settings), lambda: kubo(settings=settings), tmp_path, lan=True)
    assert shoal.stats(lan=True).mode == "server"
    assert shoal.stats(lan=False).mode == "client", "nobody can reach loopback from outside"


def test_providers_both_ways_on_the_public_dht(
    kubo: KuboFactory, lan: LanFactory, host: StartShoal, tmp_path: Path
) -> None:
    net = lan(*PUBLIC)
    hosts = iter(net.hosts)
    shoal = host(next(hosts))
    exchange(
        shoal,
        kubo(settings=SERVES, host=next(hosts)),
        lambda: kubo(settings=SERVES, host=next(hosts)),
        tmp_path,
        lan=False,
    )
    assert shoal.stats(lan=False).mode == "server"
    assert shoal.stats(lan=True).peers == 0


def test_a_peer_is_found_and_kubo_finds_us(kubo: KuboFactory, host: StartShoal) -> None:
    shoal, middle, other = host(), kubo(), kubo()
    other.connect(middle.addrs[0])
    meet(shoal, middle)
    assert serves(shoal, lan=True, peers=1)
    (answer,) = shoal.ask(routing.SearchPeer(other.peer_id)).replies
    assert isinstance(answer, routing.PeerFound)
    assert answer.addrs[0] in [addr.removesuffix(f"/p2p/{other.peer_id}") for addr in other.addrs]
    closest = shoal.machine.edge.ask_for(dht.ClosestFound, dht.ClosestPeers(b"any key", lan=True), PATIENCE_S)
    assert {peer.peer for peer in closest.peers} >= {middle.peer_id, other.peer_id}


def test_a_leecher_finds_what_a_kubo_has_and_serves_nothing(
    kubo: KuboFactory, host: StartShoal, tmp_path: Path
) -> None:
    shoal, middle, provider = host(policy=LEECHER), kubo(), kubo()
    provider.connect(middle.addrs[0])
    meet(shoal, middle)
    assert serves(shoal, lan=True, peers=1)
    (tmp_path / "file").write_bytes(b"kubo" * 1000)
    cid = CID.parse(provider.add(tmp_path / "file"))
    assert found(shoal, cid, provider.peer_id).addrs
    row = shoal.stats(lan=True)
    assert (row.mode, row.served) == ("client", 0)
    assert not [one for one in shoal.identity().protocols if "kad" in one]


def test_a_shoal_finds_what_another_provides_through_a_kubo_alone(kubo: KuboFactory, host: StartShoal) -> None:
    """The records of both are kept by Kubo, in Kubo's table."""
    middle = kubo()
    one, two = host(), host()
    for shoal in (one, two):
        meet(shoal, middle)
        assert serves(shoal, lan=True, peers=1)
    cid = one.add(b"held by one")
    assert not one.provide(cid).failed
    assert found(two, cid, one.peer).peer == one.peer
