"""The pure restart core: what to start, stop and give up, and when.

No threads, no clock: every input carries ``now`` (seconds), every method returns actions to carry out in order, and
``next_wake`` says when ``tick`` should be called at the latest.  The shell is ``actor.py``.

    inputs   begin, ready, down, stop, tick
    actions  Start, Stop, Abandon, Serving, Started, StartFailed, GaveUp, Stopped

A child is started once its back-off has passed, every child that it waits for serves, and nothing is being stopped.
At first it waits for all before it (the ready barrier); after a rest_for_one restart for those before it in that
group; after a restart of its own for nobody.  Stops go one by one, in reverse order of start.
"""

from __future__ import annotations

import enum
import random
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from shoal.runtime.supervisor.specs import ChildSpec, Restart, Strategy

BACK_OFF_FIRST_S: Final = 0.04  # seconds, halved at most by jitter: a lone crash is over within a blink
BACK_OFF_MAX_S: Final = 2.0  # seconds; small enough that a crash loop reaches the intensity within its period
BACK_OFF_RESET_S: Final = 10.0  # seconds of service after which the next crash is a first one again
INTENSITY: Final = 10  # restarts of one child in PERIOD_S; one more and the node gives up
INTENSITY_ALL: Final = 40  # restarts of all children in PERIOD_S
PERIOD_S: Final = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class Start:
    """Start this child."""

    name: str
    generation: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask this child to stop; ``down`` is awaited for the spec's ``stop_s``."""

    name: str
    generation: int


@dataclass(frozen=True, slots=True)
class Abandon:
    """This child did not start or stop in its time: cut it off."""

    name: str
    generation: int


@dataclass(frozen=True, slots=True)
class Serving:
    """A restarted child serves again: publish ActorRestarted."""

    name: str
    generation: int


@dataclass(frozen=True, slots=True)
class Started:
    """Every child serves for the first time."""


@dataclass(frozen=True, slots=True)
class StartFailed:
    """A child could not be started at first; all others are being stopped."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class GaveUp:
    """Too many restarts; everything is being stopped."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """Every child has ended or was abandoned.  ``abandoned`` names the latter."""

    abandoned: tuple[str, ...]


Action = Start | Stop | Abandon | Serving | Started | StartFailed | GaveUp | Stopped


class State(enum.Enum):
    """Where a child is in its life."""

    WAITING = "restarting"  # or not yet started; shown as "starting" then
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


ALIVE: Final = (State.STARTING, State.RUNNING)


@dataclass(slots=True)
class Child:
    """One row of the supervisor's table."""

    spec: ChildSpec
    state: State = State.WAITING
    generation: int = 0
    restarts: int = 0
    last_failure: str = ""
    not_before: float = 0.0
    since: float = 0.0  # when it came into its state
    waits_for: tuple[str, ...] = ()
    failures: int = 0  # in a row, for the back-off
    history: deque[float] = field(default_factory=deque)  # when it was restarted, within PERIOD_S

    @property
    def shown(self) -> str:
        """The state's name for ListActors."""
        first = self.state is State.WAITING and self.generation == 0
        return State.STARTING.value if first else self.state.value


