"""What is used again: which blocks are worth a copy in memory, and which may have one.  Pure.

The first use of a block says nothing: a file that passes through once would push out what is asked for again and
again, and cost a copy of every block.  So a block is remembered by name at its first use and kept at its second, as in
2Q (Johnson and Shasha, "2Q: a low overhead high performance buffer management replacement algorithm", VLDB 1994; this
is their A1out).  And memory is asked only for what was put there: for anything else the way to it and back is wasted.

Not here: what memory lets go (``storage.memory``).  ``kept`` may name a block that has been let go; it never matters.
"""

from __future__ import annotations

from collections import OrderedDict

from shoal.messages.cid import CID
from shoal.messages.limits import HEAT_KEPT_MAX, HEAT_SEEN_MAX


class Heat:
    """Names of blocks used once lately, and of those that memory was given."""

    def __init__(self) -> None:
        self._seen: OrderedDict[CID, None] = OrderedDict()
        self._kept: OrderedDict[CID, None] = OrderedDict()

    def used(self, cid: CID) -> bool:
        """Note a use of a block that is not in memory; whether it is worth keeping there from now on."""
        if cid not in self._seen and cid not in self._kept:
            self._seen[cid] = None
            if len(self._seen) > HEAT_SEEN_MAX.value:
                self._seen.popitem(last=False)
            return False
        self._seen.pop(cid, None)
        self._kept[cid] = None
        self._kept.move_to_end(cid)
        if len(self._kept) > HEAT_KEPT_MAX.value:
            self._kept.popitem(last=False)
        return True

    def may_be_kept(self, cid: CID) -> bool:
        """Whether memory was given the block, as far as is remembered."""
        return cid in self._kept

    def forget(self, cid: CID) -> None:
        """The block was deleted."""
        self._seen.pop(cid, None)
        self._kept.pop(cid, None)
