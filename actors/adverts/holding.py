"""Our own filter: what this node holds, made from listings of its tiers and kept up to date.  Pure.

Begin with ``begin_listing``: a listing is gathered in a ``Draft``, which becomes the filter in small steps (``work``),
so that no handler holds the actor's thread for long.  ``add`` is called for each block that comes.  What was added
since is told from ``marks``: the marks of the names in the filter in the order of their coming, 8 bytes each, of which
a peer that has the first so many needs the rest.  Marks do not depend on the size of a filter, so that one that grows
too small is made anew from them and not from another listing.

Nobody says that a block was deleted: its "yes" stays until a listing shows that much has gone (``LOST_SHARE``), or the
filter is a day old.  It costs each peer that believes it one question.  A filter says "yes" to every block that was
here when it was listed or has come since; one that would say it too often takes no more and is not ``complete``.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from typing import Final

from shoal.messages import bloom
from shoal.messages.bloom import Bloom

LOST_SHARE: Final = 0.02  # of a filter's bits that must have gone before peers are sent another
GENERATION_S: Final = 86400.0  # seconds after which they are sent one for the least loss
GROW_RATE: Final = 0.01  # false positives above which a filter is made anew, for
GROW_FACTOR: Final = 2  # times the names that are in it, and
NAMES_SPARE: Final = 100  # more: the smallest filter is 128 bytes
UNSURE_MAX: Final = 4096  # names that seemed to be in the filter when they came; with more it takes a listing to grow
STEP: Final = 512  # marks put into a filter in one go, about a millisecond


class Names:
    """A filter, and what it takes to tell of it and to make it larger."""

    def __init__(self, size: int, salt: bytes) -> None:
        self.filter = Bloom.sized(size, salt)
        self.marks = array("Q")  # of the names that changed the filter, in the order of their coming
        self.unsure: set[int] = set()  # of those that did not: here already, or one of its false positives
        self.complete = True
        self.lossy = False  # the two together do not name all that is in the filter
        self.relist = False  # something came that only a listing can put right

    def put(self, mark: int) -> bool:
        """A name is here; whether there is something to tell."""
        if self.filter.full:
            self.relist = self.relist or self.filter.log2 < bloom.LOG2_MAX  # the largest is full for good
            changed, self.complete = self.complete, False
            return changed
        if self.filter.add_mark(mark):
            self.marks.append(mark)
            return True
        if len(self.unsure) < UNSURE_MAX:
            self.unsure.add(mark)
        else:
            self.lossy = True
        return False

    @property
    def too_small(self) -> bool:
        """Whether a larger filter is due."""
        return self.filter.log2 < bloom.LOG2_MAX and self.filter.rate > GROW_RATE


class Draft:
    """Names in the making: marks come in, and are put into a filter once it is known how many there are."""

    def __init__(self, salt: bytes) -> None:
        self.salt = salt
        self.incoming = array("Q")
        self.names: Names | None = None
        self.complete = True
        self._next = 0  # first mark that is not in the filter yet

    def take(self, mark: int) -> None:
        """A name more."""
        if len(self.incoming) >= bloom.NAMES_MAX:
            self.complete = False
        else:
            self.incoming.append(mark)

    def size(self) -> None:
        """All names are there, but for a few: choose the filter's size."""
        self.names = Names(GROW_FACTOR * len(self.incoming) + NAMES_SPARE, self.salt)

    def work(self) -> bool:
        """Put some marks in; whether all are."""
        names = self.names
        assert names is not None, "its size is not known yet"
        for mark in self.incoming[self._next : self._next + STEP]:
            names.put(mark)
        self._next = min(self._next + STEP, len(self.incoming))
        names.complete = names.complete and self.complete
        return self._next == len(self.incoming)


class Holding:
    """The filter that peers are told.  ``salt``: 16 random bytes, of this life of the actor."""

    def __init__(self, salt: bytes) -> None:
        self.salt = salt
        self.names: Names | None = None
        self.generation = 0
        self.since = -math.inf  # seconds; when this generation began
        self.listing: Draft | None = None  # of a listing that is under way
        self.growing: Draft | None = None  # of our own marks
        self._marker = Bloom.sized(1, salt)

    def add(self, multihash: bytes) -> bool:
        """A block is here; whether there is something to tell."""
        mark = self._marker.mark(multihash)
        for draft in (self.listing, self.growing):
            if draft is not None:
                draft.take(mark)
        return self.names is not None and self.names.put(mark)

    # --- listings --------------------------------------------------------------------------------------

    def begin_listing(self) -> Draft:
        """What is added from now on is in it too."""
        self.listing = Draft(self.salt)
        return self.listing

    def page(self, multihashes: Iterable[bytes]) -> None:
        """Some names of the listing, before or after its size was chosen."""
        draft = self.listing
        assert draft is not None
        for multihash in multihashes:
            mark = self._marker.mark(multihash)
            # What is listed a second time counts once.
            if draft.names is None or not draft.names.filter.holds(mark):
                draft.take(mark)

    def listed(self, generation: int, now: float) -> bool:
        """The listing is in its filter; whether peers must be sent that one, which is then ``generation``.

        When it lacks little of the old one, and has nothing more, the old one stays.
        """
        assert self.listing is not None
        fresh, old = self.listing.names, self.names
        self.listing = None
        assert fresh is not None
        if old is not None and fresh.complete == old.complete and old.filter.alike(fresh.filter):
            lost = old.filter.lost(fresh.filter)
            little = lost <= LOST_SHARE * old.filter.ones and (not lost or now - self.since < GENERATION_S)
            if little and not fresh.filter.lost(old.filter):
                old.relist = False
                return False
        self._take_over(fresh, generation, now)
        return True

    # --- growth ----------------------------------------------------------------------------------------

    def begin_growth(self) -> Draft:
        """Make the filter larger, of its own marks."""
        assert self.names is not None
        draft = self.growing = Draft(self.salt)
        draft.complete = self.names.complete
        draft.incoming = self.names.marks[:]
        draft.incoming.extend(self.names.unsure)
        draft.size()
        return draft

    def grown(self, generation: int, now: float) -> None:
        """The larger one is whole."""
        assert self.growing is not None
        fresh = self.growing.names
        assert fresh is not None
        fresh.relist = fresh.relist or (self.names is not None and self.names.relist)
        self._take_over(fresh, generation, now)

    def _take_over(self, names: Names, generation: int, now: float) -> None:
        self.names, self.generation, self.since, self.growing = names, generation, now, None

    def forget(self) -> None:
        """We tell nobody what we hold."""
        self.names = self.listing = self.growing = None
