"""The memory tier's actor: ``storage.memory`` behind the words of ``messages.tiers``.

A cache, not a home: what it forgets is still on disk, so a put always succeeds, and so does a restart with nothing.
"""

from typing import ClassVar

from shoal.actors.base import Actor, Context, handles
from shoal.messages import lifecycle, tiers
from shoal.messages.block import Block
from shoal.messages.blocks import TierStat
from shoal.messages.envelope import Envelope
from shoal.messages.replies import Done
from shoal.storage.memory import MemoryStore


class MemoryTierActor(Actor):
    """Blocks in memory, bounded by the policy's ``memory_bytes``."""

    NAME: ClassVar[str] = "memory"

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.store = MemoryStore(ctx.policy.memory_bytes)

    @handles(tiers.TierGet)
    def on_get(self, message: tiers.TierGet, envelope: Envelope) -> None:
        found: list[Block] = []
        missing = []
        for cid in message.cids:
            block = self.store.get(cid)
            if block is None:
                missing.append(cid)
            else:
                found.append(block)
        self.ctx.reply(envelope, tiers.TierBlocks(self.NAME, tuple(found), tuple(missing)))

    @handles(tiers.TierHas)
    def on_has(self, message: tiers.TierHas, envelope: Envelope) -> None:
        sizes = tuple(-1 if (size := self.store.size(cid)) is None else size for cid in message.cids)
        self.ctx.reply(envelope, tiers.TierSizes(self.NAME, sizes))

    @handles(tiers.TierPut)
    def on_put(self, message: tiers.TierPut, envelope: Envelope) -> None:
        for block in message.blocks:
            self.store.put(block)
        self.ctx.gauge("bytes", self.store.stats().bytes)
        size = sum(len(block) for block in message.blocks)
        self.ctx.reply(envelope, tiers.TierStored(self.NAME, len(message.blocks), size))

    @handles(tiers.TierDelete)
    def on_delete(self, message: tiers.TierDelete, envelope: Envelope) -> None:
        for cid in message.cids:
            self.store.delete(cid)
        self.ctx.reply(envelope, Done())

    @handles(tiers.TierEvict)
    def on_evict(self, message: tiers.TierEvict, _: Envelope) -> None:
        for cid in message.cids:
            self.store.delete(cid)

    @handles(tiers.TierStatus)
    def on_status(self, _: tiers.TierStatus, envelope: Envelope) -> None:
        stats = self.store.stats()
        figures = TierStat(self.NAME, stats.blocks, stats.bytes, stats.capacity_bytes, stats.hits, stats.misses)
        self.ctx.reply(envelope, figures)

    @handles(lifecycle.PolicyChanged)
    def on_policy_changed(self, message: lifecycle.PolicyChanged, _: Envelope) -> None:
        self.store.set_capacity(message.policy.memory_bytes)
