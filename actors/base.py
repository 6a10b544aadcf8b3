"""What an actor is: a plain class with handlers, given a context, run by a host that it never sees.

An actor owns its state; its handlers run one at a time, on one thread.  It knows nobody: it sends messages, and
the router knows by ROUTES who receives them.  It never blocks, never asks: an answer comes back to the function
that ``ctx.request`` named.  Time, randomness and timers come from the context too, which is why the same class
runs in a pykka thread, in trio, and in the simulation.

Not here: mailboxes, threads, restarts and routing (``runtime/``), which actors cannot import.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, TypeVar

from shoal.messages.base import Message
from shoal.messages.envelope import Envelope
from shoal.messages.policy import Policy

M = TypeVar("M", bound=Message)
Handler = Callable[[Any, Any, Envelope], None]
OnReply = Callable[[Message], None]


class Timer(Protocol):
    """A call that will be made later on the actor's own thread."""

    def cancel(self) -> None:
        """Do not make the call.  Harmless when it has been made."""


class Context(Protocol):
    """All that an actor has of the world."""

    name: str
    random: random.Random
    log: logging.Logger

    def now(self) -> float:
        """Seconds on the node's monotonic clock.  Deadlines are on this clock."""

    def wall(self) -> float:
        """Seconds since 1970, for what is shown or stored.  May jump."""

    @property
    def policy(self) -> Policy:
        """The policy in force, as of the latest snapshot."""

    @property
    def queued(self) -> int:
        """Messages that wait in this actor's mailbox: what group commit may still take along."""

    def send(
        self,
        message: Message,
        *,
        to: str = "",
        origin: str = "",
        deadline: float | None = None,
        priority: int | None = None,
    ) -> int:
        """Send by ROUTES; the envelope's id.

        ``to`` names one receiver where a row has several; without it such a message goes to all of them (it is
        published).  Trace, deadline, priority and origin are inherited from the message being handled;
        an ``origin`` given here counts only for the transport and, for what it does on a peer's behalf, bitswap.
        Never blocks and never raises for the receiver's sake: no, full and gone come back as replies
        (Refused, Overloaded, Failed) to whoever used ``request``, and are counted otherwise.
        """

    def request(
        self,
        message: Message,
        on_reply: OnReply,
        *,
        to: str = "",
        origin: str = "",
        deadline: float | None = None,
        priority: int | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Send, and have ``on_reply`` called on this actor's thread with each reply.

        The last reply is one that is not among PARTIAL_REPLIES: after it nothing more is delivered.  A request always
        ends: by a reply, by ``Refused``, ``Overloaded`` or ``Failed``, by ``Failed`` with error "Unavailable" when the
        receiver dies, or by ``Failed`` with error "DeadlineExceeded" at the earlier of ``timeout_s`` from now and its
        deadline.  There is a bound on open requests per actor; beyond it the reply is ``Overloaded``.
        """

    def reply(self, request: Envelope, message: Message) -> None:
        """Answer ``request``.  Dropped quietly when its sender did not ask for an answer or has gone."""

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Have ``call`` made on this actor's thread in ``seconds``."""

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter metric ``shoal_<actor>_<name>_total``."""

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge metric ``shoal_<actor>_<name>``."""


def handles(
    *kinds: type[Message],
) -> Callable[[Callable[[Any, M, Envelope], None]], Callable[[Any, M, Envelope], None]]:
    """Mark a method ``(self, message, envelope)`` as the handler of these messages."""

    def mark(method: Callable[[Any, M, Envelope], None]) -> Callable[[Any, M, Envelope], None]:
        method.__handles__ = kinds  # type: ignore[attr-defined]  # functions take attributes; mypy has no word for it
        return method

    return mark


class Actor:
    """Base of every actor.  Subclasses set NAME and mark handlers; ``on_start`` may raise LocalError."""

    NAME: ClassVar[str] = ""
    HANDLERS: ClassVar[dict[type[Message], Handler]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        table: dict[type[Message], Handler] = dict(cls.HANDLERS)
        for value in vars(cls).values():
            for kind in getattr(value, "__handles__", ()):
                table[kind] = value
        cls.HANDLERS = table

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx

    def on_start(self) -> None:
        """Called on the actor's own thread before its first message."""

    def on_stop(self) -> None:
        """Called on the actor's own thread after its last message, in an ordered stop and after a failure alike."""

    def receive(self, message: Message, envelope: Envelope) -> None:
        """Give ``message`` to its handler.  ROUTES is tested to name only messages that the receiver handles."""
        handler = self.HANDLERS.get(type(message))
        if handler is None:
            self.ctx.count("unhandled")
            self.ctx.log.warning("no handler for %s from %s", envelope.kind, envelope.sender)
            return
        handler(self, message, envelope)
