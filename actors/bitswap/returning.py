"""Peers that were lost in the middle of a download, and when to dial each again: a pure table.

Only for those that something was being had from.  A connection breaks, a peer's transport is restarted: the block that
it would have sent is a dial away, and no other source of providers needs to be asked.  Nobody is dialled while nothing
is wanted, as between two windows of a download; a peer that nobody wanted anything of for a while is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shoal.messages.limits import PEERS_RETURNING_MAX

FIRST_WAIT_S: Final = 0.5  # seconds before the first dial, doubled for each; a restarting transport needs about this
TRIES_MAX: Final = 6  # dials; half a minute in all
KEPT_S: Final = 60.0  # seconds after its loss that a peer is dialled for what is wanted


@dataclass(slots=True)
class Lost:
    """One peer.  ``due`` counts while it is not being dialled."""

    due: float
    until: float
    tries: int = 0
    dialling: bool = False


class Returning:
    """Who is to come back.  ``now`` in seconds on the node's clock."""

    def __init__(self) -> None:
        self.peers: dict[str, Lost] = {}

    def lost(self, peer: str, now: float) -> None:
        """The last connection to a peer of use broke; the oldest such peer is forgotten when there are too many."""
        self.peers.setdefault(peer, Lost(now + FIRST_WAIT_S, now + KEPT_S))
        if len(self.peers) > PEERS_RETURNING_MAX.value:
            del self.peers[next(iter(self.peers))]

    def back(self, peer: str) -> None:
        """It is connected."""
        self.peers.pop(peer, None)

    def failed(self, peer: str, now: float) -> None:
        """A dial failed: wait longer, or give the peer up."""
        row = self.peers.get(peer)
        if row is None:
            return
        row.dialling = False
        row.tries += 1
        row.due = now + FIRST_WAIT_S * 2.0**row.tries
        if row.tries >= TRIES_MAX:
            del self.peers[peer]

    def due(self, now: float) -> list[str]:
        """The peers to dial now, when something is wanted; each counts as being dialled from here on."""
        for peer in [peer for peer, row in self.peers.items() if row.until <= now]:
            del self.peers[peer]
        chosen = [peer for peer, row in self.peers.items() if not row.dialling and row.due <= now]
        for peer in chosen:
            self.peers[peer].dialling = True
        return chosen

    def wake_in(self, now: float) -> float | None:
        """Seconds until the next is due; None when nobody is."""
        waits = [row.due - now for row in self.peers.values() if not row.dialling]
        return max(0.0, min(waits)) if waits else None
