"""Requests to tiers that outlast a tier's restart: repeated until answered or until their deadline.

Repeating is safe because every tier request is idempotent: reading, storing and forgetting a block twice is the same
as once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from shoal.actors.base import Context
from shoal.messages.base import Message
from shoal.messages.replies import Failed, Overloaded

DEFAULT_S: Final = 60.0  # seconds for a tier request whose asker set no deadline
RETRY_S: Final = 0.05  # seconds before an overloaded tier is asked again


@dataclass(slots=True)
class Call:
    """One request, kept until it is answered."""

    tier: str
    message: Message
    deadline: float
    answered: Callable[[Message], None]
    parked: bool = False  # the tier died; waiting for it to come back


class TierCalls:
    """Open requests to tiers."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self._open: dict[int, Call] = {}
        self._ids = itertools.count(1)

    def call(self, tier: str, message: Message, deadline: float, answered: Callable[[Message], None]) -> None:
        """Ask ``tier``; ``answered`` is called once, with its reply or with ``Failed`` or ``Refused``."""
        if math.isinf(deadline):
            deadline = self.ctx.now() + DEFAULT_S
        number = next(self._ids)
        self._open[number] = Call(tier, message, deadline, answered)
        self._send(number)

    def repeat(self, tier: str) -> None:
        """The tier is back: ask again what it died over."""
        for number, call in list(self._open.items()):
            if call.tier == tier and call.parked:
                self._send(number)

    def _send(self, number: int) -> None:
        call = self._open.get(number)
        if call is None:
            return
        call.parked = False
        self.ctx.request(call.message, lambda reply: self._reply(number, reply), to=call.tier, deadline=call.deadline)

    def _reply(self, number: int, reply: Message) -> None:
        call = self._open.get(number)
        if call is None:
            return
        late = self.ctx.now() >= call.deadline
        if isinstance(reply, Failed) and reply.error == "Unavailable" and not late:
            # Repeated when the tier says that it is back; the timer is for a death that nobody announced.
            call.parked = True
            self.ctx.after(1.0, lambda: self._send(number) if call.parked else None)
            return
        if isinstance(reply, Overloaded) and not late:
            self.ctx.after(RETRY_S, lambda: self._send(number))
            return
        del self._open[number]
        call.answered(reply)
