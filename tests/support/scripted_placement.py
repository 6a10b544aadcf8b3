"""The outer edge with a placement of the test's own behind it: the real router and edge, virtual time, no threads.

For what stands on the edge (``runtime/fetch``, ``adding``, ``inbox``, ``carfiles``): the test says how it answers
each message, at once or later.  Waiting lets time pass until something happens.
"""

from __future__ import annotations

from collections.abc import Callable

from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.blocks import BlockSizes, BlocksStored, CancelGet, HasBlocks, PutBlocks
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.runtime.context import ActorContext
from shoal.runtime.edge import Edge
from shoal.tests.support.room import Bench

Answer = Callable[[ActorContext, Message, Envelope], None]
STEP_S = 1e-6  # seconds by which the clock goes beyond a timer's time, against rounding


class ScriptedPlacement:
    """``edge`` is to be used; ``answer`` is called with every message that reaches placement, ``heard`` keeps them."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.bench = Bench()
        self.edge = Edge(self.bench.router, self.bench.clock, lambda: self)
        self.answer: Answer = answer or self.keep
        self.heard: list[Message] = []
        self.stored: dict[CID, Block] = {}
        self.start()

    def start(self) -> None:
        """Placement runs (again)."""
        self.ctx = self.bench.actor("placement")

    def die(self) -> None:
        """Placement ends, and with it what it was asked."""
        self.bench.end("placement")

    @property
    def now(self) -> float:
        return self.bench.clock.now

    @property
    def open_requests(self) -> int:
        """Requests of the edge that have not ended."""
        return len(self.edge._pending)

    def of(self, kind: type[Message]) -> list[Message]:
        """What was heard of one kind."""
        return [message for message in self.heard if isinstance(message, kind)]

    def keep(self, ctx: ActorContext, message: Message, envelope: Envelope) -> None:
        """A store that takes everything: the answer when the test gives none."""
        if isinstance(message, PutBlocks):
            self.stored.update({block.cid: block for block in message.blocks})
            ctx.reply(envelope, BlocksStored(len(message.blocks), sum(map(len, message.blocks))))
        elif isinstance(message, HasBlocks):
            sizes = [len(self.stored[cid]) if cid in self.stored else -1 for cid in message.cids]
            ctx.reply(envelope, BlockSizes(tuple(sizes)))
        else:
            assert isinstance(message, CancelGet), f"no answer to {message}"

    # --- the Signal ----------------------------------------------------------------------------------

    def notify(self) -> None:
        """Nobody sleeps: ``wait`` looks for itself."""

    def wait(self, changed: Callable[[], bool], timeout_s: float) -> bool:
        """Let placement work, and time pass, until ``changed()`` or the end of ``timeout_s``."""
        end = self.now + timeout_s
        while True:
            self.bench.work(self._on_message)
            if changed():
                return True
            dues = [due for ctx in self.bench.contexts.values() if (due := ctx.mailbox.timers.next_due()) is not None]
            soonest = min(dues, default=end)
            if self.now >= end:
                return False
            self.bench.clock.advance_to(min(end, soonest + STEP_S))

    def _on_message(self, ctx: ActorContext, message: Message, envelope: Envelope) -> None:
        self.heard.append(message)
        self.answer(ctx, message, envelope)
