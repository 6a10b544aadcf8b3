"""The actors of a node, in the order of their start, each with what it is given.

The same list runs in threads (``runtime.node``) and in the simulation: only ``transport`` is passed in, since there
it stands on another network.  Storage starts first and stops last, so that nothing is served before it can be read,
and nothing acknowledged is written after the store has closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shoal.actors.base import Context
from shoal.actors.bitswap.actor import BitswapActor
from shoal.actors.keeper.actor import KeeperActor
from shoal.actors.keeper.holds import Holds
from shoal.actors.placement.actor import PlacementActor
from shoal.actors.tiers.cold.actor import ColdTierActor
from shoal.actors.tiers.disk.actor import DiskTierActor
from shoal.actors.tiers.durable import UNBOUNDED
from shoal.actors.tiers.memory.actor import MemoryTierActor
from shoal.actors.wantlist.actor import WantlistActor
from shoal.messages.policy import Policy
from shoal.runtime.finding import Finding, KeptPeers, bootstrap_spec, finding_specs
from shoal.runtime.supervisor.specs import ChildSpec
from shoal.storage.catalog.catalog import Catalog
from shoal.storage.cold.record import LEVEL_DEFAULT
from shoal.storage.cold.store import SEGMENT_BYTES, ColdStore
from shoal.storage.disk.store import DiskStore

CRASH_FOLDER: Final = "crashes"  # in the repo: flight recorder dumps


@dataclass(frozen=True, slots=True)
class Shelves:
    """Where a node keeps things: the disk tier's file, the folders of the cold tier and of the keeper's catalogue."""

    blocks: Path
    cold: Path
    catalog: Path
    cold_url: str = ""  # of an object store for the cold tier's segments; empty: they stay in its folder
    cold_segment_bytes: int = SEGMENT_BYTES
    cold_level: int = LEVEL_DEFAULT

    @classmethod
    def within(cls, folder: Path) -> Shelves:
        """The usual places in one folder."""
        return cls(folder / "blocks.sqlite", folder / "cold", folder / "catalog")

    def cold_store(self, quota_bytes: int) -> ColdStore:
        """The cold tier's store.  Raises BadConfig for a URL, level or segment size that cannot be."""
        remote = None
        if self.cold_url:
            from shoal.storage.cold.objects import ObjectPlace  # 20 MiB of memory that only its users pay for

            remote = ObjectPlace.from_url(self.cold_url)
        return ColdStore(
            self.cold, quota_bytes, remote=remote, segment_bytes=self.cold_segment_bytes, level=self.cold_level
        )


def storage_specs(shelves: Shelves, policy: Policy) -> list[ChildSpec]:
    """The actors that keep blocks.  They need no others: without those, what is not here is not fetched."""
    holds = Holds()  # of requests in progress, which a restart of the keeper does not end

    # A store of its own for every generation: what the last one left open is not trusted.
    def disk(ctx: Context) -> DiskTierActor:
        return DiskTierActor(ctx, DiskStore(shelves.blocks, policy.disk_bytes or UNBOUNDED))

    def cold(ctx: Context) -> ColdTierActor:
        return ColdTierActor(ctx, shelves.cold_store(policy.cold_bytes or UNBOUNDED))

    def keeper(ctx: Context) -> KeeperActor:
        return KeeperActor(ctx, Catalog(shelves.catalog), holds)

    return [
        ChildSpec("memory", MemoryTierActor),
        ChildSpec("disk", disk),
        ChildSpec("cold", cold),
        ChildSpec("keeper", keeper),
        ChildSpec("placement", PlacementActor),
    ]


def child_specs(
    shelves: Shelves, policy: Policy, transport: ChildSpec, peers: KeptPeers, finding: Finding | None = None
) -> list[ChildSpec]:
    """Every actor of a node.  ``peers`` are those to stay connected to: peer id and multiaddrs.

    ``finding``: the ways by which the node finds others; None: those alone.
    """
    return [
        *storage_specs(shelves, policy),
        ChildSpec("wantlist", WantlistActor),
        transport,
        *finding_specs(finding),
        ChildSpec("bitswap", BitswapActor),
        bootstrap_spec(finding, peers),
    ]
