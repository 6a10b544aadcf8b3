"""What peers want and do not find here: how many ask for a CID, and how urgently.  A pure table.

The ledger in bitswap decides whom to serve; this is the sum over all peers, which says what is popular.  It is
bounded per peer and in all, and a peer that disconnects takes its wants along (CVE-2023-25568).
"""

from __future__ import annotations

from collections.abc import Iterable

from shoal.messages.cid import CID
from shoal.messages.limits import DEMAND_MAX, WANTS_PER_PEER_MAX


class Demand:
    """Wants of peers, by peer and by CID."""

    def __init__(self) -> None:
        self._peers: dict[str, dict[CID, int]] = {}
        self._cids: dict[CID, set[str]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def wanted(self, peer: str, wants: Iterable[tuple[CID, int]]) -> int:
        """A peer wants these, CID and priority; how many there was no room for."""
        rows = self._peers.setdefault(peer, {})
        refused = 0
        for cid, priority in wants:
            if cid not in rows:
                if len(rows) >= WANTS_PER_PEER_MAX.value or self._count >= DEMAND_MAX.value:
                    refused += 1
                    continue
                self._count += 1
                self._cids.setdefault(cid, set()).add(peer)
            rows[cid] = priority
        if not rows:
            del self._peers[peer]
        return refused

    def ended(self, peer: str, cids: Iterable[CID]) -> None:
        """The peer wants these no more."""
        rows = self._peers.get(peer, {})
        for cid in cids:
            if rows.pop(cid, None) is not None:
                self._forget(peer, cid)
        if not rows:
            self._peers.pop(peer, None)

    def gone(self, peer: str) -> None:
        """The peer disconnected."""
        self.ended(peer, list(self._peers.get(peer, ())))

    def arrived(self, cids: Iterable[CID]) -> None:
        """These blocks are here now: whoever asks finds them."""
        for cid in cids:
            for peer in list(self._cids.get(cid, ())):
                self.ended(peer, [cid])

    def of_peer(self, peer: str) -> dict[CID, int]:
        """One peer's wants, with priorities."""
        return dict(self._peers.get(peer, {}))

    def popular(self) -> dict[CID, tuple[int, int]]:
        """Every CID: its highest priority, and how many peers ask."""
        return {cid: (max(self._peers[peer][cid] for peer in peers), len(peers)) for cid, peers in self._cids.items()}

    def clear(self) -> None:
        """Forget everything."""
        self._peers.clear()
        self._cids.clear()
        self._count = 0

    def check(self) -> None:
        """Raise AssertionError when the indexes disagree."""
        assert self._count == sum(map(len, self._peers.values())) == sum(map(len, self._cids.values()))
        assert all(self._peers.values())
        assert all(self._cids.values())

    def _forget(self, peer: str, cid: CID) -> None:
        self._count -= 1
        peers = self._cids[cid]
        peers.discard(peer)
        if not peers:
            del self._cids[cid]
