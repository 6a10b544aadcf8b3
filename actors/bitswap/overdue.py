"""What time does to our downloads: blocks that are late, lost or nowhere to be found.  Pure; part of the seeker.

A late block (later than the peer's own record makes likely) is asked of a second peer, within a budget that keeps
duplicates below 5 %.  A block that is not there when the peer's timeout ends is lost: others are asked.  Lateness
counts from the peer's last progress, so a slow peer that sends one block after another is late with none of them.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from shoal.actors.bitswap import timing
from shoal.actors.bitswap.filters import Word
from shoal.actors.bitswap.session import Outcome, Phase, Session, Want, move
from shoal.actors.bitswap.source import Ask, Source

if TYPE_CHECKING:
    from shoal.actors.bitswap.seeker import Seeker

REBROADCAST_S: Final = 15.0  # seconds until everybody is asked again for what nobody had, doubled up to
REBROADCAST_MAX_S: Final = 60.0  # seconds, boxo's rebroadcast interval
RETRY_S: Final = 3.0  # seconds, instead, when somebody did not answer or broke a promise
ASK_MAX_S: Final = 120.0  # seconds for one want-block, whatever else the peer sends
OVERTAKEN: Final = 64  # blocks that came before one although asked after it: that one was lost
CHECKED: Final = 8  # oldest want-blocks of a peer that are looked at for lateness in one tick
ENDGAME_FACTOR: Final = 4.0  # a last block is asked of a second peer that would be this many times quicker
ENDGAME_S: Final = 0.5  # seconds that this must save besides
SAMPLE: Final = 64  # exhausted wants looked at to see whether anybody might have them after all
DOUBLINGS_MAX: Final = 8  # of the rebroadcast interval; more would overflow nothing, but mean nothing


def check(seeker: Seeker, source: Source, now: float) -> None:
    """Look at the oldest want-blocks of one peer."""
    missed = False
    for index, (cid, ask) in enumerate(list(source.asks.items())):
        want = seeker.wants[cid]
        age = source.age(ask, now)
        overtaken = source.blocks - ask.blocks > ask.ahead + OVERTAKEN
        if age > timing.timeout_s(source.rtt, source.rate, ask.size) or overtaken or now - ask.at > ASK_MAX_S:
            _expire(seeker, want, source, ask, now)
            missed = True
        elif index >= CHECKED:
            break
        elif not ask.late and age > timing.hedge_s(source.rtt, source.rate, ask.size):
            ask.late = True
            _hedge(seeker, want, source, now)
    if missed:
        source.missed()
    elif source.rate.known and source.asks:
        _endgame(seeker, source, now)


def _expire(seeker: Seeker, want: Want, source: Source, ask: Ask, now: float) -> None:
    """The peer did not answer in time: the block is asked of others.  It may still come, and is taken then."""
    source.drop(want.cid)
    want.asks.discard(source.peer)
    want.timed_out.add(source.peer)
    promised = source.peer in want.haves
    want.outcomes[source.peer] = Outcome("broken" if promised else "silent", now - ask.at)
    if promised:
        source.judged(False)
    seeker.reconsider(want)


def _hedge(seeker: Seeker, want: Want, slow: Source, now: float) -> None:
    """Ask a second peer for a late block, as far as the session's duplicates allow; else look for more holders."""
    chooser = seeker.chooser(now)
    size = want.home.block_size
    holders = {source.peer: source for source in chooser.known(want.home)}
    holders.update({peer: seeker.sources[peer] for peer in want.haves})
    vouchers = (seeker.sources.get(peer) for peer in want.home.vouched)
    holders.update({one.peer: one for one in vouchers if one is not None and chooser.vouches(want, one)})
    spare = [
        source
        for source in holders.values()
        if chooser.may_ask(want, source)
        and chooser.word(want, source) is not Word.NO
        and source.room(size) > 0
        and not _stalled(source)
    ]
    if not spare:
        chooser.search(want, narrow=False)
        return
    other = chooser.best(spare, size, 1)
    if other is not None and other is not slow and want.home.hedges >= 1 and len(want.asks) < 2:
        want.home.hedges -= 1
        seeker.stats.hedged += 1
        chooser.ask(want, other)


def _stalled(source: Source) -> bool:
    return any(ask.late for ask in islice(source.asks.values(), 1))


def _endgame(seeker: Seeker, slow: Source, now: float) -> None:
    """The last blocks of a session need not wait for its slowest peer."""
    cid = next(reversed(slow.asks))
    want = seeker.wants[cid]
    ask = slow.asks[cid]
    if want.home.idle or ask.late or want.home.hedges < 1:
        return
    size = want.home.block_size
    others = [
        source
        for source in seeker.chooser(now).known(want.home)
        if source is not slow and source.rate.known and source.room(size) > 0 and not source.timeouts
    ]
    quickest = min((source.eta(size, source.rtt.least, source.rate.value) for source in others), default=None)
    if quickest is not None and slow.in_flight / slow.rate.value > ENDGAME_FACTOR * quickest + ENDGAME_S:
        ask.late = True
        _hedge(seeker, want, slow, now)


def rebroadcast(seeker: Seeker, session: Session, now: float) -> None:
    """When it is time, everything that nobody had is searched for again, from the beginning."""
    hopeful = any(seeker.wants[cid].timed_out for cid in islice(session.exhausted, SAMPLE))
    wait = min((RETRY_S if hopeful else REBROADCAST_S) * 2**session.rebroadcasts, REBROADCAST_MAX_S)
    # A promise broken since the time was set brings it forward.
    if not session.rebroadcast_at or session.rebroadcast_at > now + 1.25 * wait:
        session.rebroadcast_at = now + wait * seeker.rng.uniform(0.75, 1.25)
    elif now >= session.rebroadcast_at:
        session.rebroadcast_at = 0.0
        session.rebroadcasts = min(session.rebroadcasts + 1, DOUBLINGS_MAX)
        for cid in list(session.exhausted):
            want = seeker.wants[cid]
            want.begin_again()
            for peer in want.asked:
                seeker.sources[peer].probes.pop(cid, None)
            move(want, Phase.IDLE)
