"""A machine: the supervisor, its actors, the router and the edge of one node, assembled from ``ChildSpec``s.

    machine = Machine(specs, policy)       nothing runs yet
    machine.start(timeout_s)               every actor serves, or the LocalError that kept one from it
    machine.edge.ask(...)                  from any thread but an actor's
    machine.stop(timeout_s)                in reverse order; False when an actor had to be left behind

A ``Runner`` says what the machine stands on: threads and the system's clock here (``ThreadRunner``), one thread and a
virtual clock in ``simulation/scheduler.py``.  Not here: which actors a node runs (``runtime/node.py``).
"""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import pykka

from shoal.actors.base import Context
from shoal.messages.errors import LocalError, Unavailable
from shoal.messages.limits import RECORDER_DUMPS_MAX, RECORDER_ENTRIES
from shoal.messages.policy import Policy, policy_of
from shoal.runtime.cell import Cell, CellStats, Room
from shoal.runtime.clock import Clock, SystemClock
from shoal.runtime.edge import Edge, Signal, ThreadSignal
from shoal.runtime.host import ActorHost
from shoal.runtime.metrics import NodeMetrics
from shoal.runtime.recorder import FlightRecorder
from shoal.runtime.router import Router
from shoal.runtime.supervisor.actor import SupervisorActor
from shoal.runtime.supervisor.routes import ACTORS, SUPERVISOR
from shoal.runtime.supervisor.specs import ChildSpec

# Seconds between the moments when one thread lets another have the interpreter.  At Python's 5 ms a busy actor makes
# every hop between two others wait that long; at 0.5 ms it costs the busy one about a percent.
SWITCH_INTERVAL_S: Final = 0.0005
STOP_MARGIN_S: Final = 1.0  # seconds for the supervisor itself, beyond its children's


class Runner(Protocol):
    """What machines stand on."""

    @property
    def clock(self) -> Clock:
        """The machines' time."""

    def launch(self, cell: Cell, spec: ChildSpec) -> pykka.ActorRef[Any]:
        """Start a host for ``cell``."""

    def signal(self) -> Signal:
        """A way to wait for the actors."""


class ThreadRunner:
    """A thread for each actor, on the system's clock."""

    def __init__(self) -> None:
        self.clock: Clock = SystemClock()

    def launch(self, cell: Cell, spec: ChildSpec) -> pykka.ActorRef[Any]:
        if spec.factory is not None:
            return ActorHost.start(cell, spec.factory)
        from shoal.runtime.trio_host import TrioHost  # trio is loaded only by a node that has such an actor

        assert spec.trio_factory is not None
        return TrioHost.start(cell, spec.trio_factory)

    def signal(self) -> Signal:
        return ThreadSignal()


class _Hosts:
    """The supervisor's Spawner: starts hosts through the runner and knows the latest of each name."""

    def __init__(self, room: Room, runner: Runner) -> None:
        self.room = room
        self.runner = runner
        self.cells: dict[str, Cell] = {}
        self.refs: dict[str, pykka.ActorRef[Any]] = {}

    def start(self, spec: ChildSpec, generation: int) -> None:
        cell = Cell(spec.name, generation, self.room)
        self.cells[spec.name] = cell
        self.refs.pop(spec.name, None)
        try:
            self.refs[spec.name] = self.runner.launch(cell, spec)
        except Exception as fault:  # out of threads, most likely: the supervisor tries again after its back-off
            cell.fail(fault)
            cell.close()
            cell.report()

    def stop(self, name: str, generation: int) -> None:
        ref = self.refs.get(name)
        if ref is not None and self.cells[name].generation == generation:
            ref.stop(block=False)

    def abandon(self, name: str, generation: int) -> None:
        cell = self.cells.get(name)
        if cell is not None and cell.generation == generation:
            cell.abandon()
            self.stop(name, generation)

    def failure(self, name: str, generation: int) -> BaseException | None:
        cell = self.cells.get(name)
        return cell.failure if cell is not None and cell.generation == generation else None

    def stats(self, name: str) -> CellStats | None:
        cell = self.cells.get(name)
        return cell.stats() if cell is not None else None

    def dead_letters(self) -> int:
        return self.room.router.dead_letters

    def set_policy(self, policy: Policy) -> None:
        self.room.router.set_policy(policy)


