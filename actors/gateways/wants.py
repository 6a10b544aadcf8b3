"""What is wanted of gateways, and when each want may be asked for: the pure half of the gateways actor.

A want waits out its grace, in which peers may serve it; then it is ready, and is fetched from one gateway after the
other; then it has arrived, until the store says that it has it.  Every gateway tried in vain, it rests and begins
again.  It ends when the block is stored, wherever that came from, or when no session wants it.

    waiting -> ready -> fetching -> arrived -> (stored)
                 ^         |  |        |
                 +---------+  +-> resting, and all over again

Begin with ``seek`` and ``next_for``.  Time is an argument, in seconds on the node's clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Final

from shoal.actors.gateways.want import Phase, Session, Want
from shoal.messages.cid import CID
from shoal.messages.envelope import PRIORITY_HIGH, PRIORITY_LOW
from shoal.messages.limits import GATEWAY_WANTS_MAX, SESSIONS_MAX

STORE_S: Final = 30.0  # seconds for an arrived block to be stored, before it is wanted again; as bitswap has it
RETRY_MIN_S: Final = 5.0  # seconds before gateways that did not have a block are asked again, doubled each time
RETRY_MAX_S: Final = 120.0  # seconds
LOOKED_AT_MAX: Final = 32  # ready wants looked at for one free gateway; of more, none is likely to fit


class Wants:
    """All wants."""

    def __init__(self) -> None:
        self.rows: dict[CID, Want] = {}
        self.sessions: dict[int, Session] = {}
        self.arrived: dict[CID, Want] = {}  # in the order of arrival
        self.unstored = 0  # bytes arrived and not yet stored
        self._later: list[tuple[float, int, Want]] = []
        self._ready: list[dict[Want, None]] = [{} for _ in range(PRIORITY_HIGH + 1)]
        self._turn = 0

    # --- wants come and go -----------------------------------------------------------------------------

    def seek(self, cids: Iterable[CID], number: int, priority: int, deadline: float, now: float) -> None:
        """These are wanted in a session until ``deadline``; what is wanted already is shared."""
        session = self._session(number)
        priority = min(max(priority, PRIORITY_LOW), PRIORITY_HIGH)
        for cid in cids:
            want = self.rows.get(cid)
            if want is None:
                if len(self.rows) >= GATEWAY_WANTS_MAX.value:
                    return
                want = self.rows[cid] = Want(cid, priority, {})
                self._wait(want, now + session.grace_s)
            if number not in want.sessions:
                session.wants += 1
            want.sessions[number] = max(deadline, want.sessions.get(number, deadline))
            if priority > want.priority:
                self._unready(want)
                want.priority = priority
                if want.phase is Phase.READY:
                    self._ready[priority][want] = None

    def stop(self, cids: Iterable[CID], number: int) -> list[Want]:
        """The session wants these no more.  Those that nobody wants now."""
        ended = []
        for cid in cids:
            want = self.rows.get(cid)
            if want is not None and want.sessions.pop(number, None) is not None:
                self._less(number)
                if not want.sessions:
                    self._drop(want)
                    ended.append(want)
        return ended

    def stored(self, cid: CID) -> Want | None:
        """The block is in the store.  The want that has ended by it."""
        want = self.rows.get(cid)
        if want is None:
            return None
        ours = want.phase is Phase.ARRIVED
        for number in want.sessions:
            self.sessions[number].came(ours)
            self._less(number)
        self._drop(want)
        return want

    def forget_all(self) -> list[Want]:
        """Whoever wanted anything has lost its memory.  Every want that there was."""
        ended = list(self.rows.values())
        for want in ended:
            self._drop(want)
        self.sessions.clear()
        return ended

    # --- what becomes of them ----------------------------------------------------------------------------

    def next_for(self, fits: Callable[[Want], bool]) -> Want | None:
        """The most urgent ready want that ``fits``; it is taken out until ``failed`` or ``rest`` puts it back."""
        for queue in reversed(self._ready):
            for count, want in enumerate(queue):
                if fits(want):
                    del queue[want]
                    want.phase = Phase.FETCHING
                    return want
                if count >= LOOKED_AT_MAX:
                    return None
        return None

    def hopeless(self, tried_all: Callable[[Want], bool], now: float) -> None:
        """Let ready wants rest that no gateway is left for."""
        for queue in self._ready:
            for want in [one for one, _ in zip(queue, range(LOOKED_AT_MAX), strict=False) if tried_all(one)]:
                self._rest(want, now)

    def failed(self, want: Want) -> None:
        """A request for it has ended without the block."""
        want.open -= 1
        if want.phase is Phase.FETCHING and not want.open:
            want.phase = Phase.READY
            self._ready[want.priority][want] = None

    def come(self, want: Want, size: int, now: float) -> None:
        """The block has arrived and is handed in."""
        want.open -= 1
        want.phase = Phase.ARRIVED
        want.size, want.arrived_at = size, now
        self.arrived[want.cid] = want
        self.unstored += size

    def not_stored(self, now: float, older_s: float = STORE_S) -> None:
        """What arrived ``older_s`` ago and is not stored is wanted again, at once."""
        for want in list(self.arrived.values()):
            if now - want.arrived_at < older_s:
                return
            self._unarrive(want)
            want.tried.clear()
            self._wait(want, now)

    def ripen(self, now: float) -> None:
        """What has waited long enough is ready."""
        while self._later and self._later[0][0] <= now:
            due, _, want = heapq.heappop(self._later)
            if want.phase is Phase.WAITING and want.due == due and self.rows.get(want.cid) is want:
                want.phase = Phase.READY
                self._ready[want.priority][want] = None

    def wake_in(self, now: float) -> float | None:
        """Seconds until something ripens or is overdue at the store; None when nothing will."""
        times = [self._later[0][0] - now] if self._later else []
        if self.arrived:
            times.append(next(iter(self.arrived.values())).arrived_at + STORE_S - now)
        return max(0.0, min(times)) if times else None

    # --- within --------------------------------------------------------------------------------------------

    def _rest(self, want: Want, now: float) -> None:
        self._unready(want)
        want.tried.clear()
        self._wait(want, now + min(RETRY_MIN_S * 2.0 ** min(want.rounds, 16), RETRY_MAX_S))
        want.rounds += 1

    def _wait(self, want: Want, due: float) -> None:
        want.phase, want.due = Phase.WAITING, due
        self._turn += 1
        heapq.heappush(self._later, (due, self._turn, want))
        if len(self._later) > 64 + 4 * len(self.rows):  # mostly of wants that are over
            kept = [one for one in self._later if one[2].due == one[0] and self.rows.get(one[2].cid) is one[2]]
            self._later = [one for one in kept if one[2].phase is Phase.WAITING]
            heapq.heapify(self._later)

    def _unready(self, want: Want) -> None:
        self._ready[want.priority].pop(want, None)

    def _unarrive(self, want: Want) -> None:
        if self.arrived.pop(want.cid, None) is not None:
            self.unstored -= want.size
            want.size = 0

    def _drop(self, want: Want) -> None:
        del self.rows[want.cid]
        self._unready(want)
        self._unarrive(want)

    def _session(self, number: int) -> Session:
        session = self.sessions.pop(number, None) or Session(number)
        if len(self.sessions) >= SESSIONS_MAX.value:
            spare = next((key for key, row in self.sessions.items() if not row.wants), None)
            if spare is not None:
                del self.sessions[spare]
        self.sessions[number] = session  # last: in the order of use
        return session

    def _less(self, number: int) -> None:
        self.sessions[number].wants -= 1

    def check(self) -> None:
        """Raise AssertionError when the indexes disagree."""
        for want in self.rows.values():
            ready = [want in queue for queue in self._ready]
            assert sum(ready) == (want.phase is Phase.READY), want
            assert (want.cid in self.arrived) == (want.phase is Phase.ARRIVED), want
            assert want.sessions
            if want.phase is Phase.WAITING:
                assert any(one[2] is want and one[0] == want.due for one in self._later)
        assert sum(len(queue) for queue in self._ready) <= len(self.rows)
        assert self.unstored == sum(want.size for want in self.arrived.values())
        for session in self.sessions.values():
            assert session.wants == sum(session.number in want.sessions for want in self.rows.values())
        assert {number for want in self.rows.values() for number in want.sessions} <= set(self.sessions)
