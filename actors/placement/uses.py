"""What was put and read, gathered and told to the keeper; and what may not be deleted because it has not been told yet.

A collection chooses what to delete by what the keeper knows.  So a block is in use here from the moment it is handed
in, or found for a reader, until the keeper has answered that it knows: whoever asks ``busy`` in between hears yes.
Between two tellings the uses of one block are one row.

What was noted can be lost: with an earlier placement that crashed, or when it is more than is kept.  The keeper is
told that by a telling of nothing, and does what is safe; until it has answered, everything is busy.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
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
        self._losses = self._losses_told = 0
        self._coming: Counter[bytes] = Counter()  # handed in and not yet stored
        self._rows: dict[bytes, tuple[CID, int, str, bool, int, float]] = {}
        self._telling: dict[bytes, tuple[CID, int, str, bool, int, float]] = {}
        self._told = 0  # rows that are no longer owed
        self._calls: deque[tuple[int, Callable[[], None]]] = deque()  # to be made once so many have been told
        self._timer = False
        self._under_way = False

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
            self._losses += 1
            self._told += len(rows)
            rows.clear()
        if not self._timer:
            self._timer = True
            self.ctx.after(TELL_S, self._tell_in_time)

    def begin(self) -> None:
        """There may have been another before us, and we do not know how much it has told."""
        self._losses += 1
        self._tell()

    def when_told(self, call: Callable[[], None]) -> None:
        """Tell at once, and make ``call`` when the keeper knows all that was noted until now."""
        self._calls.append((self._told + len(self._telling) + len(self._rows), call))
        self._tell()
        self._call()

    @property
    def lost(self) -> bool:
        """Whether some were lost that the keeper may not know of: then it cannot say what is in use."""
        return self._losses > self._losses_told

    def busy(self, cid: CID) -> bool:
        """Whether the keeper may not know yet that the block is in use."""
        name = cid.multihash
        return self.lost or name in self._coming or name in self._rows or name in self._telling

    def _tell_in_time(self) -> None:
        self._timer = False
        self._tell()

    def _tell(self) -> None:
        """Tell that some were lost, or a batch, and the next when it is confirmed."""
        if self._under_way or not (self.lost or self._rows):
            return
        self._under_way = True
        if not self.lost:
            names = list(self._rows)[: CATALOG_BATCH_MAX.value]
            self._telling = {name: self._rows.pop(name) for name in names}
        self._send()

    def _send(self) -> None:
        uses = tuple(keeping.BlockUse(*row) for row in self._telling.values())
        losses = self._losses if not uses else self._losses_told

        def answered(reply: Message) -> None:
            if isinstance(reply, Done):
                self._told += len(self._telling)
                self._under_way, self._telling, self._losses_told = False, {}, losses
                self._tell()
                self._call()
            else:
                self.ctx.count("uses_untold")
                self.ctx.after(RETRY_S, self._send)

        self.ctx.request(keeping.BlocksUsed(uses), answered, timeout_s=ANSWER_S)

    def _call(self) -> None:
        while self._calls and self._calls[0][0] <= self._told and not self.lost:
            self._calls.popleft()[1]()
