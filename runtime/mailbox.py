"""A mailbox: what waits for one actor.  It never blocks a sender, is bounded, and closes.

It answers what a bare pykka inbox does wrong (DESIGN 3): a bounded ``queue.Queue`` blocks the sender, so two full
actors deadlock; a stop waits behind the queue; messages of a dying actor vanish; an ask that races a stop hangs.

    offer   any thread; the verdict is data: QUEUED, FULL or CLOSED
    take    the actor's thread; control first, then timers that are due and work by turns
    close   atomic: what was queued comes back as the dead, what comes later is CLOSED

Lanes: CONTROL (lifecycle and policy) overtakes.  WORK, NOTICE and REPLY share one queue, in order of arrival, and
differ in their bounds: work may be turned away because its sender hears of it; notices (events, credit) are repeated
by nobody and have a larger bound; replies are bounded by the requests that are open.

It is also a pykka inbox (``put``, ``get``, ``empty``).  Waiting comes in two ways: ``get`` blocks a thread; an event
loop gives ``attach`` a waker, and ``arm`` says whether there is need to wait.  Not here: routing (``router.py``).
"""

from __future__ import annotations

import enum
import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from pykka import ActorDeadError
from pykka._envelope import Envelope as PykkaEnvelope
from pykka.messages import _ActorStop

from shoal.messages import limits
from shoal.messages.envelope import Envelope
from shoal.runtime.clock import Clock
from shoal.runtime.timers import TimerHandle, TimerQueue

Call = Callable[[], None]
Item = Envelope | Call | PykkaEnvelope[Any]

WAIT_MAX_S: Final = 3600.0  # seconds; threading refuses very long waits, and a wake-up an hour costs nothing


class Lane(enum.IntEnum):
    """How a message counts against a mailbox's bounds."""

    WORK = 0
    NOTICE = 1
    REPLY = 2
    CONTROL = 3


class Verdict(enum.IntEnum):
    """What became of an offered envelope."""

    QUEUED = 0
    FULL = 1
    CLOSED = 2


