"""A machine in threads: start in order, stop in reverse, ask, list, change roles."""

from __future__ import annotations

import threading

import pytest

from shoal.actors.base import Actor, Context
from shoal.messages.blocks import RepoStat, RepoStats, TierStat
from shoal.messages.errors import BadConfig, LocalError, NotFound, Unavailable
from shoal.messages.lifecycle import (
    ChangeRole,
    CrashActor,
    PolicyNow,
)
from shoal.messages.policy import LEECHER, WORKER, Policy
from shoal.runtime.machine import Machine
from shoal.runtime.supervisor.specs import ChildSpec
from shoal.tests.support.machines import TIMEOUT_S, Build, listed, noting, shoal_threads, until
from shoal.tests.support.room import Memory, Placement

pytestmark = pytest.mark.usefixtures("quiet")

STAT = RepoStats((TierStat("memory", 1, 2, 3, 4, 5),))


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
        ChildSpec("memory", Memory, trio_factory=lambda _ctx, _nursery: None)  # type: ignore[arg-type,return-value]  # never called


def test_two_machines_in_one_process_do_not_meet(build: Build) -> None:
    one = build(ChildSpec("memory", Memory), ChildSpec("placement", Placement), name="one")
    two = build(ChildSpec("placement", Placement), name="two")
    one.start(TIMEOUT_S)
    two.start(TIMEOUT_S)
    assert one.edge.ask(RepoStat(), TIMEOUT_S) == STAT
    with pytest.raises(Unavailable, match="this node has no memory"):
        two.edge.ask(RepoStat(), TIMEOUT_S)
    assert two.stop(TIMEOUT_S)
    assert one.edge.ask(RepoStat(), TIMEOUT_S) == STAT
