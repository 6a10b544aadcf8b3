"""The actors of a node, in the order of their start, each with what it is given.

The same list runs in threads (``runtime.node``) and in the simulation: only ``transport`` is passed in, since there
it stands on another network.  Storage starts first and stops last, so that nothing is served before it can be read,
and nothing acknowledged is written after the store has closed.
"""

from __future__ import annotations

from pathlib import Path

from shoal.actors.base import Context
from shoal.actors.bitswap.actor import BitswapActor
from shoal.actors.discovery.bootstrap.actor import BootstrapActor
from shoal.actors.placement.actor import PlacementActor
from shoal.actors.tiers.disk.actor import UNBOUNDED, DiskTierActor
from shoal.actors.tiers.memory.actor import MemoryTierActor
from shoal.actors.wantlist.actor import WantlistActor
from shoal.messages.policy import Policy
from shoal.runtime.supervisor.specs import ChildSpec
from shoal.storage.disk.store import DiskStore

KeptPeers = tuple[tuple[str, tuple[str, ...]], ...]


def child_specs(blocks_path: Path, policy: Policy, transport: ChildSpec, peers: KeptPeers) -> list[ChildSpec]:
    """Every actor of a node.  ``peers`` are those to stay connected to: peer id and multiaddrs."""

    def disk(ctx: Context) -> DiskTierActor:
        # A store of its own for every generation: what the last one left open is not trusted.
        return DiskTierActor(ctx, DiskStore(blocks_path, policy.disk_bytes or UNBOUNDED))

    return [
        ChildSpec("memory", MemoryTierActor),
        ChildSpec("disk", disk),
        ChildSpec("placement", PlacementActor),
        ChildSpec("wantlist", WantlistActor),
        transport,
        ChildSpec("bitswap", BitswapActor),
        ChildSpec("bootstrap", lambda ctx: BootstrapActor(ctx, peers)),
    ]
