"""What was put and read, gathered and told to the keeper; and what may not be deleted because it has not been told yet.

A collection chooses what to delete by what the keeper knows.  So a block is in use here from the moment it is handed
in, or found for a reader, until the keeper has answered that it knows: whoever asks ``busy`` in between hears yes.
Between two tellings the uses of one block are one row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from shoal.actors.base import Context
from shoal.messages import keeping
from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.limits import CATALOG_BATCH_MAX, USES_WAITING_MAX
from shoal.messages.replies import Done

TELL_S: Final = 2.0  # seconds after the first use that it is told: a second use of the same block costs nothing more
RETRY_S: Final = 1.0  # seconds before a keeper that could not take it is told again
ANSWER_S: Final = 30.0  # seconds for the keeper to answer


class Uses:
    """Uses of blocks that the keeper has not confirmed."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.lost = False  # there were more than are kept: nothing may be deleted until all that is kept is told
        self._coming: Counter[bytes] = Counter()  # handed in and not yet stored
        self._rows: dict[bytes, tuple[CID, int, str, bool, int, float]] = {}
        self._telling: dict[bytes, tuple[CID, int, str, bool, int, float]] = {}
        self._timer = False

    def coming(self, blocks: Iterable[Block]) -> None:
        """These are about to be stored."""
        self._coming.update(block.cid.multihash for block in blocks)

    def came(self, blocks: Iterable[Block]) -> None:
        """They have been stored, or could not be."""
        for block in blocks:
            name = block.cid.multihash
            if self._coming[name] > 1:
                self._coming[name] -= 1
            else:
                del self._coming[name]

    def note(self, blocks: Iterable[Block], tier: str, *, put: bool) -> None:
        """They were put into ``tier``, or read from it; an empty text: from a copy, which says nothing about tiers."""
        at = self.ctx.wall()
        rows = self._rows
        for block in blocks:
            name = block.cid.multihash
            old = rows.get(name)
            if old is None:
                rows[name] = (block.cid, len(block), tier, put, 0 if put else 1, at)
            else:
                rows[name] = (block.cid, len(block), tier or old[2], put or old[3], old[4] + (not put), at)
        if len(rows) >= USES_WAITING_MAX.value:
            self.lost = True
            rows.clear()
        if rows and not self._timer:
            self._timer = True
            self.ctx.after(TELL_S, self._tell)

    def busy(self, cid: CID) -> bool:
        """Whether the keeper may not know yet that the block is in use."""
        name = cid.multihash
        return self.lost or name in self._coming or name in self._rows or name in self._telling

    def _tell(self) -> None:
        """Tell a batch, and the next when it is confirmed."""
        self._timer = False
        if self._telling or not self._rows:
            self.lost = self.lost and bool(self._telling)
            return
        names = list(self._rows)[: CATALOG_BATCH_MAX.value]
        self._telling = {name: self._rows.pop(name) for name in names}
        self._send()

    def _send(self) -> None:
        uses = tuple(keeping.BlockUse(*row) for row in self._telling.values())

        def answered(reply: Message) -> None:
            if isinstance(reply, Done):
                self._telling = {}
                self._tell()
            else:
                self.ctx.count("uses_untold")
                self.ctx.after(RETRY_S, self._send)

        self.ctx.request(keeping.BlocksUsed(uses), answered, timeout_s=ANSWER_S)
