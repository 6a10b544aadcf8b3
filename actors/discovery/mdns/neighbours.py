"""Who is on the local network, whom to tell of and whom to dial: a bounded table.  Time and chance are arguments.

A neighbour is remembered as long as its record says, at most 75 minutes.  It is dialled soon after it is first heard
of, since both ends want that and either will do; after a success again only when it is heard again, which costs
nothing while it is connected; after a failure with back-off.  However many names a stranger makes up, so many dials a
second and so many peers in all are dialled, chosen by chance among those that are due.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from shoal.actors.discovery.mdns.announcement import Announcement
from shoal.messages.limits import MDNS_ADDRS_MAX, MDNS_DIALLED_MAX, MDNS_NEIGHBOURS_MAX, MDNS_TTL_MAX_S

TOLD_S: Final = 60.0  # seconds within which the same is not told to routing again
FIRST_WAIT_S: Final = 0.5  # seconds, at most, before the first dial: the two ends do not dial at the same moment
REDIAL_S: Final = 60.0  # seconds after a success before one that is heard again is dialled again
BACK_OFF_S: Final = 5.0  # seconds after the first failure; doubles
BACK_OFF_MAX_S: Final = 300.0  # seconds
DIALS_PER_S: Final = 2.0  # dials begun, on average
DIALS_BURST: Final = 8.0  # dials begun at once: a small network is there at once


@dataclass(slots=True)
class Neighbour:
    """One peer.  Times in seconds on the node's clock."""

    name: str
    addrs: tuple[str, ...]
    expires: float
    due: float
    told: float = -1e18
    wanted: bool = True  # to be dialled when due
    dialling: bool = False
    reached: bool = False
    failures: int = 0


class Neighbours:
    """The table.  ``own`` is this node's peer id."""

    def __init__(self, rng: random.Random, own: str, now: float) -> None:
        self.rng = rng
        self.own = own
        self.peers: OrderedDict[str, Neighbour] = OrderedDict()
        self._tokens = DIALS_BURST
        self._tokens_at = now

    def hear(self, name: str, said: Announcement, ttl_s: int, now: float) -> bool:
        """Somebody announced itself, or took that back (0).  Whether routing is to be told: it is news to it."""
        row = self.peers.get(said.peer)
        if said.peer == self.own:
            return False
        if ttl_s <= 0:
            if row is not None and row.name == name and not row.dialling:
                del self.peers[said.peer]
            return False
        if not said.addrs:
            return False
        if row is None:
            row = self.peers[said.peer] = Neighbour(name, (), now, now + self.rng.uniform(0, FIRST_WAIT_S))
            while len(self.peers) > MDNS_NEIGHBOURS_MAX.value:
                self.peers.popitem(last=False)
        self.peers.move_to_end(said.peer)
        merged = tuple(dict.fromkeys((*said.addrs, *row.addrs)))[: MDNS_ADDRS_MAX.value]
        changed = set(merged) != set(row.addrs)
        row.name, row.addrs, row.expires = name, merged, now + min(ttl_s, MDNS_TTL_MAX_S.value)
        row.wanted = row.wanted or now >= row.due
        if not changed and 0 <= now - row.told < TOLD_S:
            return False
        row.told = now
        return True

    def known(self, now: float) -> list[tuple[str, tuple[str, ...], float]]:
        """Everybody: peer, addresses, and for how many seconds they are still believed."""
        return [(peer, row.addrs, row.expires - now) for peer, row in self.peers.items() if row.expires > now]

    def forget_connections(self, now: float) -> None:
        """The transport is new: everybody may be dialled."""
        for row in self.peers.values():
            row.wanted, row.dialling, row.reached, row.failures, row.due = True, False, False, 0, now

    def due(self, now: float) -> list[tuple[str, tuple[str, ...]]]:
        """Whom to dial now; each counts as being dialled until ``dialled``.  Forgets who has not been heard of."""
        for peer in [peer for peer, row in self.peers.items() if row.expires <= now and not row.dialling]:
            del self.peers[peer]
        elapsed = max(0.0, now - self._tokens_at)
        self._tokens, self._tokens_at = min(DIALS_BURST, self._tokens + elapsed * DIALS_PER_S), now
        busy = sum(row.dialling or row.reached for row in self.peers.values())
        ready = [
            (peer, row)
            for peer, row in self.peers.items()
            # A clock set back must not put a dial off for longer than the longest wait.
            if row.wanted and not row.dialling and not now < row.due <= now + BACK_OFF_MAX_S
        ]
        self.rng.shuffle(ready)
        chosen: list[tuple[str, tuple[str, ...]]] = []
        for peer, row in ready:
            if self._tokens < 1 or (busy >= MDNS_DIALLED_MAX.value and not row.reached):
                continue
            self._tokens -= 1
            busy += not row.reached
            row.dialling = True
            chosen.append((peer, row.addrs))
        return chosen

    def dialled(self, peer: str, reached: bool, now: float) -> None:
        """How a dial ended."""
        row = self.peers.get(peer)
        if row is None:
            return
        row.dialling, row.reached = False, reached
        if reached:
            row.wanted, row.failures, row.due = False, 0, now + REDIAL_S
        else:
            row.due = now + min(BACK_OFF_MAX_S, BACK_OFF_S * 2.0 ** min(row.failures, 16))
            row.failures += 1
