"""The outer edge: how other threads - HTTP, the command line, the Python API - ask actors.

The one place where anybody waits for an answer, always with a timeout.  ``ask`` gives one answer or raises the
LocalError that it names; ``stream`` gives partial answers as they come.  What is queued for a reader is bounded.

How to wait is a ``Signal``: a condition variable between threads, a pump of the scheduler in the simulation.
Never called on an actor's own thread: that would wait for itself.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from shoal.messages import codec, limits
from shoal.messages.base import Message
from shoal.messages.blocks import CancelGet, GetBlocks
from shoal.messages.envelope import PRIORITY_HIGH, PRIORITY_LOW, PRIORITY_NORMAL, USER, Envelope
from shoal.messages.errors import BadInput, DeadlineExceeded, LocalError, RefusedByRole, RemoteError, Unavailable
from shoal.messages.registry import PARTIAL_REPLIES
from shoal.messages.replies import Failed, Overloaded, Refused
from shoal.runtime.cell import on_actor_thread
from shoal.runtime.clock import Clock
from shoal.runtime.mailbox import Lane, Verdict
from shoal.runtime.router import Router, Tags
from shoal.runtime.supervisor.routes import EDGE

R = TypeVar("R", bound=Message)

# Seconds that the edge waits beyond the deadline that it gave: an actor that gives up at the deadline says what it
# tried, which is worth more than our own "no answer".
GRACE_S: Final = 0.25


class Signal(Protocol):
    """Lets one reader wait for what another thread does."""

    def notify(self) -> None:
        """Something has changed.  Any thread."""

    def wait(self, changed: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until ``changed()``; False when it is not so after ``timeout_s``."""


