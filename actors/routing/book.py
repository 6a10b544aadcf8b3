"""The peer book: who is where, who said so, and how they did.  Pure: ``now`` in seconds on the node's clock.

Begin with ``seen`` (a source claims), ``connected``, ``identified`` and ``outcome`` (this node finds out), then
``addrs`` and ``facts``, which is what routing asks it for.  ``sweep`` forgets what has expired, a slice at a time;
``take_changes`` and ``restore`` are for the file (storage.peerbook).

Claims are cheap to make, so they are bounded and never trusted: see ``shares`` for who may fill how much of the book.
What this node found out itself is believed, and outlives any number of claims.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from shoal.actors.routing.hygiene import clean_addrs, clean_ttl, is_peer_id, is_plausible
from shoal.actors.routing.rows import CLAIMED, MET, UNKNOWN, USED, Addr, Facts, Row, bit, kind_of
from shoal.actors.routing.shares import Bounds, Shares
from shoal.messages.limits import (
    ADDRESSES_PER_PEER,
    BOOK_ADDRS_PER_SOURCE,
    BOOK_PEERS_MAX,
    BOOK_SEEN_MAX,
    BOOK_TTL_S_MAX,
)
from shoal.messages.routing import CONNECTED, PeerAddrs

MET_TTL_S: Final = 86400.0  # seconds after its connection's end that a peer's own addresses are believed
FORGOTTEN_S: Final = 30 * 86400.0  # seconds without a word after which a peer that was proven is forgotten too
RENEWED_S: Final = 600.0  # seconds by which an expiry must move to be worth writing
SLICE: Final = 250  # rows looked at by one ``sweep``: about 1 ms


class PeerBook:
    """All peers.  ``me``: this node's own id, which is never let in.  ``refused``: peers and addresses, since start."""

    def __init__(self, me: str, bounds: Bounds | None = None) -> None:
        self.me = me
        self.rows: dict[str, Row] = {}
        self.shares = Shares(bounds)
        self.refused = 0
        self._changed: dict[str, None] = {}
        self._gone: dict[str, None] = {}
        self._unswept: list[str] = []

    # --- what sources claim ------------------------------------------------------------------------------

    def seen(self, source: str, peers: Sequence[PeerAddrs], ttl_s: float, now: float, teller: str = "") -> None:
        """``source`` says that these peers are there, for ``ttl_s`` seconds; 0 takes its word back.

        ``teller``: the peer on whose word, where one is known.
        """
        ttl = clean_ttl(ttl_s)
        if ttl is None or not bit(source):
            self.refused += len(peers)
            return
        self.refused += max(0, len(peers) - BOOK_SEEN_MAX.value)
        for claim in peers[: BOOK_SEEN_MAX.value]:
            if ttl == 0.0:
                self._withdraw(source, claim.peer)
            else:
                self._claim(source, claim, ttl, now, teller)

    def _claim(self, source: str, claim: PeerAddrs, ttl: float, now: float, teller: str) -> None:
        row = self.rows.get(claim.peer)
        fresh = [addr for addr in claim.addrs if row is None or addr not in row.addrs]
        known = [addr for addr in claim.addrs if row is not None and addr in row.addrs]
        good, bad = clean_addrs(fresh, BOOK_ADDRS_PER_SOURCE.value)
        self.refused += bad
        if row is None:
            row = self._new_claim(source, claim.peer, good, now, teller)
            if row is None:
                self.refused += 1
                return
        if not row.sources & bit(source):
            row.sources |= bit(source)
            self._touch(row)
        row.seen = now
        self.shares.heard(row)
        for addr in (*known, *good):
            self._add(row, addr, source, now + ttl)
        if not row.addrs and row.step == CLAIMED and not row.connected:
            self._drop(row)

    def _new_claim(self, source: str, peer: str, addrs: tuple[str, ...], now: float, teller: str) -> Row | None:
        """A row for a peer that was never heard of; None when there is no room for it, or it is none."""
        if peer == self.me or not addrs or not is_peer_id(peer):
            return None
        if not any(self.shares.room_for_addr(addr) for addr in addrs):
            return None
        may, instead = self.shares.room_for_claim(source, teller, now)
        if instead is not None:
            self._drop(instead)
        return self._enter(Row(peer, source, teller)) if may else None

    def _withdraw(self, source: str, peer: str) -> None:
        row = self.rows.get(peer)
        if row is None or not row.sources & bit(source):
            return
        row.sources &= ~bit(source)
        for addr, entry in list(row.addrs.items()):
            entry.sources &= ~bit(source)
            if not entry.sources:
                self._remove(row, addr)
        self._touch(row)
        if not row.addrs and row.step == CLAIMED and not row.connected:
            self._drop(row)

    # --- what this node finds out ------------------------------------------------------------------------

    def connected(self, peer: str, addr: str, now: float) -> None:
        """A connection is up.  ``addr``: where it was dialled; empty when the peer dialled us."""
        row = self.rows.get(peer) or self._enter(Row(peer, CONNECTED))
        self.shares.leave(row)
        row.connected = True
        row.seen = now
        self._prove(row, USED if addr else MET)
        row.sources |= bit(CONNECTED)
        if addr and is_plausible(addr):
            self._add(row, addr, CONNECTED, now + MET_TTL_S)
            if addr in row.addrs:
                row.addrs[addr].worked = True
        self._touch(row)

    def identified(self, peer: str, protocols: Iterable[str], addrs: Iterable[str], now: float) -> None:
        """A connected peer has told what it speaks and where it listens."""
        row = self.rows.get(peer)
        if row is None or not row.connected:
            return
        row.kind = kind_of(protocols) or row.kind
        row.seen = now
        good, bad = clean_addrs(addrs, BOOK_ADDRS_PER_SOURCE.value)
        self.refused += bad
        for addr in good:
            self._add(row, addr, CONNECTED, now + MET_TTL_S)
        self._touch(row)

    def disconnected(self, peer: str, now: float) -> None:
        """The last connection has gone."""
        row = self.rows.get(peer)
        if row is None or not row.connected:
            return
        row.connected = False
        row.seen = now
        for entry in row.addrs.values():
            if entry.sources & bit(CONNECTED):
                entry.expires = now + MET_TTL_S
        self.shares.enter(row)
        self._touch(row)
        self._make_room()

    def all_disconnected(self, now: float) -> None:
        """The transport is new."""
        for row in [row for row in self.rows.values() if row.connected]:
            self.disconnected(row.peer, now)

    def outcome(self, peer: str, blocks: int, failures: int, rtt_s: float, now: float) -> None:
        """What a peer was good for.  Of one that is not in the book only a delivery is worth a row."""
        row = self.rows.get(peer)
        if row is None:
            if not blocks or not is_peer_id(peer) or peer == self.me:
                return
            row = self._enter(Row(peer, CONNECTED))
        if blocks and row.step < USED:
            self.shares.leave(row)
            self._prove(row, USED)
            if not row.connected:
                self.shares.enter(row)
        row.outcome(max(blocks, 0), max(failures, 0), rtt_s, now)
        self.shares.heard(row)
        self._touch(row)
        self._make_room()

    # --- what routing asks -------------------------------------------------------------------------------

    def addrs(self, peer: str, now: float) -> tuple[str, ...]:
        """Where the peer can be dialled, as far as is believed now, best first."""
        row = self.rows.get(peer)
        return () if row is None else row.best_addrs(now)

    def facts(self, peer: str, now: float, load: int = 0) -> Facts:
        """What ranking sees of it."""
        row = self.rows.get(peer)
        if row is None:
            return Facts(load=load) if load else UNKNOWN
        return row.facts(now, load)

    def failed_since(self, peer: str, when: float) -> bool:
        """Whether the peer did badly after ``when``."""
        row = self.rows.get(peer)
        return row is not None and row.failed_at > when

    # --- time --------------------------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Forget what has expired among the next rows; all of the book in as many calls as it has slices."""
        if not self._unswept:
            self._unswept = list(self.rows)
        part, self._unswept = self._unswept[:SLICE], self._unswept[SLICE:]
        for peer in part:
            row = self.rows.get(peer)
            if row is None or row.connected:
                continue
            for addr, entry in list(row.addrs.items()):
                # A clock that went backwards must not make a claim of hours one of years.
                entry.expires = min(entry.expires, now + BOOK_TTL_S_MAX.value)
                if entry.expires <= now:
                    self._remove(row, addr)
            row.seen = min(row.seen, now)
            if (row.step == CLAIMED and not row.addrs) or now - row.seen > FORGOTTEN_S:
                self._drop(row)

    # --- the file ----------------------------------------------------------------------------------------

    def take_changes(self, most: int) -> tuple[list[Row], list[str]]:
        """At most ``most`` rows that changed and as many peers that went, since they were last taken."""
        changed = [self.rows[peer] for peer in list(self._changed)[:most]]
        for row in changed:
            del self._changed[row.peer]
        gone = list(self._gone)[:most]
        for peer in gone:
            del self._gone[peer]
        return changed, gone

    def changes_lost(self, rows: Iterable[Row], gone: Iterable[str]) -> None:
        """These could not be written: they are to be taken again."""
        for row in rows:
            if row.peer in self.rows:
                self._touch(row)
        for peer in gone:
            if peer not in self.rows:
                self._gone[peer] = None

    def rewrite(self) -> None:
        """The file has lost everything, or holds other times: all of the book is to be written."""
        self._changed = dict.fromkeys(self.rows)

    @property
    def dirty(self) -> bool:
        """Whether there is something to write."""
        return bool(self._changed or self._gone)

    def restore(self, rows: Iterable[Row], now: float) -> None:
        """Take rows of an earlier life in, the best known first, as far as they fit; what is left out is gone."""
        for row in sorted(rows, key=lambda one: (-one.step, -one.seen)):
            addrs, row.addrs = row.addrs, {}
            if row.peer in self.rows:
                continue
            if row.peer == self.me or not is_peer_id(row.peer):
                self._gone[row.peer] = None
                continue
            if row.step == CLAIMED:
                may, instead = self.shares.room_for_claim(row.owner, row.teller, now)
                if not may or instead is not None:
                    self._gone[row.peer] = None
                    continue
            self._enter(row)
            for addr, entry in list(addrs.items())[: ADDRESSES_PER_PEER.value]:
                if is_plausible(addr) and (row.step != CLAIMED or self.shares.room_for_addr(addr)):
                    row.addrs[addr] = entry
                    self._addr_in(row, addr)
            self._make_room()
            if row.step == CLAIMED and not row.addrs and row.peer in self.rows:
                self._drop(row)
        self._changed.clear()

    # --- within ------------------------------------------------------------------------------------------

    def _enter(self, row: Row) -> Row:
        self.rows[row.peer] = row
        self.shares.enter(row)
        self._touch(row)
        return row

    def _add(self, row: Row, addr: str, source: str, expires: float) -> None:
        """Note an address by the word of ``source``; its oldest other one goes when it has too many."""
        entry = row.addrs.pop(addr, None)
        if entry is None:
            if row.step == CLAIMED and not self.shares.room_for_addr(addr):
                self.refused += 1
                return
            if len(row.addrs) >= ADDRESSES_PER_PEER.value:
                self.refused += 1
                return
            entry = Addr(-math.inf, 0)
            self._addr_in(row, addr)
        if expires - entry.expires > RENEWED_S or not entry.sources & bit(source):
            self._touch(row)
        entry.expires = max(entry.expires, expires)
        entry.sources |= bit(source)
        row.addrs[addr] = entry  # last: in the order of what was heard
        mine = [other for other, one in row.addrs.items() if one.sources & bit(source)]
        for other in mine[: max(0, len(mine) - BOOK_ADDRS_PER_SOURCE.value)]:
            row.addrs[other].sources &= ~bit(source)
            if not row.addrs[other].sources and not row.addrs[other].worked:
                self._remove(row, other)

    def _remove(self, row: Row, addr: str) -> None:
        del row.addrs[addr]
        self._addr_out(row, addr)
        self._touch(row)

    def _addr_in(self, row: Row, addr: str) -> None:
        """Of a peer that was met, any number in one network will do."""
        if row.step == CLAIMED:
            self.shares.addr_in(addr)

    def _addr_out(self, row: Row, addr: str) -> None:
        if row.step == CLAIMED:
            self.shares.addr_out(addr)

    def _prove(self, row: Row, step: int) -> None:
        """The row, charged to nobody at this moment, is known at least so well."""
        if row.step < step:
            for addr in row.addrs:
                self._addr_out(row, addr)
            row.step = step

    def _make_room(self) -> None:
        while (row := self.shares.surplus()) is not None:
            self._drop(row)

    def _drop(self, row: Row) -> None:
        self.shares.leave(row)
        for addr in row.addrs:
            self._addr_out(row, addr)
        del self.rows[row.peer]
        self._changed.pop(row.peer, None)
        self._gone[row.peer] = None
        if len(self._gone) > BOOK_PEERS_MAX.value:  # the file takes nothing: what it holds too much expires there
            del self._gone[next(iter(self._gone))]

    def _touch(self, row: Row) -> None:
        self._gone.pop(row.peer, None)
        self._changed[row.peer] = None

    def check(self) -> None:
        """Raise AssertionError when a bound is broken or two indexes disagree."""
        self.shares.check()
        assert len(self.shares) == sum(not row.connected for row in self.rows.values())
        groups = Shares()
        for peer, row in self.rows.items():
            assert row.peer == peer != self.me
            assert len(row.addrs) <= ADDRESSES_PER_PEER.value
            assert row.connected or row.step != CLAIMED or row.addrs, "a claim that names no place"
            assert not row.connected or row.step != CLAIMED
            for addr in row.addrs if row.step == CLAIMED else ():
                groups.addr_in(addr)
        assert groups.groups == self.shares.groups
        assert set(self._changed) <= set(self.rows)
        assert not set(self._gone) & set(self.rows)
