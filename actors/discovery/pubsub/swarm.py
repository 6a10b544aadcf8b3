"""The swarm's topic: takes announcements in, tells our own, and answers searches out of what is kept.

Form and age of an announcement are ``announcements``', what is kept is ``hints``', what we say and how often is
``telling``'s; here they meet the router and the node's other actors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from shoal.actors.base import Context
from shoal.actors.discovery.pubsub import announcements
from shoal.actors.discovery.pubsub.announcements import TOPIC
from shoal.actors.discovery.pubsub.hints import Hints
from shoal.actors.discovery.pubsub.router import Delivery, Router, Verdict
from shoal.actors.discovery.pubsub.telling import Teller
from shoal.messages import routing, transport
from shoal.messages.base import Message
from shoal.messages.errors import RemoteError
from shoal.messages.pubsub import PEER, AnnounceByPubsub

WHO_AM_I_S: Final = 10.0  # seconds for the transport to say where we listen


class SwarmTopic:
    """Announcements, both ways.  The router validates TOPIC's messages by it."""

    def __init__(self, ctx: Context, router: Router) -> None:
        self.ctx = ctx
        self.router = router
        self.hints = Hints()
        self.teller = Teller(ctx.random)
        self.refused = 0  # announcements of others: malformed, untimely, too many
        self._had_neighbours = False
        self._asking = False
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
        if statement.about == PEER and statement.addrs:
            seen = routing.PeerAddrs(delivery.author, statement.addrs)
            self.ctx.send(routing.PeersSeen(routing.PUBSUB, (seen,), statement.ttl_s), deadline=math.inf)
        return Verdict.ACCEPT

    def _refuse(self, why: str) -> None:
        self.refused += 1
        self.ctx.count(f"announcements_{why}")

    # --- ours --------------------------------------------------------------------------------------------

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
            return
        neighbours = any(row.ready for row in self.router.table.subscribers(TOPIC))
        if neighbours and not self._had_neighbours:
            self.teller.neighbour_came(now)
        elif not neighbours and self._had_neighbours:
            self.teller.alone()
        self._had_neighbours = neighbours
        if self.teller.is_due(now) and not self._asking:
            self.ask_addrs(self._tell_peer)

    def ask_addrs(self, then: Callable[[], None] | None = None) -> None:
        """Learn from the transport where we can be dialled."""

        def answered(reply: Message) -> None:
            self._asking = False
            if isinstance(reply, transport.Identity):
                self.teller.moved(reply.addrs, reply.peer)
                if then is not None:
                    then()

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

    def providers(self, message: routing.SearchSource) -> tuple[routing.Provider, ...]:
        """Who announced the CID."""
        found = self.hints.holders(message.cid, self.ctx.now(), message.count)
        return tuple(routing.Provider(one.peer, one.addrs, routing.PUBSUB, (routing.BITSWAP,)) for one in found)
