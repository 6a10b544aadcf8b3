"""Give back the room of deleted blocks: move what is alive out of a sealed segment, and then remove the segment.

Not on a schedule, and not all at once: each ``step`` is bounded, and the next goes on where it stopped, after any crash
too, because where a block is stands in the index alone.  Begin at ``step``.

The order is what makes it safe.  Frames are copied to the segment in use and synced; then one durable transaction says
that the blocks are there; only a segment to which no row of the index points is removed, and its row goes last.  Cut
short before the transaction, there are two copies and the index knows the old one; after it, two and it knows
the new one.  Without its index, a store finds both and takes either.

A block that was set aside as damaged may be sound: the index's word on where it is may have been what was wrong.  So
before a segment goes that such a block was in, it is scanned once for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from shoal.messages.limits import COLD_MOVE_BLOCKS_MAX, COLD_MOVE_BYTES_MAX
from shoal.storage.cold.index import Entry, Index, Named, Segment
from shoal.storage.cold.places import Place, SegmentGone, name_of
from shoal.storage.cold.scan import Rot, scan

LIVE_RATIO_MIN: Final = 0.5  # below it, a segment costs at least as much room for the dead as for the living


@dataclass(frozen=True, slots=True)
class Compacted:
    """What one step did.  ``segment`` is None when there was nothing to do."""

    segment: int | None = None
    moved: int = 0  # blocks
    moved_bytes: int = 0  # of their frames
    freed_bytes: int = 0  # the segment's size, once it is removed


Read = Callable[[Segment, Sequence[Named]], list[bytes | None]]
"""The sound frame of each block of a segment; None for one that is damaged and has been set aside."""

Move = Callable[[Sequence[tuple[Named, bytes]]], None]
"""Append frames to the segment in use, sync them, and commit durably where their blocks are now."""


def candidate(index: Index, ratio: float, busy: frozenset[int]) -> Segment | None:
    """The sealed segment with the lowest part of live bytes, below ``ratio`` and not among ``busy``; or None."""
    worst = "sealed = 1 AND live_bytes <= ? * bytes ORDER BY live_bytes * 1.0 / max(1, bytes), id LIMIT ?"
    found = index.segments(worst, (ratio, 1 + len(busy)))
    return next(
        (row for row in found if row.id not in busy and (row.live_bytes < ratio * row.bytes or not row.live_bytes)),
        None,
    )


def step(index: Index, place: Place, segment: Segment, bytes_max: int, read: Read, move: Move) -> Compacted:
    """Move up to ``bytes_max`` of live frames out of ``segment``; remove it when nothing is left alive in it.

    At least one block is moved, whatever ``bytes_max``.  Raises StorageFull or StorageFault; what was moved until then
    stays moved, and nothing is lost.
    """
    blocks = _first_blocks(index, segment, min(bytes_max, COLD_MOVE_BYTES_MAX.value))
    moving = [(named, frame) for named, frame in zip(blocks, read(segment, blocks), strict=True) if frame is not None]
    if moving:
        move(moving)
    moved_bytes = sum(len(frame) for _, frame in moving)
    if index.of_segment(segment.id, 1):
        return Compacted(segment.id, len(moving), moved_bytes)
    rescued = _rescue(index, place, segment, move)
    place.delete(name_of(segment.id))
    with index.writing("forget an empty segment") as writer:
        writer.drop_segment(segment.id)
    return Compacted(segment.id, len(moving) + rescued, moved_bytes, segment.bytes)


def _rescue(index: Index, place: Place, segment: Segment, move: Move) -> int:
    """Move what was set aside and turns out to be sound; how many blocks that was."""
    set_aside = index.quarantined(segment.id)
    if not set_aside:
        return 0
    name, count = name_of(segment.id), 0

    def read(offset: int, length: int) -> bytes:
        return place.read(name, [(offset, length)])[0]

    try:
        for found in scan(read, 0, segment.bytes):
            if isinstance(found, Rot) or found.cid is None or found.cid.multihash not in set_aside:
                continue
            multihash = found.cid.multihash
            if index.find(multihash) is None:
                entry = Entry(found.cid.codec, found.size, segment.id, found.offset, found.length, found.crc)
                move([((multihash, entry), read(found.offset, found.length))])
                count += 1
    except SegmentGone:
        pass
    return count


def _first_blocks(index: Index, segment: Segment, bytes_max: int) -> list[Named]:
    taken: list[Named] = []
    size = 0
    for named in index.of_segment(segment.id, COLD_MOVE_BLOCKS_MAX.value):
        size += named[1].length
        if taken and size > bytes_max:
            break
        taken.append(named)
    return taken
