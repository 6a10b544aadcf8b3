"""The nouns of the backlog: why a CID is announced, what is due, totals.  Frozen data; no I/O.

One row is one CID (by its multihash: every codec and version of it is one provider record) and one way.  A row stays
as long as it has an origin; it may have several at one time.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from shoal.messages.announcing import OVER_DHT, OVER_PUBSUB
from shoal.messages.cid import CID
from shoal.messages.errors import BadInput
from shoal.messages.limits import (
    ANNOUNCE_METADATA_BYTES,
    ANNOUNCED_BY_DHT_MAX,
    ANNOUNCED_CIDS_PER_PEER,
    ANNOUNCEMENT_PAIRS_MAX,
    ANNOUNCEMENT_TEXT_CHARS,
    BACKLOG_BATCH_MAX,
)

WAY_CODES: Final = {OVER_DHT: 1, OVER_PUBSUB: 2}  # as the file has them; never renumbered
WAY_NAMES: Final = {code: way for way, code in WAY_CODES.items()}
# Over pubsub no more than others remember of one node: announcing more would have them forget what came first.
WAY_ROWS_MAX: Final = {OVER_DHT: ANNOUNCED_BY_DHT_MAX.value, OVER_PUBSUB: ANNOUNCED_CIDS_PER_PEER.value}
NEVER_DUE: Final = 1e15  # seconds: the due time of a row that is not told
FAILURES_KEPT: Final = 1000  # where the count of failures stops

Metadata = tuple[tuple[str, str], ...]


class Origin(enum.IntFlag):
    """Why a row is there.  Stored as a number: values never change."""

    EXPLICIT = 1  # the user said so
    ONCE = 2  # the user said so, once
    ROOT = 4  # the user added it
    PINNED = 8  # it is the root of a pin
    ALL = 16  # it is in the store, and the policy announces all
    WITHDRAWN = 32  # the user said no to what policy would announce


BY_USER: Final = Origin.EXPLICIT | Origin.ONCE  # told whatever the policy announces by itself
FOLLOWED: Final = Origin.PINNED | Origin.ALL  # what comes and goes with somebody's listing


@dataclass(frozen=True, slots=True)
class Due:
    """A row that is to be told.  ``due`` in seconds of the wall clock; ``failures`` in a row so far."""

    cid: CID
    due: float
    failures: int
    origins: Origin
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Shown:
    """A row as a user sees it.  ``told`` in seconds of the wall clock; None: never."""

    cid: CID
    way: str
    due: float
    told: float | None
    failures: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Rows to tell over one way; ``withdrawn`` ones are kept beside them, to be passed over."""

    rows: int = 0
    never_told: int = 0
    withdrawn: int = 0


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a listing changed, up to the multihash ``through`` (None: to the end).

    ``refused``: for want of room.
    """

    added: int
    dropped: int
    refused: int
    through: bytes | None


def check_batch(items: Sequence[object]) -> None:
    """Raise BadInput above BACKLOG_BATCH_MAX items in one call."""
    if len(items) > BACKLOG_BATCH_MAX.value:
        raise BadInput(f"a batch of {len(items)} rows, at most {BACKLOG_BATCH_MAX.value}", "ask in parts")


def check_ways(ways: Sequence[str]) -> None:
    """Raise BadInput for ways that there are not, or none."""
    unknown = [way for way in ways if way not in WAY_CODES]
    if unknown or not ways:
        raise BadInput(f"announcing over {unknown[0][:40]!r}" if unknown else "announcing over nothing", _WAYS_HELP)


def check_metadata(metadata: Metadata) -> None:
    """Raise BadInput for more than travels with an announcement."""
    if len(metadata) > ANNOUNCEMENT_PAIRS_MAX.value:
        raise BadInput(f"{len(metadata)} pairs of metadata", f"give at most {ANNOUNCEMENT_PAIRS_MAX.value}")
    longest = max((len(text) for pair in metadata for text in pair), default=0)
    if longest > ANNOUNCEMENT_TEXT_CHARS.value:
        raise BadInput(f"a text of {longest} characters in metadata", f"give at most {ANNOUNCEMENT_TEXT_CHARS.value}")
    try:
        size = sum(len(key.encode()) + len(value.encode()) for key, value in metadata)
    except UnicodeEncodeError:
        raise BadInput("metadata that is not text", "give keys and values in UTF-8") from None
    if size > ANNOUNCE_METADATA_BYTES.value:
        raise BadInput(f"metadata of {size} bytes", f"give at most {ANNOUNCE_METADATA_BYTES.value}")


def pack_metadata(metadata: Metadata) -> bytes:
    """As the file has it: JSON, and nothing for none."""
    return msgspec.json.encode(metadata) if metadata else b""


def unpack_metadata(data: object) -> Metadata:
    """From the file; none for what damage has made unreadable: a hint is lost, not the announcement."""
    if not isinstance(data, bytes) or not data:
        return ()
    try:
        return msgspec.json.decode(data, type=tuple[tuple[str, str], ...])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ()


_WAYS_HELP: Final = f"use {' or '.join(WAY_CODES)}"
