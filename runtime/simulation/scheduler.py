"""A world: many nodes in one thread, on a virtual clock, in an order drawn from a seed.

    world = SimWorld(seed)
    machine = world.machine(specs, policy, "a")       the same specs as in a real node
    machine.start(5.0); machine.edge.ask(...)         waiting for an answer lets the world run
    world.run_for(60.0); world.run_until(lambda: ..., limit_s=10.0)
    world.after(1.5, call)                            for the simulated network: something happens at a time

Each step is one actor dealing with one item, or one thing of ``after``, chosen at random among all that could be
next; time moves only when nothing is left to do, and by STEP_S a step, so that no loop of messages stops the clock.
Same seed, same trace: nothing here depends on real time, on threads, or on the hash seed.

Not here: the network (``internet.py``); trio hosts, which a simulated node has no use for.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar, cast

import pykka

from shoal.actors.base import Context, Timer
from shoal.messages.errors import LocalError
from shoal.messages.policy import Policy, policy_of
from shoal.runtime.cell import Cell
from shoal.runtime.clock import VirtualClock
from shoal.runtime.edge import Signal
from shoal.runtime.machine import Machine
from shoal.runtime.simulation.host import SimHost
from shoal.runtime.supervisor.specs import ChildSpec
from shoal.runtime.timers import TimerQueue

T = TypeVar("T")

STEP_S: Final = 1e-6  # virtual seconds that a step takes
TRACE_KEPT: Final = 100_000  # entries of the trace that are kept; the digest covers all of it
EVENTS_MAX: Final = 10_000_000  # things of ``after`` at one time, about 200 bytes each
RECORDER_KEPT: Final = 1024  # entries of each node's flight recorder: hundreds of nodes share this process

TraceEntry = tuple[float, str, str]  # virtual seconds, "node/actor", kind of message or "start", "stop", "call"


class SimWorld:
    """Clock, order and hosts.  It is also the ``Runner`` of its machines."""

    def __init__(self, seed: int | str) -> None:
        self.seed = seed
        self.clock: VirtualClock = VirtualClock()
        self.random = random.Random(f"{seed}/network")  # for the network and other inhabitants
        self.trace: deque[TraceEntry] = deque(maxlen=TRACE_KEPT)
        self.steps = 0
        self.hosts: dict[str, SimHost] = {}  # "node/actor" -> the latest generation
        self._order = random.Random(f"{seed}/order")
        self._digest = hashlib.blake2b(digest_size=16)
        self._ready: list[SimHost] = []
        self._alarms: list[tuple[float, int, SimHost]] = []
        self._alarm_seq = 0
        self._events = TimerQueue(EVENTS_MAX)
        self._stepping = False
        self._machines = 0

    # --- for tests ---------------------------------------------------------------------------------

    def machine(
        self,
        specs: Sequence[ChildSpec],
        policy: Policy,
        name: str,
        *,
        on_giveup: Callable[[str], None] | None = None,
        roles: Callable[[str], Policy] = policy_of,
    ) -> Machine:
        """A machine that lives in this world, with the same shape as a real one."""
        self._machines += 1
        return Machine(
            specs,
            policy,
            runner=self,
            rng_seed=f"{self.seed}/{self._machines}",
            on_giveup=on_giveup,
            roles=roles,
            name=name,
            recorder_entries=RECORDER_KEPT,
            strict=True,
        )

    def run_for(self, seconds: float) -> None:
        """Let ``seconds`` of virtual time pass."""
        self.run_until(lambda: False, seconds)

    def run_until(self, predicate: Callable[[], bool], limit_s: float) -> bool:
        """Run until ``predicate()``, at most ``limit_s`` virtual seconds; whether it came true."""
        if self._stepping:
            raise RuntimeError("an actor waited for the world to go on, which waits for the actor")
        end = self.clock.now + limit_s
        while not predicate():
            if self.clock.now >= end or not self._step(end):
                self.clock.advance_to(end)
                return predicate()
        return True

    def crash(self, node: str, actor: str) -> None:
        """Make an actor fail at its next step.  Raises KeyError when there is no such actor."""
        self.hosts[f"{node}/{actor}"].crash()

    def crash_often(self, rate_per_s: float, nodes: Sequence[str] = ()) -> None:
        """From now on crash actors at random, ``rate_per_s`` in the mean; of these nodes, or of all.

        Supervisors are spared: what happens without one is the machine's affair.
        """

        def crash_one() -> None:
            labels = [label for label, host in self.hosts.items() if not host.is_gone and _may_crash(label, nodes)]
            if labels:
                self.hosts[self.random.choice(labels)].crash()
            self.after(self.random.expovariate(rate_per_s), crash_one)

        self.after(self.random.expovariate(rate_per_s), crash_one)

    def power_off(self, node: str) -> None:
        """All actors of ``node`` are gone at once: nothing is stopped in order, nothing more is sent."""
        for label, host in list(self.hosts.items()):
            if label.split("/")[0] == node and not host.is_gone:
                self._rest(host)
                host.vanish()

    def digest(self) -> str:
        """A hash over the whole trace so far: equal for equal runs."""
        return self._digest.hexdigest()

    # --- for the simulated network -----------------------------------------------------------------

    def now(self) -> float:
        """Virtual seconds."""
        return self.clock.now

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Have ``call`` made in ``seconds``, as a step of its own."""
        return self._events.add(self.clock.now + max(0.0, seconds), call)

    def on_actor(self, ctx: Context, target: T) -> T:
        """``target`` (an actor, as a network's events) so that what its methods raise ends the actor of ``ctx``.

        In trio a raise in such a call ends the nursery and with it the actor; here the network calls from outside.
        """
        return cast(T, _OnActor(self, ctx, target))

    # --- the Runner --------------------------------------------------------------------------------

    def launch(self, cell: Cell, spec: ChildSpec) -> pykka.ActorRef[Any]:
        """Start a host for ``cell``.  Raises LocalError for an actor that needs trio."""
        if spec.factory is None:
            raise LocalError(f"{spec.name} runs on trio", "give the simulation a spec with a plain factory")
        return SimHost.start(self, cell, spec.factory)

    def signal(self) -> Signal:
        """Waiting is letting the world run."""
        return _WorldSignal(self)

    # --- told by the hosts -------------------------------------------------------------------------

    def born(self, host: SimHost) -> None:
        """A host waits for its first step."""
        self.hosts[host.label] = host
        self._make_ready(host)

    def woken(self, host: SimHost) -> None:
        """A host that waited has work."""
        self._make_ready(host)

    def timer_set(self, host: SimHost, due: float) -> None:
        """A host has something to do at ``due``."""
        if due < host.alarm:
            host.alarm = due
            self._alarm_seq += 1
            heapq.heappush(self._alarms, (due, self._alarm_seq, host))

    def noted(self, host: SimHost, kind: str) -> None:
        """A host begins to deal with one item."""
        entry = (round(self.clock.now, 9), host.label, kind)
        self.trace.append(entry)
        self._digest.update(f"{entry[0]!r} {host.label} {kind}\n".encode())

    # --- within ------------------------------------------------------------------------------------

    def _step(self, end: float) -> bool:
        """One step; False when nothing is left to do before ``end``."""
        if not self._collect(end):
            return False
        now = self.clock.now
        event_due = self._events.next_due()
        is_event = event_due is not None and event_due <= now
        chosen = self._order.randrange(len(self._ready) + is_event)
        self._stepping = True
        try:
            if chosen == len(self._ready):
                self._one_event(now)
            else:
                self._one_of(self._ready[chosen])
        finally:
            self._stepping = False
        self.steps += 1
        self.clock.now += STEP_S
        return True

    def _one_event(self, now: float) -> None:
        call = self._events.pop_due(now)
        assert call is not None, "it was due a moment ago"
        call()

    def _one_of(self, host: SimHost) -> None:
        host.step()
        mailbox = host.cell.mailbox
        if host.is_gone or (not mailbox.is_due() and mailbox.arm()):
            self._rest(host)

    def _collect(self, end: float) -> bool:
        """Make ready whose time has come, moving the clock when nothing else is left; False: nothing before ``end``."""
        while True:
            now = self.clock.now
            while self._alarms and self._alarms[0][0] <= now:
                self._ring(heapq.heappop(self._alarms)[2])
            event_due = self._events.next_due()
            if self._ready or (event_due is not None and event_due <= now):
                return True
            times = [self._alarms[0][0]] if self._alarms else []
            times += [event_due] if event_due is not None else []
            if not times or min(times) > end:
                return False
            self.clock.advance_to(min(times))

    def _ring(self, host: SimHost) -> None:
        """An alarm went off: the host has work, or its timer was cancelled and there is a later one."""
        host.alarm = float("inf")
        if host.is_gone:
            return
        if host.cell.mailbox.is_due():
            self._make_ready(host)
        else:
            self._set_alarm(host)

    def _set_alarm(self, host: SimHost) -> None:
        due = host.cell.mailbox.timers.next_due()
        if due is not None:
            self.timer_set(host, due)

    def _make_ready(self, host: SimHost) -> None:
        if host.slot < 0 and not host.is_gone:
            host.slot = len(self._ready)
            self._ready.append(host)

    def _rest(self, host: SimHost) -> None:
        """Out of the list of those with work; the last one takes its slot."""
        if host.slot >= 0:
            last = self._ready.pop()
            if last is not host:
                self._ready[host.slot] = last
                last.slot = host.slot
            host.slot = -1
        if not host.is_gone:
            self._set_alarm(host)


class _WorldSignal:
    """Waits by letting the world run."""

    def __init__(self, world: SimWorld) -> None:
        self._world = world

    def notify(self) -> None:
        """Nobody sleeps here."""

    def wait(self, changed: Callable[[], bool], timeout_s: float) -> bool:
        return self._world.run_until(changed, timeout_s)


class _OnActor:
    """Any object, its methods called through its actor's host."""

    def __init__(self, world: SimWorld, ctx: Context, target: object) -> None:
        self._world = world
        self._ctx = ctx
        self._target = target
        self._host: SimHost | None = None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        if self._host is None:  # the host is known to the world from its first step on, not in its factory
            self._host = next((one for one in self._world.hosts.values() if one.cell.context is self._ctx), None)
        host = self._host
        if host is None:
            return method
        return lambda *args, **kwargs: host.run(method, *args, **kwargs)


def _may_crash(label: str, nodes: Sequence[str]) -> bool:
    node, actor = label.split("/")
    return actor != "supervisor" and (not nodes or node in nodes)
