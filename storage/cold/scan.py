"""Find the records of a segment from its bytes alone, past whatever is torn or rotten.  No I/O here: reads are given.

Not a decoder of archives: it hands out where sound records lie, and where nothing sound does.  Begin at ``scan``.

Frames stand one behind another, so the end of one is the beginning of the next.  Where that chain is broken, the
next place that looks like a frame and holds a block which hashes to its name takes it up again.  A block may hold bytes
that look like a record; they can lead nobody astray, because they would have to be a true block to be taken for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from shoal.messages.cid import CID
from shoal.messages.errors import RemoteError
from shoal.messages.limits import COLD_RESYNC_MAX, COLD_SCAN_BYTES
from shoal.storage.cold import record
from shoal.storage.cold.record import FRAME_BYTES_MAX, HEADER, MAGIC

ReadAt = Callable[[int, int], bytes]
"""Bytes of a segment: (offset, length) to at most that many, fewer only at its end."""


@dataclass(frozen=True, slots=True)
class Found:
    """A sound record: where its frame is, and what it holds.  ``cid`` is None for the frame of the CAR header."""

    offset: int
    length: int
    crc: int
    cid: CID | None
    size: int

    @property
    def end(self) -> int:
        """The offset behind it."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Rot:
    """A stretch in which nothing sound was found; at the end of a segment it may be a record that was torn."""

    offset: int
    length: int


def scan(read: ReadAt, start: int, end: int) -> Iterator[Found | Rot]:
    """What lies between the offsets ``start``, where a frame should begin, and ``end``, in order and without gaps.

    Holds COLD_SCAN_BYTES at a time.  After COLD_RESYNC_MAX places that looked like a record and were none, the
    rest counts as rotten: only bytes made for that purpose have so many.
    """
    window, base = b"", start
    at, rot, misses = start, -1, 0
    while at < end:
        seen = base + len(window)
        if seen - at < FRAME_BYTES_MAX and seen < end:
            window, base = read(at, min(COLD_SCAN_BYTES.value, end - at)), at
            if base + len(window) < min(base + COLD_SCAN_BYTES.value, end):
                end = base + len(window)  # shorter than was said
        found = _frame_at(window, at - base, at) if at < end else None
        if found is None:
            rot, misses = (at if rot < 0 else rot), misses + 1
            at = end if misses > COLD_RESYNC_MAX.value else _next_candidate(window, base, at, end)
            continue
        if rot >= 0:
            yield Rot(rot, at - rot)
            rot = -1
        yield found
        at = found.end
    if rot >= 0 and end > rot:
        yield Rot(rot, end - rot)


def _next_candidate(window: bytes, base: int, at: int, end: int) -> int:
    """The next offset behind ``at`` where a frame may begin."""
    next_at = window.find(MAGIC, at - base + 1)
    if next_at >= 0:
        return base + next_at
    seen = base + len(window)
    # A frame's first bytes may stand astride the window's end.
    return end if seen >= end else max(at + 1, seen - len(MAGIC) + 1)


def _frame_at(window: bytes, start: int, offset: int) -> Found | None:
    """The sound record, or CAR header, at ``start`` of the window; None when there is none."""
    if not window.startswith(MAGIC, start):
        return None
    view = memoryview(window)[start : start + FRAME_BYTES_MAX]
    length = record.frame_length(view)
    if length is None:
        return None
    frame = view[:length]
    try:
        content = record.content_of(frame)
        if content == HEADER:
            return Found(offset, length, record.crc_of(frame), None, 0)
        held = record.section_of(content)
    except RemoteError:
        return None
    if not held.cid.matches(held.data):
        return None
    return Found(offset, length, record.crc_of(frame), held.cid, len(held.data))
