"""The router: takes every message from its sender to its receivers, as ROUTES and policy say.

Every send does the same few things, on the sender's thread: look the row up, check the sender, ask policy, encode,
queue, record.  The answer to "no", "full" and "gone" is a reply to whoever used ``request``; otherwise it is counted.
Table and policy are one immutable ``Snapshot``, replaced whole when the policy changes, so sending takes no lock.

The router knows ``Port``s by name: an actor's context, or the edge.  It never looks into a message.
Not here: the table (``supervisor/routes.py``), the verdict (``supervisor/decide.py``), mailboxes (``mailbox.py``).
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
from collections.abc import Iterable
from typing import Protocol

import msgspec

from shoal.messages import codec
from shoal.messages.base import Message, Reply
from shoal.messages.envelope import LOCAL, PRIORITY_NORMAL, USER, Envelope
from shoal.messages.errors import BadInput
from shoal.messages.limits import ENVELOPE_HEADER_MAX, MESSAGE_BUFFERS_MAX
from shoal.messages.policy import Policy
from shoal.messages.replies import Failed, Overloaded, Refused
from shoal.runtime.clock import Clock
from shoal.runtime.mailbox import Lane, Verdict
from shoal.runtime.metrics import NodeMetrics
from shoal.runtime.recorder import FlightRecorder
from shoal.runtime.supervisor.decide import Decision, Deliver, decide
from shoal.runtime.supervisor.routes import PEER, ROUTES, Route

ROUTER = "router"  # the metrics' name for what the router itself counts


class RouteViolation(RuntimeError):
    """An actor sent what ROUTES does not let it send: a programming error, not an input."""


class Port(Protocol):
    """One end of a conversation.  Every method may be called from any thread and returns at once."""

    def offer(self, envelope: Envelope, lane: Lane) -> Verdict:
        """Queue an envelope, or say why not."""

    def is_open(self, request: int) -> bool:
        """Whether an answer to this request is still waited for."""

    def receiver_down(self, name: str, last_id: int) -> None:
        """``name`` has ended: what was asked of it in envelopes up to ``last_id`` will not be answered."""


class Tags(msgspec.Struct, frozen=True):
    """What a message inherits from the one in whose handling it is sent."""

    trace: int = 0  # 0: the message begins a trace of its own
    deadline: float = math.inf
    priority: int = PRIORITY_NORMAL
    origin: str = LOCAL


IDLE = Tags()  # outside of any handler


class Row(msgspec.Struct, frozen=True):
    """A route as the hot path wants it."""

    route: Route
    lane: Lane
    receivers: frozenset[str]
    decisions: dict[str, Decision]  # by class of origin


class Snapshot(msgspec.Struct, frozen=True):
    """Table and policy in force."""

    policy: Policy
    rows: dict[str, Row]

    @classmethod
    def of(cls, policy: Policy) -> Snapshot:
        """ROUTES with every decision of ``policy`` taken in advance."""
        return cls(policy, {route.kind.__name__: _row(policy, route) for route in ROUTES})


class Router:
    """Names to ports, and the rules of sending.  ``strict`` makes violations raise (tests); else they are counted."""

    def __init__(
        self,
        policy: Policy,
        clock: Clock,
        recorder: FlightRecorder,
        metrics: NodeMetrics,
        log: logging.Logger,
        *,
        strict: bool = False,
    ) -> None:
        self._snapshot = Snapshot.of(policy)
        self._clock = clock
        self._now = clock.monotonic
        self._recorder = recorder
        self._metrics = metrics
        self._log = log
        self._strict = strict
        self._ports: dict[str, Port] = {}  # replaced whole, never changed
        self.members: frozenset[str] | None = None  # actors that this node has; None: every one in ROUTES
        self._bind_lock = threading.Lock()
        self._ids = itertools.count(1)
        self.next_id = self._ids.__next__
        self.dead_letters = 0

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._snapshot.policy

    def set_policy(self, policy: Policy) -> None:
        """Decide by ``policy`` from the next send on."""
        self._snapshot = Snapshot.of(policy)

    # --- who there is ------------------------------------------------------------------------------

    def bind(self, name: str, port: Port) -> None:
        """Deliver to ``port`` what is for ``name``, in place of an earlier one."""
        with self._bind_lock:
            self._ports = {**self._ports, name: port}

    def unbind(self, name: str, port: Port, dead: Iterable[Envelope] = ()) -> None:
        """``port`` has ended with ``dead`` envelopes in its mailbox: whoever waits for an answer hears so at once."""
        with self._bind_lock:
            if self._ports.get(name) is port:
                self._ports = {other: kept for other, kept in self._ports.items() if other != name}
            ports = self._ports
        now = self._now()
        for envelope in dead:
            self._dead(envelope, now, "dead letter")
        last_id = self.next_id()
        for other in ports.values():
            other.receiver_down(name, last_id)

    def receiver_of(self, kind: str, to: str) -> str:
        """Who will get a request of this kind: the row's one receiver, or ``to`` where there are several."""
        row = self._snapshot.rows.get(kind)
        return to if to or row is None else row.route.receivers[0]

    # --- sending -----------------------------------------------------------------------------------

    def send(
        self, sender: str, message: Message, tags: Tags, *, id_: int = 0, to: str = "", asked: bool = False
    ) -> int:
        """Send by ROUTES; the (first) envelope's id, which is ``id_`` where one is given.

        ``asked``: the sender waits for a reply to that id.  Raises BadInput when the message is too large for any
        mailbox, and RouteViolation when strict.
        """
        id_ = id_ or self.next_id()
        kind = type(message).__name__
        row = self._snapshot.rows.get(kind)
        fault = _violation(row, sender, to, asked)
        if fault or row is None:
            self._violated(sender, kind, id_, tags, fault, asked)
            return id_
        origin = tags.origin
        decision = row.decisions[origin if origin in (LOCAL, USER) else PEER]
        if not isinstance(decision, Deliver):
            self._metrics.counter(ROUTER, "refused").inc()
            if asked:  # also where the row says "dropped": a request always ends
                self._answer(sender, id_, tags, to or row.route.receivers[0], Refused(kind, decision.reason))
            return id_
        body, buffers = codec.encode(message)
        if len(body) > ENVELOPE_HEADER_MAX.value:
            raise BadInput(
                f"{kind} of {len(body)} bytes, at most {ENVELOPE_HEADER_MAX.value}", "ask for less at a time"
            )
        now, first = self._now(), id_
        for receiver in (to,) if to else row.route.receivers:
            envelope = Envelope(
                id_, kind, sender, receiver, body, buffers, tags.trace or first, 0, tags.deadline, tags.priority,
                origin, now,
            )  # fmt: skip
            self._deliver(envelope, row.lane, asked)
            id_ = self.next_id() if not to and len(row.receivers) > 1 else id_
        return first

    def reply(self, sender: str, request: Envelope, message: Message) -> None:
        """Answer ``request``; dropped when nobody waits for it.  Raises RouteViolation when strict and not a Reply."""
        if not isinstance(message, Reply) or sender != request.receiver:
            self._violated(sender, type(message).__name__, 0, IDLE, "is no reply of the request's receiver", False)
            return
        tags = Tags(request.trace, request.deadline, request.priority, request.origin)
        self._answer(request.sender, request.id, tags, sender, message)

    def fail(self, request: Envelope, error: str, reason: str) -> None:
        """Answer ``request`` with Failed in its receiver's name."""
        self.reply(request.receiver, request, Failed(request.kind, error, reason))

    def _deliver(self, envelope: Envelope, lane: Lane, asked: bool) -> None:
        port = self._ports.get(envelope.receiver)
        verdict = Verdict.CLOSED if port is None else port.offer(envelope, lane)
        if verdict is Verdict.QUEUED:
            self._recorder.sent(envelope)
            return
        kind, receiver = envelope.kind, envelope.receiver
        if verdict is Verdict.FULL:
            self._recorder.lost(envelope, envelope.sent_at, "overloaded")
            self._metrics.counter(receiver, "mailbox_overflows").inc()
            if lane in (Lane.NOTICE, Lane.CONTROL):
                self._log.warning("%s from %s was lost: %s has a full mailbox", kind, envelope.sender, receiver)
            answer: Message = Overloaded(kind, receiver)
        elif self.members is not None and receiver not in self.members:
            answer = Failed(kind, "Unavailable", f"this node has no {receiver}")
        else:
            self._dead(envelope, envelope.sent_at, "no such actor is running")
            answer = Failed(kind, "Unavailable", f"{receiver} is not running")
        if asked:
            tags = Tags(envelope.trace, envelope.deadline, envelope.priority, envelope.origin)
            self._answer(envelope.sender, envelope.id, tags, receiver, answer)

    def _answer(self, to: str, request: int, tags: Tags, sender: str, message: Message) -> None:
        port = self._ports.get(to)
        if port is None or not port.is_open(request):
            return
        try:
            body, buffers = _encode(message)
        except BadInput as fault:
            message = Failed(type(message).__name__, "Unavailable", f"the answer is too large: {fault}")
            body, buffers = _encode(message)
        id_, kind = self.next_id(), type(message).__name__
        envelope = Envelope(
            id_, kind, sender, to, body, buffers, tags.trace or request, request, tags.deadline, tags.priority,
            tags.origin, self._now(),
        )  # fmt: skip
        verdict = port.offer(envelope, Lane.REPLY)
        if verdict is Verdict.QUEUED:
            self._recorder.sent(envelope)
        else:
            self._recorder.lost(envelope, envelope.sent_at, "overloaded" if verdict is Verdict.FULL else "dead letter")
            self._metrics.counter(to, "replies_lost").inc()

    def _dead(self, envelope: Envelope, at: float, why: str) -> None:
        self.dead_letters += 1
        self._recorder.lost(envelope, at, why)
        self._metrics.counter(envelope.receiver, "dead_letters").inc()

    def _violated(self, sender: str, kind: str, id_: int, tags: Tags, fault: str, asked: bool) -> None:
        text = f"{kind} from {sender} {fault}"
        if self._strict:
            raise RouteViolation(text)
        self._metrics.counter(ROUTER, "violations").inc()
        self._log.error("%s", text)
        if asked:
            self._answer(sender, id_, tags, ROUTER, Failed(kind, "Unavailable", text))


