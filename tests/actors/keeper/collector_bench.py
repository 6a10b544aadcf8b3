"""A collector with a real catalogue, and everybody around it played by the test, one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from shoal.actors.keeper import collecting as module
from shoal.actors.keeper.collecting import DURABLE, Collection, Collector
from shoal.actors.keeper.holds import Holds
from shoal.messages import keeping, tiers
from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.blocks import AvailableBlock
from shoal.messages.cid import CID, DAG_PB, IDENTITY
from shoal.messages.errors import LocalError
from shoal.storage.catalog.catalog import Catalog
from shoal.storage.catalog.rows import Use
from shoal.storage.ipld import dagpb
from shoal.tests.actors.keeper.folder import FAST
from shoal.tests.support.context import FakeContext, Said

KINDS = (tiers.TierGet, keeping.DropBlocks)
DAY = 86400.0


class Bench:
    """A collector and everybody around it."""

    def __init__(self, folder: Path) -> None:
        self.ctx = FakeContext("keeper")
        self.catalog = Catalog(folder / "catalog")
        self.catalog.open()
        self.holds = Holds()
        self.moving = False
        self.collector = Collector(self.ctx, self.catalog, self.holds, lambda: self.moving)
        self.held: dict[str, dict[bytes, Block]] = {tier: {} for tier in DURABLE}
        self.in_use: dict[bytes, int] = {}  # how often placement still keeps it
        self.removed: list[AvailableBlock] = []
        self.ended: list[keeping.GcEnd | LocalError] = []
        self.on_drop: Callable[[tuple[CID, ...]], None] = lambda _: None

    def put(self, *blocks: Block, tier: str = "disk") -> None:
        self.held[tier].update((one.cid.multihash, one) for one in blocks)
        self.catalog.note([Use(one.cid, len(one), tier, True, 0, self.ctx.wall()) for one in blocks])

    def here(self) -> set[bytes]:
        return {name for tier in self.held.values() for name in tier}

    def start(self, *, dry: bool = False, needed: dict[str, int] | None = None) -> None:
        self.removed.clear()
        self.ended.clear()
        run = Collection(dry, self.ctx.wall(), self.removed.extend, self.ended.append, needed=needed)
        self.collector.start(run)

    def asked(self) -> Said[Message] | None:
        said = [one for kind in KINDS for one in self.ctx.take_said(kind)]
        assert len(said) <= 1, "one step at a time"
        return said[0] if said else None

    def answer(self, said: Said[Message]) -> Message:
        message = said.message
        if isinstance(message, tiers.TierGet):
            held = self.held[said.to]
            found = tuple(Block(cid, held[cid.multihash].data) for cid in message.cids if cid.multihash in held)
            return tiers.TierBlocks(said.to, found, tuple(cid for cid in message.cids if cid.multihash not in held))
        assert isinstance(message, keeping.DropBlocks)
        assert message.tier == ""
        self.on_drop(message.cids)
        kept: list[CID] = []
        for cid in message.cids:
            if self.in_use.get(cid.multihash, 0) > 0:
                self.in_use[cid.multihash] -= 1
                kept.append(cid)
            else:
                for tier in self.held.values():
                    tier.pop(cid.multihash, None)
        return keeping.BlocksDropped(tuple(kept))

    def run(self, between: Callable[[int], None] = lambda _: None) -> keeping.GcEnd | LocalError:
        """Answer every step until the end, with ``between`` before each; how it ended."""
        for step in range(10_000):
            if self.ended:
                break
            between(step)
            said = self.asked()
            if said is None:
                self.ctx.advance(0.005)
            else:
                said.answer(self.answer(said))
        (end,) = self.ended
        assert self.collector.run is None
        assert self.catalog.marking is None
        assert self.asked() is None
        return end

    def collect(self, *, dry: bool = False) -> keeping.GcEnd | LocalError:
        self.start(dry=dry)
        return self.run()


@contextmanager
def bench() -> Iterator[Bench]:
    """One that takes so few blocks at a time that there is always something between two steps."""
    with TemporaryDirectory(dir=FAST) as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "EXPAND_BLOCKS", 2)
        patch.setattr(module, "SWEEP_BLOCKS", 2)
        one = Bench(Path(folder))
        yield one
        one.catalog.close()


def node(number: int, children: Iterable[CID] = (), version: int = 1) -> Block:
    """A dag-pb block."""
    data = dagpb.encode([dagpb.PBLink(cid.raw, "", 1) for cid in children], number.to_bytes(4, "big"))
    return Block(CID.of(data, DAG_PB, version), data)


def inline(*children: CID) -> CID:
    """An identity CID whose bytes are a dag-pb block."""
    return CID(1, DAG_PB, IDENTITY, dagpb.encode([dagpb.PBLink(cid.raw, "", 1) for cid in children], None))


def names(*blocks: Block) -> set[bytes]:
    return {one.cid.multihash for one in blocks}
