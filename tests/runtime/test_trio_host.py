"""Trio in an actor's own thread: ready, failing tasks, closing, timers, and turns for the network's tasks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable, Iterator

import pytest
import trio

from shoal.actors.base import Actor, Context, handles
from shoal.messages.envelope import Envelope
from shoal.messages.errors import BadInput, LocalError, Unavailable
from shoal.messages.lifecycle import ActorsListed, CrashActor, ListActors
from shoal.messages.policy import WORKER
from shoal.messages.transport import Identity, Ping, Pong, WhoAmI
from shoal.runtime import trio_host
from shoal.runtime.machine import Machine
from shoal.runtime.supervisor.specs import ChildSpec, TrioParts
from shoal.tests.support.room import Memory

TIMEOUT_S = 20.0
ME = Identity("me", (), "", ())


class Trio(Actor):
    """Stands where the transport does."""

    NAME = "transport"

    def __init__(self, ctx: Context, nursery: trio.Nursery, log: list[str]) -> None:
        super().__init__(ctx)
        self.nursery = nursery
        self.log = log
        self.turns = 0

    def on_start(self) -> None:
        self.log.append("on_start")
        self.ctx.after(60.0, lambda: None)  # what the host's main task waits for

    def on_stop(self) -> None:
        self.log.append("on_stop")

    @handles(WhoAmI)
    def on_who(self, _: WhoAmI, envelope: Envelope) -> None:
        self.ctx.reply(envelope, ME)

    @handles(Ping)
    def on_ping(self, message: Ping, envelope: Envelope) -> None:
        if message.peer == "raise":
            raise ValueError("in a handler")
        if message.peer == "task raises":
            self.nursery.start_soon(self._raise)
        elif message.peer == "task exits":
            self.nursery.start_soon(self._exit)
        elif message.peer == "task sets a timer":
            self.nursery.start_soon(self._timer, envelope)
        elif message.peer == "turns":
            self.ctx.reply(envelope, Pong("turns", float(self.turns)))

    async def _raise(self) -> None:
        raise ValueError("in a task")

    async def _exit(self) -> None:
        raise SystemExit(3)

    async def _timer(self, envelope: Envelope) -> None:
        await trio.sleep(0.01)  # by now the host's main task waits, for a timer that is a minute away
        self.ctx.after(0.01, lambda: self.ctx.reply(envelope, Pong("timer", 0.0)))

    async def count_turns(self) -> None:
        while True:
            self.turns += 1
            await trio.lowlevel.checkpoint()


class Parts:
    """A trio factory, what it made, and what happened."""

    def __init__(
        self,
        *,
        ready: Callable[[], Awaitable[None]] | None = None,
        closing: Callable[[], Awaitable[None]] | None = None,
        busy: bool = False,
    ) -> None:
        self.log: list[str] = []
        self.ready = ready
        self.closing = closing
        self.busy = busy
        self.actors: list[Trio] = []

    def __call__(self, ctx: Context, nursery: trio.Nursery) -> TrioParts:
        actor = Trio(ctx, nursery, self.log)
        self.actors.append(actor)

        async def ready() -> None:
            await trio.sleep(0.01)
            self.log.append("ready")
            if self.ready is not None:
                await self.ready()
            if self.busy:
                nursery.start_soon(actor.count_turns)

        async def closing() -> None:
            if self.closing is not None:
                await self.closing()
            self.log.append("closed")

        return TrioParts(actor, ready, closing)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.getLogger("shoal").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("shoal").setLevel(logging.NOTSET)


@pytest.fixture
def run() -> Iterator[Callable[..., Machine]]:
    machines: list[Machine] = []

    def start(parts: Parts, **options: float) -> Machine:
        spec = ChildSpec("transport", trio_factory=parts, **options)
        machine = Machine([ChildSpec("memory", Memory), spec], WORKER, strict=True, rng_seed=1)
        machines.append(machine)
        machine.start(TIMEOUT_S)
        return machine

    yield start
    for machine in machines:
        machine.stop(TIMEOUT_S)


def eventually(machine: Machine) -> Identity:
    """The transport's answer, asked again while it restarts."""
    for _ in range(1000):
        try:
            return machine.edge.ask_for(Identity, WhoAmI(), TIMEOUT_S)
        except Unavailable:
            threading.Event().wait(0.01)
    raise AssertionError("it did not come back")


def last_failure(machine: Machine) -> str:
    rows = machine.edge.ask_for(ActorsListed, ListActors(), TIMEOUT_S).actors
    return next(row.last_failure for row in rows if row.name == "transport")