def _violation(row: Row | None, sender: str, to: str, asked: bool) -> str:
    """What ROUTES has against this send; empty: nothing."""
    if row is None:
        return "has no row in ROUTES"
    if sender not in row.route.senders:
        return f"may be sent by {', '.join(sorted(row.route.senders))} only"
    if to and to not in row.receivers:
        return f"does not go to {to}"
    if asked and not to and len(row.receivers) != 1:
        return "goes to several: a request names one receiver"
    return ""


def _encode(message: Message) -> tuple[bytes, tuple[memoryview, ...]]:
    """Header and buffers.  Raises BadInput for what no receiver would decode."""
    body, buffers = codec.encode(message)
    if len(body) > ENVELOPE_HEADER_MAX.value or len(buffers) > MESSAGE_BUFFERS_MAX.value:
        text = f"{type(message).__name__} of {len(body)} bytes and {len(buffers)} buffers"
        bounds = f"at most {ENVELOPE_HEADER_MAX.value} and {MESSAGE_BUFFERS_MAX.value}"
        raise BadInput(f"{text}, {bounds}", "ask for less at a time")
    return body, buffers


def _row(policy: Policy, route: Route) -> Row:
    lane = Lane.CONTROL if route.is_control else Lane.NOTICE if route.notice else Lane.WORK
    kind = route.kind.__name__
    samples = {LOCAL: LOCAL, USER: USER, PEER: "peer:any"}
    decisions = {who: decide(policy, kind, origin) for who, origin in samples.items()}
    return Row(route, lane, frozenset(route.receivers), decisions)
