"""The flight recorder: the last envelopes of a node, headers only, in a ring.

Recording costs about a microsecond: an entry is one tuple of values that the envelope has anyway, and a body is kept
by reference, only when it is small.  Buffers (blocks, frames) are never kept.  ``trace`` tells one request's story;
``dump`` writes the ring when an actor crashes; ``load`` and ``replay`` bring a dump back into a test.

Not here: what is worth recording (``router.py`` and ``cell.py`` call ``sent``, ``handled`` and ``lost``).
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgpack
import msgspec

from shoal.messages import codec, limits
from shoal.messages.base import Message, prepared
from shoal.messages.envelope import Envelope
from shoal.messages.errors import BadInput, RemoteError

SENT, HANDLED, LOST = "sent", "handled", "lost"
FORMAT: Final = "shoal-flight-1"
DUMP_BYTES_MAX: Final = limits.RECORDER_ENTRIES.value * (limits.RECORDER_BODY_MAX.value + 2048)


@prepared
class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One thing that happened to one envelope.  Times are seconds on the node's clock."""

    what: str  # SENT, HANDLED or LOST
    at: float
    id: int
    kind: str
    sender: str
    receiver: str
    trace: int
    reply_to: int
    origin: str
    size: int  # bytes of body and buffers
    body: bytes | None  # None: too large to keep, or not SENT
    buffers: int  # how many rode beside the body
    began: float  # HANDLED: when the handler began
    note: str  # LOST: why; HANDLED: the failure, empty when there was none


class Phase(msgspec.Struct, frozen=True):
    """One envelope's part in a trace.  Durations in seconds, -1 when it has not come to that."""

    id: int
    kind: str
    sender: str
    receiver: str
    reply_to: int
    sent_at: float
    queued_s: float  # from sent to the handler's begin
    handled_s: float  # in the handler
    answered_s: float  # from sent to the first reply to it being sent
    size: int
    outcome: str  # "handled", "waiting", "delivered" (to the edge), or what became of it


class FlightRecorder:
    """A ring of the last ``entries`` entries.  Any thread may record."""

    def __init__(self, entries: int = limits.RECORDER_ENTRIES.value) -> None:
        self._ring: deque[tuple[Any, ...]] = deque(maxlen=entries)

    def sent(self, envelope: Envelope) -> None:
        """``envelope`` has been queued for its receiver."""
        body = envelope.body if len(envelope.body) <= limits.RECORDER_BODY_MAX.value else None
        self._note(SENT, envelope.sent_at, envelope, body, 0.0, "")

    def handled(self, envelope: Envelope, began: float, ended: float, failure: str = "") -> None:
        """The receiver's handler ran from ``began`` to ``ended``."""
        self._note(HANDLED, ended, envelope, None, began, failure)

    def lost(self, envelope: Envelope, at: float, why: str) -> None:
        """``envelope`` did not reach a handler."""
        self._note(LOST, at, envelope, None, 0.0, why)

    def entries(self) -> list[Entry]:
        """What the ring holds, oldest first."""
        return [Entry(*fields) for fields in self._snapshot()]

    def trace(self, trace: int) -> list[dict[str, Any]]:
        """``phases`` as plain dicts, for JSON."""
        plain: list[dict[str, Any]] = msgspec.to_builtins(self.phases(trace))
        return plain

    def phases(self, trace: int) -> list[Phase]:
        """The phases of one request in order of sending; empty when the ring has forgotten it."""
        return phases(Entry(*fields) for fields in self._snapshot() if fields[6] == trace)

    def dump(self, path: Path, why: str) -> None:
        """Write the ring to ``path`` (mode 0600) as a msgpack stream: a header, then an array an entry."""
        part = path.with_name(path.name + ".part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            packer = msgpack.Packer()
            file.write(packer.pack({"format": FORMAT, "why": why}))
            for fields in self._snapshot():
                file.write(packer.pack(fields))
        part.replace(path)

    def _note(self, what: str, at: float, env: Envelope, body: bytes | None, began: float, note: str) -> None:
        self._ring.append(
            (
                what,
                at,
                env.id,
                env.kind,
                env.sender,
                env.receiver,
                env.trace,
                env.reply_to,
                env.origin,
                env.size if what is SENT else 0,
                body,
                len(env.buffers),
                began,
                note,
            )
        )

    def _snapshot(self) -> list[tuple[Any, ...]]:
        while True:
            try:
                return list(self._ring)
            except RuntimeError:  # another thread recorded meanwhile
                continue


def phases(entries: Iterable[Entry]) -> list[Phase]:
    """What a trace's entries amount to, one phase an envelope, in order of sending."""
    sent: dict[int, Entry] = {}
    ended: dict[int, Entry] = {}
    answered: dict[int, float] = {}
    for entry in entries:
        if entry.what == SENT:
            sent[entry.id] = entry
            if entry.reply_to:
                answered.setdefault(entry.reply_to, entry.at)
        else:
            ended[entry.id] = entry
    told = []
    for id_ in sorted(sent.keys() | ended.keys()):
        first, last = sent.get(id_), ended.get(id_)
        known = first or last
        assert known is not None
        sent_at = first.at if first else math.nan
        handled = last is not None and last.what == HANDLED
        told.append(
            Phase(
                id=id_,
                kind=known.kind,
                sender=known.sender,
                receiver=known.receiver,
                reply_to=known.reply_to,
                sent_at=sent_at if first else known.at,
                queued_s=last.began - sent_at if last and handled and first else -1.0,
                handled_s=last.at - last.began if last and handled else -1.0,
                answered_s=answered[id_] - sent_at if id_ in answered and first else -1.0,
                size=known.size,
                outcome=_outcome(known, last),
            )
        )
    return told


def load(path: Path) -> list[Entry]:
    """The entries of a dump.  Raises BadInput when the file is not one."""
    if path.stat().st_size > DUMP_BYTES_MAX:
        raise BadInput(f"{path} is larger than any flight recorder dump", "give a file that a crash left")
    try:
        unpacker = msgpack.Unpacker(use_list=False, max_buffer_size=DUMP_BYTES_MAX)
        unpacker.feed(path.read_bytes())
        header = unpacker.unpack()
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise ValueError("its first item is not a dump's header")
        return [msgspec.convert(fields, Entry, strict=True) for fields in unpacker]
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as fault:
        raise BadInput(f"{path} is not a flight recorder dump: {fault}", "give a file that a crash left") from None


def replay(entries: Iterable[Entry], receiver: str) -> Iterator[tuple[Entry, Message | None]]:
    """What ``receiver`` was sent, in order.  None for a message that was too large to keep or carried buffers."""
    for entry in entries:
        if entry.what != SENT or entry.receiver != receiver:
            continue
        if entry.body is None or entry.buffers:
            yield entry, None
            continue
        try:
            yield entry, codec.decode(entry.body)
        except RemoteError as fault:
            raise BadInput(f"entry {entry.id} cannot be read: {fault}", "use the version that wrote it") from None


def _outcome(known: Entry, last: Entry | None) -> str:
    if last is None:
        return "delivered" if known.receiver == "edge" else "waiting"  # the edge has no handlers to report
    if last.what == LOST:
        return last.note
    return f"failed: {last.note}" if last.note else "handled"
