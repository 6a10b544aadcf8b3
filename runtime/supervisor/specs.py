"""What a node runs: one ``ChildSpec`` an actor, in the order of their start."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shoal.actors.base import Actor, Context

if TYPE_CHECKING:  # trio costs 0.1 s to import, and only its host needs it
    import trio

START_S: Final = 15.0  # seconds; opening a large store after a crash, or a network, takes a few
STOP_S: Final = 4.0  # seconds; with eight actors in reverse order most need milliseconds


class Restart(enum.Enum):
    """When a child that ended without being told is started again."""

    PERMANENT = "always"
    TRANSIENT = "after a failure"
    TEMPORARY = "never"


class Strategy(enum.Enum):
    """Which children are started anew when this one ended."""

    ONE_FOR_ONE = "only itself"
    REST_FOR_ONE = "itself and all that were started after it"


@dataclass(frozen=True, slots=True)
class TrioParts:
    """What a trio factory gives.

    ``ready`` is awaited after ``actor.on_start()`` and may raise LocalError (the port is in use); ``closing`` is
    awaited after ``actor.on_stop()``, shielded, under a deadline; then the nursery is cancelled.
    """

    actor: Actor
    ready: Callable[[], Awaitable[None]] | None = None
    closing: Callable[[], Awaitable[None]] | None = None


ActorFactory = Callable[[Context], Actor]
TrioFactory = Callable[[Context, "trio.Nursery"], TrioParts]


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One actor.  Exactly one of ``factory`` (a thread of its own) and ``trio_factory`` (trio runs in that thread).

    Factories are called on the actor's own thread, anew for each generation.
    """

    name: str
    factory: ActorFactory | None = None
    trio_factory: TrioFactory | None = None
    restart: Restart = Restart.PERMANENT
    strategy: Strategy = Strategy.ONE_FOR_ONE
    start_s: float = START_S  # to be ready in
    stop_s: float = STOP_S  # to end in, after which it is given up

    def __post_init__(self) -> None:
        if (self.factory is None) == (self.trio_factory is None):
            raise ValueError(f"{self.name}: give a factory or a trio_factory")
