"""Telling the DHTs what this node has: for each key, a provider record at the K nearest peers.

The conversation: who asked, what is told, until when.  Which lookups that takes is the ``sweep``'s, one a job and DHT.
Begin at ``Providing.provide``.

Source: libp2p kad-dht spec, "Content provider advertisement".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from shoal.actors.base import Context, Timer
from shoal.actors.discovery.dht import wire
from shoal.actors.discovery.dht.delivery import Sent
from shoal.actors.discovery.dht.kad import SERVER, Kad
from shoal.actors.discovery.dht.keys import kad_id, multihash, peer_kad_id
from shoal.actors.discovery.dht.lines import Outcome
from shoal.actors.discovery.dht.rates import Rates
from shoal.actors.discovery.dht.regions import Regions
from shoal.actors.discovery.dht.searching import Question, Search, Searches
from shoal.actors.discovery.dht.sweep import Looked, Sweep
from shoal.actors.discovery.dht.table import K
from shoal.messages import dht
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.limits import DHT_PROVIDE_WAITING, DHT_TOLD_BURST, DHT_TOLD_PEERS, DHT_TOLD_RATE
from shoal.messages.replies import Overloaded
from shoal.messages.routing import PeerAddrs

PROGRESS_S: Final = 1.0  # seconds between two messages of progress: no message a key
LEAD_S: Final = 0.1  # seconds before the deadline at which what was reached is told: an answer after it is lost
KEYS_TOLD_AT_ONCE: Final = 4096  # in one message of progress


@dataclass(slots=True, eq=False)
class Job:
    """One ProvideCids under way.  A key is done when every DHT has been told, or has failed to be."""

    envelope: Envelope
    cids: dict[bytes, list[CID]]  # multihash -> the CIDs that share it
    left: dict[bytes, int] = field(default_factory=dict)  # DHTs that have not ended with it
    took: set[bytes] = field(default_factory=set)  # that some peer took
    sweeps: list[Sweep] = field(default_factory=list)
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
        self._regions = {kad.lan: Regions() for kad in kads}
        self._rates = {kad.lan: Rates(DHT_TOLD_BURST.value, DHT_TOLD_RATE.value, DHT_TOLD_PEERS.value) for kad in kads}

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
            sweep = self._sweep(job, kad)
            job.sweeps.append(sweep)
            self.ctx.after(0.0, partial(sweep.begin, list(cids)))

    def stop_of(self, sender: str) -> None:
        """Whoever asked has died."""
        for job in [job for job in self.jobs if job.envelope.sender == sender]:
            self._end(job, "nobody waits for it")

    # --- within ------------------------------------------------------------------------------------------

    def _sweep(self, job: Job, kad: Kad) -> Sweep:
        """The way in which ``kad`` is told of the job's keys."""

        def lookup(key: bytes, done: Looked) -> None:
            self._lookup(job, kad, key, done)

        def send(peer: PeerAddrs, key: bytes, done: Sent) -> None:
            self._send(job, kad, peer, key, done)

        def told(key: bytes, records: int) -> None:
            self._told(job, key, records)

        return Sweep(
            lookup,
            send,
            told,
            lambda: self._sweep_over(job),
            regions=self._regions[kad.lan],
            rates=self._rates[kad.lan],
            placed=partial(self._placed, kad),
            after=self.ctx.after,
            now=self.ctx.now,
        )

    def _placed(self, kad: Kad, key: bytes, nearest: Sequence[PeerAddrs]) -> None:
        """A server that is among the K nearest itself keeps the record too."""
        target = kad_id(key)
        ours = len(nearest) < K or kad.table.at ^ target < peer_kad_id(nearest[-1].peer) ^ target
        if kad.mode == SERVER and ours:
            kad.records.add_provider(key, kad.me, kad.own_addrs, self.ctx.wall())

    def _lookup(self, job: Job, kad: Kad, key: bytes, done: Looked) -> None:
        def ended(search: Search) -> None:
            job.messages += search.messages
            done([PeerAddrs(step.peer, step.addrs) for step in search.nearest(K)], not search.outcome)

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

    def _sweep_over(self, job: Job) -> None:
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
        for sweep in job.sweeps:
            sweep.stop()
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
