"""Who may take how much of the peer book: the accounts that make a flood of claims harmless.  Pure.

A peer that is not connected is charged to one account: while it is only claimed, to the source that named it first,
and to the peer that told the source; once met, to MET; once of use, to USED.  A full account of claims takes a new
one only in place of one that nobody has repeated for a while.  The whole is bounded too: then claims make room first,
of the source that has most of them, and what was proven goes last.

Not here: addresses and records of peers (book, rows).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Final

from shoal.actors.routing.hygiene import group_of
from shoal.actors.routing.rows import CLAIMED, MET, USED, Row
from shoal.messages.limits import BOOK_GROUP_MAX, BOOK_MET_MAX, BOOK_PEERS_MAX, BOOK_SHARE_MAX, BOOK_TELLER_MAX

STALE_S: Final = 600.0  # seconds without a word after which a claim makes room for another of its source


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one book; tests have smaller ones."""

    peers: int = BOOK_PEERS_MAX.value
    share: int = BOOK_SHARE_MAX.value
    met: int = BOOK_MET_MAX.value
    teller: int = BOOK_TELLER_MAX.value
    group: int = BOOK_GROUP_MAX.value


class Shares:
    """Accounts of peers.  Every row that is not connected is in exactly one, the longest unheard of first."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self.bounds = bounds or Bounds()
        self.claims: dict[str, OrderedDict[str, Row]] = {}
        self.proven: dict[int, OrderedDict[str, Row]] = {MET: OrderedDict(), USED: OrderedDict()}
        self.tellers: Counter[str] = Counter()
        self.groups: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(map(len, self.claims.values())) + sum(map(len, self.proven.values()))

    def room_for_claim(self, owner: str, teller: str, now: float) -> tuple[bool, Row | None]:
        """Whether a new claim of ``owner`` may come in, and the row that goes for it."""
        if teller and self.tellers[teller] >= self.bounds.teller:
            return False, None
        mine = self.claims.get(owner)
        full = (mine is not None and len(mine) >= self.bounds.share) or len(self) >= self.bounds.peers
        if not full:
            return True, None
        if mine:
            oldest = next(iter(mine.values()))
            # A clock that went backwards makes nobody stale.
            if now - oldest.seen > STALE_S:
                return True, oldest
        return False, None

    def enter(self, row: Row) -> None:
        """Charge the row to the account that it belongs to; it is the latest heard of there."""
        if row.step == CLAIMED:
            self.claims.setdefault(row.owner, OrderedDict())[row.peer] = row
            if row.teller:
                self.tellers[row.teller] += 1
        else:
            self.proven[row.step][row.peer] = row

    def leave(self, row: Row) -> None:
        """The row is charged to nobody any more: it is connected, or gone."""
        if row.step == CLAIMED:
            mine = self.claims.get(row.owner)
            if mine is None or mine.pop(row.peer, None) is None:
                return
            if not mine:
                del self.claims[row.owner]
            if row.teller:
                self.tellers[row.teller] -= 1
                if not self.tellers[row.teller]:
                    del self.tellers[row.teller]
        else:
            self.proven[row.step].pop(row.peer, None)

    def heard(self, row: Row) -> None:
        """Something was heard of the row, which stays where it is."""
        account = self.claims.get(row.owner) if row.step == CLAIMED else self.proven[row.step]
        if account is not None and row.peer in account:
            account.move_to_end(row.peer)

    def surplus(self) -> Row | None:
        """A row that is to go, after a proven one has come; None: all fit."""
        met = self.proven[MET]
        if len(met) > self.bounds.met:
            return next(iter(met.values()))
        if len(self) <= self.bounds.peers:
            return None
        if self.claims:
            most = max(self.claims, key=lambda owner: len(self.claims[owner]))
            return next(iter(self.claims[most].values()))
        return next(iter((met or self.proven[USED]).values()))

    # --- networks ----------------------------------------------------------------------------------------

    def room_for_addr(self, addr: str) -> bool:
        """Whether one more claimed address of its network may come in."""
        group = group_of(addr)
        return not group or self.groups[group] < self.bounds.group

    def addr_in(self, addr: str) -> None:
        """An address has come in."""
        if group := group_of(addr):
            self.groups[group] += 1

    def addr_out(self, addr: str) -> None:
        """An address has gone."""
        if group := group_of(addr):
            self.groups[group] -= 1
            if not self.groups[group]:
                del self.groups[group]

    def check(self) -> None:
        """Raise AssertionError when a bound is broken or two indexes disagree."""
        assert len(self) <= self.bounds.peers
        assert len(self.proven[MET]) <= self.bounds.met
        tellers: Counter[str] = Counter()
        for owner, mine in self.claims.items():
            assert 0 < len(mine) <= self.bounds.share
            for row in mine.values():
                assert row.owner == owner
                assert row.step == CLAIMED
                tellers[row.teller] += bool(row.teller)
        assert +tellers == self.tellers
        assert all(count <= self.bounds.teller for count in tellers.values())
        for step, rows in self.proven.items():
            assert all(row.step == step for row in rows.values())
