"""The cold tier's actor: ``storage.cold`` behind the words of ``messages.tiers``, and what it does when nobody asks.

Puts, gets and the rest are as in every durable tier (``tiers.durable``).  Here is the upkeep: compaction, one bounded
step at a time with a pause after it in which messages are served; uploads, which run on a thread of their own because
a segment may take minutes, one at a time; and an index that was found damaged, which is made anew.

A fault of the upkeep ends nothing: it is shown as the tier's state, and tried again later and later.
"""

import threading
from typing import ClassVar, Final

from shoal.actors.base import Context
from shoal.actors.tiers.durable import DurableTierActor
from shoal.messages.errors import LocalError, StorageFault
from shoal.messages.limits import MIB
from shoal.storage.cold.store import ColdStore, Upload

LOOK_S: Final = 1.0  # between looks for a segment to upload and for an upload that has ended
COMPACT_S: Final = 60.0  # between looks for a segment to compact when there was none: dead blocks cost only room
STEP_S: Final = 0.05  # after a step of compaction: what has come meanwhile is served first
STEP_BYTES: Final = 4 * MIB  # of one step: some 30 ms on the actor's thread
FAULT_S: Final = 5.0  # before what failed is tried again; doubled each time
FAULT_S_MAX: Final = 600.0
FAULTS_COUNTED_MAX: Final = 16  # the wait has long reached its maximum


class ColdTierActor(DurableTierActor):
    """Compressed blocks in segments; the store is opened and used on this actor's own thread alone."""

    NAME: ClassVar[str] = "cold"

    def __init__(self, ctx: Context, store: ColdStore) -> None:
        super().__init__(ctx, store)
        self.cold = store
        self.upload: _RunningUpload | None = None
        self.upkeep_state = "ok"
        self.faults = 0  # of the upkeep, one after another
        self.compact_at = 0.0  # on the node's clock

    def capacity(self) -> int:
        return self.ctx.policy.cold_bytes

    def on_start(self) -> None:
        super().on_start()
        repairs = self.cold.repairs
        if repairs.scanned or repairs.lost:
            self.ctx.log.warning(
                "cold tier repaired: %d segments scanned, %d blocks found, %d bytes torn or rotten, segments lost: %s",
                repairs.scanned, repairs.found, repairs.rotten_bytes, repairs.lost or "none",
            )  # fmt: skip
        self.compact_at = self.ctx.now() + COMPACT_S
        self.ctx.after(LOOK_S, self._upkeep)

    def on_stop(self) -> None:
        """An upload that runs is left alone: its segment is still here, and the next start uploads it again."""
        super().on_stop()

    def health(self) -> str:
        return super().health() if self.upkeep_state == "ok" else self.upkeep_state

    def _upkeep(self) -> None:
        """One step of whatever there is to do."""
        try:
            wait_s = self._step()
            self.faults, self.upkeep_state = 0, "ok"
        except LocalError as fault:
            self.upkeep_state = fault.message
            self.ctx.count("upkeep_faults")
            self.ctx.log.warning("cold tier: %s", fault)
            wait_s = min(FAULT_S * 2**self.faults, FAULT_S_MAX)
            self.faults = min(self.faults + 1, FAULTS_COUNTED_MAX)
        self.ctx.after(wait_s, self._upkeep)

    def _step(self) -> float:
        """Do one thing; the seconds until the next look.  Raises LocalError."""
        if self.cold.wants_repair:
            self._remake_index()
        self._end_upload()
        if self.upload is None and (upload := self.cold.next_upload()) is not None:
            self.upload = _RunningUpload(upload)
        if self.ctx.now() < self.compact_at:
            return LOOK_S
        done = self.cold.compact(STEP_BYTES)
        if done.segment is None:
            self.compact_at = self.ctx.now() + COMPACT_S
            return LOOK_S
        self.ctx.count("compacted_blocks", done.moved)
        self.ctx.count("compacted_bytes_freed", done.freed_bytes)
        return STEP_S

    def _end_upload(self) -> None:
        """Take note of an upload that has ended.  Raises what it raised."""
        running = self.upload
        if running is None or not running.ended:
            return
        self.upload = None
        if running.fault is not None:
            self.cold.drop_upload(running.upload)
            self.ctx.count("failed_uploads")
            raise running.fault
        self.cold.finish_upload(running.upload)
        self.ctx.count("uploads")

    def _remake_index(self) -> None:
        """Close and open the store, which makes a damaged index anew.  Raises what that raises; then it is closed."""
        self._commit()
        self.upload = None  # should one be running, it is done again: the store finds the same bytes there
        self.cold.close()
        self.cold.open()
        self._apply_quota()


class _RunningUpload:
    """An upload on a thread of its own, which ends with the process.  ``fault`` is why it failed; None: it has not."""

    def __init__(self, upload: Upload) -> None:
        self.upload = upload
        self.fault: LocalError | None = StorageFault("an upload ended without a word", "see the log; it is repeated")
        self._ended = threading.Event()
        threading.Thread(target=self._run, name=f"shoal-upload-{upload.segment}", daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether it has succeeded or failed."""
        return self._ended.is_set()

    def _run(self) -> None:
        try:
            self.upload.run()
            self.fault = None
        except LocalError as fault:
            self.fault = fault
        finally:
            self._ended.set()
