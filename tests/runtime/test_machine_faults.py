"""A machine in threads whose actors crash, hang or cannot start: recovery, giving up, crash dumps."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from shoal.actors.base import Actor, Context, handles
from shoal.messages.blocks import RepoStat, RepoStats, TierStat
from shoal.messages.envelope import Envelope
from shoal.messages.errors import Unavailable
from shoal.messages.lifecycle import (
    CrashActor,
)
from shoal.messages.tiers import TierStatus
from shoal.runtime import machine as module
from shoal.runtime.recorder import load
from shoal.runtime.supervisor import core
from shoal.runtime.supervisor.specs import ChildSpec, Strategy
from shoal.tests.support.machines import TIMEOUT_S, Build, answering, listed, noting, shoal_threads, until
from shoal.tests.support.room import Memory, Placement

pytestmark = pytest.mark.usefixtures("quiet")

STAT = RepoStats((TierStat("memory", 1, 2, 3, 4, 5),))


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


def test_a_stop_keeps_its_own_time_whatever_the_actors_take(build: Build) -> None:
    gate, log = threading.Event(), list[str]()

    class Stuck(Actor):
        def on_stop(self) -> None:
            gate.wait(TIMEOUT_S)

    machine = build(*noting(log, "memory"), ChildSpec("disk", Stuck, stop_s=3600.0))
    machine.start(TIMEOUT_S)
    assert not machine.stop(0.05)
    until(lambda: "-memory" in log)
    gate.set()
