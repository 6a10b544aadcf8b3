"""The storage actors of one node on a virtual clock, for ``tiers_zipf``: real stores in a folder, hours in a minute.

Memory, disk, cold tier, keeper and placement are those of a node, on its own files; only the threads and the clock are
the simulation's, so that the same seed gives the same moves.  What is here asks by the node's edge, as a user would,
and looks into memory beside it; it decides nothing.  Time passes only while it is asked, or told to ``rest``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

from shoal.actors.tiers.memory.actor import MemoryTierActor
from shoal.messages.block import Block
from shoal.messages.blocks import BlocksEnd, BlocksFound, BlocksStored, GetBlocks, PutBlocks, RepoStat, RepoStats
from shoal.messages.cid import CID
from shoal.messages.envelope import PRIORITY_LOW
from shoal.messages.keeping import KeeperStat, KeeperStats
from shoal.messages.policy import Policy
from shoal.runtime.children import Shelves, child_specs
from shoal.runtime.simulation.scheduler import SimWorld
from shoal.runtime.supervisor.specs import ChildSpec

ACTORS: Final = ("memory", "disk", "cold", "keeper", "placement")
NAME: Final = "bench"
ASK_S: Final = 300.0  # virtual seconds for one request
PUT_BYTES: Final = 4 * 1024 * 1024  # of one request
PUT_BLOCKS: Final = 512
PUT_REST_S: Final = 1.0  # virtual seconds after it, in which the keeper looks


class TierNode:
    """A node whose world goes on while it is asked."""

    def __init__(self, world: SimWorld, folder: Path, policy: Policy) -> None:
        every = child_specs(Shelves.within(folder), policy, ChildSpec("transport", _never), ())
        self.world = world
        self.machine = world.machine([spec for spec in every if spec.name in ACTORS], policy, NAME)

    @property
    def now(self) -> float:
        """Virtual seconds since the world began."""
        return self.world.now()

    def rest(self, until: float) -> None:
        """Let time pass until then."""
        if until > self.now:
            self.world.run_for(until - self.now)

    def put(self, blocks: Iterable[Block]) -> None:
        """Store these as an import does that nobody waits for."""
        for part in parts(blocks):
            stored = self.machine.edge.ask(PutBlocks(tuple(part)), ASK_S, priority=PRIORITY_LOW)
            if not isinstance(stored, BlocksStored) or stored.count != len(part):
                raise RuntimeError(f"a put of {len(part)} blocks was answered with {stored}")
            self.rest(self.now + PUT_REST_S)

    def read(self, cid: CID, size: int) -> None:
        """Read one block, from wherever it is.  Raises RuntimeError when it is nowhere or of another size."""
        with self.machine.edge.stream(GetBlocks((cid,), fetch=False), ASK_S) as replies:
            found = replies.next()
            end = replies.next() if isinstance(found, BlocksFound) else found
        if not (isinstance(found, BlocksFound) and isinstance(end, BlocksEnd) and len(found.blocks[0]) == size):
            raise RuntimeError(f"{cid} of {size} bytes was not found: {end}")

    def hits(self) -> dict[str, int]:
        """Reads that each tier has answered so far, as it counts them itself."""
        stats = self.machine.edge.ask_for(RepoStats, RepoStat(), ASK_S)
        return {tier.tier: tier.hits for tier in stats.tiers}

    def sizes(self) -> dict[str, int]:
        """Bytes in each tier, as it counts them itself."""
        stats = self.machine.edge.ask_for(RepoStats, RepoStat(), ASK_S)
        return {tier.tier: tier.size for tier in stats.tiers}

    def keeper(self) -> KeeperStats:
        """What has been moved so far."""
        return self.machine.edge.ask_for(KeeperStats, KeeperStat(), ASK_S)

    def in_memory(self, cid: CID) -> bool:
        """Whether the memory tier has the bytes now."""
        memory = self.world.hosts[f"{NAME}/memory"].cell.actor
        assert isinstance(memory, MemoryTierActor)
        return cid in memory.store


@contextmanager
def running(folder: Path, policy: Policy, seed: int) -> Iterator[TierNode]:
    """A node on a new folder, stopped in order at the end."""
    node = TierNode(SimWorld(seed), folder, policy)
    node.machine.start(ASK_S)
    try:
        yield node
    finally:
        node.machine.stop(ASK_S)


def parts(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    """``blocks`` in runs of at most PUT_BLOCKS and PUT_BYTES, or one block over."""
    run: list[Block] = []
    size = 0
    for block in blocks:
        run.append(block)
        size += len(block)
        if size >= PUT_BYTES or len(run) >= PUT_BLOCKS:
            yield run
            run, size = [], 0
    if run:
        yield run


def _never(_: object) -> NoReturn:
    raise AssertionError("a node of tiers has no transport")
