"""What the tiers that keep blocks durably share: their words, group commit, and what they say when a device fails.

Not an actor of its own: ``disk`` and ``cold`` are made of this and a store.  Begin at ``DurableTierActor``.

Group commit: a durable write costs one sync whether it holds one block or a thousand.  Puts are gathered
while more messages wait in the mailbox, and written when none does, when enough bytes are there, or before
anything about them is answered.  Their senders hear ``TierStored`` once the blocks are durable, never before.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Protocol, TypeVar

from shoal.actors.base import Actor, Context, handles
from shoal.messages import lifecycle, tiers
from shoal.messages.block import Block
from shoal.messages.blocks import TierStat
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.errors import LocalError
from shoal.messages.limits import (
    DISK_DELETE_MAX,
    DISK_GET_BLOCKS_MAX,
    DISK_LIST_MAX,
    DISK_PUT_BLOCKS_MAX,
    DISK_PUT_BYTES_MAX,
    DISK_SIZES_MAX,
    MIB,
    Limit,
)
from shoal.messages.replies import Done, Failed

T = TypeVar("T")

UNBOUNDED: Final = 2**62  # bytes; a policy's 0 says that only the disk itself bounds the tier
KEEPER: Final = "keeper"  # who moves and looks after blocks: what it reads says nothing about what users find
COMMIT_BYTES: Final = 8 * MIB  # bytes in one transaction; more of them gain nothing and delay the acknowledgement


class Figures(Protocol):
    """What a store's ``stats`` tells, whatever else it does."""

    @property
    def blocks(self) -> int: ...
    @property
    def bytes(self) -> int: ...


class Store(Protocol):
    """A durable shelf, opened and used on the actor's own thread alone; see ``storage.disk.store`` for each method."""

    def open(self) -> None: ...
    def close(self) -> None: ...
    def put_many(self, blocks: Sequence[Block]) -> None: ...
    def get_many(self, cids: Sequence[CID]) -> "list[Block | None]": ...
    def sizes(self, cids: Sequence[CID]) -> "list[int | None]": ...
    def delete_many(self, cids: Sequence[CID]) -> int: ...
    def set_quota(self, quota_bytes: int) -> None: ...
    def stats(self) -> Figures: ...
    def list(self, after: bytes | None, limit: int) -> list[CID]: ...


