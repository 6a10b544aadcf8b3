"""Who is asked for what: want-block narrow, want-have wide.  Pure functions over wants, sessions and sources.

A want goes to the peer from which its block would come first: by what is in flight there, at the rate measured,
among those that said HAVE or have had blocks of the same session.  A peer is asked for no more than its window
(bandwidth x delay); while the best peers' windows are full a want waits, unless a slower peer would still have the
block before they have worked off the queue.  That is what splits a download over its holders by their speed.

A peer whose rate is not known is taken to be as fast as the fastest, so that it is tried; so is, for one block, one
whose last answer is long ago, or it would never be asked again after a bad moment.  When nobody is known to
have a block a few peers are asked widely, the most promising one for the block itself; then the next few.

A peer that has told what it holds in a filter (``filters``) is asked for the block itself when that says yes, without
a question before, and not asked at all when it says no, for a while.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from shoal.actors.bitswap.filters import Word, doubted, spare
from shoal.actors.bitswap.session import Phase, Session, Want, move
from shoal.actors.bitswap.source import Source
from shoal.actors.bitswap.timing import RATE_UNKNOWN
from shoal.messages.limits import SEARCHING_WANTS_MAX, WIDE_PEERS

ROUND_S: Final = 1.0  # seconds that a few peers have to say HAVE before the next few are asked
PROBE_FIRST_S: Final = 0.05  # seconds from a session's first search to its first look for further holders
PROBE_EVERY_S: Final = 1.0  # seconds that the time between such looks is doubled up to
PROBES_PER_PEER: Final = 5  # times that a peer is asked whether it has anything of a session: within 1.5 s at first
HOLDERS_ENOUGH: Final = 4  # known holders with which a session looks for no more
STUCK_MAX: Final = 8  # wants in a row whose holders' windows are full, after which the rest is not looked at
SEARCHES_FIRST: Final = 4  # wants asked for widely by a new session; each answer may be a small block, from everyone
BATCH: Final = 64  # wants looked at in one go
DENIALS: Final = (Word.NO, Word.UNLIKELY)


@dataclass(slots=True)
class Chooser:
    """One round of choosing: at ``now``, with ``budget`` bytes that may still be asked for in all."""

    sources: dict[str, Source]
    rng: random.Random
    now: float
    budget: int
    advertised: bool = False  # some peer has told what it holds in a filter

    def assign(self, session: Session, wants: Iterable[Want]) -> int:
        """Ask for some of the session's idle wants, given in order; how many left the queue."""
        known = self.known(session)
        moved = stuck = 0
        for want in wants:
            if self.budget <= 0 or stuck >= STUCK_MAX:
                break
            likely, unlikely = self.holders(session, want, known)
            if likely or unlikely:
                queued = len(session.idle)
                target = self.best(likely, session.block_size, queued) if likely else None
                if target is None and unlikely:
                    target = self.best(unlikely, session.block_size, queued)
                if target is None:
                    stuck += 1
                    continue
                self.ask(want, target)
                if len(known) < HOLDERS_ENOUGH or want.lacks:
                    self.look_further(session, want, known)
            elif len(session.searching) >= self._searches_max(session, known):
                stuck += 1
                continue
            else:
                self.search(want)
            moved += 1
        return moved

    def _searches_max(self, session: Session, known: list[Source]) -> int:
        """How many wants may be asked for widely: few, until that has shown who has one or that nobody has."""
        return SEARCHING_WANTS_MAX.value if known or session.in_vain else SEARCHES_FIRST

    def holders(self, session: Session, want: Want, known: list[Source]) -> tuple[list[Source], list[Source]]:
        """Who may be asked for the block itself: likely holders, and those whose filters did not have it yet."""
        likely: list[Source] = []
        unlikely: list[Source] = []
        haves = (self.sources.get(peer) for peer in want.haves if peer not in session.records)
        for source in (*known, *haves):
            if source is not None and self.may_ask(want, source):
                word = self.word(want, source)
                if word is Word.UNLIKELY:
                    unlikely.append(source)
                elif word is not Word.NO:
                    likely.append(source)
        for peer in session.vouched:
            source = self.sources.get(peer)
            if source is not None and peer not in session.records and self.vouches(want, source):
                likely.append(source)
        if not likely and self.advertised:
            likely = [source for source in self.sources.values() if self.vouches(want, source)]
            for source in likely:
                session.vouch(source.peer)
        return likely, unlikely

    def word(self, want: Want, source: Source) -> Word:
        """What the peer's filter says about the block, as far as it counts: not against a HAVE, nor for long."""
        if source.advert is None:
            return Word.UNKNOWN
        if source.peer in want.haves:
            return Word.YES
        word = source.advert.says(want.cid, self.now)
        return Word.UNKNOWN if word in DENIALS and doubted(want, self.now) else word

    def vouches(self, want: Want, source: Source) -> bool:
        """Whether the peer may be asked for the block on its filter's word."""
        return source.advert is not None and self.may_ask(want, source) and self.word(want, source) is Word.YES

    def known(self, session: Session) -> list[Source]:
        """Connected peers that have had blocks of the session, in a fixed order."""
        rows = (self.sources.get(peer) for peer in session.records)
        return [source for source in rows if source is not None and source.usable]

    def may_ask(self, want: Want, source: Source) -> bool:
        """Whether the peer may have the block, as far as it has shown."""
        peer = source.peer
        return source.usable and peer not in want.lacks and peer not in want.asks and peer not in want.timed_out

    def best(self, options: list[Source], size: int, queued: int) -> Source | None:
        """Whom to ask for a block of about ``size`` bytes, with ``queued`` of them waiting; None: better to wait."""
        fastest = max((source.rate.value for source in options if source.rate.known), default=float(RATE_UNKNOWN))

        def rate(source: Source) -> float:
            return source.rate.value if source.rate.known else fastest

        delays = {source.peer: source.delay(self.now) for source in options}
        quickest = min((delay for delay in delays.values() if delay is not None), default=0.0)

        def eta(source: Source, amount: int = size) -> float:
            delay = delays[source.peer]
            return source.eta(amount, quickest if delay is None else delay, rate(source))

        first = min(options, key=eta)
        if first.room(size) > 0:
            return first
        roomy = [source for source in options if source.room(size) > 0]
        if not roomy:
            return None
        second = min(roomy, key=eta)
        return second if eta(second) <= eta(first, size * max(1, queued)) else None

    def ask(self, want: Want, source: Source) -> None:
        """want-block."""
        source.ask(want.cid, want.priority, want.home.block_size, self.now)
        self.budget -= want.home.block_size
        want.asks.add(source.peer)
        want.asked.add(source.peer)
        want.tried.add(source.peer)
        move(want, Phase.LIVE)

    def probe(self, want: Want, source: Source) -> bool:
        """want-have."""
        if not source.probe(want.cid, want.priority, self.now):
            return False
        want.asked.add(source.peer)
        want.tried.add(source.peer)
        return True

    def look_further(self, session: Session, want: Want, known: list[Source]) -> None:
        """A few peers not known to the session are asked whether they have this; also the known, if one lacks it."""
        if want.lacks:
            for source in known:
                if source.peer not in want.tried and self.word(want, source) is not Word.NO:
                    self.probe(want, source)
            # One filter was wrong: of those that say the same, some are asked at a time, or many liars would take long.
            vouchers = (self.sources.get(peer) for peer in session.vouched if peer not in want.tried)
            also = (source for source in vouchers if source is not None and self.vouches(want, source))
            for source in islice(also, WIDE_PEERS.value):
                self.probe(want, source)
        if self.now < session.probe_at:
            return
        session.probe_wait = session.probe_wait or PROBE_FIRST_S  # filters may have spared the session its first search
        session.probe_at = self.now + session.probe_wait
        session.probe_wait = min(2 * session.probe_wait, PROBE_EVERY_S)
        strangers = []
        for source in self.ranked(want)[0]:
            if source.peer in session.records:
                continue
            word = self.word(want, source)
            if word is Word.YES:
                session.vouch(source.peer)
            elif word is Word.UNKNOWN and session.probed.get(source.peer, 0) < PROBES_PER_PEER:
                strangers.append(source)
        for source in strangers[: WIDE_PEERS.value]:
            if self.probe(want, source):
                session.probed[source.peer] = session.probed.get(source.peer, 0) + 1

    def ranked(self, want: Want) -> tuple[list[Source], bool]:
        """Peers not tried yet for this want, the most promising first; equals in random order.

        Those whose filters say no are left out; whether there are such.
        """
        rows = [
            source
            for source in self.sources.values()
            if source.usable and source.peer not in want.tried and source.peer not in want.lacks
        ]
        words = {source.peer: self.word(want, source) for source in rows if source.advert is not None}
        left_out = Word.NO in words.values()
        if left_out:
            rows = [source for source in rows if words.get(source.peer) is not Word.NO]
        self.rng.shuffle(rows)
        rows.sort(key=lambda one: (one.timeouts > 0, -round(one.honesty, 1), -min(one.blocks, 100), one.rtt.smooth))
        if words:
            rows.sort(key=lambda one: words.get(one.peer, Word.UNKNOWN).value)
        return rows, left_out

    def search(self, want: Want, *, narrow: bool = True) -> None:
        """Ask the next few: the first for the block (``narrow``), the others whether they have it."""
        session = want.home
        if not session.probe_wait:
            session.probe_wait = PROBE_FIRST_S
        session.probe_at = max(session.probe_at, self.now + session.probe_wait)
        ranked, left_out = self.ranked(want)
        rows = ranked[: WIDE_PEERS.value]
        if left_out:
            spare(want, self.now)
        session.in_vain = session.in_vain or bool(want.tried)
        asked = False
        for source in rows:
            if narrow and not asked and source.room(session.block_size) > 0:
                self.ask(want, source)
                asked = True
            elif not self.probe(want, source) and source.presences:
                want.tried.add(source.peer)  # its wantlist is full, or an older question is unanswered
                source.passed_over = True
        want.next_round = self.now + ROUND_S * self.rng.uniform(0.75, 1.25)
        if want.asks:
            return
        move(want, Phase.SEARCHING if rows else Phase.EXHAUSTED)
