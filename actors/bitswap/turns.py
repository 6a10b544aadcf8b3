"""Whose turn it is to be served: the starved first, then whoever has least under way.

A peer is starved when it has had work for two seconds without being served; of the starved the longest without service
is first, so nobody waits long while others are served.  Of the others the one with the fewest bytes outstanding is,
so that a peer on a slow link, whose megabyte stays outstanding, does not hold up those on fast ones.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from shoal.actors.bitswap.partner import Partner
from shoal.messages.limits import OUTSTANDING_BYTES_PER_PEER

STARVED_S: Final = 2.0  # seconds without service after which a peer goes before all that are not starved


class Turns:
    """Peers that have work."""

    def __init__(self) -> None:
        self.ready: dict[str, Partner] = {}

    def update(self, partner: Partner, now: float) -> None:
        """The peer has work now, or has none."""
        if not partner.has_work():
            self.ready.pop(partner.peer, None)
        elif partner.peer not in self.ready:
            self.ready[partner.peer] = partner
            partner.waiting_since = now

    def leave(self, peer: str) -> None:
        """The peer is gone."""
        self.ready.pop(peer, None)

    def pick(self, now: float, reachable: Container[str], crowded: bool) -> Partner | None:
        """The next among the ``reachable``; when ``crowded``, of those that have nothing outstanding."""
        best: Partner | None = None
        best_key = (0, 0.0, 0.0)
        for peer, partner in self.ready.items():
            if (
                not partner.has_room(OUTSTANDING_BYTES_PER_PEER.value)
                or peer not in reachable
                or (crowded and partner.outstanding)
            ):
                continue
            if now - partner.waiting_since >= STARVED_S:
                key = (0, partner.waiting_since, 0.0)
            else:
                key = (1, partner.outstanding, partner.waiting_since)
            if best is None or key < best_key:
                best, best_key = partner, key
        if best is not None:
            best.waiting_since = now
        return best