def test_it_starts_serves_and_closes_in_order(run: Callable[..., Machine]) -> None:
    parts = Parts()
    machine = run(parts)
    assert machine.edge.ask(WhoAmI(), TIMEOUT_S) == ME
    assert machine.stop(TIMEOUT_S)
    assert parts.log == ["on_start", "ready", "on_stop", "closed"]


def test_a_local_error_in_ready_is_the_start_s_error(run: Callable[..., Machine]) -> None:
    async def port_in_use() -> None:
        raise BadInput("port 4001 is in use", "choose another")

    parts = Parts(ready=port_in_use)
    with pytest.raises(BadInput, match="port 4001"):
        run(parts)
    assert parts.log == ["on_start", "ready", "on_stop", "closed"]
    assert len(parts.actors) == 1, "what the user must mend is not tried again"


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("raise", "ValueError: in a handler"),
        ("task raises", "ValueError: in a task"),
        ("task exits", "SystemExit: 3"),
    ],
)
def test_a_failure_anywhere_ends_the_actor_which_comes_back(
    run: Callable[..., Machine], what: str, reason: str
) -> None:
    parts = Parts()
    machine = run(parts)
    with pytest.raises(Unavailable, match="transport ended before it answered"):
        machine.edge.ask(Ping(what), TIMEOUT_S)
    assert eventually(machine) == ME
    assert last_failure(machine) == reason
    assert parts.log == ["on_start", "ready", "on_stop", "closed", "on_start", "ready"]


def test_an_ordered_crash_is_a_failure_as_well(run: Callable[..., Machine]) -> None:
    parts = Parts()
    machine = run(parts)
    machine.edge.ask(CrashActor("transport"), TIMEOUT_S)
    while len(parts.actors) < 2:
        eventually(machine)
    assert last_failure(machine).startswith("CrashOrdered")


def test_a_timer_set_by_a_task_wakes_the_host(run: Callable[..., Machine]) -> None:
    parts = Parts()
    machine = run(parts)
    assert machine.edge.ask(Ping("task sets a timer"), TIMEOUT_S) == Pong("timer", 0.0)


def test_tasks_get_turns_however_much_mail_there_is(run: Callable[..., Machine]) -> None:
    """A task that wants to run is not kept out by a mailbox that is never empty."""
    parts = Parts(busy=True)
    machine = run(parts)
    batches, number = 20, trio_host.BATCH_MESSAGES
    held = threading.Event()
    box = parts.actors[0].ctx.mailbox  # type: ignore[attr-defined]  # the real context, of any thread's reach
    box.call_soon(lambda: held.wait(TIMEOUT_S))
    before = machine.edge.stream(Ping("turns"), TIMEOUT_S)
    streams = [machine.edge.stream(WhoAmI(), TIMEOUT_S) for _ in range(batches * number // 2)]
    after = machine.edge.stream(Ping("turns"), TIMEOUT_S)
    held.set()
    first, last = before.next(), after.next()
    assert isinstance(first, Pong)
    assert isinstance(last, Pong)
    assert last.rtt_s - first.rtt_s >= batches // 2 - 2
    for stream in streams:
        stream.close()


def test_closing_that_takes_too_long_is_cut_short(run: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio_host, "CLOSING_S", 0.05)
    parts = Parts(closing=trio.sleep_forever)
    machine = run(parts)
    assert machine.stop(TIMEOUT_S)
    assert parts.log == ["on_start", "ready", "on_stop"]


def test_a_task_that_cannot_be_cancelled_is_left_behind(run: Callable[..., Machine]) -> None:
    release = trio.Event()
    tokens: list[trio.lowlevel.TrioToken] = []
    parts = Parts()

    async def stubborn() -> None:
        tokens.append(trio.lowlevel.current_trio_token())
        with trio.CancelScope(shield=True):
            await release.wait()

    async def start() -> None:
        parts.actors[0].nursery.start_soon(stubborn)

    parts.ready = start
    machine = run(parts, stop_s=0.2)
    assert not machine.stop(TIMEOUT_S)
    with pytest.raises(LocalError):
        machine.edge.ask(WhoAmI(), 1.0)
    tokens[0].run_sync_soon(release.set)


def test_what_closing_raises_is_the_reason(run: Callable[..., Machine]) -> None:
    async def broken() -> None:
        raise OSError("no such socket")

    parts = Parts(closing=broken)
    machine = run(parts)
    assert machine.stop(TIMEOUT_S)
    assert parts.log == ["on_start", "ready", "on_stop"]
