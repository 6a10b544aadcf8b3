"""What routing remembers of searches: who had a CID, for a while, and what nobody had, for a moment.  Pure, bounded.

A provider that is remembered costs nothing to ask again, and most often still has what it had.  That nobody has a CID
is remembered briefly, so that the wants of one download for the same missing block are one search; a user who asks is
answered by a search all the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from shoal.messages.cid import CID
from shoal.messages.limits import NOBODY_KEPT_MAX, PROVIDERS_KEPT_MAX

KEPT_S: Final = 600.0  # seconds for which a provider is remembered; records of the DHT live for 48 h
NOBODY_S: Final = 4.0  # seconds; whoever adds the block meanwhile is found later by that; bitswap asks again after five
EACH_MAX: Final = 10  # providers of one CID; boxo asks for as many


class Recall:
    """CID -> who had it, and when nobody did.  ``now`` on the node's clock; one that goes back makes it forget."""

    def __init__(self) -> None:
        self._had: OrderedDict[CID, dict[str, float]] = OrderedDict()
        self._nobody: OrderedDict[CID, float] = OrderedDict()

    def note(self, cid: CID, peers: Iterable[str], now: float) -> None:
        """These peers are said to have it, the latest told last."""
        self._nobody.pop(cid, None)
        kept = self._had.setdefault(cid, {})
        self._had.move_to_end(cid)
        for peer in peers:
            kept.pop(peer, None)
            kept[peer] = now
            if len(kept) > EACH_MAX:
                del kept[next(iter(kept))]
        if not kept:
            del self._had[cid]
        if len(self._had) > PROVIDERS_KEPT_MAX.value:
            self._had.popitem(last=False)

    def who_had(self, cid: CID, now: float) -> list[tuple[str, float]]:
        """Peers that had it and when that was said, the latest first."""
        kept = self._had.get(cid, {})
        for peer in [peer for peer, at in kept.items() if not 0.0 <= now - at < KEPT_S]:
            del kept[peer]
        if not kept:
            self._had.pop(cid, None)
        return list(reversed(kept.items()))

    def note_nobody(self, cid: CID, now: float) -> None:
        """A whole search found nobody."""
        self._nobody.pop(cid, None)
        self._nobody[cid] = now
        if len(self._nobody) > NOBODY_KEPT_MAX.value:
            self._nobody.popitem(last=False)

    def nobody_since(self, cid: CID, now: float) -> float | None:
        """Seconds since nobody had it; None when that is not known (any more)."""
        at = self._nobody.get(cid)
        if at is None:
            return None
        if not 0.0 <= now - at < NOBODY_S:
            del self._nobody[cid]
            return None
        return now - at
