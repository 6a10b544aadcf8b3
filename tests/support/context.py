"""A context for testing one actor alone: it records what the actor says, and the test answers.  The clock is by hand.

Nothing here stands in for a part of the node that a test is about: the other actors' lines are spoken by the test.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from shoal.actors.base import Actor, OnReply
from shoal.messages import codec
from shoal.messages.base import Message
from shoal.messages.envelope import LOCAL, Envelope
from shoal.messages.policy import WORKER, Policy
from shoal.messages.replies import Failed

M = TypeVar("M", bound=Message)


@dataclass
class Said(Generic[M]):
    """One message that the actor sent.  ``on_reply`` is None unless it was a request; ``ended`` once answered."""

    message: M
    to: str
    origin: str
    deadline: float | None
    on_reply: OnReply | None = None
    ended: bool = False

    def answer(self, reply: Message) -> None:
        """Give the last reply."""
        assert self.on_reply is not None, f"{self.message} was not a request"
        assert not self.ended, f"{self.message} has been answered"
        self.ended = True
        self.on_reply(reply)


class FakeTimer:
    """A timer of the fake context."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Do not make the call."""
        self.call = None


class FakeContext:
    """Keeps the promises of ``actors.base.Context`` as far as one actor can tell."""

    def __init__(self, name: str, policy: Policy = WORKER, seed: int = 0) -> None:
        self.name = name
        self.random = random.Random(seed)
        self.log = logging.getLogger(f"test.{name}")
        self.policy = policy
        self.queued = 0
        self.clock = 1000.0
        self.said: list[Said[Message]] = []
        self.replies: list[tuple[Envelope, Message]] = []
        self.counts: Counter[str] = Counter()
        self.gauges: dict[str, float] = {}
        self._ids = itertools.count(1)
        self._timers: list[tuple[float, int, FakeTimer]] = []

    # --- the Context ---------------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds on the clock set by the test."""
        return self.clock

    def wall(self) -> float:
        """The same, as a date."""
        return 1.7e9 + self.clock

    def send(
        self,
        message: Message,
        *,
        to: str = "",
        origin: str = "",
        deadline: float | None = None,
        priority: int | None = None,
    ) -> int:
        """Record it; it must survive the codec."""
        self.said.append(Said[Message](_through_codec(message), to, origin, deadline))
        return next(self._ids)

    def request(
        self,
        message: Message,
        on_reply: OnReply,
        *,
        to: str = "",
        origin: str = "",
        deadline: float | None = None,
        priority: int | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Record it with its callback; it ends by itself at ``timeout_s``."""
        said = Said[Message](_through_codec(message), to, origin, deadline, on_reply)
        self.said.append(said)
        if timeout_s is not None and not math.isinf(timeout_s):
            late = Failed(type(message).__name__, "DeadlineExceeded", "no answer in time")
            self.after(timeout_s, lambda: None if said.ended else said.answer(late))
        return next(self._ids)

    def reply(self, request: Envelope, message: Message) -> None:
        """Record an answer of the actor."""
        self.replies.append((request, _through_codec(message)))

    def after(self, seconds: float, call: Callable[[], None]) -> FakeTimer:
        """Made when ``advance`` gets there."""
        timer = FakeTimer(call)
        heapq.heappush(self._timers, (self.clock + max(0.0, seconds), next(self._ids), timer))
        return timer

    def count(self, name: str, by: int = 1) -> None:
        """Count."""
        self.counts[name] += by

    def gauge(self, name: str, value: float) -> None:
        """Note."""
        self.gauges[name] = value

    # --- for the test --------------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Let time pass, with every timer that falls due."""
        end = self.clock + seconds
        while self._timers and self._timers[0][0] <= end:
            at, _, timer = heapq.heappop(self._timers)
            self.clock = max(self.clock, at)
            if timer.call is not None:
                timer.call()
        self.clock = end

    @property
    def timers(self) -> int:
        """Timers that are set."""
        return sum(timer.call is not None for _, _, timer in self._timers)

    def tell(self, actor: Actor, message: Message, *, sender: str = "test", origin: str = LOCAL) -> Envelope:
        """Give the actor a message, as its host would."""
        envelope = Envelope(next(self._ids), type(message).__name__, sender, self.name, b"", origin=origin)
        actor.receive(_through_codec(message), envelope)
        return envelope

    def take(self, kind: type[M]) -> list[M]:
        """What was said of this kind since it was last taken."""
        return [said.message for said in self.take_said(kind)]

    def take_said(self, kind: type[M]) -> list[Said[M]]:
        """The same, with whom it was for and how to answer."""
        taken = [said for said in self.said if isinstance(said.message, kind)]
        self.said = [said for said in self.said if not isinstance(said.message, kind)]
        return cast(list[Said[M]], taken)


def _through_codec(message: M) -> M:
    again = codec.decode(*codec.encode(message))
    assert type(again) is type(message)
    return again
