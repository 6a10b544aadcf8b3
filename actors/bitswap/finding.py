"""When a download asks for more providers, and what becomes of those that are found: a pure table, one row a session.

A search costs messages of others, so it is made only when the connected peers do not do: when none of them has a
block (``exhausted``), or when nothing has come for a while.  It asks for the oldest block that is missing, since who
has a part of a file mostly has the rest; then for another.  Searches in vain are made again, more and more rarely.

Whoever is found is dialled, the best few first; once connected, it is asked by the seeker like everybody.  One that is
connected and was not asked is asked at once (``hint``).  Not here: messages (hunting).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from typing import Final

from shoal.actors.bitswap.choosing import ROUND_S
from shoal.actors.bitswap.seeker import Seeker
from shoal.actors.bitswap.session import Phase, Session, Want, move
from shoal.messages.cid import CID
from shoal.messages.limits import FIND_SEARCHES_MAX, FOUND_DIALS_MAX, FOUND_PEERS_MAX
from shoal.messages.routing import BITSWAP, Provider

DELAY_S: Final = 1.0  # seconds without a block until others are looked for; boxo's provider search delay
DELAY_HELD_S: Final = 5.0  # seconds, while a connected peer is known to have some of it: it may just be slow
SEARCH_S: Final = 30.0  # seconds of one search at most
SECOND_S: Final = 2.0  # seconds after which a search that has found nobody is joined by one for another block
SEARCHES_MAX: Final = 3  # of one session at one time
COUNT: Final = 10  # providers of one search; boxo asks for as many
AGAIN_S: Final = 5.0  # seconds from a search in vain to the next, doubled for each, up to
AGAIN_MAX_S: Final = 60.0  # seconds, boxo's rebroadcast interval
DOUBLINGS_MAX: Final = 8
OFF_S: Final = 1.0  # seconds until routing is asked again that was not there, doubled up to AGAIN_MAX_S
DIALS_EACH: Final = 4  # dials of one session at one time, those included that were connected a moment ago
SETTLE_S: Final = 2.0  # seconds in which a new connection is to show what it is good for
DIAL_AGAIN_S: Final = 30.0  # seconds until a peer that could not be reached is dialled again, when it is found again
KEPT_S: Final = 5.0  # seconds that a session without wants is remembered: a reader may be about to ask for more
LOOKED_AT: Final = 16  # oldest wants among which the one to search for is chosen


class State(Enum):
    """Of a provider that was found."""

    NEW = 1  # to be dialled
    DIALLING = 2
    UP = 3  # connected, when it was last looked at
    FAILED = 4


@dataclass(slots=True)
class Found:
    """One provider.  ``since``: when it came into its state."""

    peer: str
    addrs: tuple[str, ...]
    source: str
    cid: CID
    state: State = State.NEW
    since: float = 0.0


@dataclass(slots=True)
class Hunt:
    """One session's search for providers.  ``tallies``: per source, how many it found and how long that took."""

    session: int
    next_at: float
    searches: dict[int, tuple[CID, float]] = field(default_factory=dict)  # ticket -> what, since when
    found: dict[str, Found] = field(default_factory=dict)
    asked: dict[CID, int] = field(default_factory=dict)  # how often each was searched for
    tallies: dict[str, tuple[int, float, str]] = field(default_factory=dict)
    vain: int = 0  # searches in a row that found nobody new
    blocks: int = 0  # of the session, when last looked at
    progress_at: float = 0.0
    used_at: float = 0.0

    def count(self, state: State) -> int:
        """How many found providers are in this state."""
        return sum(one.state is state for one in self.found.values())


@dataclass(slots=True, frozen=True)
class Wanted:
    """A search to be made."""

    ticket: int
    cid: CID
    priority: int
    session: int


