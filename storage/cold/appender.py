"""Frames to the segment in use and rows to the index: both or neither, whatever fails between them.

Not the file itself (``tail``), and no block is read.  Begin at ``Appender.append``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shoal.storage.cold.folder import FolderPlace
from shoal.storage.cold.index import Entry, Index
from shoal.storage.cold.places import name_of
from shoal.storage.cold.record import crc_of
from shoal.storage.cold.tail import Tail


@dataclass(frozen=True, slots=True)
class Packed:
    """A block's frame, and what the index says of the block beside where it is.  ``size`` is of its data."""

    multihash: bytes
    codec: int
    size: int
    frame: bytes


class Appender:
    """Owns the segment in use: makes it at the first append, seals it from ``segment_bytes`` on."""

    def __init__(self, index: Index, folder: FolderPlace, header: bytes, segment_bytes: int) -> None:
        """``header`` is the frame that begins every segment."""
        self._index = index
        self._folder = folder
        self._header = header
        self._segment_bytes = segment_bytes
        self._tail: Tail | None = None
        self._unsettled: Tail | None = None

    def resume(self, segment: int, end: int) -> None:
        """Go on with a segment that was in use, whose last record ends at ``end``; what is behind it is cut off."""
        tail = Tail(segment, self._folder.path_of(name_of(segment)), self._header, end)
        self._tail = tail
        if self._folder.list().get(segment) != end:
            tail.cut()
        if end >= self._segment_bytes:
            with self._index.writing("seal a segment") as writer:
                writer.set_segment(segment, end, sealed=True)
            self._leave()

    def close(self) -> None:
        """Let go of the file.  What was appended and not committed is found when the store is opened."""
        self._unsettled = None
        self._leave()

    def append(self, doing: str, packed: Sequence[Packed], *, durable: bool) -> None:
        """Write and sync the frames, then commit where their blocks are; ``durable`` as in ``Index.writing``.

        Raises StorageFull or StorageFault; then the index is as it was, and so is, by the next append, the segment.
        """
        self.settle()
        tail = self._tail_in_use()
        try:
            offsets = tail.append([one.frame for one in packed])
        except BaseException:
            self._take_back(tail)
            raise
        sealed = tail.written >= self._segment_bytes
        self._unsettled = tail
        with self._index.writing(doing, durable=durable) as writer:
            writer.set_segment(tail.segment, tail.written, sealed=sealed)
            writer.put(
                (one.multihash, Entry(one.codec, one.size, tail.segment, offset, len(one.frame), crc_of(one.frame)))
                for one, offset in zip(packed, offsets, strict=True)
            )
        self._unsettled = None
        tail.keep()
        if sealed:
            self._leave()

    def settle(self) -> None:
        """Undo an append whose transaction failed: it would be found again by the next open.

        A commit that failed at its sync may yet be played back from the log after a crash.  The records that it
        speaks of must stay where they are until another commit has taken its place: only then are they cut off.
        """
        tail = self._unsettled
        if tail is None:
            return
        with self._index.writing("undo a failed write", durable=True) as writer:
            writer.set_segment(tail.segment, tail.end, sealed=False)
        self._unsettled = None
        self._take_back(tail)

    def _take_back(self, tail: Tail) -> None:
        tail.take_back()
        if tail.broken:
            self._leave()

    def _tail_in_use(self) -> Tail:
        if self._tail is None:
            # The files and rows are asked too: a number used twice would mix up two segments.
            known = self._index.number("SELECT coalesce(max(id) + 1, 0) FROM segments")
            number = max(self._index.totals.next_segment, known, *(taken + 1 for taken in self._folder.list()))
            self._tail = Tail(number, self._folder.path_of(name_of(number)), self._header)
        return self._tail

    def _leave(self) -> None:
        """The next append makes a new segment."""
        if self._tail is not None:
            self._tail.close()
            self._tail = None
