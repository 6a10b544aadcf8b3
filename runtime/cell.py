"""A cell: one generation of one actor with its mailbox and context, whatever runs it.

The hosts (``host.py``, ``trio_host.py``, ``simulation/host.py``) only differ in how they wait; what they do with what
came is here: begin, handle an item, fail, end.  A cell ends exactly once, by stop or by failure:

    close the mailbox and unbind   whoever waits for this actor hears it at once
    the actor's ``on_stop``        after an ordered stop and after a failure alike
    ActorDown to the supervisor    only now may the next generation start

No exception of an actor gets out of here as anything but an ``Exception``: pykka stops all actors of the process on
SystemExit and KeyboardInterrupt.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from shoal.actors.base import Actor, Context
from shoal.messages.base import Control, Message
from shoal.messages.envelope import Envelope
from shoal.messages.errors import LocalError
from shoal.messages.lifecycle import ActorDown, ActorReady, CrashNow
from shoal.runtime.clock import Clock
from shoal.runtime.context import ActorContext
from shoal.runtime.mailbox import Mailbox
from shoal.runtime.metrics import NodeMetrics
from shoal.runtime.recorder import FlightRecorder
from shoal.runtime.router import IDLE, Router
from shoal.runtime.supervisor.routes import HOST

Factory = Callable[[Context], Actor]
REASON_MAX: Final = 500  # characters of a failure's text that travel in ActorDown

on_actor_thread = threading.local()  # .active is set in every actor's thread: asking the edge there would deadlock


class ActorCrashed(Exception):
    """An actor raised SystemExit, KeyboardInterrupt or the like: it ends, and nothing else does."""


class CrashOrdered(RuntimeError):
    """``CrashActor`` was obeyed."""


class CellStats(msgspec.Struct, frozen=True):
    """What ``ListActors`` shows of a mailbox.  Seconds are of handlers."""

    queued: int
    queued_peak: int
    handled: int
    busy_s: float


@dataclass(slots=True)
class Room:
    """What all actors of one node share."""

    node: str
    router: Router
    clock: Clock
    recorder: FlightRecorder
    metrics: NodeMetrics
    seed: str
    log: logging.Logger
    on_crash: Callable[[str, int, str], None]  # name, generation, reason; on the crashed actor's thread
    on_end: Callable[[], None]  # a cell has ended


class Cell:
    """One generation of one actor."""

    def __init__(self, name: str, generation: int, room: Room) -> None:
        self.name = name
        self.generation = generation
        self.room = room
        self.mailbox = Mailbox(room.clock)
        # Seeding with text hashes it with SHA-512: no PYTHONHASHSEED in it, so a simulation's run can be had again.
        rng = random.Random(f"{room.seed}/{name}/{generation}")
        log = room.log.getChild(name)
        self.context = ActorContext(name, room.router, self.mailbox, room.clock, rng, room.metrics, log)
        self.failure: BaseException | None = None
        self.ended = False
        self.reported = False  # the very end: its thread does nothing more
        self._actor: Actor | None = None
        self._handled = 0
        self._busy_s = 0.0
        room.router.bind(name, self.context)

    # --- the host's thread -------------------------------------------------------------------------

    def begin(self, factory: Factory) -> None:
        """Make the actor and start it.  What it raises comes out as an Exception."""
        try:
            self._actor = factory(self.context)
            self._actor.on_start()
        except Exception:
            raise
        except BaseException as fault:
            raise ActorCrashed(f"{type(fault).__name__} in on_start: {fault}") from fault

    def announce(self) -> None:
        """Tell the supervisor that the actor serves."""
        if not self.ended and self.failure is None:
            self.room.router.send(HOST, ActorReady(self.name, self.generation), IDLE)

    def handle(self, item: object) -> None:
        """Deal with one item of the mailbox.  What a handler raises comes out as an Exception."""
        if self.context.retired:
            return
        try:
            if isinstance(item, Envelope):
                self._handle_envelope(item)
            elif callable(item):
                item()
            else:
                self.context.log.warning("not a message: %.80r", item)
        except Exception:
            raise
        except BaseException as fault:
            raise ActorCrashed(f"{type(fault).__name__} in a handler: {fault}") from fault

    def fail(self, fault: BaseException) -> None:
        """Note why this cell ends.  The first reason counts; what follows from it is logged only."""
        if self.failure is None:
            self.failure = fault
            # A LocalError says what is wrong and what to do; anything else is a bug, and where it is matters.
            self.context.log.error("failed: %s", reason_of(fault), exc_info=None if _is_plain(fault) else fault)
        elif fault is not self.failure:
            self.context.log.warning("failed again while ending: %s", reason_of(fault))

    def close(self) -> None:
        """First half of the end: nobody reaches this actor any more, and who waits for it hears so."""
        if self.ended:
            return
        self.ended = True
        self._dropped = self._unbind()

    @property
    def actor(self) -> Actor | None:
        """The actor while it runs: for the simulation's invariants, on this one thread; never for other actors."""
        return self._actor

    def stop_actor(self) -> None:
        """Second half: the actor's own ``on_stop``."""
        actor, self._actor = self._actor, None
        if actor is None:
            return
        try:
            actor.on_stop()
        except BaseException as fault:  # SystemExit too: it ends this actor only, and that it does anyway
            self.fail(fault)

    def report(self) -> None:
        """The end: nothing more is sent, and the supervisor is told."""
        already_given_up = self.context.retired
        self.context.retire()
        self.mailbox.timers.clear()
        reason = "" if self.failure is None else reason_of(self.failure)
        if reason:
            self.room.on_crash(self.name, self.generation, reason)
        if not already_given_up:
            self.room.router.send(HOST, ActorDown(self.name, self.generation, reason, self._dropped), IDLE)
        self.reported = True
        self.room.on_end()

    # --- any thread --------------------------------------------------------------------------------

    def abandon(self) -> None:
        """Give up on an actor that does not stop: cut it off, so that the next generation can start."""
        self.context.retire()
        if not self.ended:
            self.ended = True
            self._dropped = self._unbind()

    def stats(self) -> CellStats:
        """Figures, as of about now."""
        return CellStats(len(self.mailbox), self.mailbox.peak, self._handled, self._busy_s)

    # --- within ------------------------------------------------------------------------------------

    _dropped: int = 0

    def _unbind(self) -> int:
        dead = self.mailbox.close()
        self.room.router.unbind(self.name, self.context, dead)
        return len(dead)

    def _handle_envelope(self, envelope: Envelope) -> None:
        began = self.context.now()
        real = time.perf_counter()
        failure = ""
        try:
            self.context.handle(envelope, self._receive)
        except BaseException as fault:
            failure = reason_of(fault)
            raise
        finally:
            self._handled += 1
            self._busy_s += time.perf_counter() - real
            self.room.recorder.handled(envelope, began, self.context.now(), failure)

    def _receive(self, message: Message, envelope: Envelope) -> None:
        actor = self._actor
        if actor is None:
            return
        if isinstance(message, CrashNow):
            raise CrashOrdered("ordered to fail")
        if isinstance(message, Control) and type(message) not in actor.HANDLERS:
            return  # published to all; who does not care has no handler
        actor.receive(message, envelope)


def _is_plain(fault: BaseException) -> bool:
    return isinstance(_only(fault), LocalError | CrashOrdered)


def _only(fault: BaseException) -> BaseException:
    """Of a group of one, the one."""
    while isinstance(fault, BaseExceptionGroup) and len(fault.exceptions) == 1:
        fault = fault.exceptions[0]
    return fault


def reason_of(fault: BaseException) -> str:
    """A failure in a line: its class and text."""
    fault = _only(fault)
    text = f"{type(fault).__name__}: {fault}" if str(fault) else type(fault).__name__
    return text[:REASON_MAX]