class Core:
    """The table of children and its rules."""

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        rng: random.Random,
        *,
        intensity: int = INTENSITY,
        intensity_all: int = INTENSITY_ALL,
        period_s: float = PERIOD_S,
    ) -> None:
        self.children = {spec.name: Child(spec) for spec in specs}
        if len(self.children) != len(specs):
            raise ValueError("two children have one name")
        self._order = tuple(self.children)
        self._rng = rng
        self._intensity = intensity
        self._intensity_all = intensity_all
        self._period_s = period_s
        self._history: deque[float] = deque()
        self._to_stop: list[str] = []  # in order of stopping; only the first has been told
        self._abandoned: list[str] = []
        self._has_started = False
        self._ending = False
        self._ended = False

    # --- inputs ------------------------------------------------------------------------------------

    def begin(self, now: float) -> list[Action]:
        """Start the children in order, each once those before it serve."""
        for index, child in enumerate(self.children.values()):
            child.waits_for = self._order[:index]
            child.since = now
        return self._advance(now)

    def ready(self, name: str, generation: int, now: float) -> list[Action]:
        """Child ``name`` serves."""
        child = self._current(name, generation)
        if child is None or child.state is not State.STARTING:
            return []
        child.state, child.since = State.RUNNING, now
        actions: list[Action] = [Serving(name, generation)] if generation > 1 else []
        return actions + self._advance(now)

    def down(self, name: str, generation: int, reason: str, now: float, *, fatal: bool = False) -> list[Action]:
        """Child ``name`` has ended.  ``fatal``: its start failed by what trying again cannot mend."""
        child = self._current(name, generation)
        if child is None or child.state not in (*ALIVE, State.STOPPING):
            return []
        if reason:
            child.last_failure = reason
        if child.state is State.STOPPING or name in self._to_stop:
            return self._stopped_one(child, now)
        return self._ended_by_itself(child, reason, fatal, now)

    def stop(self, now: float) -> list[Action]:
        """Stop everything, in reverse order of start.  Ends in ``Stopped``."""
        self._ending = True
        return self._stop_all(now)

    def tick(self, now: float) -> list[Action]:
        """Do what has come due."""
        actions: list[Action] = []
        for child in self.children.values():
            if self._is_overdue(child, now):
                actions += self._give_up_on(child, now)
        return actions + self._advance(now)

    def next_wake(self) -> float | None:
        """When ``tick`` has something to do at the latest, None for never."""
        times = []
        for child in self.children.values():
            if child.state is State.STARTING:
                times.append(child.since + child.spec.start_s)
            elif child.state is State.STOPPING:
                times.append(child.since + child.spec.stop_s)
            elif child.state is State.WAITING and self._may_start(child):
                times.append(child.not_before)
        return min(times, default=None)

    # --- within ------------------------------------------------------------------------------------

    def _current(self, name: str, generation: int) -> Child | None:
        child = self.children.get(name)
        return child if child is not None and child.generation == generation else None

    def _may_start(self, child: Child) -> bool:
        if self._ending or self._to_stop:
            return False
        settled = (State.RUNNING, State.STOPPED)
        return all(self.children[other].state in settled for other in child.waits_for)

    def _advance(self, now: float) -> list[Action]:
        actions: list[Action] = []
        for child in self.children.values():
            if child.state is State.WAITING and child.not_before <= now and self._may_start(child):
                child.generation += 1
                child.state, child.since = State.STARTING, now
                actions.append(Start(child.spec.name, child.generation))
        settled = (State.RUNNING, State.STOPPED)
        if not self._has_started and not self._ending and all(c.state in settled for c in self.children.values()):
            self._has_started = True
            actions.append(Started())
        return actions

    def _ended_by_itself(self, child: Child, reason: str, fatal: bool, now: float) -> list[Action]:
        name, kind = child.spec.name, child.spec.restart
        if fatal and child.state is State.STARTING and not self._has_started:
            child.state = State.STOPPED
            self._ending = True
            return [StartFailed(name, reason), *self._stop_all(now)]
        if kind is Restart.TEMPORARY or (kind is Restart.TRANSIENT and not reason):
            child.state, child.since = State.STOPPED, now
            return self._advance(now)
        excess = self._count_restart(child, now)
        if excess:
            child.state, self._ending = State.STOPPED, True
            text = f"{name} ended {excess} times in {self._period_s:g} s, last: {reason or 'without a reason'}"
            first: list[Action] = [GaveUp(text)] if self._has_started else [StartFailed(name, text)]
            return first + self._stop_all(now)
        self._plan_restart(child, self._back_off(child, now), (), now)
        if child.spec.strategy is Strategy.REST_FOR_ONE:
            return self._restart_rest(child, now)
        return self._advance(now)

    def _restart_rest(self, child: Child, now: float) -> list[Action]:
        """Stop those started after ``child`` in reverse; each waits for the group's earlier ones to serve again."""
        at = self._order.index(child.spec.name)
        rest = self._order[at + 1 :]
        self._queue_stops(name for name in rest if self.children[name].state in ALIVE)
        for index, name in enumerate(rest, at + 1):
            if self._has_started and self.children[name].state in (*ALIVE, State.WAITING):
                self.children[name].waits_for = self._order[at:index]
        return self._stop_next(now) or self._advance(now)

    def _plan_restart(self, child: Child, delay_s: float, waits_for: tuple[str, ...], now: float) -> None:
        child.state, child.since = State.WAITING, now
        child.not_before = now + delay_s
        if self._has_started:
            child.waits_for = waits_for
        child.restarts += 1

    def _back_off(self, child: Child, now: float) -> float:
        child.failures = 0 if now - child.since >= BACK_OFF_RESET_S else child.failures
        delay_s: float = min(BACK_OFF_MAX_S, BACK_OFF_FIRST_S * 2.0 ** min(child.failures, 16))
        child.failures += 1
        return delay_s * (0.5 + self._rng.random() / 2)

    def _count_restart(self, child: Child, now: float) -> int:
        """Note a restart; how many there were when they are too many, else 0."""
        for history in (child.history, self._history):
            history.append(now)
            while history[0] <= now - self._period_s:
                history.popleft()
        if len(child.history) > self._intensity:
            return len(child.history)
        return len(self._history) if len(self._history) > self._intensity_all else 0

    # --- stopping ----------------------------------------------------------------------------------

    def _stop_all(self, now: float) -> list[Action]:
        for child in self.children.values():
            if child.state is State.WAITING:
                child.state, child.since = State.STOPPED, now
        alive = (*ALIVE, State.STOPPING)
        self._queue_stops(name for name, child in self.children.items() if child.state in alive)
        return self._stop_next(now)

    def _queue_stops(self, names: Iterable[str]) -> None:
        """Have these stopped too, in reverse order of start; one that has been told already stays first."""
        wanted = {*names, *self._to_stop}
        self._to_stop = [name for name in reversed(self._order) if name in wanted]
        self._to_stop.sort(key=lambda name: self.children[name].state is not State.STOPPING)

    def _stop_next(self, now: float) -> list[Action]:
        if self._to_stop:
            child = self.children[self._to_stop[0]]
            if child.state is State.STOPPING:
                return []
            child.state, child.since = State.STOPPING, now
            return [Stop(child.spec.name, child.generation)]
        if self._ending and not self._ended:
            self._ended = True
            return [Stopped(tuple(self._abandoned))]
        return []

    def _stopped_one(self, child: Child, now: float) -> list[Action]:
        """A child that was to stop has ended; if it is to come back, it waits for its turn."""
        name = child.spec.name
        if name in self._to_stop:
            self._to_stop.remove(name)
        if self._ending or child.spec.restart is Restart.TEMPORARY:
            child.state, child.since = State.STOPPED, now
        else:
            self._plan_restart(child, 0.0, child.waits_for, now)
        return self._stop_next(now) or self._advance(now)

    def _is_overdue(self, child: Child, now: float) -> bool:
        if child.state is State.STARTING:
            return now >= child.since + child.spec.start_s
        return child.state is State.STOPPING and now >= child.since + child.spec.stop_s

    def _give_up_on(self, child: Child, now: float) -> list[Action]:
        name, generation = child.spec.name, child.generation
        gone: list[Action] = [Abandon(name, generation)]
        if child.state is State.STOPPING:
            self._abandoned.append(name)
            return gone + self._stopped_one(child, now)
        reason = f"{name} was not ready within {child.spec.start_s:g} s"
        return gone + self.down(name, generation, reason, now, fatal=True)
