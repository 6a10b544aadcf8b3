"""The world: same seed, same trace (invariant 31); virtual time; crashes; restarts on virtual time."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pykka
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.actors.base import Actor, Context, handles
from shoal.messages.base import Message
from shoal.messages.blocks import RepoStat, RepoStats, TierStat
from shoal.messages.envelope import Envelope
from shoal.messages.errors import BadConfig, DeadlineExceeded, LocalError, Unavailable
from shoal.messages.lifecycle import ActorsListed, ChangeRole, CrashActor, ListActors
from shoal.messages.policy import LEECHER, WORKER
from shoal.messages.tiers import TierStatus
from shoal.runtime.machine import Machine
from shoal.runtime.simulation.scheduler import SimWorld
from shoal.runtime.simulation.swarm import Swarm
from shoal.runtime.supervisor.core import INTENSITY
from shoal.runtime.supervisor.specs import ChildSpec, TrioParts
from shoal.tests.support.room import Memory, Placement

STAT = RepoStats((TierStat("memory", 1, 2, 3, 4, 5),))
SPECS = (ChildSpec("memory", Memory), ChildSpec("placement", Placement))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.getLogger("shoal").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("shoal").setLevel(logging.NOTSET)


def started(world: SimWorld, *specs: ChildSpec, name: str = "n") -> Machine:
    machine = world.machine(specs or SPECS, WORKER, name)
    machine.start(5.0)
    return machine


def busy_run(seed: int) -> SimWorld:
    """Four nodes that are asked, crash and restart, for ten virtual seconds."""
    world = SimWorld(seed)
    machines = [started(world, name=f"n{number}") for number in range(4)]
    world.crash_often(1.0)
    for _ in range(20):
        for machine in machines:
            try:
                machine.edge.ask(RepoStat(), 2.0)
            except LocalError:
                pass
        world.run_for(0.5)
    for machine in machines:
        machine.stop(60.0)
    return world


def test_one_seed_gives_one_trace_and_another_seed_another() -> None:
    first, again, other = busy_run(7), busy_run(7), busy_run(8)
    assert first.trace == again.trace
    assert first.digest() == again.digest()
    assert first.steps == again.steps
    assert first.digest() != other.digest()
    assert len({label for _, label, _ in first.trace}) == 12


def test_the_hash_seed_changes_nothing() -> None:
    program = (
        "import logging; logging.disable()\n"
        "from shoal.tests.runtime.simulation.test_scheduler import busy_run\n"
        "print(busy_run(3).digest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for hash_seed in ("0", "1", "424242")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 32


def test_waiting_for_an_answer_lets_the_world_run() -> None:
    machine = started(SimWorld(1))
    assert machine.edge.ask(RepoStat(), 1.0) == STAT
    assert machine.stop(10.0)


class Late(Actor):
    """Answers after an hour."""

    NAME = "memory"

    @handles(TierStatus)
    def on_status(self, _: TierStatus, envelope: Envelope) -> None:
        self.ctx.after(3600.0, lambda: self.ctx.reply(envelope, TierStat("memory", 1, 2, 3, 4, 5)))


def test_an_hour_passes_at_once() -> None:
    world = SimWorld(1)
    machine = started(world, ChildSpec("memory", Late), SPECS[1])
    assert machine.edge.ask(RepoStat(), 7200.0) == STAT
    assert 3600.0 <= world.now() < 3601.0
    with pytest.raises(DeadlineExceeded):
        machine.edge.ask(RepoStat(), 60.0)


def test_a_crashed_actor_is_back_within_a_second_of_virtual_time() -> None:
    world = SimWorld(1)
    machine = started(world)
    for _ in range(5):
        machine.edge.ask(CrashActor("memory"), 1.0)
        with pytest.raises(Unavailable):
            machine.edge.ask(RepoStat(), 1.0)
        world.run_for(1.0)
        assert machine.edge.ask(RepoStat(), 1.0) == STAT
    rows = machine.edge.ask_for(ActorsListed, ListActors(), 1.0).actors
    assert [row.restarts for row in rows] == [0, 5, 0]


def test_a_crash_loop_ends_the_node() -> None:
    made: list[int] = []

    class Doomed(Actor):
        def on_start(self) -> None:
            made.append(1)
            if len(made) > 1:
                raise ValueError("as always")

    world = SimWorld(1)
    reasons: list[str] = []
    machine = world.machine([ChildSpec("memory", Doomed)], WORKER, "n", on_giveup=reasons.append)
    machine.start(5.0)
    world.crash("n", "memory")
    world.run_for(60.0)
    assert len(reasons) == 1
    assert len(made) == 1 + INTENSITY
    assert machine.stop(5.0)


def test_a_local_error_at_the_first_start_is_raised() -> None:
    def broken(_: Context) -> Actor:
        raise BadConfig("no", "yes")

    with pytest.raises(BadConfig):
        started(SimWorld(1), SPECS[0], ChildSpec("placement", broken))


def test_the_role_can_be_changed_here_too() -> None:
    machine = started(SimWorld(1))
    machine.edge.ask(ChangeRole("leecher"), 1.0)
    assert machine.policy is LEECHER


def test_a_power_cut_leaves_nothing_running_and_the_node_can_be_made_anew() -> None:
    stops: list[int] = []

    class Careful(Memory):
        def on_stop(self) -> None:
            stops.append(1)

    world = SimWorld(1)
    specs = (ChildSpec("memory", Careful), SPECS[1])
    machine = started(world, *specs)
    world.power_off("n")
    world.run_for(5.0)
    assert stops == []
    with pytest.raises(Unavailable):
        machine.edge.ask(RepoStat(), 1.0)
    again = started(world, *specs)
    assert again.edge.ask(RepoStat(), 1.0) == STAT
    assert again.stop(5.0)
    assert stops == [1]


def test_an_actor_that_needs_trio_cannot_be_simulated() -> None:
    def factory(_: Context, __: trio.Nursery) -> TrioParts:
        raise AssertionError

    with pytest.raises(LocalError, match="runs on trio"):
        started(SimWorld(1), ChildSpec("transport", trio_factory=factory))


def test_an_actor_cannot_wait_for_the_world_that_waits_for_it() -> None:
    class Waiting(Actor):
        def on_start(self) -> None:
            machine.edge.ask(RepoStat(), 1.0)

    world = SimWorld(1)
    machine = world.machine([ChildSpec("memory", Waiting)], WORKER, "n")
    with pytest.raises(LocalError, match="waits for the actor"):
        machine.start(60.0)


class PingPong(Actor):
    """Asks itself by timers that are due at once, for ever."""

    NAME = "memory"

    def on_start(self) -> None:
        self.again()

    def again(self) -> None:
        self.ctx.after(0.0, self.again)


def test_a_loop_without_end_does_not_stop_the_clock() -> None:
    world = SimWorld(1)
    started(world, ChildSpec("memory", PingPong))
    fired: list[float] = []
    world.after(0.01, lambda: fired.append(world.now()))
    assert world.run_until(lambda: bool(fired), 1.0)
    assert fired[0] < 0.02


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=40), st.integers(0, 100))
def test_events_come_in_order_of_time_unless_cancelled(plan: list[tuple[float, bool]], seed: int) -> None:
    world = SimWorld(seed)
    came: list[tuple[float, int]] = []
    for number, (seconds, cancel) in enumerate(plan):
        timer = world.after(seconds, lambda number=number: came.append((world.now(), number)))
        if cancel:
            timer.cancel()
    world.run_for(101.0)
    assert [number for _, number in came] == [
        number for _, number in sorted((plan[i][0], i) for i in range(len(plan)) if not plan[i][1])
    ]
    for now, number in came:
        assert plan[number][0] <= now <= plan[number][0] + 0.001
    assert world.now() == 101.0


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_whatever_crashes_every_request_ends_and_nothing_is_left_open(seed: int) -> None:
    world = SimWorld(seed)
    machine = started(world)
    world.crash_often(2.0)
    streams = []
    for _ in range(30):
        streams.append(machine.edge.stream(RepoStat(), 5.0))
        world.run_for(0.1)
    answers: list[Message | str] = []
    for stream in streams:
        try:
            answers.append(stream.next() or "nothing")
        except LocalError as fault:
            answers.append(type(fault).__name__)
    assert set(map(str, answers)) <= {str(STAT), "Unavailable"}
    assert str(STAT) in set(map(str, answers))
    assert machine.edge._pending == {}


def test_what_the_network_calls_on_an_actor_is_the_actors_own_doing() -> None:
    """A raise in an event of the network ends that actor, and the world goes on."""

    class Events(Actor):
        NAME = "transport"

        def frame(self, size: int) -> int:
            if size < 0:
                raise ValueError("a bug")
            return size

    world = SimWorld(1)
    targets: list[Events] = []

    def factory(ctx: Context) -> Actor:
        actor = Events(ctx)
        targets.append(world.on_actor(ctx, actor))
        return actor

    machine = started(world, ChildSpec("transport", factory))
    assert targets[0].frame(3) == 3
    world.after(1.0, lambda: targets[0].frame(-1) and None)
    world.run_for(5.0)
    assert targets[0].frame(3) is None, "the old generation hears nothing more"
    assert targets[1].frame(3) == 3
    rows = machine.edge.ask_for(ActorsListed, ListActors(), 1.0).actors
    assert rows[1].last_failure == "ValueError: a bug"


def test_hundreds_of_nodes_fit_in_one_world() -> None:
    world = SimWorld(1)
    machines = [started(world, name=f"n{number}") for number in range(200)]
    assert all(machine.edge.ask(RepoStat(), 1.0) == STAT for machine in machines)
    assert all(machine.stop(10.0) for machine in machines)


def test_a_world_leaves_nothing_in_the_registry_of_the_process(tmp_path: Path) -> None:
    before = set(pykka.ActorRegistry.get_all())
    with Swarm(1, tmp_path) as swarm:
        node = swarm.add("a")
        node.power_off()
        node.start()
        assert set(pykka.ActorRegistry.get_all()) == before