class ThreadSignal:
    """A condition variable."""

    def __init__(self) -> None:
        self._condition = threading.Condition()

    def notify(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def wait(self, changed: Callable[[], bool], timeout_s: float) -> bool:
        with self._condition:
            return self._condition.wait_for(changed, min(timeout_s, threading.TIMEOUT_MAX))


class _Pending:
    """A request of the edge that has not ended, and what has come for it."""

    __slots__ = ("bytes", "ended", "id", "kind", "overrun", "queue", "receiver", "signal")

    def __init__(self, id_: int, kind: str, receiver: str, signal: Signal) -> None:
        self.id = id_
        self.kind = kind
        self.receiver = receiver
        self.signal = signal
        self.queue: deque[Envelope | Failed] = deque()
        self.bytes = 0
        self.ended = False  # the last reply is in the queue
        self.overrun = False


class ReplyStream:
    """The replies to one request.  Use it as a context manager, or ``close`` it."""

    def __init__(self, edge: Edge, pending: _Pending, deadline: float) -> None:
        self._edge = edge
        self._pending = pending
        self._deadline = deadline
        self._done = False

    @property
    def id(self) -> int:
        """The request's envelope id, which is its trace id too."""
        return self._pending.id

    @property
    def deadline(self) -> float:
        """When it must have ended, on the node's clock."""
        return self._deadline

    @property
    def waiting(self) -> bool:
        """Whether ``take`` has something to give."""
        return bool(self._pending.queue)

    @property
    def done(self) -> bool:
        """Whether the last reply has been taken, or the stream closed."""
        return self._done

    def next(self, timeout_s: float | None = None) -> Message | None:
        """The next reply: partial ones, then the last one, then None.

        Raises what ``Edge.ask`` raises when the last reply is a refusal or a failure, and DeadlineExceeded when
        nothing comes in ``timeout_s`` (None: until the stream's own deadline), which closes the stream.
        """
        if self._done:
            return None
        left_s = max(0.0, self._deadline - self._edge.now()) + GRACE_S
        wait_s = left_s if timeout_s is None else min(timeout_s, left_s)
        if not self._pending.signal.wait(lambda: self.waiting, wait_s):
            self.close()
            raise DeadlineExceeded(f"{self._pending.receiver} did not answer {self._pending.kind} in time")
        message = self.take()
        raise_if_no(message)
        return message

    def take(self) -> Message:
        """What has come first and was not taken, failures and refusals too.  Only while ``waiting``."""
        message = self._edge._take(self._pending)
        if type(message).__name__ not in PARTIAL_REPLIES:
            self.close()
        return message

    def close(self) -> None:
        """Want nothing more; the actor that answers is told where the request can be cancelled."""
        if not self._done:
            self._done = True
            self._edge._cancel(self._pending)

    def __enter__(self) -> ReplyStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Edge:
    """The pseudo actor "edge".  Thread-safe."""

    def __init__(self, router: Router, clock: Clock, make_signal: Callable[[], Signal]) -> None:
        self._router = router
        self.make_signal = make_signal
        self.now = clock.monotonic
        self._lock = threading.Lock()
        self._pending: dict[int, _Pending] = {}
        self._closed = False
        router.bind(EDGE, self)

    # --- asking ------------------------------------------------------------------------------------

    def ask(
        self,
        message: Message,
        timeout_s: float,
        *,
        to: str = "",
        origin: str = USER,
        priority: int = PRIORITY_NORMAL,
    ) -> Message:
        """The answer to ``message``.

        Raises the LocalError that a ``Failed`` names, Unavailable when the receiver is overloaded, not running or
        policy refuses, DeadlineExceeded after ``timeout_s``, and BadInput for a timeout or priority that is none.
        """
        with self.stream(message, timeout_s, to=to, origin=origin, priority=priority) as replies:
            answer = replies.next()
            assert answer is not None, "a new stream has a first reply"
            return answer

    def ask_for(self, kind: type[R], message: Message, timeout_s: float, *, to: str = "", origin: str = USER) -> R:
        """``ask``, with the answer's type checked: another kind of answer raises Unavailable."""
        answer = self.ask(message, timeout_s, to=to, origin=origin)
        if not isinstance(answer, kind):
            raise Unavailable(f"{type(message).__name__} was answered by {type(answer).__name__}")
        return answer

    def stream(
        self,
        message: Message,
        timeout_s: float,
        *,
        to: str = "",
        origin: str = USER,
        priority: int = PRIORITY_NORMAL,
        signal: Signal | None = None,
    ) -> ReplyStream:
        """Send ``message``; its replies as a stream that must end within ``timeout_s``.

        ``signal``: one that several streams share, so that a reader can wait for all of them at once (inbox.py).
        """
        self._check(timeout_s, priority)
        kind = type(message).__name__
        deadline = self.now() + timeout_s
        pending = _Pending(
            self._router.next_id(), kind, self._router.receiver_of(kind, to), signal or self.make_signal()
        )
        with self._lock:
            if self._closed:
                raise Unavailable("the node has stopped")
            if len(self._pending) >= limits.EDGE_REQUESTS_MAX.value:
                raise Unavailable(f"{limits.EDGE_REQUESTS_MAX.value} requests are open", "try again in a moment")
            self._pending[pending.id] = pending
        try:
            tags = Tags(deadline=deadline, priority=priority, origin=origin)
            self._router.send(EDGE, message, tags, id_=pending.id, to=to, asked=True)
        except BaseException:
            self._forget(pending)
            raise
        return ReplyStream(self, pending, deadline)

    def new_session(self) -> int:
        """A number that no request and no other session has."""
        return self._router.next_id()

    def pause(self, seconds: float) -> None:
        """Let time pass before something is tried again."""
        self.make_signal().wait(lambda: False, seconds)

    def tell(self, message: Message, *, to: str = "", origin: str = USER) -> int:
        """Send ``message`` and wait for nothing; its envelope's id."""
        return self._router.send(EDGE, message, Tags(origin=origin), to=to)

    def close(self) -> None:
        """Answer every open request with Failed("Unavailable") and take no more."""
        with self._lock:
            self._closed = True
            open_ = list(self._pending.values())
        for pending in open_:
            self._end(pending, Failed(pending.kind, "Unavailable", "the node has stopped"))

    # --- the port: any thread ----------------------------------------------------------------------

    def offer(self, envelope: Envelope, _: Lane) -> Verdict:
        """Queue a reply for its reader.  A reader that is too slow loses the stream, never the node its memory."""
        with self._lock:
            pending = self._pending.get(envelope.reply_to)
            if pending is None or pending.ended:
                return Verdict.CLOSED
            pending.ended = envelope.kind not in PARTIAL_REPLIES
            queued = len(pending.queue)
            full = queued >= limits.EDGE_STREAM_MESSAGES.value
            if full or (queued and pending.bytes + envelope.size > limits.EDGE_STREAM_BYTES.value):
                reason = "its answers were not taken in time"
                pending.queue.append(Failed(pending.kind, "Unavailable", reason))
                pending.ended = pending.overrun = True
            else:
                pending.queue.append(envelope)
                pending.bytes += envelope.size
        pending.signal.notify()
        return Verdict.FULL if pending.overrun else Verdict.QUEUED

    def is_open(self, request: int) -> bool:
        """Whether an answer to ``request`` is waited for."""
        return request in self._pending

    def receiver_down(self, name: str, last_id: int) -> None:
        """End what was asked of ``name``."""
        with self._lock:
            lost = [one for one in self._pending.values() if one.receiver == name and one.id <= last_id]
        for pending in lost:
            self._end(pending, Failed(pending.kind, "Unavailable", f"{name} ended before it answered; try again"))

    # --- within ------------------------------------------------------------------------------------

    def _check(self, timeout_s: float, priority: int) -> None:
        if math.isnan(timeout_s) or timeout_s <= 0:
            raise BadInput(f"a timeout of {timeout_s} s", "give a number of seconds above 0")
        if not PRIORITY_LOW <= priority <= PRIORITY_HIGH:
            raise BadInput(f"priority {priority}", f"give {PRIORITY_LOW} to {PRIORITY_HIGH}")
        if getattr(on_actor_thread, "active", False):
            raise RuntimeError("the edge was asked on an actor's own thread, which would wait for itself")

    def _end(self, pending: _Pending, failure: Failed) -> None:
        with self._lock:
            if pending.ended:
                return
            pending.ended = True
            pending.queue.append(failure)
        pending.signal.notify()

    def _take(self, pending: _Pending) -> Message:
        with self._lock:
            item = pending.queue.popleft()
            if not isinstance(item, Envelope):
                return item
            pending.bytes -= item.size
        try:
            return codec.decode(item.body, item.buffers)
        except RemoteError as fault:
            return Failed(pending.kind, "Unavailable", f"the answer cannot be read: {fault}")

    def _forget(self, pending: _Pending) -> None:
        with self._lock:
            self._pending.pop(pending.id, None)

    def _cancel(self, pending: _Pending) -> None:
        open_ = not pending.ended or pending.overrun
        self._forget(pending)
        if open_ and pending.kind == GetBlocks.__name__ and not self._closed:
            self.tell(CancelGet(pending.id))


def raise_if_no(reply: Message) -> None:
    """Raise what a refusal, an overload or a failure stands for; nothing for any other reply."""
    if isinstance(reply, Failed):
        raise error_of(reply)
    if isinstance(reply, Refused):
        raise RefusedByRole(f"refused: {reply.reason}", "run the node in a role that does it")
    if isinstance(reply, Overloaded):
        raise Unavailable(f"{reply.receiver} has too much to do", "try again in a moment")


def error_of(failed: Failed) -> LocalError:
    """The LocalError that a ``Failed`` names; a plain LocalError for a name that is none."""
    kinds = [LocalError]
    for kind in kinds:
        if kind.__name__ == failed.error:
            try:
                return kind(failed.reason)
            except TypeError:  # a subclass that is made of something else
                break
        kinds.extend(kind.__subclasses__())
    return LocalError(failed.reason)
