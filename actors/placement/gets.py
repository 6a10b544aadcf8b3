"""Requests for blocks that are not all answered yet: who waits for what.  A pure table.

Every request ends: with its last block, with the failure of its last want, or at its deadline.  Two indexes, by
request and by CID, always agree; ``check`` says so for the property tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from shoal.messages.blocks import MissingBlock
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope


@dataclass(slots=True)
class Get:
    """One request.  ``remaining`` are the CIDs that it has no answer for yet."""

    envelope: Envelope
    session: int
    fetch: bool
    early: bool  # may have blocks that are not durable yet
    remaining: set[CID]
    missing: list[MissingBlock] = field(default_factory=list)


class Gets:
    """All open requests, and the wants that they have outside."""

    def __init__(self) -> None:
        self.open: dict[int, Get] = {}
        self.wanted: dict[CID, set[int]] = {}

    def add(self, envelope: Envelope, cids: Iterable[CID], session: int, fetch: bool, early: bool = False) -> Get:
        """Open a request; its id is its envelope's."""
        get = Get(envelope, session, fetch, early, set(cids))
        self.open[envelope.id] = get
        return get

    def want(self, request: int, cids: Iterable[CID]) -> list[CID]:
        """The tiers do not have these: wait for them.  Only those that the request still waits for are taken."""
        get = self.open.get(request)
        if get is None:
            return []
        waited = [cid for cid in cids if cid in get.remaining]
        for cid in waited:
            self.wanted.setdefault(cid, set()).add(request)
        return waited

    def answered(self, request: int, cid: CID) -> Get | None:
        """The request has its answer for ``cid``, good or bad; None when it did not wait for it."""
        get = self.open.get(request)
        if get is None or cid not in get.remaining:
            return None
        get.remaining.discard(cid)
        self._unwant(cid, request)
        return get

    def waiting_for(self, cid: CID, session: int | None = None) -> list[int]:
        """The requests that wait for ``cid`` from outside, of one session or of all."""
        ids = self.wanted.get(cid, ())
        return sorted(number for number in ids if session is None or self.open[number].session == session)

    def close(self, request: int) -> tuple[Get | None, list[CID]]:
        """End a request; also the CIDs that nobody of its session waits for any more."""
        get = self.open.pop(request, None)
        if get is None:
            return None, []
        orphans: list[CID] = []
        for cid in sorted(get.remaining):
            if cid in self.wanted and request in self.wanted[cid]:
                self._unwant(cid, request)
                if not self.waiting_for(cid, get.session):
                    orphans.append(cid)
        return get, orphans

    def overdue(self, now: float) -> list[int]:
        """Requests whose deadline has passed."""
        return [number for number, get in self.open.items() if get.envelope.deadline <= now]

    def check(self) -> None:
        """Raise AssertionError when the indexes disagree."""
        for cid, requests in self.wanted.items():
            assert requests, f"{cid} is wanted by nobody"
            assert all(cid in self.open[number].remaining for number in requests)

    def _unwant(self, cid: CID, request: int) -> None:
        requests = self.wanted.get(cid)
        if requests is not None:
            requests.discard(request)
            if not requests:
                del self.wanted[cid]