class Mailbox:
    """Two lanes and timers for one actor."""

    def __init__(
        self,
        clock: Clock,
        *,
        work_max: int = limits.MAILBOX_WORK_MAX.value,
        work_bytes: int = limits.MAILBOX_WORK_BYTES.value,
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._idle = False  # the owner waits and wants to be woken, once
        self._waker: Call | None = None
        self._on_timer: Callable[[float], None] | None = None
        self._control: deque[Item] = deque()
        self._data: deque[tuple[Lane, int, Item]] = deque()
        self._count_max = (
            work_max,
            limits.MAILBOX_NOTICES_MAX.value,
            limits.MAILBOX_REPLIES_MAX.value,
            limits.MAILBOX_CONTROL_MAX.value,
        )
        self._bytes_max = (work_bytes, limits.MAILBOX_NOTICE_BYTES.value)
        self._counts = [0, 0, 0]
        self._timer_was_last = False
        self.timers = TimerQueue()
        self.bytes = 0
        self.peak = 0  # most that ever waited at one time
        self.overflows = [0, 0, 0, 0]  # turned away, by lane
        self.closed = False

    def __len__(self) -> int:
        return len(self._control) + len(self._data)

    # --- any thread --------------------------------------------------------------------------------

    def offer(self, envelope: Envelope, lane: Lane) -> Verdict:
        """Queue ``envelope``, or say why not.  Never blocks."""
        size = envelope.size
        with self._lock:
            if self.closed:
                return Verdict.CLOSED
            if lane is Lane.CONTROL:
                if len(self._control) >= self._count_max[lane]:
                    self.overflows[lane] += 1
                    return Verdict.FULL
                self._control.append(envelope)
            else:
                if self._is_full(lane, size):
                    self.overflows[lane] += 1
                    return Verdict.FULL
                self._counts[lane] += 1
                self.bytes += size
                self._data.append((lane, size, envelope))
            wake = self._note_arrival()
        if wake is not None:
            wake()
        return Verdict.QUEUED

    def call_soon(self, call: Call) -> None:
        """Have ``call`` made on the owner's thread, ahead of work.  The machine room's own; callers must coalesce."""
        with self._lock:
            if self.closed:
                return
            self._control.append(call)
            wake = self._note_arrival()
        if wake is not None:
            wake()

    def put(self, envelope: PykkaEnvelope[Any], /) -> None:
        """Take what pykka itself sends.  A stop overtakes everything; anything else counts as work."""
        with self._lock:
            refusal = self._pykka_refusal(envelope)
            wake = None if refusal else self._note_arrival()
        if refusal:
            _answer_dead(envelope, refusal)
        elif wake is not None:
            wake()

    def close(self) -> tuple[Envelope, ...]:
        """Take no more; the envelopes that waited, oldest first.  Pykka's askers among them are told.

        An owner that still comes for more is told to stop.
        """
        with self._lock:
            if self.closed:
                return ()
            self.closed = True
            left = [*self._control, *(item for _, _, item in self._data)]
            self._control.clear()
            self._data.clear()
            self._counts = [0, 0, 0]
            self.bytes = 0
            wake = self._note_arrival()
        if wake is not None:
            wake()
        for item in left:
            if isinstance(item, PykkaEnvelope):
                _answer_dead(item, "stopped before handling the message")
        return tuple(item for item in left if isinstance(item, Envelope))

    # --- the owner's thread ------------------------------------------------------------------------

    def schedule(self, seconds: float, call: Call) -> TimerHandle:
        """Have ``call`` taken in ``seconds`` (less than 0 is 0)."""
        timer = self.timers.add(self._clock.monotonic() + max(0.0, seconds), call)
        if self._on_timer is not None:
            self._on_timer(timer.due)
        return timer

    def take(self) -> Item | None:
        """The next item, None when there is nothing to do now."""
        with self._lock:
            return self._take()

    def get(self) -> PykkaEnvelope[Any]:
        """Pykka's way in: the next item, waited for."""
        with self._lock:
            while (item := self._take()) is None:
                if self.closed:  # by who gave its owner up: all that is left to do is to end
                    return PykkaEnvelope(_ActorStop())
                due = self.timers.next_due()
                wait_s = WAIT_MAX_S if due is None else min(WAIT_MAX_S, due - self._clock.monotonic())
                self._idle = True
                self._changed.wait(max(0.0, wait_s))
                self._idle = False
        return _wrapped(item)

    def take_wrapped(self) -> PykkaEnvelope[Any] | None:
        """``take`` for who goes on through pykka's ``_handle_receive``."""
        item = self.take()
        if item is None:
            return PykkaEnvelope(_ActorStop()) if self.closed else None
        return _wrapped(item)

    def next_due_in(self) -> float:
        """Seconds until the next timer, infinity without one."""
        due = self.timers.next_due()
        return math.inf if due is None else due - self._clock.monotonic()

    def attach(self, waker: Call, on_timer: Callable[[float], None]) -> None:
        """For an owner that does not wait in ``get``.

        ``waker`` is called from any thread, at most once for each ``arm``; ``on_timer`` on the owner's thread, with
        the time of each timer that is set, since an event loop may set one while it waits for another.
        """
        with self._lock:
            self._waker = waker
            self._on_timer = on_timer

    def arm(self) -> bool:
        """Ask to be woken by the next arrival.  False when something waits already: take that first."""
        with self._lock:
            self._idle = not self.closed and not self._control and not self._data
            return self._idle

    def empty(self) -> bool:
        """Whether nothing is queued.  Timers do not count."""
        return not self._control and not self._data

    def is_due(self) -> bool:
        """Whether ``take`` would give something now."""
        due = self.timers.next_due()
        return self.closed or not self.empty() or (due is not None and due <= self._clock.monotonic())

    # --- with the lock held ------------------------------------------------------------------------

    def _take(self) -> Item | None:
        if self._control:
            return self._control.popleft()
        # By turns: neither a timer that sets itself again at once nor a full queue may starve the other.
        if not (self._timer_was_last and self._data):
            call = self.timers.pop_due(self._clock.monotonic())
            if call is not None:
                self._timer_was_last = True
                return call
        self._timer_was_last = False
        if not self._data:
            return None
        lane, size, item = self._data.popleft()
        self._counts[lane] -= 1
        self.bytes -= size
        return item

    def _is_full(self, lane: Lane, size: int) -> bool:
        if self._counts[lane] >= self._count_max[lane]:
            return True
        # A message without buffers is small: the count bounds it.  One that is larger than the bound itself is
        # taken when nothing else waits, or it could never be sent at all.
        if lane is Lane.REPLY or not self.bytes:
            return False
        return self.bytes + size > self._bytes_max[lane]

    def _note_arrival(self) -> Call | None:
        self.peak = max(self.peak, len(self._control) + len(self._data))
        if not self._idle:
            return None
        self._idle = False
        if self._waker is None:
            self._changed.notify()
        return self._waker

    def _pykka_refusal(self, envelope: PykkaEnvelope[Any]) -> str:
        if self.closed:
            return "stopped before handling the message"
        if isinstance(envelope.message, _ActorStop):
            if len(self._control) >= 2 * self._count_max[Lane.CONTROL]:
                return "is stopping already"
            self._control.appendleft(envelope)
            return ""
        if self._is_full(Lane.WORK, 0):
            return "has a full mailbox"
        self._counts[Lane.WORK] += 1
        self._data.append((Lane.WORK, 0, envelope))
        return ""


def _wrapped(item: Item) -> PykkaEnvelope[Any]:
    return item if isinstance(item, PykkaEnvelope) else PykkaEnvelope(item)


def _answer_dead(envelope: PykkaEnvelope[Any], why: str) -> None:
    """Tell a pykka asker that its message will not be handled; without this its ``get`` hangs for ever."""
    if envelope.reply_to is None:
        return
    if isinstance(envelope.message, _ActorStop):
        envelope.reply_to.set(None)
    else:
        fault = ActorDeadError(f"actor {why}")
        envelope.reply_to.set_exception((type(fault), fault, None))
