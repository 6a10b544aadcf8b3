"""shoal's stores behind their actors, for ``bin/bench tiers``: a tier alone, and a whole node's storage.

``tier``: one tier's actor, asked as placement asks it, one message after another.  ``Asker`` sits in placement's place
and takes the times itself, so that they hold two hops and the codec, and no edge.  ``node``: memory, disk, cold, keeper
and placement as a node runs them, asked by the node's edge, as the HTTP API and the command line ask.

Both stand on threads and the system's clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import ClassVar, Final, NoReturn

from shoal.actors.base import Actor, Context, handles
from shoal.actors.tiers.cold.actor import ColdTierActor
from shoal.actors.tiers.disk.actor import DiskTierActor
from shoal.actors.tiers.durable import UNBOUNDED
from shoal.actors.tiers.memory.actor import MemoryTierActor
from shoal.messages import blocks as words
from shoal.messages import tiers
from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.limits import GIB, KIB
from shoal.messages.policy import Policy
from shoal.runtime.children import Shelves, child_specs
from shoal.runtime.machine import Machine
from shoal.runtime.supervisor.specs import ChildSpec
from shoal.storage.cold.store import ColdStore
from shoal.storage.disk.store import DiskStore
from shoal.tests.bench.tiers_shelves import Shelf, check, check_has
from shoal.tests.support.processes import ChildFailed

WAIT_S: Final = 600.0  # seconds for one list of requests, and for a start
SETTLE_S: Final = 30.0  # seconds for the keeper to see how full a tier is
STEP_S: Final = 0.2
ROOM_BYTES: Final = 8 * GIB  # of memory: no table holds as much
ACTORS: Final = ("memory", "disk", "cold", "keeper", "placement")
COLD_FIRST: Final = Policy(
    role="worker",
    memory_bytes=0,
    disk_bytes=64 * KIB,
    storage_weight=0.1,  # nothing matters enough for a disk tier above its low watermark
    demotion_heat=0.0,  # and what is there stays
    promotion_heat=1e9,
    collect_garbage=False,
)
"""New blocks go to the cold tier as soon as the disk tier has FILLER_BYTES."""
FILLER_BYTES: Final = 54 * KIB  # between the watermarks of 64 KiB


# --- one tier --------------------------------------------------------------------------------------


class Asker(Actor):
    """In placement's place: sends its list of requests to one tier, each when the one before is answered.

    The list and the times lie beside the actor; ``HasBlocks`` of nothing is the bell that starts it, and its answer
    says that all is done.  Nobody touches either in between.
    """

    NAME: ClassVar[str] = "placement"

    def __init__(self, ctx: Context, tier: str) -> None:
        super().__init__(ctx)
        self.tier = tier
        self.todo: Sequence[Message] = ()
        self.replies: list[Message] = []
        self.times: list[float] = []

    @handles(words.HasBlocks)
    def on_bell(self, _: words.HasBlocks, envelope: Envelope) -> None:
        self.times, self.replies = [], []
        self._next(envelope)

    def _next(self, envelope: Envelope) -> None:
        if len(self.times) == len(self.todo):
            self.ctx.reply(envelope, words.BlockSizes(()))
            return
        begun = time.perf_counter()

        def answered(reply: Message) -> None:
            self.times.append(time.perf_counter() - begun)
            self.replies.append(reply)
            self._next(envelope)

        self.ctx.request(self.todo[len(self.times)], answered, to=self.tier)


class TierShelf:
    """A tier's actor."""

    def __init__(self, machine: Machine, asker: Asker) -> None:
        self.machine = machine
        self.asker = asker

    def put(self, batches: Sequence[Sequence[Block]]) -> list[float]:
        for reply in self._run([tiers.TierPut(tuple(batch)) for batch in batches]):
            if not isinstance(reply, tiers.TierStored):
                raise ChildFailed(f"a put was answered with {reply}")
        return self.asker.times

    def get(self, blocks: Sequence[Block]) -> list[float]:
        for block, reply in zip(blocks, self._run([tiers.TierGet((block.cid,)) for block in blocks]), strict=True):
            check(block, reply.blocks[0].data if isinstance(reply, tiers.TierBlocks) and reply.blocks else None)
        return self.asker.times

    def has(self, asked: Sequence[tuple[CID, bool]]) -> list[float]:
        replies = self._run([tiers.TierHas((cid,)) for cid, _ in asked])
        for (cid, is_here), reply in zip(asked, replies, strict=True):
            check_has(cid, is_here, isinstance(reply, tiers.TierSizes) and reply.sizes[0] >= 0)
        return self.asker.times

    def _run(self, todo: Sequence[Message]) -> list[Message]:
        self.asker.todo = todo
        self.machine.edge.ask(words.HasBlocks(()), WAIT_S)
        return self.asker.replies


