"""What a peer's Bloom advert says about a CID, and how far that is believed.  Pure.

A filter that covers all its owner holds spares the question when it says no, and makes it a likely holder when it says
yes.  Either word can be wrong.  A "no" is true of the moment it was made, so of a filter that has just changed it only
makes a holder unlikely; it is believed of one that has rested for a while; and where no holder is known it keeps a
want from being asked for ``DOUBT_S``, no longer: that is what a wrong or lying filter costs.  A "yes" is wrong at the
filter's rate; a peer that says it and then has nothing, again and again, loses its credit, and so does one that says
no and has it.  A peer whose filter is too old, or without credit, is treated as one that has none.
"""

from __future__ import annotations

from enum import Enum
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from shoal.actors.bitswap.session import Phase, Session, Want, move
from shoal.messages.adverts import PeerFilter
from shoal.messages.bloom import Bloom
from shoal.messages.cid import CID
from shoal.messages.errors import RemoteError
from shoal.messages.limits import FILTER_OFFERS_MAX

if TYPE_CHECKING:
    from shoal.actors.bitswap.seeker import Seeker

DOUBT_S: Final = 3.0  # seconds that a want is spared those who say no; then everybody is asked
RESTED_S: Final = 10.0  # seconds since its last change after which a filter's "no" is believed at once
FRESH_S: Final = 180.0  # seconds since it was last told after which a filter says nothing; a word comes every 60
CREDIT_WEIGHT: Final = 0.8  # how much of a peer's record stays after one more word that was seen to be right or wrong
CREDIT_MIN: Final = 0.3  # below which its filter is not believed: six wrong words in a row
DOUBTED: Final = 64  # spared wants of a session that are looked at in one tick


class Word(Enum):
    """What a filter says of one CID, as far as it is believed."""

    YES = 1
    UNKNOWN = 2
    UNLIKELY = 3
    NO = 4


class Advert:
    """One peer's filter.  ``update`` takes a newer one; the credit stays."""

    __slots__ = ("bloom", "changed_at", "complete", "credit_no", "credit_yes", "told_at")

    def __init__(self) -> None:
        self.bloom: Bloom | None = None
        self.complete = False
        self.changed_at = 0.0
        self.told_at = 0.0
        self.credit_yes = 1.0
        self.credit_no = 1.0

    def update(self, message: PeerFilter, now: float) -> bool:
        """The filter as of now; whether it may say yes to more than before.  RemoteError: it is none."""
        before = self.bloom
        self.told_at = now
        self.complete = message.complete
        self.bloom = Bloom.parse(message.bits.data) if len(message.bits) else None
        if self.bloom is None:
            return False
        if before is not None and before.alike(self.bloom) and before.bits == self.bloom.bits:
            return False
        # The first is as old as what it tells of, for all that we know.
        self.changed_at = now if before is not None else now - RESTED_S
        return True

    def says(self, cid: CID, now: float) -> Word:
        """Its word on a CID."""
        if self.bloom is None or now - self.told_at > FRESH_S:
            return Word.UNKNOWN
        if cid.multihash in self.bloom:
            return Word.YES if self.credit_yes >= CREDIT_MIN else Word.UNKNOWN
        if not self.complete or self.credit_no < CREDIT_MIN:
            return Word.UNKNOWN
        return Word.NO if now - self.changed_at >= RESTED_S else Word.UNLIKELY

    def judge(self, cid: CID, had: bool, now: float) -> None:
        """The peer turned out to have the block, or not to."""
        if self.bloom is None:
            return
        if cid.multihash in self.bloom:
            self.credit_yes = self.credit_yes * CREDIT_WEIGHT + (1.0 - CREDIT_WEIGHT) * had
        elif self.complete and now - self.changed_at >= RESTED_S:  # before, it may have come since
            self.credit_no = self.credit_no * CREDIT_WEIGHT + (1.0 - CREDIT_WEIGHT) * (not had)


def told(seeker: Seeker, message: PeerFilter, now: float) -> bool:
    """A peer's filter is another: what nobody had may be there now.  Whether it has a first one."""
    source = seeker.sources.get(message.peer)
    if source is None:
        return False
    first = source.advert is None and len(message.bits) > 0
    advert = source.advert = source.advert or Advert()
    try:
        changed = advert.update(message, now)
    except RemoteError:
        source.advert = None
        return False
    seeker.advertised = True
    if not changed:
        return first
    waiting = chain.from_iterable((*session.exhausted, *session.searching) for session in seeker.sessions.values())
    for cid in list(islice(waiting, FILTER_OFFERS_MAX.value)):
        want = seeker.wants[cid]
        word = Word.UNKNOWN if message.peer in want.lacks else advert.says(cid, now)
        # The root of what is being added comes last: who has begun to add may have it, before the filter says so.
        young = word is Word.UNLIKELY and want.spared_at is not None and not doubted(want, now)
        if word is Word.YES or (young and message.peer not in want.tried):
            move(want, Phase.IDLE)
    return first


def forget(seeker: Seeker) -> None:
    """Nobody will tell us of changes any more."""
    seeker.advertised = False
    for source in seeker.sources.values():
        source.advert = None


def spare(want: Want, now: float) -> None:
    """Nobody is known to have the block, and peers are not asked for it because their filters say no."""
    if want.spared_at is None:
        want.spared_at = now
        want.home.spared[want.cid] = None


def doubted(want: Want, now: float) -> bool:
    """Whether that is so long ago that everybody is to be asked."""
    return want.spared_at is not None and now - want.spared_at >= DOUBT_S


def doubt(seeker: Seeker, session: Session, now: float) -> None:
    """Have those wants asked of everybody for which it is time."""
    for cid in list(islice(session.spared, DOUBTED)):
        want = seeker.wants.get(cid)
        if want is None or doubted(want, now):
            del session.spared[cid]
            if want is not None and want.phase is Phase.EXHAUSTED:
                move(want, Phase.IDLE)
