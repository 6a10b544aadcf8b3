"""Small parts for tests of the machine room: a router with contexts and no threads, and actors that do as told."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

from shoal.actors.base import Actor, handles
from shoal.messages.base import Message
from shoal.messages.blocks import RepoStat, RepoStats, TierStat
from shoal.messages.envelope import Envelope
from shoal.messages.policy import WORKER, Policy
from shoal.messages.tiers import TierStatus
from shoal.runtime.cell import Room
from shoal.runtime.clock import VirtualClock
from shoal.runtime.context import ActorContext
from shoal.runtime.mailbox import Mailbox
from shoal.runtime.metrics import NodeMetrics
from shoal.runtime.recorder import FlightRecorder
from shoal.runtime.router import Router


class Bench:
    """A router on a clock that stands still, and contexts whose mailboxes the test empties by hand."""

    def __init__(self, policy: Policy = WORKER, *, strict: bool = True) -> None:
        self.clock = VirtualClock()
        self.metrics = NodeMetrics()
        self.recorder = FlightRecorder()
        self.log = logging.getLogger("shoal.test")
        self.router = Router(policy, self.clock, self.recorder, self.metrics, self.log, strict=strict)
        self.received: list[tuple[str, Message, Envelope]] = []
        self.contexts: dict[str, ActorContext] = {}

    def room(self) -> Room:
        """A room for cells."""
        return Room(
            "test", self.router, self.clock, self.recorder, self.metrics, "seed", self.log,
            on_crash=lambda _name, _generation, _reason: None, on_end=lambda: None,
        )  # fmt: skip

    def actor(self, name: str, **mailbox: int) -> ActorContext:
        """A context under ``name``, in place of an earlier one."""
        box = Mailbox(self.clock, **mailbox)
        context = ActorContext(name, self.router, box, self.clock, random.Random(1), self.metrics, self.log)
        self.router.bind(name, context)
        self.contexts[name] = context
        return context

    def end(self, name: str) -> None:
        """The actor under ``name`` ends."""
        context = self.contexts.pop(name)
        self.router.unbind(name, context, context.mailbox.close())
        context.retire()

    def work(self, on_message: Callable[[ActorContext, Message, Envelope], None] | None = None) -> None:
        """Let every context deal with all that is due, until nothing is."""
        busy = True
        while busy:
            busy = False
            for name, context in list(self.contexts.items()):
                while (item := context.mailbox.take()) is not None:
                    busy = True
                    self._deal(name, context, item, on_message)

    def _deal(
        self,
        name: str,
        context: ActorContext,
        item: object,
        on_message: Callable[[ActorContext, Message, Envelope], None] | None,
    ) -> None:
        def receive(message: Message, envelope: Envelope) -> None:
            self.received.append((name, message, envelope))
            if on_message is not None:
                on_message(context, message, envelope)

        if isinstance(item, Envelope):
            context.handle(item, receive)
        else:
            assert callable(item)
            item()

    def figure(self, name: str) -> float:
        """A metric's value, 0 when there is none."""
        return self.metrics.registry.get_sample_value(name) or 0.0


class Memory(Actor):
    """Stands where the memory tier does and answers one question."""

    NAME = "memory"

    @handles(TierStatus)
    def on_status(self, _: TierStatus, envelope: Envelope) -> None:
        self.ctx.reply(envelope, TierStat("memory", 1, 2, 3, 4, 5))


class Placement(Actor):
    """Stands where placement does and asks memory."""

    NAME = "placement"

    @handles(RepoStat)
    def on_stat(self, _: RepoStat, envelope: Envelope) -> None:
        def answered(reply: Message) -> None:
            self.ctx.reply(envelope, RepoStats((reply,)) if isinstance(reply, TierStat) else reply)

        self.ctx.request(TierStatus(), answered, to="memory")
