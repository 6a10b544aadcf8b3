"""The nouns of the catalogue: uses and usage, listings, totals, pins.  Frozen data, checked when made; no I/O.

What comes in (``Use``, ``Listed``) raises BadInput when it cannot be; what comes out is read from a file that damage
may have changed, so ``usage_of`` gives None for a row that no block has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from shoal.messages.cid import CID
from shoal.messages.errors import BadInput
from shoal.messages.limits import BLOCK_BYTES_MAX, CATALOG_BATCH_MAX, CATALOG_TIER_CHARS_MAX, PIN_NAME_BYTES_MAX
from shoal.storage.disk.batches import stored_cid
from shoal.storage.heat import heat

NOWHERE: Final = ""  # the tier of a block of which we do not know where it is, or that it is anywhere
USES_KEPT: Final = 1_000_000_000  # where ``n`` stops: far above what heat counts, far below what SQLite can add
IMPORTANCE_MAX: Final = 255  # of a level; 0 is what every block starts with

PinKind: TypeAlias = Literal["all", "direct", "recursive"]
PIN_KINDS: Final[tuple[PinKind, ...]] = ("all", "direct", "recursive")


@dataclass(frozen=True, slots=True)
class Use:
    """That a block was put, or read ``reads`` times, or both, lastly at ``at`` (seconds of the node's wall clock).

    ``size`` in bytes, 0 also when not known; ``tier`` is where it was seen, NOWHERE when that is not known.
    A put counts as one use.
    """

    cid: CID
    size: int
    tier: str
    put: bool
    reads: int
    at: float

    def __post_init__(self) -> None:
        check_size(self.size)
        check_tier(self.tier)
        check_time(self.at)
        if self.reads < 0 or not (self.put or self.reads):
            raise BadInput(f"a use that is no put and {self.reads} reads", "note only what was put or read")


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of a tier's own listing; ``size`` in bytes, 0 also when the listing does not say."""

    cid: CID
    size: int

    def __post_init__(self) -> None:
        check_size(self.size)


@dataclass(frozen=True, slots=True)
class Span:
    """Multihashes behind ``after`` up to and with ``through``; None is the beginning or the end."""

    after: bytes | None = None
    through: bytes | None = None


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a listing changed.  ``complete`` is False when a span had more rows to drop than one call does."""

    added: int
    corrected: int
    dropped: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """What is known of one block: a CIDv1 of the codec that it was first noted with, and its uses.

    ``n`` >= 1; ``first`` <= ``last`` in seconds; ``importance`` 0 to IMPORTANCE_MAX, for the owner to give sense to.
    """

    cid: CID
    size: int
    tier: str
    n: int
    first: float
    last: float
    importance: int

    def heat(self, now: float) -> float:
        """``storage.heat`` of this block."""
        return heat(self.n, self.first, self.last, now)


@dataclass(frozen=True, slots=True)
class TierTotals:
    """Blocks and bytes of one tier, and how many blocks are in each bucket of ``ranking.HEAT_EDGES``."""

    blocks: int
    bytes: int
    heats: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Marking:
    """A mark and sweep under way: its number within this opening of the catalogue, and when it began (seconds)."""

    number: int
    began: float


@dataclass(frozen=True, slots=True)
class MarkedTotals:
    """``going`` would be swept now; ``kept`` is all else that a tier holds; ``to_expand`` CIDs are on the frontier."""

    kept_blocks: int
    kept_bytes: int
    going_blocks: int
    going_bytes: int
    to_expand: int


@dataclass(frozen=True, slots=True)
class Pin:
    """One root that is kept, alone or with all that it links to, since ``at`` (seconds of the wall clock)."""

    cid: CID
    recursive: bool
    name: str
    at: float

    @property
    def kind(self) -> PinKind:
        return "recursive" if self.recursive else "direct"


def check_size(size: int) -> None:
    if not 0 <= size <= BLOCK_BYTES_MAX.value:
        raise BadInput(f"a block of {size} bytes, at most {BLOCK_BYTES_MAX.value}", "give the size of its bytes")


def check_tier(tier: str) -> None:
    if len(tier) > CATALOG_TIER_CHARS_MAX.value or not tier.isascii() or "\0" in tier:
        raise BadInput(f"a tier called {tier[:40]!r}", "give the name of a tier, or an empty text")


def check_time(at: float) -> None:
    if not math.isfinite(at):
        raise BadInput(f"a time of {at} seconds", "give a reading of the wall clock")


def check_batch(items: Sequence[object]) -> None:
    """Raise BadInput above CATALOG_BATCH_MAX items in one call."""
    if len(items) > CATALOG_BATCH_MAX.value:
        raise BadInput(f"a batch of {len(items)} rows, at most {CATALOG_BATCH_MAX.value}", "ask in parts")


def check_name(name: str) -> None:
    """Raise BadInput for what cannot be a pin's name."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise BadInput(f"the pin name {name!r} is not text", "give a name in UTF-8") from None
    if size > PIN_NAME_BYTES_MAX.value:
        raise BadInput(f"a pin name of {size} bytes, at most {PIN_NAME_BYTES_MAX.value}", "give a shorter name")


def page_size(limit: int) -> int:
    """``limit`` within 0 and CATALOG_BATCH_MAX, which also bounds what one answer lists."""
    return max(0, min(limit, CATALOG_BATCH_MAX.value))


USAGE_COLUMNS: Final = "multihash, codec, size, tier, n, first, last, importance"  # as ``usage_of`` reads them


def usage_of(row: tuple[object, ...]) -> Usage | None:
    """The Usage of a row of USAGE_COLUMNS, or None when damage has left none."""
    multihash, codec, size, tier, n, first, last, importance = row
    cid = stored_cid(multihash, codec)
    if cid is None or not isinstance(size, int) or not isinstance(n, int) or not isinstance(importance, int):
        return None
    if not isinstance(tier, str) or not isinstance(first, float) or not isinstance(last, float):
        return None
    return Usage(cid, size, tier, n, first, last, importance)
