"""How a node finds peers and providers: the actors of discovery and routing, each with what it is given.

Part of ``children``, which calls ``finding_specs``; what the user chose comes in as ``Finding``.  Each source is an
actor of its own that can be left out, killed and restarted; without it things are found more slowly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from shoal.actors.base import Context
from shoal.actors.discovery.dht.actor import DhtActor
from shoal.actors.discovery.dht.validators import validators
from shoal.actors.discovery.keys import Keys
from shoal.actors.discovery.walk.actor import WalkActor
from shoal.runtime.supervisor.specs import ChildSpec
from shoal.storage.records.store import RecordStore

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
    return specs
