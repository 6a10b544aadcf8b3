"""Telling the DHTs what this node has: for each key, a provider record at the K nearest peers.

``Providing`` is the conversation (who asked, what is told, until when).  How keys become lookups is a ``Plan``:
``OneByOne`` makes a lookup of every key.  A plan is given two functions, ``lookup`` and ``send``, and knows nothing of
actors; the sweep, which serves a whole region with one lookup, is another plan.

Source: libp2p kad-dht spec, "Content provider advertisement".
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from shoal.actors.base import Context, Timer
from shoal.actors.discovery.dht import wire
from shoal.actors.discovery.dht.calls import Outcome
from shoal.actors.discovery.dht.kad import SERVER, Kad
from shoal.actors.discovery.dht.keys import multihash
from shoal.actors.discovery.dht.questions import is_among_nearest
from shoal.actors.discovery.dht.searching import Question, Search, Searches
from shoal.actors.discovery.dht.table import K
from shoal.messages import dht
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.limits import DHT_PROVIDE_WAITING
from shoal.messages.replies import Overloaded
from shoal.messages.routing import PeerAddrs

KEYS_AT_ONCE: Final = 8  # lookups for provider records at one time: the user's own come between them
PROGRESS_S: Final = 1.0  # seconds between two messages of progress: no message a key
LEAD_S: Final = 0.1  # seconds before the deadline at which what was reached is told: an answer after it is lost
KEYS_TOLD_AT_ONCE: Final = 4096  # in one message of progress

Looked = Callable[[Sequence[PeerAddrs]], None]
Sent = Callable[[bool], None]
Lookup = Callable[[bytes, Looked], None]
"""``lookup(key, done)``: find the K peers nearest to ``key``; ``done`` gets those that answered, nearest first."""
Send = Callable[[PeerAddrs, bytes, Sent], None]
"""``send(peer, key, done)``: give ``peer`` our record of ``key``; ``done`` gets whether it was written."""


class Plan(Protocol):
    """The way in which a batch of keys is told."""

    def begin(self, keys: Sequence[bytes]) -> None:
        """Start.  ``told(key, records)`` is then called once for each key, ``over()`` once at the end."""

    def stop(self) -> None:
        """Ask for nothing more; neither ``told`` nor ``over`` is called any more."""


class OneByOne:
    """A lookup a key, KEYS_AT_ONCE at a time."""

    def __init__(
        self, lookup: Lookup, send: Send, told: Callable[[bytes, int], None], over: Callable[[], None]
    ) -> None:
        self.lookup = lookup
        self.send = send
        self.told = told
        self.over = over
        self._waiting: deque[bytes] = deque()
        self._open = 0
        self._stopped = False

    def begin(self, keys: Sequence[bytes]) -> None:
        self._waiting.extend(keys)
        self._next()

    def stop(self) -> None:
        self._stopped = True
        self._waiting.clear()

    def _next(self) -> None:
        while self._waiting and self._open < KEYS_AT_ONCE:
            self._open += 1
            key = self._waiting.popleft()
            self.lookup(key, partial(self._found, key))
        if not self._open and not self._stopped:
            self._stopped = True
            self.over()

    def _found(self, key: bytes, nearest: Sequence[PeerAddrs]) -> None:
        if self._stopped or not nearest:
            self._told(key, 0)
            return
        left, took = len(nearest), 0

        def sent(written: bool) -> None:
            nonlocal left, took
            left -= 1
            took += written
            if not left:
                self._told(key, took)

        for peer in nearest:
            self.send(peer, key, sent)

    def _told(self, key: bytes, records: int) -> None:
        self._open -= 1
        if not self._stopped:
            self.told(key, records)
            self._next()


@dataclass(slots=True, eq=False)
class Job:
    """One ProvideCids under way.  A key is done when every DHT has been told, or has failed to be."""

    envelope: Envelope
    cids: dict[bytes, list[CID]]  # multihash -> the CIDs that share it
    left: dict[bytes, int] = field(default_factory=dict)  # DHTs that have not ended with it
    took: set[bytes] = field(default_factory=set)  # that some peer took
    plans: list[Plan] = field(default_factory=list)
    fresh: list[CID] = field(default_factory=list)  # done and not told yet
    failed: list[CID] = field(default_factory=list)
    records: int = 0
    messages: int = 0
    running: int = 0
    ended: bool = False
    deadline: Timer | None = None
    telling: Timer | None = None


class Providing:
    """All jobs."""

    def __init__(self, ctx: Context, searches: Searches, kads: Sequence[Kad]) -> None:
        self.ctx = ctx
        self.searches = searches
        self.kads = kads
        self.jobs: set[Job] = set()

    def provide(self, message: dht.ProvideCids, envelope: Envelope) -> None:
        """-> ProvideProgress*, Provided."""
        waiting = sum(len(job.left) for job in self.jobs)
        if waiting + len(message.cids) > DHT_PROVIDE_WAITING.value:
            self.ctx.reply(envelope, Overloaded(envelope.kind, self.ctx.name))
            return
        cids: dict[bytes, list[CID]] = {}
        for cid in message.cids:
            cids.setdefault(multihash(cid), []).append(cid)
        kads = [kad for kad in self.kads if len(kad.table) and kad.own_addrs]
        if not kads or not cids:
            self.ctx.reply(envelope, dht.Provided(message.cids, 0, 0, self._why_none() if cids else ""))
            return
        job = Job(envelope, cids, dict.fromkeys(cids, len(kads)), running=len(kads))
        self.jobs.add(job)
        if not math.isinf(envelope.deadline):
            left = envelope.deadline - self.ctx.now()
            job.deadline = self.ctx.after(max(0.0, left - LEAD_S), lambda: self._end(job, "the time is over"))
        self._tell_later(job)
        for kad in kads:
            plan = self._plan(job, kad)
            job.plans.append(plan)
            self.ctx.after(0.0, partial(plan.begin, list(cids)))

    def stop_of(self, sender: str) -> None:
        """Whoever asked has died."""
        for job in [job for job in self.jobs if job.envelope.sender == sender]:
            self._end(job, "nobody waits for it")

    # --- within ------------------------------------------------------------------------------------------

    def _plan(self, job: Job, kad: Kad) -> Plan:
        """The way in which ``kad`` is told of the job's keys."""

        def lookup(key: bytes, done: Looked) -> None:
            self._lookup(job, kad, key, done)

        def send(peer: PeerAddrs, key: bytes, done: Sent) -> None:
            self._send(job, kad, peer, key, done)

        def told(key: bytes, records: int) -> None:
            self._told(job, key, records)

        return OneByOne(lookup, send, told, lambda: self._plan_over(job))

    def _lookup(self, job: Job, kad: Kad, key: bytes, done: Looked) -> None:
        def ended(search: Search) -> None:
            job.messages += search.messages
            if kad.mode == SERVER and is_among_nearest(kad, key, search):
                kad.records.add_provider(key, kad.me, kad.own_addrs, self.ctx.wall())
            done([PeerAddrs(step.peer, step.addrs) for step in search.nearest(K)])

        question = Question(wire.Kind.FIND_NODE, key)
        self.searches.start(kad, question, on_end=ended, deadline=job.envelope.deadline)

    def _send(self, job: Job, kad: Kad, peer: PeerAddrs, key: bytes, done: Sent) -> None:
        record = wire.Message(wire.Kind.ADD_PROVIDER, key, providers=(PeerAddrs(kad.me, kad.own_addrs),))

        def ended(outcome: Outcome) -> None:
            job.records += not outcome.failure
            done(not outcome.failure)

        job.messages += 1
        kad.ask(peer.peer, peer.addrs, record, ended, answered=False)

    def _told(self, job: Job, key: bytes, records: int) -> None:
        if records:
            job.took.add(key)
        job.left[key] -= 1
        if not job.left[key]:
            del job.left[key]
            (job.fresh if key in job.took else job.failed).extend(job.cids[key])
            job.took.discard(key)

    def _plan_over(self, job: Job) -> None:
        job.running -= 1
        if not job.running:
            self._end(job, "no peer took the record")

    def _tell_later(self, job: Job) -> None:
        job.telling = self.ctx.after(PROGRESS_S, lambda: self._tell(job))

    def _tell(self, job: Job) -> None:
        if job.ended:
            return
        self._tell_fresh(job)
        self._tell_later(job)

    def _tell_fresh(self, job: Job) -> None:
        while job.fresh:
            some, job.fresh = job.fresh[:KEYS_TOLD_AT_ONCE], job.fresh[KEYS_TOLD_AT_ONCE:]
            self.ctx.reply(job.envelope, dht.ProvideProgress(tuple(some)))

    def _end(self, job: Job, reason: str) -> None:
        if job.ended:
            return
        job.ended = True
        self.jobs.discard(job)
        for plan in job.plans:
            plan.stop()
        for timer in (job.deadline, job.telling):
            if timer is not None:
                timer.cancel()
        # A key that one DHT took before the time was over is told, though the other had not ended with it.
        for key in job.left:
            (job.fresh if key in job.took else job.failed).extend(job.cids[key])
        self._tell_fresh(job)
        failed = tuple(job.failed)
        self.ctx.reply(job.envelope, dht.Provided(failed, job.records, job.messages, reason if failed else ""))

    def _why_none(self) -> str:
        if not any(len(kad.table) for kad in self.kads):
            return "this node knows no peer that serves a DHT"
        return "this node listens at no address that the peers of its DHTs could dial"
