"""A host for an actor that stands on trio: ``trio.run`` runs in the actor's own thread.

Handlers run in the host's main task, between them the nursery's tasks, so all of it is one thread and needs no lock.

    batches    after ~64 messages or ~1 ms the other tasks get a turn, so that a full mailbox cannot starve the network
    wake-ups   at most one ``run_sync_soon`` is pending, however many messages arrive
    failure    an exception that leaves a task of the nursery is the actor's failure, as one in a handler is
    stop       ``on_stop``, then ``closing`` under a deadline, then the nursery is cancelled

A task that refuses to be cancelled keeps the host from ending; the supervisor then gives the actor up.
"""

from __future__ import annotations

import math
import time
from typing import Final

import trio

from shoal.actors.base import Actor, Context
from shoal.runtime.cell import Cell, on_actor_thread
from shoal.runtime.host import ActorHost
from shoal.runtime.mailbox import Mailbox
from shoal.runtime.supervisor.specs import TrioFactory, TrioParts

BATCH_MESSAGES: Final = 64  # messages handled before other tasks get a turn
BATCH_S: Final = 0.001  # seconds after which they get it in any case; one slow handler may take longer
CLOSING_S: Final = 3.0  # seconds for ``closing``; less than a spec's STOP_S, so that the host still ends in order


class TrioHost(ActorHost):
    """One cell in one thread that runs trio."""

    def __init__(self, cell: Cell, trio_factory: TrioFactory) -> None:
        self._trio_factory = trio_factory
        self._parts: TrioParts | None = None
        super().__init__(cell, self._never)

    def _actor_loop(self) -> None:
        on_actor_thread.active = True
        try:
            trio.run(self._main)
        except BaseException as fault:  # from a task; what a handler raised has been noted already
            self.cell.fail(fault)
        finally:
            self._finish()

    async def _main(self) -> None:
        bell = _Bell(self.cell.mailbox)
        async with trio.open_nursery() as nursery:
            try:
                await self._begin(nursery)
                await self._serve(bell)
            except Exception as fault:
                self.cell.fail(fault)
            finally:
                await self._end()
                nursery.cancel_scope.cancel()

    async def _begin(self, nursery: trio.Nursery) -> None:
        factory = self._trio_factory

        def make(ctx: Context) -> Actor:
            self._parts = factory(ctx, nursery)
            return self._parts.actor

        self.cell.begin(make)
        if self._parts is not None and self._parts.ready is not None:
            await self._parts.ready()
        self.cell.announce()

    async def _serve(self, bell: _Bell) -> None:
        mailbox, handle, stopped = self.cell.mailbox, self._handle_receive, self.actor_stopped
        while not stopped.is_set():
            until = time.perf_counter() + BATCH_S
            for _ in range(BATCH_MESSAGES):
                envelope = mailbox.take_wrapped()
                if envelope is None:
                    break
                handle(envelope.message)
                if envelope.reply_to is not None:
                    envelope.reply_to.set(None)
                if stopped.is_set() or time.perf_counter() > until:
                    break
            if stopped.is_set():
                return
            await bell.wait()

    async def _end(self) -> None:
        """Whatever the reason: cut off, ``on_stop``, ``closing``.  Shielded, since the nursery may be cancelled."""
        self._cut_off()
        self.cell.close()
        self.cell.stop_actor()
        parts, self._parts = self._parts, None
        if parts is None or parts.closing is None:
            return
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSING_S) as scope:
            try:
                await parts.closing()
            except Exception as fault:
                self.cell.fail(fault)
        if scope.cancelled_caught:
            self.cell.context.log.warning("closing took more than %g s and was cut short", CLOSING_S)

    @staticmethod
    def _never(_: Context) -> Actor:
        raise AssertionError("a trio host makes its actor in its nursery")


class _Bell:
    """Waits for a mailbox within trio: for an arrival, or for its next timer."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._token = trio.lowlevel.current_trio_token()
        self._event = trio.Event()
        self._until = math.inf  # when ``wait`` will look again
        mailbox.attach(self._ring, self._timer_set)

    async def wait(self) -> None:
        """Let other tasks run; return at once when something waits, else when something comes."""
        mailbox = self._mailbox
        self._event = trio.Event()
        if mailbox.is_due() or not mailbox.arm():
            await trio.lowlevel.checkpoint()
            return
        due = mailbox.timers.next_due()
        self._until = math.inf if due is None else due
        with trio.move_on_after(max(0.0, mailbox.next_due_in())):
            await self._event.wait()

    def _ring(self) -> None:
        """Any thread, at most once for each ``arm``."""
        try:
            self._token.run_sync_soon(self._wake)
        except trio.RunFinishedError:  # the host is ending: its mailbox gives back what came
            pass

    def _timer_set(self, due: float) -> None:
        """A task of the nursery set a timer while the main task waits for a later one."""
        if due < self._until:
            self._event.set()

    def _wake(self) -> None:
        self._event.set()
