"""Several listings in the order of multihashes, read page by page, as one.  Pure.

Not who lists what (``following``).  Ask with what ``wanted`` says, hand each page to ``give``, and ``take`` the
stretches that all listings have covered.  At most one page of each is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from shoal.messages.cid import CID

After = TypeVar("After")


@dataclass(frozen=True, slots=True)
class Stretch:
    """All CIDs that some listing has behind ``after`` up to ``through`` (None: the end), in order."""

    after: bytes
    through: bytes | None
    cids: tuple[CID, ...]


@dataclass(slots=True)
class _Listing(Generic[After]):
    after: After  # to ask the next page with
    held: list[CID] = field(default_factory=list)  # of the page at hand, what is not taken
    covered: bytes | None = b""  # everything up to here has been given; None: to the end


class Merging(Generic[After]):
    """One reading of some listings, by name, from their beginnings to their ends."""

    def __init__(self, names: Iterable[str], start: After) -> None:
        self._listings = {name: _Listing(start) for name in names}
        self._taken: bytes | None = b""

    @property
    def done(self) -> bool:
        """Whether everything has been taken."""
        return self._taken is None

    def wanted(self) -> tuple[str, After] | None:
        """The listing whose next page is needed, and what to ask it with; None when a stretch can be taken first."""
        if self.done or self._ready() != self._taken:
            return None
        name, listing = min(self._listings.items(), key=lambda item: (item[1].covered is None, item[1].covered or b""))
        return name, listing.after

    def give(self, name: str, page: Sequence[CID], after: After, *, end: bool) -> None:
        """The next page of ``name``, in the order of multihashes; ``after``: what to ask for the one behind it.

        A page that does not go on where the last one ended is taken for the listing's end: it may not go round.
        """
        listing = self._listings[name]
        covered = listing.covered or b""
        last = page[-1].multihash if page else b""
        stuck = after == listing.after
        listing.after = after
        listing.held += [cid for cid in page if cid.multihash > covered]
        if end or stuck or not page or last < covered:
            listing.covered = None
        elif last > covered:
            listing.covered = last

    def take(self) -> Stretch | None:
        """The next stretch that all listings cover; None: a page is needed first, or it is done."""
        ready = self._ready()
        if self.done or ready == self._taken:
            return None
        found: dict[bytes, CID] = {}
        for listing in self._listings.values():
            count = sum(ready is None or cid.multihash <= ready for cid in listing.held)
            found.update((cid.multihash, cid) for cid in reversed(listing.held[:count]))
            del listing.held[:count]
        after, self._taken = self._taken or b"", ready
        return Stretch(after, ready, tuple(found[key] for key in sorted(found)))

    def _ready(self) -> bytes | None:
        """Up to where all listings have been given; None: to their ends."""
        reached = [listing.covered for listing in self._listings.values()]
        known = [mark for mark in reached if mark is not None]
        return min(known) if known else None
