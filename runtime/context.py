"""An actor's context: what it may do to the world, as ``actors.base.Context`` promises it.

It is also the actor's port at the router.  Its parts: the tags inherited from the message in hand, the table of open
requests, timers (in the mailbox) and figures.  All of it is used on the actor's own thread, except the port's methods.

What is inherited: a handler's sends take trace, deadline, priority and origin from its envelope; a callback of
``request`` takes those that were in force when the request was made; a timer keeps the trace only (a deadline or a
peer's origin must not live on in a timer that sets itself again), and a timer set by a timer begins anew.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import Final

import msgspec

from shoal.actors.base import OnReply
from shoal.messages import codec
from shoal.messages.base import Message
from shoal.messages.envelope import PEER_PREFIX, Envelope
from shoal.messages.errors import RemoteError
from shoal.messages.limits import REQUESTS_OPEN_MAX
from shoal.messages.policy import Policy
from shoal.messages.registry import PARTIAL_REPLIES
from shoal.messages.replies import Failed, Overloaded
from shoal.runtime.clock import Clock
from shoal.runtime.mailbox import Lane, Mailbox, Verdict
from shoal.runtime.metrics import NodeMetrics
from shoal.runtime.router import IDLE, Router, Tags
from shoal.runtime.timers import TimerHandle

# Who may say on whose behalf it acts: the transport lets peers in, bitswap works for them.  Only a peer can be named.
ORIGIN_SETTERS: Final = frozenset({"transport", "bitswap"})


class OpenRequest(msgspec.Struct):
    """A request that has not ended."""

    id: int
    kind: str
    receiver: str
    on_reply: OnReply
    tags: Tags  # in force when it was made, and again in on_reply
    timer: TimerHandle | None


class ActorContext:
    """The context of one generation of one actor."""

    def __init__(
        self,
        name: str,
        router: Router,
        mailbox: Mailbox,
        clock: Clock,
        rng: random.Random,
        metrics: NodeMetrics,
        log: logging.Logger,
    ) -> None:
        self.name = name
        self.random = rng
        self.log = log
        self.now: Callable[[], float] = clock.monotonic
        self.wall: Callable[[], float] = clock.wall
        self.mailbox = mailbox
        self.retired = False  # the actor has ended or was given up: nothing it says is sent any more
        self._router = router
        self._metrics = metrics
        self._tags = IDLE
        self._in_timer = False
        self._open: dict[int, OpenRequest] = {}
        self._downs: dict[str, int] = {}
        self._downs_lock = threading.Lock()

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._router.policy

    @property
    def queued(self) -> int:
        """Messages that wait in this actor's mailbox."""
        return len(self.mailbox)

    # --- for the actor -----------------------------------------------------------------------------

    def send(
        self,
        message: Message,
        *,
        to: str = "",
        origin: str = "",
        deadline: float | None = None,
        priority: int | None = None,
    ) -> int:
        """Send by ROUTES; the envelope's id."""
        if self.retired:
            return 0
        return self._router.send(self.name, message, self._inherit(origin, deadline, priority), to=to)

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
        """Send, and have ``on_reply`` called with each reply; the request's id."""
        if self.retired:
            return 0
        tags = self._inherit(origin, deadline, priority)
        id_, now, kind = self._router.next_id(), self.now(), type(message).__name__
        if timeout_s is not None:
            tags = msgspec.structs.replace(tags, deadline=min(tags.deadline, now + timeout_s))
        kept = msgspec.structs.replace(self._tags, trace=self._tags.trace or id_, origin=tags.origin)
        entry = OpenRequest(id_, kind, self._router.receiver_of(kind, to), on_reply, kept, None)
        if len(self._open) >= REQUESTS_OPEN_MAX.value:
            self.count("requests_refused")
            self.mailbox.schedule(0.0, lambda: self._call(entry, Overloaded(kind, entry.receiver)))
            return id_
        if tags.deadline != float("inf"):
            entry.timer = self.mailbox.schedule(tags.deadline - now, lambda: self._expire(id_))
        self._open[id_] = entry
        if tags.deadline > now:  # a request that is late already ends by its timer and burdens nobody
            self._router.send(self.name, message, tags, id_=id_, to=to, asked=True)
        return id_

    def reply(self, request: Envelope, message: Message) -> None:
        """Answer ``request``; dropped when nobody waits for the answer."""
        if not self.retired:
            self._router.reply(self.name, request, message)

    def after(self, seconds: float, call: Callable[[], None]) -> TimerHandle:
        """Have ``call`` made on this actor's thread in ``seconds``.  Raises RuntimeError beyond TIMERS_MAX."""
        trace = 0 if self._in_timer else self._tags.trace
        tags = Tags(trace=trace) if trace else IDLE

        def fire() -> None:
            self._tags, self._in_timer = tags, True
            try:
                call()
            finally:
                self._tags, self._in_timer = IDLE, False

        return self.mailbox.schedule(seconds, fire)

    def count(self, name: str, by: int = 1) -> None:
        """Add to the counter ``shoal_<actor>_<name>_total``."""
        self._metrics.counter(self.name, name).inc(by)

    def gauge(self, name: str, value: float) -> None:
        """Set the gauge ``shoal_<actor>_<name>``."""
        self._metrics.gauge(self.name, name).set(value)

    # --- for the host, on the actor's thread -------------------------------------------------------

    def handle(self, envelope: Envelope, receive: Callable[[Message, Envelope], None]) -> None:
        """Decode what came; give a reply to its callback and anything else to ``receive``."""
        if envelope.reply_to:
            self._take_reply(envelope)
            return
        try:
            message = codec.decode(envelope.body, envelope.buffers)
        except RemoteError as fault:  # our own sender made it: a bug there must not end the receiver
            self.count("undecodable")
            self.log.error("%s from %s cannot be read: %s", envelope.kind, envelope.sender, fault)
            self._router.fail(envelope, "BadInput", f"the message cannot be read: {fault}")
            return
        self._tags = Tags(envelope.trace, envelope.deadline, envelope.priority, envelope.origin)
        try:
            receive(message, envelope)
        finally:
            self._tags = IDLE

    def retire(self) -> None:
        """Send nothing more, call nothing more.  Any thread may do this to an actor that does not stop."""
        self.retired = True

    @property
    def open_requests(self) -> int:
        """How many requests have not ended."""
        return len(self._open)

    # --- the port: any thread ----------------------------------------------------------------------

    def offer(self, envelope: Envelope, lane: Lane) -> Verdict:
        """Queue an envelope."""
        return self.mailbox.offer(envelope, lane)

    def is_open(self, request: int) -> bool:
        """Whether an answer to ``request`` is waited for."""
        return request in self._open

    def receiver_down(self, name: str, last_id: int) -> None:
        """End what was asked of ``name`` up to ``last_id``, soon, on the actor's own thread."""
        with self._downs_lock:
            first = not self._downs
            self._downs[name] = last_id
        if first:
            self.mailbox.call_soon(self._apply_downs)

    # --- within ------------------------------------------------------------------------------------

    def _inherit(self, origin: str, deadline: float | None, priority: int | None) -> Tags:
        tags = self._tags
        allowed = origin.startswith(PEER_PREFIX) and self.name in ORIGIN_SETTERS
        if deadline is None and priority is None and not allowed:
            return tags
        return Tags(
            tags.trace,
            tags.deadline if deadline is None else deadline,
            tags.priority if priority is None else priority,
            origin if allowed else tags.origin,
        )

    def _take_reply(self, envelope: Envelope) -> None:
        entry = self._open.get(envelope.reply_to)
        if entry is None:
            self.count("late_replies")
            return
        try:
            message = codec.decode(envelope.body, envelope.buffers)
        except RemoteError as fault:
            self.count("undecodable")
            message = Failed(entry.kind, "Unavailable", f"the answer cannot be read: {fault}")
        if type(message).__name__ not in PARTIAL_REPLIES:
            self._close(entry)
        self._call(entry, message)

    def _call(self, entry: OpenRequest, message: Message) -> None:
        self._tags = entry.tags
        try:
            entry.on_reply(message)
        finally:
            self._tags = IDLE

    def _close(self, entry: OpenRequest) -> None:
        self._open.pop(entry.id, None)
        if entry.timer is not None:
            entry.timer.cancel()

    def _expire(self, id_: int) -> None:
        entry = self._open.pop(id_, None)
        if entry is not None:
            reason = f"{entry.receiver} did not answer {entry.kind} in time"
            self._call(entry, Failed(entry.kind, "DeadlineExceeded", reason))

    def _apply_downs(self) -> None:
        with self._downs_lock:
            downs, self._downs = self._downs, {}
        lost = [entry for entry in self._open.values() if entry.id <= downs.get(entry.receiver, 0)]
        for entry in lost:
            if self._open.get(entry.id) is entry:  # an earlier callback may have ended it
                self._close(entry)
                self._call(entry, Failed(entry.kind, "Unavailable", f"{entry.receiver} ended before it answered"))
