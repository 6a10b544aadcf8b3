"""The swarm's topic: takes announcements in, tells our own, and answers searches out of what is kept.

Form and age of an announcement are ``announcements``', what is kept is ``hints``', what we say and how often is
``telling``'s; here they meet the router and the node's other actors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from shoal.actors.base import Context, Timer
from shoal.actors.discovery.pubsub import announcements
from shoal.actors.discovery.pubsub.announcements import TOPIC, Statement
from shoal.actors.discovery.pubsub.answering import ANSWER_TTL_S, ENOUGH, Wanted
from shoal.actors.discovery.pubsub.asking import WANT_AFTER_S, WANT_TTL_S, Key, Search, Searches
from shoal.actors.discovery.pubsub.hints import Hints
from shoal.actors.discovery.pubsub.router import Delivery, Router, Verdict
from shoal.actors.discovery.pubsub.telling import Teller
from shoal.messages import blocks, routing, transport
from shoal.messages.base import Message
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.errors import RemoteError
from shoal.messages.pubsub import HAVE, PEER, WANT, AnnounceByPubsub

WHO_AM_I_S: Final = 10.0  # seconds for the transport to say where we listen
LOOK_UP_S: Final = 10.0  # seconds for placement to say what is here


class SwarmTopic:
    """Announcements, both ways.  The router validates TOPIC's messages by it."""

    def __init__(self, ctx: Context, router: Router, on_change: Callable[[], None]) -> None:
        """``on_change``: called when something is to be sent that no message in hand caused."""
        self.ctx = ctx
        self.router = router
        self.on_change = on_change
        self.hints = Hints()
        self.teller = Teller(ctx.random)
        self.searches = Searches()
        self.wanted = Wanted(ctx.random)
        self.refused = 0  # announcements of others: malformed, untimely, too many
        self._had_neighbours = False
        self._asking = False
        self._timer: Timer | None = None
        self._timer_at = math.inf
        router.validators[TOPIC] = self.validate

    # --- others' -----------------------------------------------------------------------------------------

    def validate(self, delivery: Delivery, bearer: str) -> Verdict:
        """Keep what an announcement says.  What is malformed is its bearer's fault: a shoal would have dropped it."""
        try:
            statement = announcements.decode(delivery.data)
        except RemoteError:
            self._refuse("malformed")
            return Verdict.REJECT
        if not statement.is_timely(self.ctx.wall()):
            self._refuse("untimely")
            return Verdict.IGNORE
        if not self.hints.take(delivery.author, statement, bearer, self.ctx.now()):
            self._refuse("surplus")
            return Verdict.IGNORE
        self._heed(delivery.author, statement)
        return Verdict.ACCEPT

    def _heed(self, author: str, statement: Statement) -> None:
        """Tell those whom it concerns."""
        if statement.about == PEER and statement.addrs:
            seen = routing.PeerAddrs(author, statement.addrs)
            self.ctx.send(routing.PeersSeen(routing.PUBSUB, (seen,), statement.ttl_s), deadline=math.inf)
        elif statement.about == HAVE:
            for cid in statement.cids:
                for key, search in self.searches.about(cid):
                    self._found(key, search)
        elif statement.about == WANT and self.ctx.policy.serve_blocks and self.ctx.policy.announce_content:
            self.wanted.heard(statement.cids, len(self.hints.authors), self.ctx.now())
            self._wake_in(self.wanted.wait_s(self.ctx.now()))

    def _refuse(self, why: str) -> None:
        self.refused += 1
        self.ctx.count(f"announcements_{why}")

    # --- ours --------------------------------------------------------------------------------------------

    @property
    def has_neighbours(self) -> bool:
        """Whether there is anybody to tell."""
        return TOPIC in self.router.topics and any(row.ready for row in self.router.table.subscribers(TOPIC))

    @property
    def is_busy(self) -> bool:
        """Whether a heartbeat has something to do here, be there neighbours or not."""
        return bool(self.searches.open) or len(self.wanted) > 0

    def follow_policy(self) -> None:
        """Take part in the swarm's topic while this node finds by pubsub."""
        if self.ctx.policy.find_by_pubsub:
            self.router.subscribe(TOPIC, self.ctx.now())
        else:
            self.router.unsubscribe(TOPIC, self.ctx.now())
            self.teller.alone()
            self._had_neighbours = False

    def beat(self) -> None:
        """Once a heartbeat: tell who we are when that is due."""
        now = self.ctx.now()
        self.hints.sweep(now)
        if TOPIC not in self.router.topics:
            self._ask_and_answer(now)
            return
        neighbours = self.has_neighbours
        if neighbours and not self._had_neighbours:
            self.teller.neighbour_came(now)
        elif not neighbours and self._had_neighbours:
            self.teller.alone()
        self._had_neighbours = neighbours
        if self.teller.is_due(now) and not self._asking:
            self._ask_addrs()
        self._ask_and_answer(now)

    def _ask_addrs(self) -> None:
        """Learn from the transport where we can be dialled, and tell it."""

        def answered(reply: Message) -> None:
            self._asking = False
            if isinstance(reply, transport.Identity):
                self.teller.moved(reply.addrs, reply.peer)
                self._tell_peer()
                self.on_change()

        self._asking = True
        self.ctx.request(transport.WhoAmI(), answered, timeout_s=WHO_AM_I_S, deadline=math.inf)

    def _tell_peer(self) -> None:
        now, wall_s = self.ctx.now(), self.ctx.wall()
        period_s = self.teller.next_time(now, len(self.hints.authors))
        if self.teller.addrs and TOPIC in self.router.topics:
            data = self.teller.peer(self.ctx.policy.role, wall_s, period_s)
            self.router.publish(TOPIC, data, now, wall_s, flood=False)

    def announce(self, message: AnnounceByPubsub) -> int | None:
        """Tell the swarm; to how many peers it goes, None when too much has been told lately.  Raises BadInput."""
        now, wall_s = self.ctx.now(), self.ctx.wall()
        pieces = self.teller.about(message.about, message.cids, message.ttl_s, message.metadata, wall_s)
        if not self.teller.may_tell(len(pieces), now):
            return None
        sent = [self.router.publish(TOPIC, data, now, wall_s, flood=False)[1] for data in pieces]
        return min(sent)

    # --- searches ----------------------------------------------------------------------------------------

    def search(self, message: routing.SearchSource, envelope: Envelope) -> None:
        """Who announced the CID; where nobody has, the swarm is asked in a while."""
        search = self.searches.begin(message, envelope, self.ctx.now())
        if search is None:
            self.ctx.reply(envelope, routing.SourceEnded("too many searches are open"))
            return
        key = (envelope.sender, message.ticket)
        self._found(key, search)
        may_ask = self.has_neighbours and self.ctx.policy.find_by_pubsub
        if key in self.searches.open and (search.told or not may_ask):
            self._end(key, search)
        elif key in self.searches.open:
            self._wake_in(WANT_AFTER_S)

    def stop_search(self, asker: str, ticket: int) -> None:
        """The asker needs it no more, and hears no more."""
        self.searches.end(asker, ticket)

    def _found(self, key: Key, search: Search) -> None:
        """Tell a search who has announced its CID and was not told yet; it ends when it has enough."""
        holders = self.hints.holders(search.cid, self.ctx.now())
        new = [one for one in holders if one.peer not in search.told]
        new = new[: search.count - len(search.told)] if search.count else new
        if new:
            search.told.update(dict.fromkeys(one.peer for one in new))
            found = [routing.Provider(one.peer, one.addrs, routing.PUBSUB, (routing.BITSWAP,)) for one in new]
            self.ctx.reply(search.envelope, routing.SourceFound(tuple(found)))
        if search.satisfied:
            self._end(key, search)

    def _end(self, key: Key, search: Search) -> None:
        self.searches.end(*key)
        self.ctx.reply(search.envelope, routing.SourceEnded(messages=search.wants))

    def _wake_in(self, seconds: float) -> None:
        """Look in so many seconds, or sooner if that was said before: a heartbeat would be late."""
        at = self.ctx.now() + seconds
        if at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._timer_at = self.ctx.after(seconds, self._woken), at

    def _woken(self) -> None:
        self._timer, self._timer_at = None, math.inf
        self._ask_and_answer(self.ctx.now())
        self.on_change()

    def _ask_and_answer(self, now: float) -> None:
        """At every heartbeat, and when something is due before: ask, end searches, look up what others want."""
        for key, search in self.searches.over(now):
            self._end(key, search)
        wanted = self.searches.to_want(now)
        if wanted and self.teller.may_tell(1, now):
            self._publish(self.teller.about(WANT, wanted, WANT_TTL_S, (), self.ctx.wall())[0])
        looked_up = [cid for cid in self.wanted.due(now) if len(self.hints.holders(cid, now, ENOUGH)) < ENOUGH]
        if looked_up and self.wanted.may_answer(now):
            self._look_up(tuple(looked_up))

    def _look_up(self, cids: tuple[CID, ...]) -> None:
        def answered(reply: Message) -> None:
            if isinstance(reply, blocks.BlockSizes) and TOPIC in self.router.topics:
                here = [cid for cid, size in zip(cids, reply.sizes, strict=False) if size >= 0]
                if here:
                    self.ctx.count("wants_answered", len(here))
                    self._publish(self.teller.about(HAVE, here, ANSWER_TTL_S, (), self.ctx.wall())[0])
                    self.on_change()

        self.ctx.request(blocks.HasBlocks(cids), answered, timeout_s=LOOK_UP_S, deadline=math.inf)

    def _publish(self, data: bytes) -> None:
        self.router.publish(TOPIC, data, self.ctx.now(), self.ctx.wall(), flood=False)
