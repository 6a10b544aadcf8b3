"""The storage actors of a node (memory, disk, cold, keeper, placement), with real stores, on a virtual clock.

What is here asks as the edge does, and looks into the stores beside the actors: it decides nothing.  The universe of
blocks is small and fixed, so that the same ones are put, moved, pinned and deleted over and over.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from shoal.actors.base import Actor, Timer
from shoal.actors.keeper.actor import KeeperActor
from shoal.actors.placement.actor import PlacementActor
from shoal.actors.tiers.cold.actor import ColdTierActor
from shoal.actors.tiers.durable import DurableTierActor
from shoal.messages import blocks, keeping, lifecycle
from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_CBOR, DAG_PB, IDENTITY, RAW
from shoal.messages.envelope import PRIORITY_NORMAL
from shoal.messages.errors import LocalError
from shoal.messages.policy import Policy
from shoal.messages.replies import Done
from shoal.runtime.children import Shelves, child_specs
from shoal.runtime.edge import ReplyStream, raise_if_no
from shoal.runtime.machine import Machine
from shoal.runtime.router import Tags
from shoal.runtime.simulation.scheduler import STEP_S, SimWorld
from shoal.runtime.supervisor.specs import ChildSpec
from shoal.storage.cold.places import name_of
from shoal.storage.ipld import dagpb

M = TypeVar("M", bound=Message)

SHM = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # where a sync costs nothing
ACTORS = ("memory", "disk", "cold", "keeper", "placement")
DURABLE = ("disk", "cold")
NAME = "n"
START_S = 30.0  # virtual seconds
ASK_S = 90.0  # virtual seconds for one request, above every time-out within
LIVED_S = 10.0  # virtual seconds at the end of a long sleep
LEAF_BYTES = 1000


def leaf(number: int) -> Block:
    """A raw block, different for each number."""
    data = (number + 1).to_bytes(2, "big") * (LEAF_BYTES // 2)
    return Block(CID.of(data), data)


def inner(*children: CID, version: int = 1, fill: int = 0) -> Block:
    """A dag-pb block of these links."""
    links = [dagpb.PBLink(child.raw, "", LEAF_BYTES) for child in children]
    data = dagpb.encode(links, bytes(fill))
    return Block(CID.of(data, DAG_PB, version), data)


LEAVES = [leaf(number) for number in range(8)]
_SHARED = inner(LEAVES[1].cid, LEAVES[2].cid, fill=200)
_INLINE = CID(1, DAG_PB, IDENTITY, dagpb.encode([dagpb.PBLink(LEAVES[5].cid.raw, "", 0)], None))
ROOTS = [
    _SHARED,
    inner(LEAVES[0].cid, _SHARED.cid, version=0, fill=300),
    inner(LEAVES[3].cid, _SHARED.cid, LEAVES[4].cid, fill=400),
    inner(_INLINE, LEAVES[6].cid, fill=500),
]
BLOCKS = {block.cid.multihash: block for block in (*LEAVES, *ROOTS)}
CHILDREN: dict[bytes, list[bytes]] = {
    _SHARED.cid.multihash: [LEAVES[1].cid.multihash, LEAVES[2].cid.multihash],
    ROOTS[1].cid.multihash: [LEAVES[0].cid.multihash, _SHARED.cid.multihash],
    ROOTS[2].cid.multihash: [LEAVES[3].cid.multihash, _SHARED.cid.multihash, LEAVES[4].cid.multihash],
    ROOTS[3].cid.multihash: [LEAVES[5].cid.multihash, LEAVES[6].cid.multihash],
}


def below(names: Iterable[bytes]) -> set[bytes]:
    """These blocks and all that they link to, by multihash."""
    found: set[bytes] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += CHILDREN.get(name, [])
    return found


def also_known_as(cid: CID) -> CID:
    """Another CID of the same bytes."""
    return CID(1, DAG_CBOR, cid.hash_code, cid.digest) if cid.codec == RAW else CID.of(BLOCKS[cid.multihash].data)


class TierNode:
    """One node; ``folder`` outlives its power cuts."""

    def __init__(self, world: SimWorld, folder: Path, policy: Policy) -> None:
        self.world = world
        self.folder = folder
        self.policies = {policy.role: policy}
        self.policy = policy
        self.machine: Machine | None = None
        self.given_up = ""
        self._roles = itertools.count(1)
        self._faults: list[Timer] = []

    # --- running -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Run on what is in the folder."""
        shelves = Shelves(
            self.folder / "blocks.sqlite", self.folder / "cold", self.folder / "catalog", cold_segment_bytes=4 * 1024
        )
        every = child_specs(shelves, self.policy, ChildSpec("transport", _never), ())
        specs = [spec for spec in every if spec.name in ACTORS]
        self.given_up = ""
        self.machine = self.world.machine(
            specs, self.policy, NAME, on_giveup=self._gave_up, roles=self.policies.__getitem__
        )
        self.machine.start(START_S)

    def _gave_up(self, reason: str) -> None:
        self.given_up = reason

    def stop(self) -> None:
        """An ordered stop."""
        if self.machine is not None:
            self.machine.stop(START_S)
            self.machine = None

    def power_off(self) -> None:
        """As kill -9.  What was to fail is gone already."""
        for fault in self._faults:
            fault.cancel()
        self._faults.clear()
        self.world.power_off(NAME)
        self.machine = None

    def cut_in(self, steps: int) -> None:
        """Have the power go about ``steps`` steps of the world from now."""
        self._faults.append(self.world.after(steps * STEP_S, lambda: self.world.power_off(NAME)))

    def crash_in(self, actor: str, steps: int) -> None:
        """Have ``actor`` fail about ``steps`` steps of the world from now, in the middle of whatever goes on."""
        self._faults.append(self.world.after(steps * STEP_S, lambda: self._crash(actor)))

    def _crash(self, actor: str) -> None:
        host = self.world.hosts.get(f"{NAME}/{actor}")
        if self.machine is not None and host is not None and not host.is_gone:
            host.crash()

    def actor(self, name: str) -> Actor | None:
        """The actor while it runs."""
        host = self.world.hosts.get(f"{NAME}/{name}")
        return None if host is None or host.is_gone or not host.is_born else host.cell.actor

    @property
    def keeper(self) -> KeeperActor | None:
        """The keeper while it runs."""
        actor = self.actor("keeper")
        assert actor is None or isinstance(actor, KeeperActor)
        return actor

    @property
    def placement(self) -> PlacementActor | None:
        """Placement while it runs."""
        actor = self.actor("placement")
        assert actor is None or isinstance(actor, PlacementActor)
        return actor

    def is_moving(self) -> bool:
        """Whether blocks are on their way between the tiers."""
        return self.keeper is not None and self.keeper.mover.busy

    def is_quiet(self) -> bool:
        """Whether every actor runs and the keeper moves and collects nothing."""
        keeper, placement = self.keeper, self.placement
        if keeper is None or placement is None or any(self.actor(name) is None for name in ACTORS):
            return False
        return not keeper.mover.busy and keeper.collector.run is None

    def settle(self, limit_s: float = 120.0) -> bool:
        """Let the world run until the node is quiet and stays so for a while."""
        for _ in range(20):
            if self.world.run_until(self.is_quiet, limit_s):
                self.world.run_for(5.0)
                if self.is_quiet():
                    return True
        return False

    def sleep(self, seconds: float) -> None:
        """Let time pass; of a long one only the end is lived through, as after a suspend of the machine."""
        clock = self.world.clock
        clock.advance_to(clock.monotonic() + max(0.0, seconds - LIVED_S))
        self.world.run_for(min(seconds, LIVED_S))

    # --- asking ------------------------------------------------------------------------------------

    def ask(self, message: Message, timeout_s: float = ASK_S) -> Message:
        """The answer.  Raises LocalError."""
        assert self.machine is not None
        return self.machine.edge.ask(message, timeout_s)

    def open(self, message: Message, timeout_s: float = ASK_S) -> ReplyStream:
        """The answers, to be taken later."""
        assert self.machine is not None
        return self.machine.edge.stream(message, timeout_s)

    def put(self, *wanted: Block, priority: int = PRIORITY_NORMAL) -> None:
        """Returns once they are durable."""
        assert self.machine is not None
        answer = self.machine.edge.ask(blocks.PutBlocks(tuple(wanted)), ASK_S, priority=priority)
        assert isinstance(answer, blocks.BlocksStored)

    def get(self, *cids: CID, fetch: bool = False) -> tuple[dict[CID, bytes], dict[CID, blocks.MissingBlock]]:
        """What there is, and what not."""
        with self.open(blocks.GetBlocks(cids, fetch=fetch)) as replies:
            return taken(replies)

    def has(self, *cids: CID) -> dict[CID, int]:
        """Sizes, -1 for absent."""
        answer = self.ask(blocks.HasBlocks(cids))
        assert isinstance(answer, blocks.BlockSizes)
        return dict(zip(cids, answer.sizes, strict=True))

    def delete(self, *cids: CID) -> bool:
        """Whether it was done."""
        return self.ask(blocks.DeleteBlocks(cids)) == Done()

    def serve(self, *cids: CID) -> None:
        """Have them read as for a peer; nobody waits for the answer."""
        assert self.machine is not None
        self.machine.router.send("bitswap", blocks.ServeBlocks("p", cids), Tags(origin="peer:p"))

    def collect(self, *, dry: bool = False) -> tuple[list[bytes], keeping.GcEnd]:
        """A garbage collection from its begin to its end: what went, by multihash."""
        with self.open(keeping.CollectGarbage(dry), 10 * ASK_S) as replies:
            return collected(replies)

    def change(self, policy: Policy) -> None:
        """Run under this policy from now on."""
        role = f"p{next(self._roles)}"
        self.policies[role] = policy
        self.policy = policy
        self.ask(lifecycle.ChangeRole(role))

    # --- looking -----------------------------------------------------------------------------------

    def held(self, tier: str) -> dict[bytes, int] | None:
        """Sizes of what the tier's store holds, by multihash; None while the tier is down."""
        actor = self.actor(tier)
        if not isinstance(actor, DurableTierActor):
            return None
        cids = [block.cid for block in BLOCKS.values()]
        try:
            sizes = actor.store.sizes(cids)
        except LocalError:
            return None
        return {cid.multihash: size for cid, size in zip(cids, sizes, strict=True) if size is not None}

    def rot(self, tier: str, cid: CID) -> None:
        """Have the disk under a tier forget what one block's bytes are."""
        if tier == "disk":
            with sqlite3.connect(self.folder / "blocks.sqlite") as conn:
                conn.execute("UPDATE payloads SET data = zeroblob(length(data)) WHERE multihash = ?", (cid.multihash,))
            conn.close()
            return
        actor = self.actor("cold")
        assert isinstance(actor, ColdTierActor)
        entry = actor.cold._index.find(cid.multihash)
        assert entry is not None
        with (self.folder / "cold" / name_of(entry.segment)).open("r+b") as segment:
            segment.seek(entry.offset + entry.length // 2)
            byte = segment.read(1)[0]
            segment.seek(-1, os.SEEK_CUR)
            segment.write(bytes([byte ^ 1]))

    def where(self, name: bytes) -> list[str]:
        """The durable tiers that hold it; only while both run."""
        return [tier for tier in DURABLE if name in (self.held(tier) or {})]


def taken(replies: ReplyStream) -> tuple[dict[CID, bytes], dict[CID, blocks.MissingBlock]]:
    """Take the answers of a get to the end.  Raises LocalError."""
    found: dict[CID, bytes] = {}
    while True:
        reply = replies.next()
        if isinstance(reply, blocks.BlocksFound):
            for block in reply.blocks:
                assert block.cid not in found, "a block was handed out twice"
                found[block.cid] = bytes(block.data)
        else:
            assert isinstance(reply, blocks.BlocksEnd)
            return found, {one.cid: one for one in reply.missing}


def collected(replies: ReplyStream) -> tuple[list[bytes], keeping.GcEnd]:
    """Take the answers of a garbage collection to the end.  Raises LocalError."""
    gone: list[bytes] = []
    while True:
        reply = replies.next()
        assert reply is not None
        raise_if_no(reply)
        if isinstance(reply, keeping.GcRemoved):
            gone += [block.cid.multihash for block in reply.blocks]
        else:
            assert isinstance(reply, keeping.GcEnd)
            return gone, reply


def _never(_: object) -> Actor:
    raise AssertionError("a node of tiers has no transport")
