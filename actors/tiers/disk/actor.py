"""The disk tier's actor: ``storage.disk`` behind the words of ``messages.tiers``.

What all durable tiers do is in ``tiers.durable``.  Here: the log of the store is folded into its file while nobody
wants anything.  SQLite would do that in the middle of the put that fills the log, 25 ms for 16 MiB, and one block in
sixty-four would wait for it.
"""

from typing import ClassVar, Final

from shoal.actors.base import Context, Timer
from shoal.actors.tiers.durable import COMMIT_BYTES, UNBOUNDED, DurableTierActor, parts, transactions
from shoal.messages.errors import LocalError
from shoal.messages.limits import KIB, MIB
from shoal.storage.disk.store import DiskStore

__all__ = ["COMMIT_BYTES", "UNBOUNDED", "DiskTierActor", "parts", "transactions"]

FOLD_BYTES: Final = 1 * MIB  # put since the last time; 3 ms of work, which a block that comes just then waits for
FOLD_AFTER_S: Final = 0.005  # seconds without a commit: less than a block takes that is fetched after another
BULK_BYTES: Final = 512 * KIB  # a commit above this is a transfer's, and more of them come
FOLD_AFTER_BULK_S: Final = 0.1  # seconds without a commit then; meanwhile the log may grow to what SQLite folds itself


class DiskTierActor(DurableTierActor):
    """Blocks in SQLite; opened and used on this actor's own thread alone."""

    NAME: ClassVar[str] = "disk"

    def __init__(self, ctx: Context, store: DiskStore) -> None:
        super().__init__(ctx, store)
        self._disk = store
        self._unfolded = 0  # bytes put since the log was folded
        self._fold_timer: Timer | None = None

    def capacity(self) -> int:
        return self.ctx.policy.disk_bytes

    def committed(self, size: int) -> None:
        self._unfolded += size
        if self._fold_timer is not None:
            self._fold_timer.cancel()
        if self._unfolded >= FOLD_BYTES:
            wait_s = FOLD_AFTER_S if size <= BULK_BYTES else FOLD_AFTER_BULK_S
            self._fold_timer = self.ctx.after(wait_s, self._fold)

    def _fold(self) -> None:
        self._fold_timer = None
        self._unfolded = 0
        try:
            self._disk.fold()
        except LocalError as fault:  # all that is in the log is as durable as before
            self.ctx.count("folds_failed")
            self.ctx.log.debug("the log could not be folded: %s", fault)
