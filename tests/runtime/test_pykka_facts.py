"""What pykka 4.5 does when used bare, and what our host answers.

Each test shows the fact first: the day that it no longer holds, the test fails, and the answer may go.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pykka
import pytest
from pykka._envelope import Envelope as PykkaEnvelope

from shoal.actors.base import Actor, Context, handles
from shoal.messages.envelope import Envelope
from shoal.messages.lifecycle import ActorDown, ActorReady
from shoal.messages.tiers import TierStatus
from shoal.runtime.cell import Cell, Factory
from shoal.runtime.clock import SystemClock
from shoal.runtime.host import ActorHost
from shoal.runtime.mailbox import Lane, Verdict
from shoal.runtime.router import IDLE
from shoal.tests.support.room import Bench

WAIT_S = 10.0


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.getLogger("shoal").setLevel(logging.CRITICAL)
    others = {ref.actor_urn for ref in pykka.ActorRegistry.get_all()}  # of other tests, simulated ones for instance
    yield
    logging.getLogger("shoal").setLevel(logging.NOTSET)
    for ref in pykka.ActorRegistry.get_all():
        if ref.actor_urn not in others:
            ref.stop(block=True, timeout=WAIT_S)


class Hosted:
    """One actor called "memory" in a real host, the supervisor's side of it in the test's hands."""

    def __init__(self, factory: Factory) -> None:
        self.bench = Bench()
        self.supervisor = self.bench.actor("supervisor")
        self.placement = self.bench.actor("placement")
        room = self.bench.room()
        room.clock = SystemClock()
        self.cell = Cell("memory", 1, room)
        self.ref = ActorHost.start(self.cell, factory)

    def tell(self) -> None:
        self.placement.send(TierStatus(), to="memory")

    def news(self) -> ActorReady | ActorDown:
        """What the supervisor hears next."""
        told: list[Any] = []
        while not told:
            item = self.supervisor.mailbox.get().message
            if isinstance(item, Envelope):
                self.supervisor.handle(item, lambda message, _: told.append(message))
            else:
                item()  # the router's word that a receiver has ended
        news: ActorReady | ActorDown = told[0]
        return news

    def down(self) -> ActorDown:
        """The news of its end, which must come."""
        while not isinstance(news := self.news(), ActorDown):
            pass
        return news


class Failing(Actor):
    """Fails where it is told to."""

    NAME = "memory"

    def __init__(self, ctx: Context, where: str = "", fault: BaseException | None = None) -> None:
        super().__init__(ctx)
        self.where = where
        self.fault = fault or ValueError("boom")
        self.handled = 0
        self.stopped = 0
        self.hold: threading.Event | None = None
        self.holding = threading.Event()

    def maybe(self, where: str) -> None:
        if where == self.where:
            raise self.fault

    def on_start(self) -> None:
        self.maybe("on_start")
        if self.where == "timer":
            self.ctx.after(0.0, lambda: self.maybe("timer"))

    @handles(TierStatus)
    def on_status(self, _: TierStatus, __: Envelope) -> None:
        self.handled += 1
        self.holding.set()
        if self.hold is not None:
            self.hold.wait(WAIT_S)
        self.maybe("handler")

    def on_stop(self) -> None:
        self.stopped += 1
        self.maybe("on_stop")


def hosted(where: str = "", fault: BaseException | None = None) -> tuple[Hosted, list[Failing]]:
    made: list[Failing] = []

    def factory(ctx: Context) -> Actor:
        if where == "factory":
            raise fault or ValueError("boom")
        made.append(Failing(ctx, where, fault))
        return made[0]

    return Hosted(factory), made


def test_the_version_is_the_one_whose_hooks_are_used() -> None:
    assert version("pykka").startswith("4.5.")
    for hook in ("_create_actor_inbox", "_start_actor_loop", "_actor_loop", "_actor_loop_setup", "_actor_loop_running",
                 "_actor_loop_teardown", "_handle_failure", "_handle_receive", "_stop"):  # fmt: skip
        assert callable(getattr(pykka.ThreadingActor, hook)), hook


def test_a_raise_in_on_start() -> None:
    class Bare(pykka.ThreadingActor):
        def on_start(self) -> None:
            raise ValueError("boom")

    ref = Bare.start()  # returns as if all were well
    assert ref.actor_stopped.wait(WAIT_S)
    assert not ref.is_alive()

    host, made = hosted("on_start")
    news = host.news()
    assert isinstance(news, ActorDown)
    assert news.reason == "ValueError: boom"
    assert made[0].stopped == 1


def test_a_raise_in_a_tell_and_in_an_ask() -> None:
    class Bare(pykka.ThreadingActor):
        def on_receive(self, message: Any) -> None:
            raise ValueError(message)

    ref = Bare.start()
    with pytest.raises(ValueError, match="ask"):
        ref.ask("ask", timeout=WAIT_S)
    assert ref.is_alive()  # an ask leaves a half-changed actor running
    ref.tell("tell")
    assert ref.actor_stopped.wait(WAIT_S)

    host, made = hosted("handler")
    host.tell()
    assert host.down().reason == "ValueError: boom"
    assert made[0].stopped == 1


@pytest.mark.parametrize("where", ["factory", "timer"])
def test_a_raise_elsewhere_is_reported_too(where: str) -> None:
    host, _ = hosted(where)
    assert host.down().reason == "ValueError: boom"


def test_a_raise_in_on_stop() -> None:
    host, made = hosted("on_stop")
    host.ref.stop(block=False)
    assert host.down().reason == "ValueError: boom"
    assert made[0].stopped == 1


def test_the_first_reason_counts_when_on_stop_fails_after_a_failure() -> None:
    class Twice(Failing):
        def on_stop(self) -> None:
            raise KeyError("second")

    host = Hosted(lambda ctx: Twice(ctx, "handler"))
    host.tell()
    assert host.down().reason == "ValueError: boom"


def test_queued_messages_of_a_dying_actor() -> None:
    gate = threading.Event()

    class Bare(pykka.ThreadingActor):
        def on_receive(self, message: Any) -> None:
            gate.wait(WAIT_S)
            raise ValueError(message)

    ref = Bare.start()
    for _ in range(5):
        ref.tell("x")
    gate.set()
    assert ref.actor_stopped.wait(WAIT_S)  # four tells are gone, and nobody can know

    host, made = hosted("handler")
    host.news()
    made[0].hold = threading.Event()
    for _ in range(5):
        host.tell()
    made[0].hold.set()
    assert host.down().dropped == 4
    assert host.bench.router.dead_letters == 4


def test_an_ask_that_races_a_stop() -> None:
    class Bare(pykka.ThreadingActor):
        def on_receive(self, message: Any) -> Any:
            return message

    ref = Bare.start()
    ref.stop(block=True, timeout=WAIT_S)
    late: pykka.ThreadingFuture[Any] = pykka.ThreadingFuture()
    # What happens when ``ask`` found the actor alive and was then overtaken by its end: it puts into a dead inbox.
    ref.actor_inbox.put(PykkaEnvelope("late", reply_to=late))
    with pytest.raises(pykka.Timeout):
        late.get(timeout=0.05)  # without a timeout: for ever

    host, _ = hosted()
    host.ref.stop(block=False)
    host.down()
    ours: pykka.ThreadingFuture[Any] = pykka.ThreadingFuture()
    host.ref.actor_inbox.put(PykkaEnvelope("late", reply_to=ours))
    with pytest.raises(pykka.ActorDeadError):
        ours.get(timeout=0)


def test_a_full_inbox() -> None:
    class Bare(pykka.ThreadingActor):
        @staticmethod
        def _create_actor_inbox() -> Any:
            return queue.Queue(maxsize=1)

        def on_receive(self, _: Any) -> None:
            gate.wait(WAIT_S)

    gate = threading.Event()
    ref = Bare.start()
    sent = []

    def send() -> None:
        for number in range(3):
            ref.tell(number)
            sent.append(number)

    thread = threading.Thread(target=send)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()  # the sender is blocked, and were it that actor's own receiver, both were
    assert len(sent) < 3
    gate.set()
    thread.join(WAIT_S)

    host, made = hosted()
    host.news()
    made[0].hold = threading.Event()
    host.cell.mailbox._count_max = (1, 1, 1, 1)
    verdicts = [
        host.cell.mailbox.offer(Envelope(1, "TierStatus", "placement", "memory", b""), Lane.WORK) for _ in range(9)
    ]
    assert Verdict.FULL in verdicts  # data at once, nobody waits
    made[0].hold.set()


@pytest.mark.parametrize("fault", [SystemExit(3), KeyboardInterrupt()], ids=["SystemExit", "KeyboardInterrupt"])
@pytest.mark.parametrize("where", ["handler", "on_start", "on_stop", "timer", "factory"])
def test_system_exit_in_one_actor_leaves_the_others_alone(where: str, fault: BaseException) -> None:
    class Bystander(pykka.ThreadingActor):
        pass

    bystander = Bystander.start()
    host, _ = hosted(where, fault)
    host.tell()
    if where == "on_stop":
        host.ref.stop(block=False)
    assert type(fault).__name__ in host.down().reason
    assert bystander.is_alive()


def test_system_exit_in_a_bare_actor_stops_all() -> None:
    class Bare(pykka.ThreadingActor):
        def on_receive(self, _: Any) -> None:
            raise SystemExit

    class Bystander(pykka.ThreadingActor):
        pass

    bystander = Bystander.start()
    Bare.start().tell("x")
    assert bystander.actor_stopped.wait(WAIT_S)


def test_a_stop_and_a_full_queue() -> None:
    class Bare(pykka.ThreadingActor):
        handled = 0

        def on_receive(self, _: Any) -> None:
            gate.wait(WAIT_S)
            type(self).handled += 1

    gate = threading.Event()
    ref = Bare.start()
    for _ in range(20):
        ref.tell("x")
    done = ref.stop(block=False)
    gate.set()
    done.get(timeout=WAIT_S)
    assert Bare.handled == 20  # the stop waited behind the whole queue

    host, made = hosted()
    host.news()
    made[0].hold = threading.Event()
    for _ in range(20):
        host.tell()
    assert made[0].holding.wait(WAIT_S)
    host.ref.stop(block=False)
    made[0].hold.set()
    down = host.down()
    assert made[0].handled == 1
    assert down.dropped == 19
    assert down.reason == ""


def test_an_actor_that_was_given_up_cannot_speak_any_more() -> None:
    host, made = hosted()
    host.news()
    made[0].hold = threading.Event()
    host.tell()
    assert made[0].holding.wait(WAIT_S)
    host.cell.abandon()
    assert host.bench.router.receiver_of("TierStatus", "memory") == "memory"
    host.placement.send(TierStatus(), to="memory")
    made[0].hold.set()
    deadline = time.monotonic() + WAIT_S
    host.ref.stop(block=False)
    while not host.cell.reported and time.monotonic() < deadline:
        time.sleep(0.001)
    assert host.cell.reported
    left = host.supervisor.mailbox.take()
    while left is not None:
        assert not (isinstance(left, Envelope) and left.kind == "ActorDown"), "it was given up: it has no end to report"
        left = host.supervisor.mailbox.take()
    assert host.bench.router.send("*host*", ActorReady("memory", 2), IDLE) > 0
