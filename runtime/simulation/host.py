"""A host for the simulation: the same pykka actor and the same cell, moved on one item at a time by the world.

Nothing here runs by itself: the world calls ``step``.  The loop is pykka's own; only the inbox that it sees ends
each step after one item.
"""

from __future__ import annotations

from typing import Any, Protocol

import pykka
from pykka._envelope import Envelope as PykkaEnvelope
from pykka.messages import _ActorStop

from shoal.messages.envelope import Envelope
from shoal.runtime.cell import Cell, CrashOrdered, Factory
from shoal.runtime.host import ActorHost
from shoal.runtime.mailbox import Mailbox


class World(Protocol):
    """What a host needs of the world."""

    def born(self, host: SimHost) -> None:
        """The host is to be started by a step."""

    def woken(self, host: SimHost) -> None:
        """Something has come for a host that waited."""

    def timer_set(self, host: SimHost, due: float) -> None:
        """The host has something to do at ``due``."""

    def noted(self, host: SimHost, kind: str) -> None:
        """The host begins to deal with one item."""


class _StepOver(BaseException):
    """The step's one item has been handled.  Never seen outside of ``SimHost.step``."""


class _StepInbox:
    """A mailbox, as pykka's loop sees it within a step."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.current: PykkaEnvelope[Any] | None = None

    def put(self, envelope: PykkaEnvelope[Any], /) -> None:
        self.mailbox.put(envelope)

    def get(self) -> PykkaEnvelope[Any]:
        envelope, self.current = self.current, None
        if envelope is None:
            raise _StepOver
        return envelope

    def empty(self) -> bool:
        return self.mailbox.empty()


class SimHost(ActorHost):
    """One cell that runs when it is stepped."""

    def __init__(self, world: World, cell: Cell, factory: Factory) -> None:
        self.world = world
        self.label = f"{cell.room.node}/{cell.name}"
        self.slot = -1  # where it stands in the world's list of those with work, -1 when it does not
        self.alarm = float("inf")  # the earliest time at which the world will look at it by itself
        self.is_born = False
        self.is_gone = False
        super().__init__(cell, factory)
        cell.mailbox.attach(lambda: world.woken(self), lambda due: world.timer_set(self, due))

    def _create_actor_inbox(self) -> _StepInbox:  # type: ignore[override]  # as in ActorHost; the loop's view only
        self._inbox = _StepInbox(self.cell.mailbox)
        return self._inbox

    def _start_actor_loop(self) -> None:
        # The registry is the process's; what lives in a world dies with it, stopped or not, and nobody may wait for it.
        pykka.ActorRegistry.unregister(self.actor_ref)
        self.world.born(self)

    def step(self) -> None:
        """Be born, or deal with one item; nothing when there is none."""
        if self.is_gone:
            return
        if not self.is_born:
            self.is_born = True
            self.world.noted(self, "start")
            self._actor_loop_setup()
        else:
            envelope = self.cell.mailbox.take_wrapped()
            if envelope is None:
                return
            self.world.noted(self, _kind_of(envelope.message))
            self._inbox.current = envelope
            try:
                self._actor_loop_running()
            except _StepOver:
                pass
        if self.actor_stopped.is_set():
            self._leave()

    def run(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        """``call(...)`` as the actor's own doing: what it raises ends the actor, as it would in a task of trio's.

        None when the actor has ended or ends by this.
        """
        if self.is_gone:
            return None
        try:
            return call(*args, **kwargs)
        except BaseException as fault:  # SystemExit too, as in a cell
            self.cell.fail(fault)
            self._leave()
            return None

    def crash(self) -> None:
        """Fail at the next step, whatever is queued."""

        def fail() -> None:
            raise CrashOrdered("the simulation crashed it")

        self.cell.mailbox.call_soon(fail)

    def vanish(self) -> None:
        """Be gone as by a power cut: no ``on_stop``, no ActorDown."""
        self.is_gone = True
        self._cut_off()
        self.cell.abandon()
        self.cell.reported = True

    def _leave(self) -> None:
        self.is_gone = True
        self._finish()


def _kind_of(item: object) -> str:
    if isinstance(item, Envelope):
        return item.kind
    return "stop" if isinstance(item, _ActorStop) else "call"
