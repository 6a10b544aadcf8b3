"""What tests of whole machines share: actors that note what happens to them, and patience."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from shoal.actors.base import Actor, Context, handles
from shoal.messages.base import Message
from shoal.messages.envelope import Envelope
from shoal.messages.errors import Unavailable
from shoal.messages.lifecycle import (
    ActorRestarted,
    ActorsListed,
    ListActors,
    PolicyChanged,
)
from shoal.runtime.machine import Machine
from shoal.runtime.supervisor.specs import ChildSpec

TIMEOUT_S = 20.0  # seconds; only reached by what is broken

Build = Callable[..., Machine]


class Noting(Actor):
    """Notes its births and ends, and what the supervisor publishes."""

    def __init__(self, ctx: Context, log: list[str]) -> None:
        super().__init__(ctx)
        self.log = log

    def on_start(self) -> None:
        self.log.append(f"+{self.ctx.name}")

    def on_stop(self) -> None:
        self.log.append(f"-{self.ctx.name}")

    @handles(ActorRestarted)
    def on_restarted(self, message: ActorRestarted, _: Envelope) -> None:
        self.log.append(f"{self.ctx.name} hears of {message.name} {message.generation}")

    @handles(PolicyChanged)
    def on_policy(self, message: PolicyChanged, _: Envelope) -> None:
        self.log.append(f"{self.ctx.name} is a {message.policy.role}")


def noting(log: list[str], *names: str, **options: object) -> list[ChildSpec]:
    return [ChildSpec(name, lambda ctx: Noting(ctx, log), **options) for name in names]  # type: ignore[arg-type]  # any of a spec's


def answering(ask: Callable[[], Message]) -> Message:
    """What ``ask`` gives, asked again while an actor restarts."""
    for _ in range(2000):
        try:
            return ask()
        except Unavailable:
            time.sleep(0.005)
    raise AssertionError("it did not come back")


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.002)


def listed(machine: Machine) -> ActorsListed:
    return machine.edge.ask_for(ActorsListed, ListActors(), TIMEOUT_S)


def shoal_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("shoal-node-")]