def tier(name: str) -> Callable[[Path], AbstractContextManager[Shelf]]:
    """A shelf of that tier's actor."""

    @contextmanager
    def on_folder(folder: Path) -> Iterator[Shelf]:
        made: dict[str, Callable[[Context], Actor]] = {
            "memory": MemoryTierActor,
            "disk": lambda ctx: DiskTierActor(ctx, DiskStore(folder / "blocks.sqlite", UNBOUNDED)),
            "cold": lambda ctx: ColdTierActor(ctx, ColdStore(folder / "cold", UNBOUNDED)),
        }
        askers: list[Asker] = []

        def asker(ctx: Context) -> Asker:
            askers.append(Asker(ctx, name))
            return askers[-1]

        specs = [ChildSpec(name, made[name]), ChildSpec("placement", asker)]
        with running(Machine(specs, Policy(role="worker", memory_bytes=ROOM_BYTES))) as machine:
            yield TierShelf(machine, askers[0])

    return on_folder


@contextmanager
def running(machine: Machine) -> Iterator[Machine]:
    """Started, and stopped in order."""
    machine.start(WAIT_S)
    try:
        yield machine
    finally:
        machine.stop(WAIT_S)


# --- a node ----------------------------------------------------------------------------------------


class NodeShelf:
    """A node's storage.  ``reads_before``: how often each block is read before it is read for its time."""

    def __init__(self, machine: Machine, reads_before: int = 0) -> None:
        self.edge = machine.edge
        self.reads_before = reads_before

    def put(self, batches: Sequence[Sequence[Block]]) -> list[float]:
        taken = []
        for batch in batches:
            message = words.PutBlocks(tuple(batch))
            begun = time.perf_counter()
            self.edge.ask_for(words.BlocksStored, message, WAIT_S)
            taken.append(time.perf_counter() - begun)
        return taken

    def get(self, blocks: Sequence[Block]) -> list[float]:
        for _ in range(self.reads_before):
            for block in blocks:
                self._get(block)
        return [self._get(block) for block in blocks]

    def _get(self, block: Block) -> float:
        message = words.GetBlocks((block.cid,), fetch=False)
        begun = time.perf_counter()
        with self.edge.stream(message, WAIT_S) as replies:
            found = replies.next()
            if isinstance(found, words.BlocksFound):
                replies.next()
        seconds = time.perf_counter() - begun
        check(block, found.blocks[0].data if isinstance(found, words.BlocksFound) else None)
        return seconds

    def has(self, asked: Sequence[tuple[CID, bool]]) -> list[float]:
        taken = []
        for cid, is_here in asked:
            message = words.HasBlocks((cid,))
            begun = time.perf_counter()
            sizes = self.edge.ask_for(words.BlockSizes, message, WAIT_S)
            taken.append(time.perf_counter() - begun)
            check_has(cid, is_here, sizes.sizes[0] >= 0)
        return taken

    def held(self, tier: str) -> int:
        """Blocks in that tier."""
        stats = self.edge.ask_for(words.RepoStats, words.RepoStat(), WAIT_S)
        return next(one.blocks for one in stats.tiers if one.tier == tier)


def storage(folder: Path, policy: Policy) -> Machine:
    """The storage actors of a node."""
    every = child_specs(Shelves.within(folder), policy, ChildSpec("transport", _never), ())
    return Machine([spec for spec in every if spec.name in ACTORS], policy)


def _never(_: object) -> NoReturn:
    raise AssertionError("a node of tiers has no transport")


@contextmanager
def node_disk(folder: Path) -> Iterator[Shelf]:
    """Without room in memory, so that every read is of the disk tier."""
    with running(storage(folder, Policy(role="worker", memory_bytes=0))) as machine:
        yield NodeShelf(machine)


@contextmanager
def node_memory(folder: Path) -> Iterator[Shelf]:
    """With room for everything; what has been read twice is in memory."""
    with running(storage(folder, Policy(role="worker", memory_bytes=ROOM_BYTES))) as machine:
        yield NodeShelf(machine, reads_before=2)


@contextmanager
def node_cold(folder: Path) -> Iterator[Shelf]:
    """With a disk tier that is full enough.  Raises ChildFailed when blocks do not go to the cold one."""
    with running(storage(folder, COLD_FIRST)) as machine:
        shelf = NodeShelf(machine)
        filler = bytes(FILLER_BYTES)
        shelf.put([[Block(CID.of(filler), filler)]])
        for number in range(int(SETTLE_S / STEP_S)):
            data = b"cold yet? %d" % number
            shelf.put([[Block(CID.of(data), data)]])
            if shelf.held("cold"):
                break
            machine.edge.pause(STEP_S)
        else:
            raise ChildFailed("new blocks do not go to the cold tier")
        yield shelf
