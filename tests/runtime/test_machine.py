"""A machine in threads: start in order, stop in reverse, crashes, giving up, policy, crash dumps."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shoal.actors.base import Actor, Context, handles
from shoal.messages.base import Message
from shoal.messages.blocks import RepoStat, RepoStats, TierStat
from shoal.messages.envelope import Envelope
from shoal.messages.errors import BadConfig, LocalError, NotFound, Unavailable
from shoal.messages.lifecycle import (
    ActorRestarted,
    ActorsListed,
    ChangeRole,
    CrashActor,
    ListActors,
    PolicyChanged,
    PolicyNow,
)
from shoal.messages.policy import LEECHER, WORKER, Policy
from shoal.messages.tiers import TierStatus
from shoal.runtime import machine as module
from shoal.runtime.machine import Machine
from shoal.runtime.recorder import load
from shoal.runtime.supervisor import core
from shoal.runtime.supervisor.specs import ChildSpec, Strategy
from shoal.tests.support.room import Memory, Placement

TIMEOUT_S = 20.0
STAT = RepoStats((TierStat("memory", 1, 2, 3, 4, 5),))


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


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.getLogger("shoal").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("shoal").setLevel(logging.NOTSET)


Build = Callable[..., Machine]


@pytest.fixture
def build() -> Iterator[Build]:
    machines: list[Machine] = []

    def make(*specs: ChildSpec, policy: Policy = WORKER, **options: object) -> Machine:
        machine = Machine(specs, policy, strict=True, rng_seed=1, **options)  # type: ignore[arg-type]  # tests pass on
        machines.append(machine)
        return machine

    yield make
    for machine in machines:
        machine.stop(TIMEOUT_S)


def noting(log: list[str], *names: str, **options: object) -> list[ChildSpec]:
    return [ChildSpec(name, lambda ctx: Noting(ctx, log), **options) for name in names]  # type: ignore[arg-type]


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


def shoal_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("shoal-node-")]


def test_actors_start_in_order_and_stop_in_reverse(build: Build) -> None:
    log: list[str] = []
    machine = build(*noting(log, "memory", "disk", "placement"))
    machine.start(TIMEOUT_S)
    assert log == ["+memory", "+disk", "+placement"]
    assert machine.stop(TIMEOUT_S)
    assert log[3:] == ["-placement", "-disk", "-memory"]
    until(lambda: not shoal_threads())
    assert machine.stop(TIMEOUT_S), "a second stop is harmless"


def test_the_edge_reaches_actors_and_the_trace_tells_of_it(build: Build) -> None:
    machine = build(ChildSpec("memory", Memory), ChildSpec("placement", Placement))
    machine.start(TIMEOUT_S)
    with machine.edge.stream(RepoStat(), TIMEOUT_S) as replies:
        assert replies.next() == STAT
        told = machine.recorder.phases(replies.id)
    assert [(phase.kind, phase.receiver) for phase in told] == [
        ("RepoStat", "placement"),
        ("TierStatus", "memory"),
        ("TierStat", "placement"),
        ("RepoStats", "edge"),
    ]
    assert told[0].answered_s >= told[1].answered_s > 0


def test_a_local_error_at_the_first_start_ends_it_and_what_ran_is_stopped(build: Build) -> None:
    log: list[str] = []

    def broken(ctx: Context) -> Actor:
        raise BadConfig("the disk is a tape", "buy a disk")

    machine = build(*noting(log, "memory"), ChildSpec("disk", broken), *noting(log, "placement"))
    with pytest.raises(BadConfig, match="buy a disk"):
        machine.start(TIMEOUT_S)
    assert log == ["+memory", "-memory"]
    until(lambda: not shoal_threads())


def test_a_bug_at_the_first_start_is_tried_again_and_may_pass(build: Build) -> None:
    tries: list[int] = []

    def flaky(ctx: Context) -> Actor:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("not yet")
        return Memory(ctx)

    build(ChildSpec("memory", flaky)).start(TIMEOUT_S)
    assert len(tries) == 3


def test_a_start_that_takes_too_long_says_so(build: Build) -> None:
    gate = threading.Event()

    class Slow(Actor):
        def on_start(self) -> None:
            gate.wait(TIMEOUT_S)

    machine = build(ChildSpec("memory", Slow, start_s=0.05))
    with pytest.raises(LocalError, match="memory was not ready within"):
        machine.start(TIMEOUT_S)
    gate.set()


def test_a_crashed_actor_serves_again_and_the_others_hear_of_it(build: Build) -> None:
    log: list[str] = []
    machine = build(*noting(log, "memory", "disk", "placement"))
    machine.start(TIMEOUT_S)
    machine.edge.ask(CrashActor("disk"), TIMEOUT_S)
    until(lambda: "placement hears of disk 2" in log)
    until(lambda: "memory hears of disk 2" in log)
    assert "disk hears of disk 2" not in log
    assert log.count("+disk") == 2
    assert log.count("-disk") == 1
    assert log.count("+memory") == 1


def test_an_open_request_fails_at_once_when_its_actor_dies_and_again_works_after(build: Build) -> None:
    class Deaf(Actor):
        @handles(TierStatus)
        def on_status(self, _: TierStatus, __: Envelope) -> None:
            asked.set()

    asked = threading.Event()
    made: list[int] = []

    def memory(ctx: Context) -> Actor:
        made.append(1)
        return Deaf(ctx) if len(made) == 1 else Memory(ctx)

    machine = build(ChildSpec("memory", memory), ChildSpec("placement", Placement))
    machine.start(TIMEOUT_S)
    replies = machine.edge.stream(RepoStat(), 3600.0)
    assert asked.wait(TIMEOUT_S)
    machine.edge.ask(CrashActor("memory"), TIMEOUT_S)
    with pytest.raises(Unavailable, match="memory ended before it answered"):
        replies.next(TIMEOUT_S)
    assert answering(lambda: machine.edge.ask(RepoStat(), TIMEOUT_S)) == STAT


def test_every_actor_can_be_crashed_again_and_again(build: Build) -> None:
    machine = build(ChildSpec("memory", Memory), ChildSpec("placement", Placement))
    machine.start(TIMEOUT_S)
    for _ in range(4):
        for name in ("memory", "placement"):
            answering(lambda name=name: machine.edge.ask(CrashActor(name), TIMEOUT_S))
            assert answering(lambda: machine.edge.ask(RepoStat(), TIMEOUT_S)) == STAT
            until(lambda: all(row.state == "running" for row in listed(machine).actors))
    assert sum(row.restarts for row in listed(machine).actors) == 8
    assert machine.edge._pending == {}


def listed(machine: Machine) -> ActorsListed:
    return machine.edge.ask_for(ActorsListed, ListActors(), TIMEOUT_S)


def test_rest_for_one_takes_the_later_ones_along(build: Build) -> None:
    log: list[str] = []
    specs = [*noting(log, "memory"), *noting(log, "disk", strategy=Strategy.REST_FOR_ONE), *noting(log, "placement")]
    machine = build(*specs)
    machine.start(TIMEOUT_S)
    machine.edge.ask(CrashActor("disk"), TIMEOUT_S)
    until(lambda: log.count("+placement") == 2)
    births = [entry for entry in log if entry[0] in "+-"]
    assert births == ["+memory", "+disk", "+placement", "-disk", "-placement", "+disk", "+placement"]


def test_too_many_crashes_end_the_node_and_it_is_said_why(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "BACK_OFF_MAX_S", 0.01)
    reasons: list[str] = []
    gave_up = threading.Event()

    def on_giveup(reason: str) -> None:
        reasons.append(reason)
        gave_up.set()

    class Doomed(Actor):
        def on_start(self) -> None:
            if len(starts) > 1:
                raise ValueError("as always")

    starts: list[int] = []

    def doomed(ctx: Context) -> Actor:
        starts.append(1)
        return Doomed(ctx)

    log: list[str] = []
    machine = build(*noting(log, "memory"), ChildSpec("disk", doomed), on_giveup=on_giveup)
    machine.start(TIMEOUT_S)
    machine.edge.ask(CrashActor("disk"), TIMEOUT_S)
    assert gave_up.wait(TIMEOUT_S)
    assert "disk ended" in reasons[0]
    assert "as always" in reasons[0]
    assert machine.give_up_reason == reasons[0]
    assert len(starts) == 1 + core.INTENSITY
    assert machine.stop(TIMEOUT_S)
    assert log == ["+memory", "-memory"]


def test_an_actor_that_does_not_stop_is_left_behind(build: Build) -> None:
    gate, log = threading.Event(), list[str]()

    class Stuck(Actor):
        def on_stop(self) -> None:
            gate.wait(TIMEOUT_S)

    machine = build(*noting(log, "memory"), ChildSpec("disk", Stuck, stop_s=0.1))
    machine.start(TIMEOUT_S)
    assert not machine.stop(TIMEOUT_S)
    assert log == ["+memory", "-memory"], "the others end in order all the same"
    gate.set()


def test_a_failing_supervisor_ends_the_node(build: Build) -> None:
    gave_up = threading.Event()
    log: list[str] = []
    machine = build(*noting(log, "memory"), on_giveup=lambda _: gave_up.set())
    machine.start(TIMEOUT_S)

    def fail() -> None:
        raise ValueError("a bug")

    machine._hosts.cells["supervisor"].mailbox.call_soon(fail)
    assert gave_up.wait(TIMEOUT_S)
    assert machine.give_up_reason == "the supervisor failed: ValueError: a bug"
    assert machine.stop(TIMEOUT_S)
    assert log == ["+memory", "-memory"]
    until(lambda: not shoal_threads())


def test_out_of_threads_is_a_crash_like_any_other(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = build(ChildSpec("memory", Memory), ChildSpec("placement", Placement))
    machine.start(TIMEOUT_S)
    real, failures = module.ThreadRunner.launch, [1, 1]

    def launch(self: module.ThreadRunner, cell: object, spec: ChildSpec) -> object:
        if failures and failures.pop():
            raise RuntimeError("can't start new thread")
        return real(self, cell, spec)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(module.ThreadRunner, "launch", launch)
    machine.edge.ask(CrashActor("memory"), TIMEOUT_S)
    assert answering(lambda: machine.edge.ask(RepoStat(), TIMEOUT_S)) == STAT
    assert not failures
    row = next(row for row in listed(machine).actors if row.name == "memory")
    assert row.generation == 4
    assert row.last_failure == "RuntimeError: can't start new thread"


def test_the_role_can_be_changed_on_a_running_node(build: Build) -> None:
    log: list[str] = []
    machine = build(*noting(log, "memory", "placement"))
    machine.start(TIMEOUT_S)
    assert machine.edge.ask(ChangeRole("leecher"), TIMEOUT_S) == PolicyNow(LEECHER)
    assert machine.policy is LEECHER
    until(lambda: {"memory is a leecher", "placement is a leecher"} <= set(log))
    with pytest.raises(BadConfig, match="unknown role"):
        machine.edge.ask(ChangeRole("emperor"), TIMEOUT_S)
    assert machine.policy is LEECHER


def test_roles_are_looked_up_where_the_node_says(build: Build) -> None:
    tuned = Policy(role="leecher", connections_max=7)
    machine = build(ChildSpec("memory", Memory), roles=lambda _: tuned)
    machine.start(TIMEOUT_S)
    assert machine.edge.ask_for(PolicyNow, ChangeRole("leecher"), TIMEOUT_S).policy.connections_max == 7


@pytest.mark.parametrize("name", ["nobody", "supervisor", "edge", ""])
def test_only_running_actors_can_be_crashed(build: Build, name: str) -> None:
    machine = build(ChildSpec("memory", Memory))
    machine.start(TIMEOUT_S)
    with pytest.raises(NotFound, match="running: memory"):
        machine.edge.ask(CrashActor(name), TIMEOUT_S)


def test_actors_are_listed_in_start_order(build: Build) -> None:
    machine = build(ChildSpec("memory", Memory), ChildSpec("placement", Placement))
    machine.start(TIMEOUT_S)
    machine.edge.ask(RepoStat(), TIMEOUT_S)
    rows = listed(machine).actors
    assert [row.name for row in rows] == ["supervisor", "memory", "placement"]
    assert {row.state for row in rows} == {"running"}
    assert rows[2].handled == 2


def test_a_crash_dumps_the_flight_recorder_and_old_dumps_go(build: Build, tmp_path: Path) -> None:
    folder = tmp_path / "crashes"
    machine = build(ChildSpec("memory", Memory), ChildSpec("placement", Placement), crash_dir=folder)
    machine.start(TIMEOUT_S)
    machine.edge.ask(RepoStat(), TIMEOUT_S)
    machine.edge.ask(CrashActor("memory"), TIMEOUT_S)
    assert answering(lambda: machine.edge.ask(RepoStat(), TIMEOUT_S)) == STAT
    entries = load(folder / "flight-memory-1.msgpack")
    assert [entry.note for entry in entries if entry.kind == "CrashNow" and entry.note] == [
        "CrashOrdered: ordered to fail"
    ]
    for number in range(20):
        module._dump(machine.recorder, folder, f"x-{number}", "test")
    assert len(list(folder.iterdir())) == 8


def test_an_actor_cannot_ask_at_the_edge(build: Build) -> None:
    caught: list[RuntimeError] = []

    class Asking(Actor):
        def on_start(self) -> None:
            try:
                machine.edge.ask(RepoStat(), TIMEOUT_S)
            except RuntimeError as fault:
                caught.append(fault)

    machine = build(ChildSpec("memory", Asking))
    machine.start(TIMEOUT_S)
    assert "on an actor's own thread" in str(caught[0])


def test_unknown_actors_and_double_names_are_refused() -> None:
    with pytest.raises(ValueError, match="ROUTES does not know cellar"):
        Machine([ChildSpec("cellar", Memory)], WORKER)
    with pytest.raises(ValueError, match="give a factory"):
        ChildSpec("memory")
    with pytest.raises(ValueError, match="give a factory"):
        ChildSpec("memory", Memory, trio_factory=lambda _ctx, _nursery: None)  # type: ignore[arg-type,return-value]


def test_two_machines_in_one_process_do_not_meet(build: Build) -> None:
    one = build(ChildSpec("memory", Memory), ChildSpec("placement", Placement), name="one")
    two = build(ChildSpec("placement", Placement), name="two")
    one.start(TIMEOUT_S)
    two.start(TIMEOUT_S)
    assert one.edge.ask(RepoStat(), TIMEOUT_S) == STAT
    with pytest.raises(Unavailable, match="memory is not running"):
        two.edge.ask(RepoStat(), TIMEOUT_S)
    assert two.stop(TIMEOUT_S)
    assert one.edge.ask(RepoStat(), TIMEOUT_S) == STAT
