"""What this node wants: by CID and by session, each with its priority and deadline.  A pure table.

One block may be wanted by several sessions at a time; each keeps its own deadline.  Every want ends: by its block, by
being cancelled, or at its deadline.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shoal.messages.cid import CID
from shoal.messages.limits import OUR_WANTS_MAX

NOTHING_TRIED = "no peer has been asked"


@dataclass(slots=True)
class OurWant:
    """One CID wanted by one session.  ``deadline`` in seconds on the node's clock; infinity for none."""

    priority: int
    deadline: float


class OurWants:
    """All open wants of this node."""

    def __init__(self) -> None:
        self._by_cid: dict[CID, dict[int, OurWant]] = {}
        self._sessions: dict[int, int] = {}  # session -> number of its wants
        self._tried: dict[int, dict[str, str]] = {}  # session -> exchange -> what it tried
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def has_room(self, more: int) -> bool:
        """Whether ``more`` wants fit under the bound."""
        return self._count + more <= OUR_WANTS_MAX.value

    def want(self, cids: Iterable[CID], session: int, priority: int, deadline: float) -> list[CID]:
        """Enter wants; those new to the session.  Wanted again: the later deadline, the higher priority."""
        fresh: list[CID] = []
        for cid in cids:
            rows = self._by_cid.setdefault(cid, {})
            row = rows.get(session)
            if row is None:
                rows[session] = OurWant(priority, deadline)
                self._sessions[session] = self._sessions.get(session, 0) + 1
                self._count += 1
                fresh.append(cid)
            else:
                row.priority = max(row.priority, priority)
                row.deadline = max(row.deadline, deadline)
        return fresh

    def cancel(self, cids: Iterable[CID], session: int) -> list[CID]:
        """The session wants these no more; those that it did want."""
        return [cid for cid in cids if self._drop(cid, session)]

    def arrived(self, cids: Iterable[CID]) -> None:
        """These blocks are here: every want of them has ended."""
        for cid in cids:
            for session in list(self._by_cid.get(cid, ())):
                self._drop(cid, session)

    def expire(self, now: float) -> list[tuple[CID, int, str]]:
        """Take out the wants whose deadline has passed: CID, session, and what was tried."""
        late = [
            (cid, session, self._text(session))
            for cid, rows in self._by_cid.items()
            for session, row in rows.items()
            if row.deadline <= now
        ]
        for cid, session, _ in late:
            self._drop(cid, session)
        return late

    def note_tried(self, session: int, tried: str, exchange: str = "") -> None:
        """What ``exchange`` has tried for a session, for the text of its failures."""
        if session in self._sessions:
            self._tried.setdefault(session, {})[exchange] = tried

    def _text(self, session: int) -> str:
        return "; ".join(self._tried.get(session, {}).values()) or NOTHING_TRIED

    def by_session(self) -> dict[tuple[int, int, float], list[CID]]:
        """All wants, grouped by session, priority and deadline: what a new bitswap is told."""
        groups: dict[tuple[int, int, float], list[CID]] = {}
        for cid, rows in self._by_cid.items():
            for session, row in rows.items():
                groups.setdefault((session, row.priority, row.deadline), []).append(cid)
        return groups

    def priorities(self) -> dict[CID, int]:
        """Every wanted CID with its highest priority."""
        return {cid: max(row.priority for row in rows.values()) for cid, rows in self._by_cid.items()}

    def check(self) -> None:
        """Raise AssertionError when the indexes disagree."""
        assert self._count == sum(len(rows) for rows in self._by_cid.values()) == sum(self._sessions.values())
        assert all(self._by_cid.values())
        assert set(self._tried) <= set(self._sessions)

    def _drop(self, cid: CID, session: int) -> bool:
        rows = self._by_cid.get(cid)
        if rows is None or rows.pop(session, None) is None:
            return False
        if not rows:
            del self._by_cid[cid]
        self._count -= 1
        self._sessions[session] -= 1
        if not self._sessions[session]:
            del self._sessions[session]
            self._tried.pop(session, None)
        return True
