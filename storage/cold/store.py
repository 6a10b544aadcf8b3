"""ColdStore: blocks that are seldom asked for, compressed, in segments that are whole CAR archives.

Not a cache, not thread-safe, no actor.  Begin at ``put_many`` and ``get_many``; ``record`` says what a segment is made
of, ``recovery`` what is done after a crash, ``compaction`` how room is given back, ``objects`` about object stores.

One thread owns a store.  Blocks are appended to the segment in use; a full one is sealed and never changes again.
An index in SQLite says where each block is.  It holds nothing that the segments do not tell, so it may be lost.

Durability.  A put is one run of writes, one sync of the segment and one transaction of the index: when it returns, its
blocks outlive a kill and a power cut.  Cut short before that, some of its blocks may be there, each of them whole.
A delete is durable when it returns, for as long as the index is: made anew from the segments, it has the deleted
blocks again that were not yet compacted away.  That costs room until they are deleted once more; no block is lost.

Names and damage are as in the disk tier: a block is stored under its multihash; every read is hashed; a record that is
not what its name says is set aside and reported as absent, so that it is fetched again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from shoal.messages.block import Block
from shoal.messages.cid import CID, IDENTITY
from shoal.messages.errors import BadConfig, LocalError, StorageFault, StorageFull
from shoal.messages.limits import (
    COLD_SEGMENT_BYTES_MAX,
    COLD_SPOOL_BYTES,
    DISK_DELETE_MAX,
    DISK_GET_BLOCKS_MAX,
    DISK_RESERVE_BYTES,
    DISK_SIZES_MAX,
    MIB,
)
from shoal.storage.cold import compaction, record, recovery
from shoal.storage.cold.appender import Appender, Packed
from shoal.storage.cold.compaction import LIVE_RATIO_MIN, Compacted
from shoal.storage.cold.folder import FolderPlace, translated
from shoal.storage.cold.index import Index, Named, Segment
from shoal.storage.cold.places import INDEX_NAME, Place, SegmentGone, name_of
from shoal.storage.cold.record import LEVEL_DEFAULT, Packer
from shoal.storage.cold.recovery import Repairs
from shoal.storage.disk.batches import check_count, distinct
from shoal.storage.disk.faults import free_bytes

CIDs: TypeAlias = list[CID]  # inside the class, ``list`` is the method
Blocks: TypeAlias = list[Block | None]
Sizes: TypeAlias = list[int | None]
Frames: TypeAlias = list[bytes]
Rows: TypeAlias = list[Named]
SoundFrames: TypeAlias = list[bytes | None]

SEGMENT_BYTES: Final = 64 * MIB  # some 250 usual leaves: few files, and a compaction that is over within seconds
INDEX_BYTES_PER_BLOCK: Final = 512  # of a row, in the log and in the file


@dataclass(frozen=True, slots=True)
class ColdStats:
    """``bytes`` of blocks count towards the quota; ``stored_bytes`` is what their segments take, ``live_bytes`` the
    part of that which is of blocks that are not deleted."""

    blocks: int
    bytes: int
    quota_bytes: int
    stored_bytes: int
    live_bytes: int
    segments: int
    remote_segments: int
    waiting_bytes: int  # of sealed segments that are to be uploaded
    quarantined: int
    damaged_reads: int  # since this object was made

    @property
    def live_ratio(self) -> float:
        """The part of the stored bytes that is alive, 1.0 for an empty store."""
        return self.live_bytes / self.stored_bytes if self.stored_bytes else 1.0


@dataclass(frozen=True, slots=True)
class Upload:
    """A sealed segment on its way to the object store.  ``run`` may be called on any thread."""

    segment: int
    path: Path
    place: Place

    def run(self) -> None:
        """Upload it and make sure of it.  Raises StorageFault; may be repeated."""
        self.place.put(name_of(self.segment), self.path)


class ColdStore:
    """A bounded, durable shelf of compressed blocks.  Every method may raise StorageFault; see each for the rest."""

    def __init__(
        self,
        folder: Path,
        quota_bytes: int,
        *,
        remote: Place | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        level: int = LEVEL_DEFAULT,
        reserve_bytes: int = DISK_RESERVE_BYTES.value,
        spool_bytes: int = COLD_SPOOL_BYTES.value,
    ) -> None:
        """Say where and how much; nothing is opened yet.  Raises BadConfig for a level or size that cannot be.

        ``folder`` has the index and the segments, or with ``remote`` only those that are not uploaded yet, of which
        ``spool_bytes`` may wait.  ``quota_bytes`` bounds the sum of block sizes; the room that they take is less by
        what compresses, and up to 1 / LIVE_RATIO_MIN times as much while deleted blocks wait for compaction.  A
        segment is sealed from ``segment_bytes`` on.  ``reserve_bytes`` is what a put leaves free on the volume.
        """
        if not 0 < segment_bytes <= COLD_SEGMENT_BYTES_MAX.value:
            fault = f"a cold segment of {segment_bytes} bytes"
            raise BadConfig(fault, f"give 1 to {COLD_SEGMENT_BYTES_MAX.value} bytes; {SEGMENT_BYTES} is usual")
        self._folder = FolderPlace(folder)
        self._remote = remote
        self._index = Index(folder / INDEX_NAME)
        self._packer = Packer(level)
        self._appender = Appender(self._index, self._folder, self._packer.header(), segment_bytes)
        self._quota_bytes = quota_bytes
        self._reserve_bytes = reserve_bytes
        self._spool_bytes = spool_bytes
        self._damaged_reads = 0
        self._uploading: set[int] = set()
        self._stuck: set[int] = set()  # segments that compaction could not read or remove, until the next open
        self.repairs = Repairs()

    # --- opening -----------------------------------------------------------------------------------

    def open(self) -> None:
        """Open, or make, the store in the calling thread and repair what a crash has left; see ``recovery``.

        ``repairs`` then says what was found.  Raises BadConfig for an index of a newer shoal, or when segments are in
        an object store that is not configured.
        """
        self._folder.make()
        for last in (False, True):
            try:
                self._open()
                return
            except BaseException:
                self.close()
                if last or not self._index.damaged:
                    raise  # else once more: an empty index takes the place of the damaged one

    def close(self) -> None:
        """Let go of every file.  May be called twice."""
        self._appender.close()
        self._folder.close()
        self._index.close()
        self._uploading.clear()
        self._stuck.clear()

    @property
    def wants_repair(self) -> bool:
        """Whether the store is closed, or its index was found damaged: opening it anew makes it whole."""
        return self._index.damaged or not self._index.is_open

    def _open(self) -> None:
        self._index.open()
        self.repairs = repairs = recovery.reconcile(self._index, self._folder, self._remote)
        if repairs.tail is not None:
            self._appender.resume(repairs.tail, repairs.tail_end)

    # --- writing -----------------------------------------------------------------------------------

    def put_many(self, blocks: Sequence[Block]) -> None:
        """Store all of ``blocks``, durably; those already here are passed over.  When it raises, none is stored.

        The caller vouches that each block hashes to its CID.  Raises StorageFull when the quota, the volume or
        the spool has no room, and BadInput for a batch above DISK_PUT_BLOCKS_MAX or DISK_PUT_BYTES_MAX or a block
        above BLOCK_BYTES_MAX.
        """
        wanted = distinct(blocks)
        fresh = {multihash: block for multihash, block in wanted.items() if self._index.find(multihash) is None}
        if not fresh:
            self._index.settle()  # or a delete that failed might yet take what is here
            return
        # Asked only now, so that a store at its quota still takes blocks that it has.
        self._check_quota(sum(map(len, fresh.values())))
        packed = [
            Packed(multihash, block.cid.codec, len(block), self._packer.pack(block))
            for multihash, block in fresh.items()
        ]
        self._check_volume(sum(len(one.frame) + INDEX_BYTES_PER_BLOCK for one in packed))
        self._appender.append("store blocks", packed, durable=False)

    def delete_many(self, cids: Sequence[CID]) -> int:
        """Forget ``cids`` durably, and say how many of them were here.  At most DISK_DELETE_MAX at a time.

        Their room is given back by ``compact``.
        """
        check_count(len(cids), DISK_DELETE_MAX)
        self._appender.settle()  # or what a put that failed has left would come back
        with self._index.writing("delete blocks", durable=True) as writer:
            return sum(writer.drop(multihash) is not None for multihash in {cid.multihash for cid in cids})

    def set_quota(self, quota_bytes: int) -> None:
        """Change the quota.  What is above it stays until the caller deletes; puts are refused meanwhile."""
        self._quota_bytes = quota_bytes

    def compact(self, bytes_max: int, live_ratio_min: float = LIVE_RATIO_MIN) -> Compacted:
        """One bounded step of giving room back; see ``compaction``.  What it returns has no segment
        when there was nothing to do.

        It may use the reserve: it is what room is made with.  A segment that cannot be read or removed raises
        StorageFault once, and is passed over until the store is opened again.
        """
        segment = compaction.candidate(self._index, live_ratio_min, frozenset(self._uploading | self._stuck))
        if segment is None:
            return Compacted()
        place = self._place_of(segment)
        try:
            return compaction.step(self._index, place, segment, bytes_max, self._frames_to_move, self._move)
        except StorageFault:
            self._stuck.add(segment.id)
            raise

    def _move(self, moving: Sequence[tuple[Named, bytes]]) -> None:
        packed = [Packed(multihash, entry.codec, entry.size, frame) for (multihash, entry), frame in moving]
        self._appender.append("move blocks to another segment", packed, durable=True)

    def _frames_to_move(self, segment: Segment, blocks: Sequence[Named]) -> SoundFrames:
        """As ``compaction.Read``: what is not sound is set aside, and must be before its segment goes."""
        damaged: dict[bytes, str] = {}
        sound: SoundFrames = []
        for (multihash, entry), frame in zip(blocks, self._read_frames(segment.id, blocks), strict=True):
            checked = record.checked(frame, entry.length, entry.crc, multihash)
            if isinstance(checked, str):
                damaged[multihash] = checked
            sound.append(None if isinstance(checked, str) else frame)
        if damaged:
            self._damaged_reads += len(damaged)
            self._quarantine(damaged)
        return sound

    # --- uploading ---------------------------------------------------------------------------------

    def next_upload(self) -> Upload | None:
        """A sealed segment that is to go to the object store, and is not on its way; None when there is none.

        After its ``run`` comes ``finish_upload``, or ``drop_upload`` when that raised.
        """
        if self._remote is None:
            return None
        for row in self._index.segments("sealed = 1 AND remote = 0 AND live_bytes > 0"):
            if row.id not in self._uploading:
                self._uploading.add(row.id)
                return Upload(row.id, self._folder.path_of(name_of(row.id)), self._remote)
        return None

    def finish_upload(self, upload: Upload) -> None:
        """The object store has the segment: say so durably, and only then remove the file."""
        try:
            (row,) = self._index.segments("id = ?", (upload.segment,))
            with self._index.writing("note an upload", durable=True) as writer:
                writer.set_segment(row.id, row.bytes, sealed=True, remote=True)
        finally:
            self.drop_upload(upload)
        self._folder.delete(name_of(upload.segment))

    def drop_upload(self, upload: Upload) -> None:
        """It did not succeed: it will be handed out again."""
        self._uploading.discard(upload.segment)

    def upload(self) -> bool:
        """Upload one sealed segment in the calling thread; False when there was none.  Raises StorageFault."""
        upload = self.next_upload()
        if upload is None:
            return False
        try:
            upload.run()
        except BaseException:
            self.drop_upload(upload)
            raise
        self.finish_upload(upload)
        return True

    # --- reading -----------------------------------------------------------------------------------

    def get_many(self, cids: Sequence[CID]) -> Blocks:
        """The block of each CID, in their order; None for one that is absent or was found damaged.

        At most DISK_GET_BLOCKS_MAX at a time.  Raises StorageFault only when a device or the object store fails.
        """
        check_count(len(cids), DISK_GET_BLOCKS_MAX)
        found, damaged = self._read({cid.multihash for cid in cids if cid.hash_code != IDENTITY})
        if damaged:
            self._damaged_reads += len(damaged)
            try:
                self._quarantine(damaged)
            except LocalError:
                pass  # the next read finds it again
        blocks: Blocks = []
        for cid in cids:
            data = memoryview(cid.digest) if cid.hash_code == IDENTITY else found.get(cid.multihash)
            blocks.append(None if data is None else Block(cid, data))
        return blocks

    def sizes(self, cids: Sequence[CID]) -> Sizes:
        """The size in bytes of each block, or None where absent: from the index, no segment is read.

        At most DISK_SIZES_MAX at a time.  Raises while a delete that failed might yet happen, as the disk tier does.
        """
        check_count(len(cids), DISK_SIZES_MAX)
        self._index.settle()
        return [len(cid.digest) if cid.hash_code == IDENTITY else self._index.size(cid.multihash) for cid in cids]

    def list(self, after: bytes | None, limit: int) -> CIDs:
        """Up to ``limit`` (at most DISK_LIST_MAX) CIDs, ordered by multihash, from the one behind ``after`` on.

        ``after`` is the ``multihash`` of the last CID of the page before, or None to begin.  An empty list is the
        end.  Each is a CIDv1 of the codec that the block was first stored under.
        """
        return [cid for cid, _ in self._index.page(after or b"", limit)]

    def stats(self) -> ColdStats:
        """Counts and bytes as of now, in time proportional to the segments, however many blocks there are."""
        rows = self._index.segments()
        waiting = [row.bytes for row in rows if row.sealed and not row.remote] if self._remote is not None else []
        return ColdStats(
            blocks=self._index.totals.blocks,
            bytes=self._index.totals.bytes,
            quota_bytes=self._quota_bytes,
            stored_bytes=sum(row.bytes for row in rows),
            live_bytes=sum(row.live_bytes for row in rows),
            segments=len(rows),
            remote_segments=sum(row.remote for row in rows),
            waiting_bytes=sum(waiting),
            quarantined=self._index.number("SELECT count(*) FROM quarantine"),
            damaged_reads=self._damaged_reads,
        )

    def _read(self, multihashes: Iterable[bytes]) -> tuple[dict[bytes, memoryview], dict[bytes, str]]:
        """The sound bytes of each block that is here, and what is wrong with the others that are."""
        by_segment: dict[int, Rows] = {}
        for multihash in multihashes:
            entry = self._index.find(multihash)
            if entry is not None:
                by_segment.setdefault(entry.segment, []).append((multihash, entry))
        found: dict[bytes, memoryview] = {}
        damaged: dict[bytes, str] = {}
        for segment, blocks in by_segment.items():
            blocks.sort(key=lambda named: named[1].offset)
            for (multihash, entry), frame in zip(blocks, self._read_frames(segment, blocks), strict=True):
                checked = record.checked(frame, entry.length, entry.crc, multihash)
                if isinstance(checked, str):
                    damaged[multihash] = checked
                else:
                    found[multihash] = checked
        return found, damaged

    def _read_frames(self, segment: int, blocks: Sequence[Named]) -> Frames:
        """What stands where the index says that the blocks of a segment are: empty when the segment is gone."""
        ranges = [(entry.offset, entry.length) for _, entry in blocks]
        rows = self._index.segments("id = ?", (segment,)) if self._remote is not None else []
        place = self._place_of(rows[0]) if rows else self._folder
        try:
            return place.read(name_of(segment), ranges)
        except SegmentGone:
            return [b""] * len(ranges)

    def _place_of(self, segment: Segment) -> Place:
        return self._remote if segment.remote and self._remote is not None else self._folder

    def _quarantine(self, damaged: dict[bytes, str]) -> None:
        with self._index.writing("set damaged blocks aside", durable=True) as writer:
            for multihash, reason in damaged.items():
                writer.quarantine(multihash, reason)

    # --- room --------------------------------------------------------------------------------------

    def _check_quota(self, new_bytes: int) -> None:
        if self._index.totals.bytes + new_bytes > self._quota_bytes:
            raise StorageFull(
                f"{new_bytes} more bytes would take the cold tier above its quota of {self._quota_bytes}",
                "delete or unpin blocks, or raise the quota",
            )
        if self._remote is None:
            return
        waiting = self._index.number("SELECT sum(bytes) FROM segments WHERE remote = 0 AND sealed = 1")
        if waiting > self._spool_bytes:
            raise StorageFull(
                f"{waiting} bytes of the cold tier wait to be uploaded to {self._remote.where}",
                "see why uploads fail or are slow; they are repeated until they succeed",
            )

    def _check_volume(self, new_bytes: int) -> None:
        with translated(f"tell how full {self._folder.where} is"):
            free = free_bytes(self._folder.folder)
        if free < self._reserve_bytes + new_bytes:
            raise StorageFull(
                f"only {free} bytes are free on the volume of {self._folder.where}, of which"
                f" {self._reserve_bytes} are kept back",
                "free some space on that volume",
            )
