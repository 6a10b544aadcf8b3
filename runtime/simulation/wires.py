"""Two lanes between two simulated nodes: the TCP connection under a connection.

A ``Lane`` carries parcels one way, in order, taking the time that its ``Path`` says.  A ``Wire`` is a pair of them, and
knows the two connection ends that stand on it.  While the wire is held (a partition), nothing arrives;
released, it goes on where it stood, as TCP does.

``arrive`` is called from the scheduler only.  ``sent`` may be called within ``send`` or ``offer``, when the lane is
idle and the path takes no time to fill; what is told to a node passes through its network's event queue, which is
where re-entry is ruled out.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from shoal.actors.base import Timer
from shoal.runtime.simulation.links import RETRANSMIT_FACTOR, Path

if TYPE_CHECKING:
    from shoal.runtime.simulation.connections import ConnectionEnd


class Scheduler(Protocol):
    """What the simulated network needs of the world that it lives in."""

    random: random.Random

    def now(self) -> float:
        """Virtual seconds."""

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Have ``call`` made in ``seconds``, never from within this method, not even for 0."""


@dataclass(slots=True)
class Parcel:
    """Bytes under way: ``sent`` is called when they have left, ``arrive`` when they are there."""

    size: int
    arrive: Callable[[], None]
    sent: Callable[[], None] | None = None


class Source(Protocol):
    """A stream with data to send.  It stands in a lane's queue at most once: ``in_lane`` says so."""

    in_lane: bool

    def next_parcel(self) -> Parcel | None:
        """The next parcel that may be sent now, None when there is none."""


class Lane:
    """One direction.  Control parcels go first; streams take turns, one parcel each."""

    def __init__(self, scheduler: Scheduler, path: Path, on_break: Callable[[], None]) -> None:
        self._scheduler = scheduler
        self._path = path
        self._on_break = on_break
        self._control: deque[Parcel] = deque()
        self._sources: deque[Source] = deque()
        self._flying: deque[tuple[float, Callable[[], None]]] = deque()
        self._arrival: Timer | None = None
        self._busy: Timer | None = None
        self._held = False
        self._muted = False
        self._closed = False

    # --- sending -----------------------------------------------------------------------------------

    def send(self, size: int, arrive: Callable[[], None], sent: Callable[[], None] | None = None) -> None:
        """Send a control parcel, ahead of all streams' data that has not left."""
        if not self._closed and not self._muted:
            self._control.append(Parcel(size, arrive, sent))
            self.pump()

    def offer(self, source: Source) -> None:
        """``source`` may have something to send: give it its turns until it has nothing more."""
        if not self._closed and not self._muted and not source.in_lane:
            source.in_lane = True
            self._sources.append(source)
            self.pump()

    def stop_sending(self) -> None:
        """Drop all that has not left yet."""
        self._control.clear()
        for source in self._sources:
            source.in_lane = False
        self._sources.clear()

    def mute(self) -> None:
        """Drop all that has not left yet, and whatever is sent from now on: the host is down."""
        self._muted = True
        self.stop_sending()

    def pump(self) -> None:
        """Put parcels on the path until it is busy."""
        while self._busy is None and not self._closed:
            parcel = self._next()
            if parcel is None:
                return
            self._launch(parcel)

    def _next(self) -> Parcel | None:
        if self._control:
            return self._control.popleft()
        while self._sources:
            source = self._sources.popleft()
            parcel = source.next_parcel()
            if parcel is not None:
                self._sources.append(source)
                return parcel
            source.in_lane = False
        return None

    def _launch(self, parcel: Parcel) -> None:
        now = self._scheduler.now()
        sent_at, arrives_at = self._path.transit(now, parcel.size)
        if arrives_at is None:
            config = self._path.config
            self._busy = self._scheduler.after(
                config.retransmit_s * RETRANSMIT_FACTOR**config.retransmissions, self._on_break
            )
            return
        self._flying.append((arrives_at, parcel.arrive))
        self._arm(0.0)
        if sent_at > now:
            self._busy = self._scheduler.after(sent_at - now, lambda: self._idle(parcel))
        elif parcel.sent is not None:
            parcel.sent()

    def _idle(self, parcel: Parcel) -> None:
        self._busy = None
        if parcel.sent is not None:
            parcel.sent()
        self.pump()

    # --- arriving ----------------------------------------------------------------------------------

    def hold(self) -> None:
        """Let nothing arrive until ``release``."""
        self._held = True
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def release(self) -> None:
        """Let what is under way arrive, after a retransmission."""
        self._held = False
        self._arm(self._path.config.retransmit_s)

    def close(self) -> None:
        """Drop everything."""
        self._closed = True
        self.stop_sending()
        self._flying.clear()
        for timer in (self._arrival, self._busy):
            if timer is not None:
                timer.cancel()
        self._arrival = self._busy = None

    def _arm(self, at_least_s: float) -> None:
        if self._arrival is None and self._flying and not self._held and not self._closed:
            wait = max(self._flying[0][0] - self._scheduler.now(), at_least_s)
            self._arrival = self._scheduler.after(wait, self._arrive)

    def _arrive(self) -> None:
        """One parcel; the timer was set for the first, whatever rounding says of its time."""
        self._arrival = None
        _, arrive = self._flying.popleft()
        self._arm(0.0)
        arrive()


class Wire:
    """Both directions between two ends.  Side 0 dialled, side 1 listened."""

    def __init__(self, scheduler: Scheduler, hosts: tuple[str, str], paths: tuple[Path, Path]) -> None:
        self.hosts = hosts  # the IP of each side
        self.ends: list[ConnectionEnd | None] = [None, None]
        self.on_close: Callable[[], None] = lambda: None
        self.closed = False
        self.held = False
        self.holds = 0  # how often it has been held
        self.life: Timer | None = None  # ends the connection by chance
        self.lanes = tuple(Lane(scheduler, path, lambda: self.lose("too many losses")) for path in paths)

    def hold(self) -> None:
        """The two sides cannot reach each other."""
        if not self.held:
            self.held = True
            self.holds += 1
            for lane in self.lanes:
                lane.hold()

    def still_held(self, holds: int) -> bool:
        """Whether it has been held all the time since it was so for the ``holds``-th time."""
        return self.held and self.holds == holds

    def release(self) -> None:
        """They can again."""
        if self.held:
            self.held = False
            for lane in self.lanes:
                lane.release()

    def lose(self, reason: str) -> None:
        """Both ends notice at once that the connection is gone."""
        for end in self.ends:
            if end is not None:
                end.lost(reason)
        self.close()

    def close(self) -> None:
        """Nothing passes any more."""
        if not self.closed:
            self.closed = True
            if self.life is not None:
                self.life.cancel()
            for lane in self.lanes:
                lane.close()
            self.on_close()

    def close_if_unused(self) -> None:
        """Close when both ends have been up and neither is any more."""
        if all(end is not None and not end.up for end in self.ends):
            self.close()