class DurableTierActor(Actor):
    """A tier on a durable store.  A subclass sets NAME and says in ``capacity`` what the policy gives it."""

    def __init__(self, ctx: Context, store: Store) -> None:
        super().__init__(ctx)
        self.store = store
        self.gathered: list[Block] = []
        self.unwritten: set[bytes] = set()  # multihashes of what is gathered
        self.gathered_bytes = 0
        self.waiting: list[tuple[Envelope, int, int]] = []
        self.hits = self.misses = 0
        self.state = "ok"

    def capacity(self) -> int:
        """The quota in bytes of block data by the policy in force; 0: bounded by the disk alone."""
        raise NotImplementedError

    def committed(self, size: int) -> None:
        """So many bytes have just become durable, and their senders know."""

    def health(self) -> str:
        """ "ok", or what is wrong: what the last put met."""
        return self.state

    def on_start(self) -> None:
        self.store.open()
        self._apply_quota()

    def on_stop(self) -> None:
        self._commit()
        self.store.close()

    @handles(tiers.TierPut)
    def on_put(self, message: tiers.TierPut, envelope: Envelope) -> None:
        size = sum(len(block) for block in message.blocks)
        self.gathered.extend(message.blocks)
        self.unwritten.update(block.cid.multihash for block in message.blocks)
        self.gathered_bytes += size
        self.waiting.append((envelope, len(message.blocks), size))
        if self.gathered_bytes >= COMMIT_BYTES:
            self._commit()
        self._commit_if_idle()

    @handles(tiers.TierGet)
    def on_get(self, message: tiers.TierGet, envelope: Envelope) -> None:
        self._commit_if_about(message.cids)
        try:
            rows = self._read(message.cids)
        except LocalError as fault:
            self._fail(envelope, fault)
        else:
            found = tuple(block for block in rows if block is not None)
            missing = tuple(cid for cid, block in zip(message.cids, rows, strict=True) if block is None)
            if envelope.sender != KEEPER:
                self.hits += len(found)
                self.misses += len(missing)
            self.ctx.reply(envelope, tiers.TierBlocks(self.NAME, found, missing))
        self._commit_if_idle()

    @handles(tiers.TierHas)
    def on_has(self, message: tiers.TierHas, envelope: Envelope) -> None:
        self._commit_if_about(message.cids)
        try:
            sizes = self._sizes(message.cids)
        except LocalError as fault:
            self._fail(envelope, fault)
        else:
            self.ctx.reply(envelope, tiers.TierSizes(self.NAME, tuple(-1 if size is None else size for size in sizes)))
        self._commit_if_idle()

    @handles(tiers.TierDelete)
    def on_delete(self, message: tiers.TierDelete, envelope: Envelope) -> None:
        self._commit()
        try:
            for part in parts(message.cids, DISK_DELETE_MAX):
                self.store.delete_many(part)
        except LocalError as fault:
            self._fail(envelope, fault)
            return
        self.ctx.reply(envelope, Done())

    @handles(tiers.TierList)
    def on_list(self, message: tiers.TierList, envelope: Envelope) -> None:
        self._commit()
        try:
            cids = self.store.list(message.after or None, min(max(1, message.limit), DISK_LIST_MAX.value))
            sizes = self._sizes(cids)
        except LocalError as fault:
            self._fail(envelope, fault)
            return
        entries = tuple(tiers.TierEntry(cid, size or 0) for cid, size in zip(cids, sizes, strict=True))
        after = cids[-1].multihash if cids else message.after
        self.ctx.reply(envelope, tiers.TierListed(self.NAME, entries, after))

    @handles(tiers.TierScrub)
    def on_scrub(self, message: tiers.TierScrub, envelope: Envelope) -> None:
        self._commit_if_about(message.cids)
        sound = size = 0
        damaged: list[CID] = []
        try:
            # What was damaged under two of its names is gone by the second: a multihash is looked at once.
            cids = list({cid.multihash: cid for cid in message.cids}.values())
            for part in parts(cids, DISK_GET_BLOCKS_MAX):
                held = [cid for cid, here in zip(part, self.store.sizes(part), strict=True) if here is not None]
                for cid, block in zip(held, self.store.get_many(held), strict=True):
                    if block is None:
                        damaged.append(cid)
                    else:
                        sound, size = sound + 1, size + len(block)
        except LocalError as fault:
            self._fail(envelope, fault)
        else:
            self.ctx.count("scrubbed_blocks", sound)
            self.ctx.count("damaged_blocks", len(damaged))
            self.ctx.reply(envelope, tiers.TierScrubbed(self.NAME, sound, tuple(damaged), size))
        self._commit_if_idle()

    @handles(tiers.TierStatus)
    def on_status(self, _: tiers.TierStatus, envelope: Envelope) -> None:
        self._commit()
        count = size = 0
        state = self.health()
        try:
            stats = self.store.stats()
            count, size = stats.blocks, stats.bytes
        except LocalError as fault:
            state = fault.message
        self.ctx.reply(envelope, TierStat(self.NAME, count, size, self.capacity(), self.hits, self.misses, state))

    @handles(lifecycle.PolicyChanged)
    def on_policy_changed(self, _: lifecycle.PolicyChanged, __: Envelope) -> None:
        self._apply_quota()

    def _read(self, cids: Sequence[CID]) -> list[Block | None]:
        return [row for part in parts(cids, DISK_GET_BLOCKS_MAX) for row in self.store.get_many(part)]

    def _sizes(self, cids: Sequence[CID]) -> list[int | None]:
        return [size for part in parts(cids, DISK_SIZES_MAX) for size in self.store.sizes(part)]

    def _commit_if_about(self, cids: Sequence[CID]) -> None:
        """Have what is asked about on the disk first.  A download asks for the next blocks while the last are put."""
        if self.unwritten and any(cid.multihash in self.unwritten for cid in cids):
            self._commit()

    def _commit_if_idle(self) -> None:
        if not self.ctx.queued:
            self._commit()

    def _commit(self) -> None:
        """Write what has been gathered, in one transaction, and tell those who wait."""
        if not self.waiting:
            return
        blocks, waiting = self.gathered, self.waiting
        self.gathered, self.waiting, self.gathered_bytes = [], [], 0
        self.unwritten.clear()
        try:
            for part in transactions(blocks):
                self.store.put_many(part)
        except LocalError as fault:
            self.state = fault.message
            self.ctx.count("refused_puts", len(waiting))
            for envelope, _, _ in waiting:
                self._fail(envelope, fault)
            return
        self.state = "ok"
        self.ctx.count("commits")
        self.ctx.count("blocks_stored", len(blocks))
        for envelope, count, size in waiting:
            self.ctx.reply(envelope, tiers.TierStored(self.NAME, count, size))
        self.committed(sum(size for _, _, size in waiting))

    def _fail(self, envelope: Envelope, fault: LocalError) -> None:
        self.ctx.reply(envelope, Failed(envelope.kind, type(fault).__name__, str(fault)))

    def _apply_quota(self) -> None:
        self.store.set_quota(self.capacity() or UNBOUNDED)


def transactions(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """``blocks`` in runs that a store takes at one time, by number and by bytes."""
    run: list[Block] = []
    size = 0
    for block in blocks:
        if run and (len(run) >= DISK_PUT_BLOCKS_MAX.value or size + len(block) > DISK_PUT_BYTES_MAX.value):
            yield run
            run, size = [], 0
        run.append(block)
        size += len(block)
    if run:
        yield run


def parts(whole: Sequence[T], limit: Limit) -> Iterator[Sequence[T]]:
    """``whole`` in runs that a store takes at one time."""
    for start in range(0, len(whole), limit.value):
        yield whole[start : start + limit.value]
