"""Searches for providers: one a CID, however many ask, over all sources.  Pure: ``now`` on the node's clock.

Begin with ``ask``.  Every method gives the actions to carry out, in order: ask a source, stop it, tell an asker, end
its search.  ``wake_in`` says when ``tick`` has something to do.

What is kept, whatever sources do: an asker is told each provider once and is ended exactly once, by its deadline at the
latest; a source is asked only while somebody waits, is stopped when nobody does, and what it says after that changes
nothing; one that dies ends its own part only.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from shoal.actors.routing.legs import (
    CANCELLED,
    OUT_OF_TIME,
    Action,
    Asker,
    End,
    Key,
    Leg,
    Search,
    Start,
    State,
    Stop,
    Tell,
)
from shoal.actors.routing.recall import EACH_MAX, Recall
from shoal.actors.routing.records import Records
from shoal.messages.cid import CID
from shoal.messages.limits import SEARCH_ASKERS_MAX, SEARCH_PROVIDERS_MAX, SEARCH_S_MAX, SEARCHES_MAX
from shoal.messages.routing import BOOK, Provider, SourceReport

AGAIN_MAX: Final = 4  # times that a source is asked anew within one search, for later deadlines
AGAIN_LEFT_S: Final = 0.5  # seconds that must be left for it

Remembered = Callable[[str, float], Provider | None]
Failed = Callable[[Provider], bool]
Rank = Callable[[list[Provider]], list[Provider]]


class Searches:
    """All searches.

    ``rank`` orders providers; ``remembered`` makes one of a peer that had a CID at a time; ``failed`` says which have
    just failed: those do not count as found for who asks again because of it, or a few who claim to have everything
    would keep dearer sources from ever being asked.
    """

    def __init__(
        self,
        records: Records,
        recall: Recall,
        rank: Rank,
        remembered: Remembered,
        failed: Failed,
        first_ticket: int = 0,
    ) -> None:
        self.records = records
        self.recall = recall
        self.rank = rank
        self.remembered = remembered
        self.failed = failed
        self.open: dict[CID, Search] = {}
        self.asked: dict[Key, Search] = {}
        self.load: Counter[str] = Counter()  # peer -> open searches that told of it
        self.total = self.shared = self.spared = 0
        self._legs: dict[int, tuple[Search, Leg]] = {}
        self._ticket = first_ticket  # an earlier life's are not to be mistaken for ours

    @property
    def full(self) -> bool:
        """Whether no more can be asked."""
        return len(self.open) >= SEARCHES_MAX.value or len(self.asked) >= SEARCH_ASKERS_MAX.value

    # --- askers ------------------------------------------------------------------------------------------

    def ask(
        self, key: Key, cid: CID, count: int, deadline: float, now: float, sources: Iterable[str], *, fresh: bool
    ) -> list[Action]:
        """Somebody wants to know who has ``cid``.

        ``fresh``: whatever was a moment ago, that nobody had it or that some peers failed.
        """
        actions = self.stop(key, now)  # a ticket used twice: the asker has begun a new life
        deadline = min(deadline, now + SEARCH_S_MAX.value)
        since = None if fresh else self.recall.nobody_since(cid, now)
        search = self.open.get(cid)
        if search is None and since is not None:
            self.spared += 1
            report = SourceReport(BOOK, 0.0, 0.0, 0, -1.0, f"nobody had it {since:.0f} s ago")
            return [*actions, End(key, cid, (report,))]
        if deadline <= now or math.isnan(deadline):
            return [*actions, End(key, cid, ())]
        if search is None:
            self.total += 1
            search = self._begin(cid, now, sources)
        else:
            self.shared += 1
        search.askers[key] = Asker(key, max(count, 0), deadline, not fresh)
        self.asked[key] = search
        return actions + self._advance(search, now)

    def _begin(self, cid: CID, now: float, sources: Iterable[str]) -> Search:
        plan = self.records.plan(sources)
        search = self.open[cid] = Search(cid, now, [Leg(source, now + wait) for source, wait in plan])
        for peer, at in self.recall.who_had(cid, now):
            provider = self.remembered(peer, at)
            if provider is not None:
                self._add(search, provider)
        search.recalled = len(search.found)
        if search.found:
            self.records.of(BOOK).note(SourceReport(BOOK, 0.0, 0.0, search.recalled, 0.0), whole=True)
        return search

    def stop(self, key: Key, now: float) -> list[Action]:
        """The asker needs no more; it is told nothing from now on."""
        search = self.asked.pop(key, None)
        if search is None:
            return []
        del search.askers[key]
        return self._advance(search, now)

    def forget_asker(self, who: str, now: float) -> list[Action]:
        """An asker has died with all its tickets."""
        actions: list[Action] = []
        for key in [key for key in self.asked if key[0] == who]:
            actions += self.stop(key, now)
        return actions

    # --- sources -----------------------------------------------------------------------------------------

    def found(self, ticket: int, providers: Sequence[Provider], now: float) -> list[Action]:
        """A source knows somebody.  The providers are clean (``hygiene``)."""
        search, leg = self._legs.get(ticket, (None, None))
        if search is None or leg is None:
            return []
        for provider in providers:
            name = provider.source
            leg.counts[name] = leg.counts.get(name, 0) + 1
            leg.firsts.setdefault(name, now)
            if leg.added < SEARCH_PROVIDERS_MAX.value // len(search.legs):  # no source takes the others' room
                leg.added += self._add(search, provider)
        return self._advance(search, now)

    def ended(self, ticket: int, outcome: str, now: float, *, late: bool = False, broken: bool = False) -> list[Action]:
        """A source has finished.  ``late``: its deadline came; ``broken``: it died, refused or was never there."""
        search, leg = self._legs.pop(ticket, (None, None))
        if search is None or leg is None:
            return []
        self.records.of(leg.source).running = not broken
        if broken:
            self.records.of(leg.source).failed()
        more = any(asker.count == 0 or asker.count > leg.count for asker in search.askers.values())
        enough = more and 0 < leg.count <= leg.told  # it stopped at what was asked of it, and somebody takes more
        if (late or enough) and leg.again < AGAIN_MAX and search.deadline - now > AGAIN_LEFT_S:
            leg.again += 1
            leg.due = now
            leg.state = State.WAITING
        else:
            leg.state, leg.ended, leg.outcome = State.ENDED, now, outcome
            self._note(search, leg, now, whole=not broken)
        return self._advance(search, now)

    def _add(self, search: Search, provider: Provider) -> bool:
        if provider.peer in search.peers:
            return False
        search.peers.add(provider.peer)
        search.found.append(provider)
        self.load[provider.peer] += 1
        return True

    def _note(self, search: Search, leg: Leg, now: float, *, whole: bool) -> None:
        for report in leg.report(search.started, now):
            self.records.of(report.source).note(report, whole=whole)

    # --- time --------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Action]:
        """What time changes: sources whose turn has come, and deadlines."""
        actions: list[Action] = []
        for search in list(self.open.values()):
            actions += self._advance(search, now)
        return actions

    def wake_in(self, now: float) -> float | None:
        """Seconds until the next ``tick``; None while no search is open."""
        times = [
            min(
                min((asker.deadline for asker in search.askers.values()), default=now),
                min((leg.due for leg in search.legs if leg.state is State.WAITING), default=math.inf),
            )
            for search in self.open.values()
        ]
        return max(min(times) - now, 0.0) if times else None

    # --- within ------------------------------------------------------------------------------------------

    def _advance(self, search: Search, now: float) -> list[Action]:
        actions: list[Action] = []
        for asker in list(search.askers.values()):
            actions += self._tell(search, asker)
            if asker.lacks == 0 or asker.deadline <= now:
                actions.append(self._end(search, asker, now))
        if not search.askers:
            return actions + self._close(search, now)
        actions += self._start_due(search, now)
        if all(leg.state is State.ENDED for leg in search.legs):
            in_order = any(not leg.outcome for leg in search.legs)
            if not search.found and in_order:
                self.recall.note_nobody(search.cid, now)
            actions += [self._end(search, asker, now) for asker in list(search.askers.values())]
            actions += self._close(search, now)
        return actions

    def _tell(self, search: Search, asker: Asker) -> list[Action]:
        fresh = search.found[asker.given :]
        asker.given = len(search.found)
        if asker.picky:
            fresh = [provider for provider in fresh if not self.failed(provider)]
        best = self.rank(fresh) if fresh else []
        if asker.count:
            best = best[: asker.lacks]
        asker.told += len(best)
        return [Tell(asker.key, search.cid, tuple(best))] if best else []

    def _end(self, search: Search, asker: Asker, now: float) -> End:
        del search.askers[asker.key]
        del self.asked[asker.key]
        cut = CANCELLED if asker.lacks == 0 or asker.deadline > now else OUT_OF_TIME
        reports = [report for leg in search.legs for report in leg.report(search.started, now, cut)]
        if search.recalled:
            reports.insert(0, SourceReport(BOOK, 0.0, 0.0, search.recalled, 0.0))
        return End(asker.key, search.cid, tuple(reports))

    def _start_due(self, search: Search, now: float) -> list[Action]:
        """Ask the sources whose turn it is; when no other is being asked, the next need not wait for its turn."""
        actions: list[Action] = []
        for leg in search.legs:
            if leg.state is State.RUNNING or leg.state is State.ENDED:
                continue
            if leg.due <= now or not any(one.state is State.RUNNING for one in search.legs):
                actions.append(self._start(search, leg, now))
        return actions

    def _start(self, search: Search, leg: Leg, now: float) -> Start:
        self._ticket += 1
        if not leg.again:
            leg.began = now
        counts = [asker.count for asker in search.askers.values()]
        leg.state, leg.ticket, leg.count = State.RUNNING, self._ticket, 0 if 0 in counts else max(counts)
        self._legs[leg.ticket] = (search, leg)
        return Start(leg.source, leg.ticket, search.cid, leg.count, search.deadline)

    def _close(self, search: Search, now: float) -> list[Action]:
        """Nobody waits any more: the sources that are still at it are stopped."""
        actions: list[Action] = []
        for leg in search.legs:
            if leg.state is State.RUNNING:
                del self._legs[leg.ticket]
                self._note(search, leg, now, whole=False)
                leg.state = State.ENDED
                actions.append(Stop(leg.source, leg.ticket))
        fresh = search.found[search.recalled :][:EACH_MAX]
        if fresh:
            self.recall.note(search.cid, [provider.peer for provider in reversed(fresh)], now)
        for provider in search.found:
            self.load[provider.peer] -= 1
            if not self.load[provider.peer]:
                del self.load[provider.peer]
        if self.open.get(search.cid) is search:
            del self.open[search.cid]
        return actions

    def check(self) -> None:
        """Raise AssertionError when two indexes disagree."""
        for cid, search in self.open.items():
            assert search.cid == cid
            assert search.askers, "a search that nobody waits for"
            assert all(self.asked[key] is search for key in search.askers)
            assert len({provider.peer for provider in search.found}) == len(search.found) == len(search.peers)
            assert any(leg.state is not State.ENDED for leg in search.legs)
        assert all(key in search.askers and self.open.get(search.cid) is search for key, search in self.asked.items())
        running = {leg.ticket for search in self.open.values() for leg in search.legs if leg.state is State.RUNNING}
        assert running == set(self._legs)
        assert +self.load == self.load
