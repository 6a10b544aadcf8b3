"""A host: runs one cell in a pykka ThreadingActor of its own.

pykka 4.5 cannot be used bare (DESIGN 3); each of its facts is answered here or in the mailbox, through its
underscored extension points, and tested in ``tests/runtime/test_pykka_facts.py``:

    a raise in on_start ends the actor and nobody knows     -> ``_handle_failure`` notes it, ActorDown tells it
    a raise in a tell ends it, in an ask it does not        -> we only tell; every raise ends it, with ActorDown
    queued tells of a dying actor vanish                    -> the mailbox gives them back as dead letters
    an ask that races a stop can hang                       -> a closed mailbox answers at once
    a full queue.Queue blocks the sender                    -> the mailbox never blocks
    SystemExit in one actor stops all                       -> a cell lets only Exceptions out
    a stop waits behind the queue                           -> it overtakes in the mailbox

Not here: trio (``trio_host.py``), and what is done with a message (``cell.py``).
"""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Any

import pykka

from shoal.runtime.cell import Cell, Factory, on_actor_thread
from shoal.runtime.mailbox import Mailbox

# Everything that pykka says there, our own log says better, with the actor's name.
logging.getLogger("pykka").setLevel(logging.CRITICAL)


class ActorHost(pykka.ThreadingActor):
    """One cell in one thread."""

    use_daemon_thread = True  # an actor that was given up must not keep the process from ending
    actor_inbox: Mailbox

    def __init__(self, cell: Cell, factory: Factory) -> None:
        self.cell = cell
        self.factory = factory
        super().__init__()

    # --- pykka's hooks -----------------------------------------------------------------------------

    # Static in pykka, but called on the instance, which alone knows its cell.
    def _create_actor_inbox(self) -> Mailbox:  # type: ignore[override]  # see above
        return self.cell.mailbox

    def _start_actor_loop(self) -> None:
        name = f"shoal-{self.cell.room.node}-{self.cell.name}"
        threading.Thread(target=self._actor_loop, name=name, daemon=self.use_daemon_thread).start()

    def _actor_loop(self) -> None:
        on_actor_thread.active = True
        try:
            super()._actor_loop()
        except BaseException as fault:  # nothing gets here today; if it did, the supervisor must still hear of it
            self.cell.fail(fault)
        finally:
            self._finish()

    def _actor_loop_teardown(self) -> None:
        """pykka would drain the inbox here and lose what comes after; ours is closed already."""

    def _handle_failure(
        self,
        _exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.cell.fail(exception_value or RuntimeError("failed without saying why"))
        self._cut_off()

    # --- pykka's public callbacks ------------------------------------------------------------------

    def on_start(self) -> None:
        self.cell.begin(self.factory)
        self.cell.announce()

    def on_receive(self, message: Any) -> None:
        self.cell.handle(message)

    def on_stop(self) -> None:
        self.cell.close()
        self.cell.stop_actor()

    # --- within ------------------------------------------------------------------------------------

    def _cut_off(self) -> None:
        pykka.ActorRegistry.unregister(self.actor_ref)
        self.actor_stopped.set()

    def _finish(self) -> None:
        """The same end for a stop and a failure.  Each part is harmless when it was done before."""
        self._cut_off()
        self.cell.close()
        self.cell.stop_actor()
        self.cell.report()