class Finding:
    """All sessions that look, or have looked, for providers.  ``now`` in seconds on the node's clock."""

    def __init__(self, first_ticket: int = 0) -> None:
        self.hunts: dict[int, Hunt] = {}
        self.tickets: dict[int, int] = {}  # open searches -> session
        self.off = 0  # times in a row that routing was not there
        self.off_until = 0.0
        self._ticket = first_ticket

    # --- searches ----------------------------------------------------------------------------------------

    def due(self, seeker: Seeker, now: float) -> list[Wanted]:
        """The searches to make now; each counts as made."""
        wanted: list[Wanted] = []
        for number, session in seeker.sessions.items():
            if not session.wants:
                continue
            hunt = self.hunts.get(number)
            if hunt is None:
                hunt = self.hunts[number] = Hunt(number, now, progress_at=now)
            hunt.used_at = now
            self._note_progress(hunt, session, now)
            want = self._stuck(hunt, session, seeker, now)
            if want is not None and len(self.tickets) < FIND_SEARCHES_MAX.value:
                wanted.append(self._search(hunt, want, now))
        return wanted

    def _note_progress(self, hunt: Hunt, session: Session, now: float) -> None:
        blocks = sum(record.blocks for record in session.records.values())
        if blocks != hunt.blocks:
            hunt.blocks, hunt.progress_at, hunt.vain = blocks, now, 0

    def _stuck(self, hunt: Hunt, session: Session, seeker: Seeker, now: float) -> Want | None:
        """The want to search for, when it is time."""
        # A clock that went backwards must not put a search off for longer than the longest wait.
        waiting = now < hunt.next_at <= now + AGAIN_MAX_S or now < self.off_until <= now + AGAIN_MAX_S
        if waiting or len(hunt.searches) >= SEARCHES_MAX:
            return None
        rows = [want for cid in islice(session.exhausted, LOOKED_AT) if _is_lost(want := seeker.wants[cid], seeker)]
        if not rows:
            held = any(peer in seeker.sources and row.blocks for peer, row in session.records.items())
            if now - hunt.progress_at < (DELAY_HELD_S if held else DELAY_S):
                return None
            rows = [seeker.wants[cid] for cid in islice(session.wants, LOOKED_AT)]
        busy = {cid for cid, _ in hunt.searches.values()}
        rows = [want for want in rows if want.cid not in busy and want.phase is not Phase.ARRIVED]
        return min(rows, key=lambda want: (hunt.asked.get(want.cid, 0), want.since), default=None)

    def _search(self, hunt: Hunt, want: Want, now: float) -> Wanted:
        self._ticket += 1
        hunt.searches[self._ticket] = (want.cid, now)
        hunt.next_at = now + SECOND_S
        hunt.asked[want.cid] = hunt.asked.get(want.cid, 0) + 1
        if len(hunt.asked) > FOUND_PEERS_MAX.value:
            del hunt.asked[next(iter(hunt.asked))]
        self.tickets[self._ticket] = hunt.session
        return Wanted(self._ticket, want.cid, want.priority, hunt.session)

    def found(self, ticket: int, providers: Iterable[Provider], now: float) -> None:
        """A search has found these, best first."""
        hunt = self.hunts.get(self.tickets.get(ticket, -1))
        if hunt is None:
            return
        self.off = 0
        cid, began = hunt.searches[ticket]
        for provider in providers:
            if provider.protocols and BITSWAP not in provider.protocols:
                continue
            count, first, _ = hunt.tallies.get(provider.source, (0, now - began, ""))
            old = hunt.found.get(provider.peer)
            if old is not None:
                self._found_again(old, provider, cid, now)
            elif len(hunt.found) < FOUND_PEERS_MAX.value:
                hunt.found[provider.peer] = Found(provider.peer, provider.addrs, provider.source, cid, since=now)
                hunt.tallies[provider.source] = (count + 1, first, "")
                hunt.vain = 0

    def _found_again(self, old: Found, provider: Provider, cid: CID, now: float) -> None:
        """For another block, or after it was lost or could not be reached."""
        resting = old.state is State.FAILED and 0.0 <= now - old.since < DIAL_AGAIN_S
        if old.state is State.DIALLING or resting:
            return
        old.state, old.since, old.cid, old.addrs = State.NEW, now, cid, provider.addrs or old.addrs

    def ended(self, ticket: int, reports: Iterable[tuple[str, float, str]], now: float) -> None:
        """A search is over: per source how long it took and what went wrong, if anything did."""
        hunt = self._close(ticket)
        if hunt is None:
            return
        self.off = 0
        for source, seconds, outcome in reports:
            count = hunt.tallies.get(source, (0, 0.0, ""))[0]
            hunt.tallies[source] = (count, seconds, outcome)
        wait = AGAIN_S * 2.0 ** min(hunt.vain, DOUBLINGS_MAX)
        hunt.vain += 1
        hunt.next_at = now + min(wait, AGAIN_MAX_S)

    def absent(self, ticket: int, now: float) -> None:
        """Routing is not there, or has died: ask again later, and rarely if there never is one."""
        hunt = self._close(ticket)
        self.off += 1
        self.off_until = now + min(OFF_S * 2.0 ** min(self.off - 1, DOUBLINGS_MAX), AGAIN_MAX_S)
        if hunt is not None:
            hunt.next_at = now

    def back(self) -> None:
        """Routing serves again."""
        self.off, self.off_until = 0, 0.0

    def _close(self, ticket: int) -> Hunt | None:
        hunt = self.hunts.get(self.tickets.pop(ticket, -1))
        if hunt is not None:
            del hunt.searches[ticket]
        return hunt

    def over(self, seeker: Seeker, now: float) -> tuple[list[int], list[Hunt]]:
        """Searches that nobody needs any more, and sessions that have ended; they are forgotten."""
        stopped: list[int] = []
        ended: list[Hunt] = []
        for number, hunt in list(self.hunts.items()):
            session = seeker.sessions.get(number)
            idle = session is None or not session.wants
            for ticket, (cid, _) in list(hunt.searches.items()):
                want = seeker.wants.get(cid)
                if idle or want is None or want.phase is Phase.ARRIVED:
                    self._close(ticket)
                    hunt.next_at = now
                    stopped.append(ticket)
            if idle and not 0.0 <= now - hunt.used_at < KEPT_S:
                del self.hunts[number]
                ended.append(hunt)
        return stopped, ended

    def stop_all(self) -> list[int]:
        """This node fetches nothing any more."""
        tickets = list(self.tickets)
        for ticket in tickets:
            self._close(ticket)
        return tickets

    # --- who was found -----------------------------------------------------------------------------------

    def dials(self, seeker: Seeker, now: float) -> list[Found]:
        """The providers to dial now; each counts as being dialled.  Those that are connected already are hinted at."""
        chosen: list[Found] = []
        busy = sum(hunt.count(State.DIALLING) for hunt in self.hunts.values())
        for hunt in self.hunts.values():
            session = seeker.sessions.get(hunt.session)
            if session is None or not session.wants:
                continue
            fresh = sum(one.state is State.UP and now - one.since < SETTLE_S for one in hunt.found.values())
            room = DIALS_EACH - hunt.count(State.DIALLING) - fresh
            for one in hunt.found.values():
                if one.state is not State.NEW:
                    continue
                if one.peer in seeker.sources:
                    one.state, one.since = State.UP, now
                    hint(seeker, one.peer, one.cid, now)
                elif room > 0 and busy < FOUND_DIALS_MAX.value:
                    one.state, one.since = State.DIALLING, now
                    room -= 1
                    busy += 1
                    chosen.append(one)
        return chosen

    def dialled(self, one: Found, up: bool, now: float) -> None:
        """A dial has ended."""
        one.state, one.since = State.UP if up else State.FAILED, now

    def all_lost(self, now: float) -> None:
        """Every connection is gone: who was found is dialled again, for sessions that go on."""
        for hunt in self.hunts.values():
            for one in hunt.found.values():
                if one.state is State.UP:
                    one.state, one.since = State.NEW, now

    def useful(self) -> set[str]:
        """Found providers that are connected for a session that goes on."""
        return {one.peer for hunt in self.hunts.values() for one in hunt.found.values() if one.state is State.UP}

    # --- words -------------------------------------------------------------------------------------------

    def explain(self, session: int, now: float) -> str:
        """What searching for providers has come to, for the error text; empty: there is no other source to ask."""
        hunt = self.hunts.get(session)
        if hunt is None or not (hunt.searches or hunt.tallies):
            return "" if self.off or (hunt is not None and hunt.vain) else "no other source was asked yet"
        told = [_tally(source, *row) for source, row in hunt.tallies.items()]
        if hunt.searches:
            longest = now - min(since for _, since in hunt.searches.values())
            told.append(f"looking for providers for {max(longest, 0.0):.0f} s")
        if hunt.found:
            reached, failed = hunt.count(State.UP), hunt.count(State.FAILED)
            told.append(f"of {len(hunt.found)} found {reached} could be reached and {failed} could not")
        return ", ".join(told)


