"""Where segments stand: what a place must be able to do, and how segments are called there.

No I/O here.  ``folder`` is the local place, in which every segment is made; ``objects`` is an object store, to
which sealed segments go.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from shoal.messages.errors import StorageFault

SUFFIX: Final = ".car.zst"
INDEX_NAME: Final = "index.sqlite"  # in the local folder, whatever place the segments are in
SEGMENT_ID_MAX: Final = 2**40  # no store gets there; a file called so is not ours
_NAME: Final = re.compile(r"\d{4,12}" + re.escape(SUFFIX))


class SegmentGone(StorageFault):
    """The place is there and the segment is not: what the index says about it is no longer true."""


class Place(Protocol):
    """Holds sealed segments, which never change.  Every method may raise StorageFault."""

    @property
    def where(self) -> str:
        """The place in words that may be shown: never with credentials."""

    def put(self, name: str, path: Path) -> None:
        """Keep the file at ``path`` whole under ``name``, durably.  May be repeated.

        Raises StorageFault when other bytes have that name here: two nodes would destroy each other's segments.
        Safe on another thread than the store's.
        """

    def read(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of each (offset, length); shorter, or empty, where the segment ends before.

        Raises SegmentGone, once it has made sure that it is the segment that is missing and not the place.
        """

    def delete(self, name: str) -> None:
        """Remove the segment, durably; no error when it is not here."""

    def list(self) -> dict[int, int]:
        """Every segment here: its number and its size in bytes.  Slow; asked only when an index is made anew."""


def name_of(segment: int) -> str:
    """``0000.car.zst`` and so on; five digits and more from 10000 on."""
    return f"{segment:04d}{SUFFIX}"


def number_of(name: str) -> int | None:
    """The number of the segment called ``name``; None for a name that no segment has."""
    if not _NAME.fullmatch(name):
        return None
    number = int(name.removesuffix(SUFFIX))
    return number if number < SEGMENT_ID_MAX and name_of(number) == name else None