class Machine:
    """One node's actors.  Made once, started once, stopped once."""

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        policy: Policy,
        *,
        runner: Runner | None = None,
        rng_seed: str | int | None = None,
        on_giveup: Callable[[str], None] | None = None,
        roles: Callable[[str], Policy] = policy_of,
        name: str = "node",
        crash_dir: Path | None = None,
        recorder_entries: int = RECORDER_ENTRIES.value,
        strict: bool = False,
    ) -> None:
        """``on_giveup`` is called with the reason, on an actor's thread, when restarts no longer help.

        ``roles`` gives the policy for ``ChangeRole``; ``crash_dir`` is where flight recorder dumps go; ``strict``
        makes a violation of ROUTES raise in its sender (tests).
        """
        unknown = [spec.name for spec in specs if spec.name not in ACTORS]
        if unknown:
            raise ValueError(f"ROUTES does not know {', '.join(unknown)}")
        self._runner = runner or ThreadRunner()
        self._threaded = runner is None
        self._specs = tuple(specs)
        self._on_giveup = on_giveup
        self._roles = roles
        self._crash_dir = crash_dir
        self._log = logging.getLogger(f"shoal.{name}")
        clock = self._runner.clock
        self.name = name
        self.metrics = NodeMetrics()
        self.recorder = FlightRecorder(recorder_entries)
        self.router = Router(policy, clock, self.recorder, self.metrics, self._log, strict=strict)
        self.router.members = frozenset(spec.name for spec in specs)
        self.edge = Edge(self.router, clock, self._runner.signal)
        seed = secrets.token_hex(16) if rng_seed is None else str(rng_seed)
        self._signal = self._runner.signal()
        room = Room(
            name, self.router, clock, self.recorder, self.metrics, seed, self._log, self._crashed, self._signal.notify
        )
        self._hosts = _Hosts(room, self._runner)
        self._supervisor: SupervisorActor | None = None
        self._start_fault: LocalError | None = None
        self._is_started = False
        self._is_stopped = False
        self._is_stopping = False
        self._left_behind: tuple[str, ...] = ()
        self.give_up_reason = ""  # why the supervisor gave up; empty as long as it did not

    # --- from outside ------------------------------------------------------------------------------

    def start(self, timeout_s: float) -> None:
        """Start every actor in order; return when all serve.

        Raises the LocalError that kept an actor from its first start, or Unavailable after ``timeout_s``; in both
        cases what had been started is stopped again.
        """
        if self._threaded:
            sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._hosts.start(ChildSpec(SUPERVISOR, self._make_supervisor), 1)
        done = self._signal.wait(lambda: self._is_started or self._is_stopped, timeout_s)
        if self._is_started:
            return
        fault = self._start_fault
        self.stop(self.stop_budget_s)
        if fault is None and not done:
            fault = Unavailable(f"the node did not start within {timeout_s:g} s")
        raise fault or Unavailable("the supervisor ended during the start", "see the log")

    def stop(self, timeout_s: float) -> bool:
        """Stop every actor in reverse order; True when all ended by themselves.

        Takes at most ``timeout_s`` and 2 * STOP_MARGIN_S: what has not ended by then is left behind.
        """
        self._is_stopping = True
        supervisor = self._supervisor
        cell = self._hosts.cells.get(SUPERVISOR)
        if supervisor is not None and cell is not None and not cell.ended:
            cell.mailbox.call_soon(supervisor.stop_children)
            self._signal.wait(lambda: self._is_stopped or cell.reported, timeout_s)
        in_order = self._is_stopped and not self._left_behind
        if not self._is_stopped:
            in_order = self._stop_without_supervisor()
        self._hosts.stop(SUPERVISOR, 1)
        in_order = self._ended_by(cell, self._runner.clock.monotonic() + STOP_MARGIN_S) and in_order
        self.edge.close()
        return in_order

    @property
    def stop_budget_s(self) -> float:
        """Seconds that a stop takes at most when every actor uses up its time."""
        return sum(spec.stop_s for spec in self._specs) + STOP_MARGIN_S

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self.router.policy

    def has(self, name: str) -> bool:
        """Whether this node runs an actor of this name."""
        return any(spec.name == name for spec in self._specs)

    def stats(self, name: str) -> CellStats | None:
        """An actor's figures; None when it was never started."""
        return self._hosts.stats(name)

    # --- the supervisor's Listener -----------------------------------------------------------------

    def started(self) -> None:
        self._is_started = True
        self._signal.notify()

    def start_failed(self, fault: LocalError) -> None:
        self._start_fault = fault

    def gave_up(self, reason: str) -> None:
        self.give_up_reason = reason
        if self._on_giveup is not None:
            self._on_giveup(reason)

    def stopped(self, abandoned: tuple[str, ...]) -> None:
        self._left_behind = abandoned
        self._is_stopped = True
        self._signal.notify()

    # --- within ------------------------------------------------------------------------------------

    def _make_supervisor(self, ctx: Context) -> SupervisorActor:
        self._supervisor = SupervisorActor(ctx, self._specs, self._hosts, self, self._roles)
        return self._supervisor

    def _crashed(self, name: str, generation: int, reason: str) -> None:
        """On the crashed actor's own thread, as its last deed."""
        if self._crash_dir is not None:
            try:
                _dump(self.recorder, self._crash_dir, f"{name}-{generation}", reason)
            except OSError as fault:
                self._log.warning("the flight recorder could not be dumped: %s", fault)
        if name == SUPERVISOR and not self._is_stopping:
            self.gave_up(f"the supervisor failed: {reason}")
            self._signal.notify()

    def _stop_without_supervisor(self) -> bool:
        """The supervisor is gone, hangs or ran out of time: what still runs is stopped in reverse, or cut off."""
        end = self._runner.clock.monotonic() + STOP_MARGIN_S
        cells = [self._hosts.cells[spec.name] for spec in reversed(self._specs) if spec.name in self._hosts.cells]
        in_order = True
        for cell in cells:
            self._hosts.stop(cell.name, cell.generation)
            if not self._ended_by(cell, end):
                self._log.error("%s did not end in its time and is left behind", cell.name)
                cell.abandon()
                in_order = False
        return in_order

    def _ended_by(self, cell: Cell | None, end: float) -> bool:
        left_s = max(0.0, end - self._runner.clock.monotonic())
        return self._signal.wait(lambda: cell is None or cell.reported, left_s)


def _dump(recorder: FlightRecorder, folder: Path, what: str, reason: str) -> None:
    """One dump more, and the oldest ones gone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    recorder.dump(folder / f"flight-{what}.msgpack", reason)
    dumps = sorted(folder.glob("flight-*.msgpack"), key=lambda path: path.stat().st_mtime)
    for path in dumps[: -RECORDER_DUMPS_MAX.value]:
        path.unlink(missing_ok=True)
