"""Keeps the backlog in line with what policy follows: one run through a listing at a time, a page a step.

Part of the announce actor, on its thread.  ``choosing`` says what is followed, ``merging`` makes one listing of
several, the store compares.  A run that meets a dead keeper or tier ends and is begun anew later: until a listing has
been read to a point nothing before that point is dropped for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from shoal.actors.announce import choosing, schedule
from shoal.actors.announce.merging import Merging, Stretch
from shoal.actors.base import Context
from shoal.messages import keeping, tiers
from shoal.messages.base import Message
from shoal.messages.cid import CID
from shoal.messages.errors import LocalError
from shoal.storage.announcements.rows import Origin
from shoal.storage.announcements.store import Announcements

PAGE: Final = 512  # rows looked at, and blocks asked of a tier, in one step of some milliseconds
PAGE_TIMEOUT_S: Final = 30.0  # seconds for one page of a listing
AGAIN_S: Final = 3600.0  # seconds between two runs through a listing: a change that nobody told is seen then
RETRY_S: Final = 30.0  # seconds before a run that was cut short is begun anew

Mark = CID | bytes | None  # where a page ends, in the words of who lists


class Following:
    """``choice`` says what policy announces, None: it rests, and so does this.

    ``changed`` is called with the rows that each step added and dropped.
    """

    def __init__(
        self, ctx: Context, store: Announcements, choice: Callable[[], str | None], changed: Callable[[int, int], None]
    ) -> None:
        self.ctx = ctx
        self.store = store
        self.refused = 0  # rows that the backlog had no room for in the last runs
        self._choice = choice
        self._changed = changed
        self._waiting: deque[Origin] = deque()  # each origin at most once
        self._run: _Run | None = None

    def start(self, origins: Iterable[Origin]) -> None:
        """Bring the rows of these origins in line, one after the other.  A run under way for one begins anew."""
        for origin in origins:
            if self._run is not None and self._run.origin is origin:
                self._run = None
            if origin not in self._waiting:
                self._waiting.append(origin)
        self._next()

    def _next(self) -> None:
        choice = self._choice()
        if self._run is None and self._waiting and choice is not None:
            self._run = _Run(self._waiting.popleft(), choice, self.ctx.wall())
            self._step(self._run)

    def _step(self, run: _Run) -> None:
        """One page or one stretch; every step is a message or a timer of its own, so that others get their turn."""
        if run is not self._run:
            self._next()
            return
        if run.stretch is None:
            run.stretch = run.merging.take()
        if run.stretch is not None:
            self._compare(run, run.stretch)
            return
        wanted = run.merging.wanted()
        if wanted is None:
            self._run = None
            self._next()
            return
        self._ask(run, *wanted)

    def _compare(self, run: _Run, stretch: Stretch) -> None:
        entries = [
            (cid, schedule.first(cid, run.began, schedule.BULK_WINDOW_S))
            for cid in stretch.cids
            if cid.multihash > run.reached
        ][:PAGE]
        through = entries[-1][0].multihash if len(entries) == PAGE else stretch.through
        ways = choosing.WAYS_OF[run.origin]
        try:
            done = self.store.reconcile(run.origin, ways, entries, run.reached, through, 2 * PAGE)
        except LocalError as fault:
            self._cut_short(run, str(fault))
            return
        self.refused += done.refused
        if done.added or done.dropped:
            self._changed(done.added, done.dropped)
        if done.through == stretch.through:
            run.stretch = None
        if done.through is not None:
            run.reached = done.through
        self.ctx.after(0.0, lambda: self._step(run))

    def _ask(self, run: _Run, name: str, after: Mark) -> None:
        def answered(reply: Message) -> None:
            if run is not self._run:
                self._next()
            elif isinstance(reply, keeping.PinsListed):
                cids = [pin.cid for pin in reply.pins]
                run.merging.give(name, cids, cids[-1] if cids else after, end=not cids)
                self._step(run)
            elif isinstance(reply, tiers.TierListed):
                run.merging.give(name, [entry.cid for entry in reply.entries], reply.after, end=not reply.entries)
                self._step(run)
            else:
                self._cut_short(run, getattr(reply, "reason", type(reply).__name__))

        if name == choosing.PINS:
            message: Message = keeping.ListPins(after if isinstance(after, CID) else None, run.kind)
            self.ctx.request(message, answered, timeout_s=PAGE_TIMEOUT_S)
        else:
            message = tiers.TierList(after if isinstance(after, bytes) else b"", PAGE)
            self.ctx.request(message, answered, to=name, timeout_s=PAGE_TIMEOUT_S)

    def _cut_short(self, run: _Run, reason: str) -> None:
        self.ctx.log.info("what is to be announced could not be listed: %s", reason)
        self.ctx.count("listings_cut_short")
        if run is self._run:
            self._run = None
        self.ctx.after(RETRY_S, lambda: self.start([run.origin]))
        self._next()


class _Run:
    """One reading of one origin's listing under one choice; where it is not followed any more, of an empty one."""

    def __init__(self, origin: Origin, choice: str, began: float) -> None:
        self.origin = origin
        self.began = began
        self.kind = choosing.PIN_KINDS.get(choice, "all")
        self.reached = b""
        self.stretch: Stretch | None = None
        names: tuple[str, ...] = ()
        if origin in choosing.followed(choice):
            names = (choosing.PINS,) if choosing.LISTING_OF[origin] == choosing.PINS else choosing.HOMES
        self.merging: Merging[Mark] = Merging(names, None)
