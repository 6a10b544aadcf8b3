"""Peers to stay connected to, and when to dial each again: a pure table.

Three kinds: configured and asked-for peers are kept until they are released; peers that were connected when the
transport died are dialled again a few times, since whoever was being served or fetched from should not be lost
with it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from shoal.messages.limits import KEPT_PEERS_MAX

FIRST_WAIT_S: Final = 0.5  # seconds before the first dial after a loss; a restarting peer needs about this
LONGEST_WAIT_S: Final = 60.0  # seconds; a peer that is back is found within a minute
STEADY_S: Final = 2.0  # seconds; a connection that ends sooner counts as a dial that failed (a peer that is full)
RECOVER_TRIES: Final = 5  # dials of a peer that nobody asked to keep, after the transport's death


@dataclass(slots=True)
class Kept:
    """One peer.  ``tries_left`` is -1 for one that is kept for good."""

    addrs: tuple[str, ...]
    tries_left: int = -1
    connected: bool = False
    dialling: bool = False
    failures: int = 0  # in a row: dials that failed and connections that did not last
    since: float = 0.0  # when it was connected
    due: float = 0.0


class Keeping:
    """Who is kept, who is connected, who is due.  ``now`` in seconds on the node's clock."""

    def __init__(self, rng: random.Random) -> None:
        self.peers: dict[str, Kept] = {}
        self.rng = rng

    def keep(self, peer: str, addrs: tuple[str, ...], now: float, tries: int = -1) -> bool:
        """Stay connected to ``peer``; False when the table is full.  Known addresses are added to."""
        kept = self.peers.get(peer)
        if kept is None:
            if len(self.peers) >= KEPT_PEERS_MAX.value:
                return False
            kept = self.peers[peer] = Kept((), tries, due=now)
        kept.addrs = tuple(dict.fromkeys((*addrs, *kept.addrs)))[:8]
        if tries < 0 or kept.tries_left >= 0:
            kept.tries_left = tries
        return True

    def release(self, peer: str) -> bool:
        """No longer; whether it was kept."""
        return self.peers.pop(peer, None) is not None

    def connected(self, peer: str, now: float) -> None:
        """There is a connection."""
        kept = self.peers.get(peer)
        if kept is None:
            return
        if kept.tries_left >= 0:
            del self.peers[peer]
            return
        if not kept.connected:
            kept.since = now
        kept.connected, kept.dialling = True, False

    def lost(self, peer: str, now: float) -> None:
        """The last connection is gone."""
        kept = self.peers.get(peer)
        if kept is not None:
            if kept.connected:
                kept.failures = kept.failures + 1 if 0 <= now - kept.since < STEADY_S else 0
            kept.connected = kept.dialling = False
            kept.due = now + self._wait(kept)

    def failed(self, peer: str, now: float) -> None:
        """A dial failed: wait longer, or give up one that is not kept for good."""
        kept = self.peers.get(peer)
        if kept is None:
            return
        kept.dialling = False
        kept.failures += 1
        kept.due = now + self._wait(kept)
        if kept.tries_left > 0:
            kept.tries_left -= 1
        if kept.tries_left == 0:
            del self.peers[peer]

    def forget_connections(self, now: float) -> None:
        """The transport is new: nobody is connected."""
        for kept in self.peers.values():
            kept.connected = kept.dialling = False
            kept.due = now

    def due(self, now: float) -> list[tuple[str, tuple[str, ...]]]:
        """The peers to dial now; each counts as being dialled from here on."""
        chosen = []
        for peer, kept in self.peers.items():
            # A clock set back must not put a dial off for longer than the longest wait.
            waiting = now < kept.due <= now + LONGEST_WAIT_S
            if not kept.connected and not kept.dialling and not waiting:
                kept.dialling = True
                chosen.append((peer, kept.addrs))
        return chosen

    def _wait(self, kept: Kept) -> float:
        doubled = FIRST_WAIT_S * 2.0 ** min(kept.failures, 16)
        return min(LONGEST_WAIT_S, doubled) * self.rng.uniform(0.75, 1.0)
