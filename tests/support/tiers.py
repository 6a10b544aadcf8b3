"""The storage of a whole node, in one thread of virtual time, and the files that it is given.  For tests of faults.

The repo, memory, disk, cold, keeper and placement are as ``runtime.children`` makes them, with real stores, under the
API that users have.  In virtual time a day of moves and collections takes a tenth of a second and makes the same system
calls every time.  Not a double: nothing in it is made up but the time.

What it is asked in such a day, and what must then be so, is in ``tiers_day``; the process that lives through it and is
broken by strace is ``tiers_child``; ``tiers_faults`` drives that.  Begin at ``TiersNode``.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import msgspec

from shoal.actors.base import Actor
from shoal.actors.tiers.durable import DurableTierActor
from shoal.messages import blocks
from shoal.messages.block import Block
from shoal.messages.blocks import TierStat
from shoal.messages.cid import CID
from shoal.messages.errors import LocalError, Unavailable
from shoal.messages.limits import KIB
from shoal.messages.policy import WORKER, Policy
from shoal.runtime.api import NodeApi
from shoal.runtime.children import Shelves, child_specs
from shoal.runtime.http.backend import AddItem, AddOptions
from shoal.runtime.machine import Machine
from shoal.runtime.simulation.scheduler import SimWorld
from shoal.runtime.supervisor.specs import ChildSpec
from shoal.storage.ipld.builder import FileBuilder
from shoal.storage.ipld.profile import UNIXFS_V0_2015
from shoal.storage.repo import Repo

ACTORS: Final = ("memory", "disk", "cold", "keeper", "placement")
DURABLE: Final = ("disk", "cold")
NAME: Final = "n"
START_S: Final = 30.0  # virtual seconds, as all below
READ_S: Final = 30.0
ASK_S: Final = 60.0
SETTLED_S: Final = 20.0  # in which placement tells the keeper, and the keeper lists, moves and drops second copies

LEAF_BYTES: Final = 8 * KIB
SEGMENT_BYTES: Final = 40 * KIB
CHUNKER: Final = f"size-{LEAF_BYTES}"
PROFILE: Final = UNIXFS_V0_2015.tuned(chunker=CHUNKER, raw_leaves=None, cid_version=None)
BLOCK_MAX: Final = 2 * LEAF_BYTES  # no block here is larger

# Small tiers, so that four files of a day fill the disk tier.
POLICY: Final = msgspec.structs.replace(
    WORKER,
    memory_bytes=256 * KIB,
    disk_bytes=128 * KIB,
    cold_bytes=256 * KIB,
    watermark_high=0.8,
    watermark_low=0.6,
    promotion_heat=3.5,
    demotion_heat=0.5,
    move_bytes_per_s=0,
    scrub_bytes_per_s=0,
)


@dataclass(frozen=True)
class File:
    """A file of the day: its bytes, and the blocks that a node makes of it, the root last."""

    name: str
    data: bytes
    blocks: tuple[Block, ...]

    @property
    def root(self) -> CID:
        return self.blocks[-1].cid

    @classmethod
    def made(cls, name: str, size: int) -> Self:
        """``size`` bytes that no other file has."""
        data = hashlib.shake_256(name.encode()).digest(size)
        builder = FileBuilder(PROFILE)
        first = builder.feed(data)
        last, _ = builder.finish()
        return cls(name, data, (*first, *last))


FILES: Final = {
    file.name: file
    for file in (
        File.made("a", 40 * KIB),
        File.made("b", 40 * KIB),
        File.made("c", 24 * KIB),
        File.made("d", 32 * KIB),
        File.made("e", 5000),
        File.made("f", 40 * KIB),
        File.made("g", 24 * KIB),
        File.made("last", 16 * KIB),
    )
}
BLOCKS: Final = {block.cid.multihash: block for file in FILES.values() for block in file.blocks}


class TiersNode:
    """The storage of one node, open from ``start`` to ``stop``.  ``at`` is when, in seconds of the virtual clock."""

    def __init__(self, folder: Path, at: float = 0.0, policy: Policy = POLICY) -> None:
        self.folder = folder
        self.policy = policy
        self.world = SimWorld("tiers")
        self.world.clock.advance_to(at)
        self._repo: Repo | None = None
        self._machine: Machine | None = None
        self._api: NodeApi | None = None
        self.given_up = ""

    def start(self) -> None:
        """As a node starts.  Raises LocalError, with everything closed again."""
        try:
            self._repo = repo = Repo.open(self.folder)
            if repo.read_identity() is None:
                repo.write_identity(b"a key")
            shelves = Shelves(
                repo.blocks_path, repo.cold_path, repo.catalog_path, cold_segment_bytes=SEGMENT_BYTES, cold_level=1
            )
            every = child_specs(shelves, self.policy, ChildSpec("transport", _never), ())
            specs = [spec for spec in every if spec.name in ACTORS]
            self._machine = self.world.machine(specs, self.policy, NAME, on_giveup=self._gave_up)
            self._machine.start(START_S)
            self._api = NodeApi(self._machine)
            repo.write_api("127.0.0.1:1")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """In order; safe to call twice."""
        self._api = None
        machine, self._machine = self._machine, None
        if machine is not None:
            machine.stop(START_S)
        repo, self._repo = self._repo, None
        if repo is not None:
            repo.remove_api()
            repo.close()

    def restart(self) -> None:
        """Stop in order and start again, in a second try if need be.  Raises LocalError."""
        self.stop()
        try:
            self.start()
        except LocalError:
            self.start()

    def _gave_up(self, reason: str) -> None:
        self.given_up = reason

    @property
    def api(self) -> NodeApi:
        """What a user calls.  Raises Unavailable while the node is not running."""
        if self._api is None:
            raise Unavailable("the node is not running", "start it")
        return self._api

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- what a user does --------------------------------------------------------------------------

    def add(self, name: str, *, pin: bool) -> None:
        file = FILES[name]
        item = AddItem(name, "file", iter([file.data]))
        *_, last = self.api.add([item], AddOptions(pin=pin, pin_name=name if pin else "", chunker=CHUNKER))
        assert last.cid == file.root

    def read(self, name: str) -> None:
        """The whole file, which must be itself."""
        file = FILES[name]
        read = b"".join(self.api.cat(str(file.root), 0, None, READ_S))
        if read != file.data:
            raise AssertionError(f"wrong bytes of {name}")

    def pin(self, name: str) -> None:
        for _ in self.api.keeping.pin_add([str(FILES[name].root)], True, name, READ_S):
            pass

    def unpin(self, name: str) -> None:
        self.api.keeping.pin_rm([str(FILES[name].root)], True, READ_S)

    def remove(self, name: str) -> None:
        """Every block of the file.  Raises Unavailable for one that a pin keeps."""
        names = [str(block.cid) for block in FILES[name].blocks]
        for removed in self.api.keeping.block_rm(names, force=True):
            if removed.fault:
                raise Unavailable(removed.fault, "unpin it first")

    def collect(self) -> None:
        for _ in self.api.keeping.collect(dry_run=False):
            pass

    def scrub(self) -> None:
        self.api.keeping.scrub(start=True)

    def sleep(self, seconds: float) -> None:
        self.world.run_for(seconds)

    # --- looking -----------------------------------------------------------------------------------

    def pins(self) -> set[str]:
        """Names of the files whose roots are pinned; AssertionError for a pin that nobody made."""
        names = {file.root.multihash: name for name, file in FILES.items()}
        return {names[line.cid.multihash] for line in self.api.keeping.pins([], "recursive", "", READ_S)}

    def here(self, name: str) -> set[bytes]:
        """Which blocks of a file can be read here and now; AssertionError for one with wrong bytes."""
        file = FILES[name]
        cids = tuple(dict.fromkeys(block.cid for block in file.blocks))
        found: set[bytes] = set()
        with self.api.edge.stream(blocks.GetBlocks(cids, fetch=False), ASK_S) as replies:
            while True:
                reply = replies.next()
                if not isinstance(reply, blocks.BlocksFound):
                    return found
                for block in reply.blocks:
                    assert block == BLOCKS[block.cid.multihash], f"wrong bytes of {block.cid}"
                    found.add(block.cid.multihash)

    def all_here(self) -> set[bytes]:
        """All blocks of the day that can be read."""
        return {name for file in FILES for name in self.here(file)}

    def held(self, tier: str) -> dict[bytes, int]:
        """Multihashes and sizes by the tier's own index."""
        actor = self.actor(tier)
        assert isinstance(actor, DurableTierActor)
        cids = actor.store.list(None, 1000)
        return {cid.multihash: size or 0 for cid, size in zip(cids, actor.store.sizes(cids), strict=True)}

    def stat(self, tier: str) -> TierStat:
        return next(row for row in self.api.repo_stat().tiers if row.tier == tier)

    def actor(self, name: str) -> Actor | None:
        """The actor while it runs."""
        host = self.world.hosts.get(f"{NAME}/{name}")
        return None if host is None or host.is_gone else host.cell.actor

    def snapshot(self) -> tuple[set[str], set[bytes], dict[str, dict[bytes, int]]]:
        """Pins, blocks that can be read, and what each tier says that it has."""
        return self.pins(), self.all_here(), {tier: self.held(tier) for tier in DURABLE}


def _never(_: object) -> Actor:
    raise AssertionError("this node has no transport")


class Bugs(logging.Handler):
    """Tells of what an actor failed with that is no LocalError: such a failure is logged with its traceback."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self._tell(logging.Formatter().format(record))


@contextmanager
def no_bugs() -> Iterator[None]:
    """No actor may fail with anything but a LocalError in here."""
    found: list[str] = []
    handler = Bugs(found.append)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
    assert not found, found[0]