def _is_lost(want: Want, seeker: Seeker) -> bool:
    """Whether nobody who is connected is still to say whether it has this."""
    rows = (seeker.sources.get(peer) for peer in want.tried)
    return not any(source is not None and want.cid in source.probes for source in rows)


def _tally(source: str, count: int, seconds: float, outcome: str) -> str:
    found = f"{source} found {count or 'none'} in {seconds:.1f} s"
    return f"{found} ({outcome})" if outcome else found


def hint(seeker: Seeker, peer: str, cid: CID, now: float) -> bool:
    """A connected peer is said to have this: ask it, unless it was asked.  Whether it is now."""
    want, source = seeker.wants.get(cid), seeker.sources.get(peer)
    if want is None or source is None or not source.usable or want.phase is Phase.ARRIVED:
        return False
    if peer in want.tried or peer in want.asks or peer in want.lacks or peer in want.timed_out:
        return False
    chooser = seeker.chooser(now)
    if want.phase is not Phase.LIVE and chooser.budget > 0 and source.room(want.home.block_size) > 0:
        chooser.ask(want, source)
        return True
    if not chooser.probe(want, source):
        return False
    if want.phase is Phase.EXHAUSTED:
        want.next_round = now + ROUND_S
        move(want, Phase.SEARCHING)
    return True
