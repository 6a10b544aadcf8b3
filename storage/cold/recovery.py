"""Make the index agree with the segments: after a crash, a lost index, lost or restored segments.

Not run on the way of a put or a get.  Begin at ``reconcile``, which ``ColdStore.open`` calls.

What may have happened, and what is done:
- records behind what the index knows of a segment (a crash or power cut after the segment's sync): they are added;
- a torn record at the end of the segment in use: it is cut off; nothing else is ever cut or written over;
- a segment without a row (the index was lost, or is older): it is scanned whole;
- a row whose segment is gone, or shorter than the row says (the index is newer): its blocks there are forgotten, after
  everything that is there has been scanned, so that a block that had been moved is found at its new place;
- a segment that is both in the folder and, by its row, in the object store: its upload was confirmed, the file goes.

A segment that agrees in length with its row is not read: damage inside it is found when its blocks are.  Without an
index, blocks that were deleted and not yet compacted away come back.  That costs room, and nothing else; the
other way about, a block that is lost, is what nothing here may do.

A scan is committed as it goes, so one that is cut short costs only its own segment's time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from shoal.messages.cid import IDENTITY
from shoal.messages.errors import BadConfig
from shoal.messages.limits import COLD_REPAIR_ROWS
from shoal.storage.cold.folder import FolderPlace
from shoal.storage.cold.index import Entry, Index, Named, Segment
from shoal.storage.cold.places import Place, name_of
from shoal.storage.cold.scan import Found, ReadAt, Rot, scan


@dataclass(slots=True)
class Repairs:
    """What was found.  ``tail`` is the segment to go on with, and ``tail_end`` the offset behind its last record."""

    tail: int | None = None
    tail_end: int = 0
    scanned: int = 0  # segments, or ends of segments, that were read
    found: int = 0  # records that the index did not know
    rotten_bytes: int = 0
    lost: list[int] = field(default_factory=list)  # segments that are gone, or shorter than they were


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a scan found: the offset behind the last sound record, and whether there was damage before it."""

    sound_end: int
    rot_within: bool


def reconcile(index: Index, folder: FolderPlace, remote: Place | None) -> Repairs:
    """Bring ``index`` in step with the segments in ``folder`` and, when the index is not whole, in ``remote``.

    Raises StorageFault when something cannot be read, BadConfig when there are segments in an object store and
    ``remote`` is None.
    """
    repairs = Repairs()
    rows = {row.id: row for row in index.segments()}
    files = folder.list()
    if remote is None and any(row.remote for row in rows.values()):
        raise BadConfig(
            f"segments of the cold tier in {folder.where} are in an object store, and none is configured",
            "give the cold tier the URL that it had, or remove its folder to begin anew",
        )
    for number in sorted(files):
        row = rows.get(number)
        if row is not None and row.remote:
            folder.delete(name_of(number))
        else:
            _look_at(index, folder, row, number, files[number], repairs)
    gone = [row for row in rows.values() if not row.remote and row.id not in files]
    if remote is not None and (gone or not index.totals.whole):
        gone = _look_at_remote(index, remote, rows, files, repairs)
    repairs.lost.extend(row.id for row in gone if row.live_bytes)
    if gone or repairs.lost or repairs.scanned or not index.totals.whole:
        with index.writing("count the cold tier's blocks anew", durable=True) as writer:
            for number in {*repairs.lost, *(row.id for row in gone)}:
                if number in files:
                    writer.drop_beyond(number, files[number])
                else:
                    writer.drop_segment(number)
            writer.set_whole(True)
            writer.recount()
    return repairs


def _look_at(index: Index, folder: FolderPlace, row: Segment | None, number: int, size: int, repairs: Repairs) -> None:
    """Deal with one local segment of ``size`` bytes; it becomes the tail unless it is sealed or a later one is it."""
    if row is not None and row.sealed and row.bytes == size:
        return
    known = row.bytes if row is not None else 0
    seen = _Seen(size, False)
    if size < known:
        repairs.lost.append(number)
        known = 0  # where its last whole record ends is not known
    if size != known:
        seen = _scan_into(index, _reader(folder, number), number, known, size, repairs)
    sealed = seen.rot_within or (row is not None and row.sealed)
    if not sealed:
        repairs.tail, previous = number, repairs.tail
        repairs.tail_end = seen.sound_end
        if previous is not None:
            _seal(index, folder, previous)
    with index.writing("repair the cold tier's index") as writer:
        writer.set_segment(number, size if sealed else seen.sound_end, sealed=sealed)


def _seal(index: Index, folder: FolderPlace, number: int) -> None:
    """A later segment is in use: this one is done, torn end and all."""
    size = folder.list().get(number, 0)
    with index.writing("repair the cold tier's index") as writer:
        writer.set_segment(number, size, sealed=True)


def _look_at_remote(
    index: Index, remote: Place, rows: dict[int, Segment], files: dict[int, int], repairs: Repairs
) -> list[Segment]:
    """Scan what the index does not know of the object store.  Returns the segments that are nowhere any more."""
    there = remote.list()
    for number in sorted(there.keys() - files.keys()):
        row = rows.get(number)
        if row is None or row.bytes != there[number]:
            _scan_into(index, _reader(remote, number), number, 0, there[number], repairs)
        with index.writing("repair the cold tier's index") as writer:
            writer.set_segment(number, there[number], sealed=True, remote=True)
    return [row for row in rows.values() if row.id not in there and row.id not in files]


def _reader(place: Place, number: int) -> ReadAt:
    name = name_of(number)
    return lambda offset, length: place.read(name, [(offset, length)])[0]


def _scan_into(index: Index, read: ReadAt, number: int, start: int, end: int, repairs: Repairs) -> _Seen:
    """Add every sound record between two offsets of a segment to the index."""
    repairs.scanned += 1
    sound_end, rot, rot_within = start, False, False
    for batch in _batches(scan(read, start, end)):
        found: list[Named] = []
        for one in batch:
            if isinstance(one, Rot):
                repairs.rotten_bytes += one.length
                rot = True
                continue
            sound_end, rot_within = one.end, rot_within or rot
            if one.cid is not None and one.cid.hash_code != IDENTITY:
                entry = Entry(one.cid.codec, one.size, number, one.offset, one.length, one.crc)
                found.append((one.cid.multihash, entry))
        repairs.found += len(found)
        with index.writing("make the cold tier's index anew") as writer:
            writer.put(found)
    return _Seen(sound_end, rot_within)


def _batches(found: Iterator[Found | Rot]) -> Iterator[list[Found | Rot]]:
    batch: list[Found | Rot] = []
    for one in found:
        batch.append(one)
        if len(batch) == COLD_REPAIR_ROWS.value:
            yield batch
            batch = []
    if batch:
        yield batch
