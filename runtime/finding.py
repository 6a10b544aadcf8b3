"""How a node finds peers and providers: the actors of discovery and routing, each with what it is given.

Part of ``children``, which calls ``finding_specs``; what the user chose comes in as ``Finding``.  Each source is an
actor of its own that can be left out, killed and restarted; without it things are found more slowly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shoal.actors.adverts.actor import AdvertsActor
from shoal.actors.announce.actor import AnnounceActor
from shoal.actors.base import Context
from shoal.actors.discovery.bootstrap.actor import BootstrapActor
from shoal.actors.discovery.dht.actor import DhtActor
from shoal.actors.discovery.dht.validators import validators
from shoal.actors.discovery.keys import Keys
from shoal.actors.discovery.mdns.actor import MdnsActor
from shoal.actors.discovery.mdns.lan import LocalNetwork
from shoal.actors.discovery.pubsub.actor import PubsubActor
from shoal.actors.discovery.walk.actor import WalkActor
from shoal.actors.routing.actor import RoutingActor
from shoal.runtime import naming
from shoal.runtime.finding_web import web_specs
from shoal.runtime.supervisor.specs import ChildSpec
from shoal.storage.announcements.store import Announcements
from shoal.storage.peerbook.store import PeerStore
from shoal.storage.records.store import RecordStore

if TYPE_CHECKING:
    from shoal.actors.web.client import HttpClient

PEER_BOOK: Final = "peers.sqlite"  # in the node's folder
KeptPeers = tuple[tuple[str, tuple[str, ...]], ...]  # peer ids and their multiaddrs, without /p2p
RECORDS: Final = "records.sqlite"  # in the node's folder: what the public DHT keeps for others
LAN_RECORDS: Final = "records-lan.sqlite"  # the same of the LAN's
DEFAULT: Final = "default"  # in the configuration's list: all of these
PUBLIC_BOOTSTRAPPERS: Final = (
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN",
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmQCU2EcMqAqQPR2i9bChDtGNJchTbq5TbXJJ16u19uLTa",
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmbLHAnMoJPWSCR5Zhtx6BHJX9KiKNN6tpvbUcqanj75Nb",
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt",
    "/ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ",
)
"""The IPFS network's own, as Kubo has them (config/bootstrap_peers.go)."""

BACKLOG_FILE: Final = "announce.sqlite"  # in the node's folder


def by_peer(addrs: Iterable[str]) -> KeptPeers:
    """Multiaddrs that end in /p2p/ID, gathered by peer.  Raises BadInput."""
    found: dict[str, tuple[str, ...]] = {}
    for text in addrs:
        peer, addr = naming.peer_address(text)
        found[peer] = (*found.get(peer, ()), *((addr,) if addr else ()))
    return tuple(found.items())


def bootstrappers(chosen: tuple[str, ...]) -> tuple[str, ...]:
    """The configured list with the public ones in place of DEFAULT, each once."""
    spread = (addr for one in chosen for addr in (PUBLIC_BOOTSTRAPPERS if one == DEFAULT else (one,)))
    return tuple(dict.fromkeys(spread))


@dataclass(frozen=True, slots=True)
class Finding:
    """What discovery and routing stand on.  ``sources`` by the names of ``settings.SOURCES``."""

    folder: Path  # for what outlives a restart: the peer book, provider records, the announcements' backlog
    keys: Keys  # this node's, to sign with
    sources: frozenset[str] = frozenset()
    bootstrap: tuple[str, ...] = ()  # multiaddrs, each ending in /p2p/ID
    delegated: tuple[str, ...] = ()  # URLs
    gateways: tuple[str, ...] = ()  # URLs
    dns_server: tuple[str, int] | None = None  # that names in addresses are asked of; None: the system's
    listen: tuple[str, ...] = ()  # multiaddrs that the node listens on; mDNS speaks on those interfaces alone
    lan: Callable[[], LocalNetwork] | None = None  # instead of those: the simulation's
    web: Callable[[Context], HttpClient] | None = None  # HTTP other than by sockets: the simulation's


def _dht(finding: Finding, ctx: Context) -> DhtActor:
    """The DHT actor, with what it keeps for others in the node's folder."""

    def records(lan: bool) -> RecordStore:
        store = RecordStore(finding.folder / (LAN_RECORDS if lan else RECORDS))
        store.open()
        return store

    return DhtActor(ctx, records, validators(finding.keys))


def finding_specs(finding: Finding | None) -> list[ChildSpec]:
    """The actors that find, in the order of their start; none without ``finding``."""
    if finding is None:
        return []
    specs: list[ChildSpec] = []
    # --- the DHTs, public and LAN
    if "dht" in finding.sources:
        specs.append(ChildSpec("dht", partial(_dht, finding)))
        # --- the random walk, which keeps their tables fresh
        specs.append(ChildSpec("walk", WalkActor))
    # --- gossipsub and announcements
    if "pubsub" in finding.sources:
        specs.append(ChildSpec("pubsub", lambda ctx: PubsubActor(ctx, finding.keys)))
    # --- announcing: a store of its own for every generation; nobody keeps what nothing can tell
    if finding.sources & {"dht", "pubsub"}:
        backlog = finding.folder / BACKLOG_FILE
        specs.append(ChildSpec("announce", lambda ctx: AnnounceActor(ctx, Announcements(backlog))))
    if "filters" in finding.sources:  # --- Bloom adverts
        specs.append(ChildSpec("adverts", AdvertsActor))
    # --- over HTTP: delegated routing and gateways
    specs += web_specs(finding.delegated if "delegated" in finding.sources else (), finding.gateways, finding.web)
    # --- mDNS
    if "mdns" in finding.sources:
        specs.append(ChildSpec("mdns", lambda ctx: MdnsActor(ctx, _local_network(finding))))
    # --- routing and the peer book: after the sources, which it asks
    asked = finding.sources if finding.delegated else finding.sources - {"delegated"}
    book = finding.folder / PEER_BOOK
    specs.append(ChildSpec("routing", lambda ctx: RoutingActor(ctx, finding.keys.peer_id, asked, PeerStore(book))))
    return specs


def bootstrap_spec(finding: Finding | None, peers: KeptPeers) -> ChildSpec:
    """The actor that enters the network, and stays connected to ``peers``; it runs in any node."""

    if finding is None:
        return ChildSpec("bootstrap", lambda ctx: BootstrapActor(ctx, peers))
    entrances, server = by_peer(finding.bootstrap), finding.dns_server

    def make(ctx: Context) -> BootstrapActor:
        from shoal.runtime.network.dns import DnsResolver  # its library is only for those who use it

        return BootstrapActor(ctx, peers, entrances, DnsResolver(server), by_book="bootstrap" in finding.sources)

    return ChildSpec("bootstrap", make)


def _local_network(finding: Finding) -> LocalNetwork:
    if finding.lan is not None:
        return finding.lan()
    from shoal.runtime.network.mdns import ZeroconfNetwork  # its library is only for those who use it

    return ZeroconfNetwork(finding.listen)
