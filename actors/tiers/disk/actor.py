"""The disk tier's actor: ``storage.disk`` behind the words of ``messages.tiers``.

All that it does is in ``tiers.durable``.
"""

from typing import ClassVar

from shoal.actors.base import Context
from shoal.actors.tiers.durable import COMMIT_BYTES, UNBOUNDED, DurableTierActor, parts, transactions
from shoal.storage.disk.store import DiskStore

__all__ = ["COMMIT_BYTES", "UNBOUNDED", "DiskTierActor", "parts", "transactions"]


class DiskTierActor(DurableTierActor):
    """Blocks in SQLite; opened and used on this actor's own thread alone."""

    NAME: ClassVar[str] = "disk"

    def __init__(self, ctx: Context, store: DiskStore) -> None:
        super().__init__(ctx, store)

    def capacity(self) -> int:
        return self.ctx.policy.disk_bytes
