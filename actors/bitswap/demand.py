"""What the wantlist has not been told yet of our peers' wants: begun and ended, the latest word for each.

Only wants for blocks that are not here are told: they are the demand that this node does not meet.
"""

from __future__ import annotations

from shoal.messages.cid import CID
from shoal.messages.wants import PeerDemand, PeerWant


class Demand:
    """Changes by peer and CID.  As many as there are wants; ``take`` empties it."""

    def __init__(self) -> None:
        self._changes: dict[str, dict[CID, int | None]] = {}  # None: ended

    def begin(self, peer: str, cid: CID, priority: int) -> None:
        """The peer wants this and does not find it here."""
        self._changes.setdefault(peer, {})[cid] = priority

    def end(self, peer: str, cid: CID) -> None:
        """It does not any more, or the block has come."""
        self._changes.setdefault(peer, {})[cid] = None

    def gone(self, peer: str) -> None:
        """The peer is gone, which says it all."""
        self._changes.pop(peer, None)

    def clear(self) -> None:
        """Nothing of this need be told."""
        self._changes.clear()

    def take(self) -> list[PeerDemand]:
        """What to tell now, one message a peer."""
        told = []
        for peer, changes in self._changes.items():
            begun = tuple(PeerWant(cid, priority) for cid, priority in changes.items() if priority is not None)
            ended = tuple(cid for cid, priority in changes.items() if priority is None)
            told.append(PeerDemand(peer, begun, ended))
        self._changes = {}
        return told
