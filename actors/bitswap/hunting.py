"""Finding's hands: asks routing for providers, has them dialled, and tells routing what became of peers.

Routing may be absent or die: then what the connected peers have is all that there is, as before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Final

from shoal.actors.base import Context
from shoal.actors.bitswap.finding import COUNT, SEARCH_S, Finding, Found, Wanted
from shoal.actors.bitswap.seeker import Seeker
from shoal.actors.bitswap.source import Source
from shoal.messages import routing, transport
from shoal.messages.base import Message

LOOK_S: Final = 0.25  # seconds between looks at whether somebody must be looked for
TELL_S: Final = 1.2  # seconds before a session's deadline at which its searches end; texts are told once a second
NUDGED_S: Final = 0.02  # seconds between looks at most often: every answer of every peer may ask for one
NEXT_TO_NOTHING_S: Final = 0.0001  # seconds
DIAL_S: Final = 30.0  # seconds for a provider to be reached, over all its addresses
OUTCOMES_S: Final = 15.0  # seconds between reports of what peers were good for
PROTECT_TAG: Final = "bitswap-found"
TICKET_BITS: Final = 48  # of the first ticket: two lives of this actor do not meet


class Hunting:
    """For all sessions of the seeker.  ``deadlines``: of each session, on the node's clock."""

    def __init__(self, ctx: Context, seeker: Seeker, deadlines: dict[int, float], handled: Callable[[], None]) -> None:
        """``handled`` is called when an answer may have changed what there is to say to peers."""
        self.ctx = ctx
        self.handled = handled
        self.seeker = seeker
        self.deadlines = deadlines
        self.finding = Finding(ctx.random.getrandbits(TICKET_BITS))
        self.protected: set[str] = set()
        self._looked = -math.inf
        self._nudged = False
        self._outcomes_at = 0.0
        self._told: dict[str, tuple[int, int]] = {}  # peer -> blocks and misses that routing was told of

    def nudge(self) -> None:
        """Something has changed: look soon."""
        self._nudged = True

    def wake_in(self, now: float) -> float | None:
        """Seconds until ``pump`` has something to look at; None when the next one that is made anyway will do."""
        return self._due_in(now) if self._nudged else None

    def _due_in(self, now: float) -> float:
        wait = NUDGED_S if self._nudged else LOOK_S
        passed = now - self._looked
        # A clock that went backwards puts nothing off; a wait that is next to nothing might not move a clock at all.
        return wait - passed if 0.0 <= passed < wait - NEXT_TO_NOTHING_S else 0.0

    def pump(self, now: float) -> None:
        """Look whether a session needs providers, and carry out what follows; cheap when it is too early."""
        if self._due_in(now) > 0.0:
            return
        self._looked = now
        self._nudged = False
        stopped, _ = self.finding.over(self.seeker, now)
        if self.ctx.policy.fetch_blocks:
            for wanted in self.finding.due(self.seeker, now):
                # By a timer, since the message in hand may be a peer's, and this is not done on its behalf.
                self.ctx.after(0.0, partial(self._search, wanted))
            self._dial_found(now)
        else:
            stopped += self.finding.stop_all()
        for ticket in stopped:
            self.ctx.send(routing.StopSearch(ticket), deadline=math.inf)
        self._protect()

    # --- searches ----------------------------------------------------------------------------------------

    def _search(self, wanted: Wanted) -> None:
        ticket, now = wanted.ticket, self.ctx.now()
        if ticket not in self.finding.tickets:
            return

        def answered(reply: Message) -> None:
            at = self.ctx.now()
            if isinstance(reply, routing.ProvidersFound):
                self.finding.found(ticket, reply.providers, at)
            elif isinstance(reply, routing.SearchEnded):
                asked = [one for one in reply.reports if one.source != routing.BOOK]
                rows = [(one.source, one.ended_s - one.began_s, one.outcome) for one in asked]
                self.finding.ended(ticket, rows, at)
            elif ticket in self.finding.tickets:
                if _is_late(reply):
                    self.finding.ended(ticket, (), at)
                else:
                    self.finding.absent(ticket, at)
            self.nudge()
            self.handled()

        last = self.deadlines.get(wanted.session, math.inf)
        if last - now > 2 * TELL_S:  # so that what the sources did can still be told to whoever waits for the block
            last -= TELL_S
        deadline = min(last, now + SEARCH_S)
        message = routing.FindProviders(wanted.cid, ticket, COUNT)
        self.ctx.count("provider_searches")
        self.ctx.request(message, answered, deadline=deadline, priority=wanted.priority)

    # --- who was found -----------------------------------------------------------------------------------

    def _dial_found(self, now: float) -> None:
        for one in self.finding.dials(self.seeker, now):
            if one.addrs:
                self._dial(one)
            else:
                self._locate(one)

    def _locate(self, one: Found) -> None:
        """It came without addresses: ask where it is."""

        def answered(reply: Message) -> None:
            if isinstance(reply, routing.PeerFound):
                one.addrs = reply.addrs
            self._dial(one)  # the transport may know it all the same

        self.ctx.request(routing.FindPeer(one.peer), answered, timeout_s=DIAL_S, deadline=math.inf)

    def _dial(self, one: Found) -> None:
        def answered(reply: Message) -> None:
            up = isinstance(reply, transport.Dialed)
            self.finding.dialled(one, up, self.ctx.now())
            if not up:
                self.ctx.send(routing.PeerOutcome(one.peer, 0, 1, 0.0), deadline=math.inf)
            self.nudge()
            self.handled()

        self.ctx.request(transport.Dial(one.peer, one.addrs), answered, timeout_s=DIAL_S, deadline=math.inf)

    def _protect(self) -> None:
        """Keep the connections to providers that were found, while the session goes on."""
        useful = self.finding.useful()
        for peer in sorted(useful ^ self.protected):
            self.ctx.send(transport.Protect(peer, PROTECT_TAG, peer in useful), deadline=math.inf)
        self.protected = useful

    # --- what peers were good for ------------------------------------------------------------------------

    def tell_outcomes(self, now: float) -> None:
        """Now and then: what each peer has done since routing was last told."""
        if self._outcomes_at - OUTCOMES_S <= now < self._outcomes_at:
            return
        self._outcomes_at = now + OUTCOMES_S
        for source in self.seeker.sources.values():
            self._tell_outcome(source)

    def lost(self, peer: str) -> None:
        """The peer is gone, and its part with it."""
        source = self.seeker.sources.get(peer)
        if source is not None:
            self._tell_outcome(source)
        self._told.pop(peer, None)
        self.nudge()

    def _tell_outcome(self, source: Source) -> None:
        blocks, misses = self._told.get(source.peer, (0, 0))
        new, missed = source.blocks - blocks, source.missed_ever - misses
        if new < 0 or missed < 0:  # the row is a new one
            new, missed = source.blocks, source.missed_ever
        if new or missed:
            self._told[source.peer] = (source.blocks, source.missed_ever)
            rtt = source.rtt.smooth if source.rtt.samples else 0.0
            self.ctx.send(routing.PeerOutcome(source.peer, new, missed, rtt), deadline=math.inf)

    def transport_lost(self) -> None:
        """All connections are gone, and with them the protection of them."""
        self.protected.clear()
        self._told.clear()
        self.finding.all_lost(self.ctx.now())
        self.nudge()

    def routing_back(self) -> None:
        """Routing serves again."""
        self.finding.back()
        self.nudge()

    def explain(self, session: int, now: float) -> str:
        """For the error text of a session."""
        return self.finding.explain(session, now)


def _is_late(reply: Message) -> bool:
    return getattr(reply, "error", "") == "DeadlineExceeded"
