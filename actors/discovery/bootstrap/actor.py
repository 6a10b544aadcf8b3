"""The bootstrap actor: gets the node into the network, and keeps it connected to the peers that it is to stay with.

Two tables, both pure: ``keeping`` for the peers that the user named, dialled again after every loss, and ``entering``
for the bootstrappers, dialled while there are too few connections, after peers that routing's book says were met
before.  Addresses with names in them go through ``names`` first.

It also remembers who was connected, so that when the transport dies and comes back with no connection at all, those who
can be dialled are dialled again: a transfer goes on where it was.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Final

from shoal.actors.base import Actor, Context, handles
from shoal.actors.discovery.bootstrap.entering import Entering
from shoal.actors.discovery.bootstrap.keeping import RECOVER_TRIES, Keeping
from shoal.actors.discovery.bootstrap.names import Naming, Question, Resolver, has_name
from shoal.messages import discovery, lifecycle, routing, transport
from shoal.messages.base import Message
from shoal.messages.envelope import Envelope
from shoal.messages.limits import KEPT_PEERS_MAX
from shoal.messages.replies import Done, Failed

LOOK_EVERY_S: Final = 0.25  # seconds between looks at who is due
KEEP_TAG: Final = "keep"  # the protection tag of kept peers
DIAL_TIMEOUT_S: Final = 180.0  # seconds; 64 addresses of 15 s each, eight at a time, take 120
ADDRS_REMEMBERED: Final = 8  # addresses of one connected peer, for dialling it again
NAMES_TIMEOUT_S: Final = 30.0  # seconds for the names of one peer's addresses: five levels of 5 s, and some queueing
SETTLE_S: Final = 0.5  # seconds before the first bootstrapper: after a restart, the transport first tells who is here
BOOK_EVERY_S: Final = 60.0  # seconds between looks into the book while there are too few connections
BOOK_ROWS: Final = 64  # peers of the book looked at, the best known first
BOOK_TIMEOUT_S: Final = 10.0
BOOTSTRAP_TTL_S: Final = 3600.0  # seconds that routing believes where a bootstrapper is, once it has been reached

KeptPeers = tuple[tuple[str, tuple[str, ...]], ...]
OnAddrs = Callable[[tuple[str, ...]], None]


class BootstrapActor(Actor):
    """Keeps connections to chosen peers, and some connections at all."""

    NAME: ClassVar[str] = "bootstrap"

    def __init__(
        self,
        ctx: Context,
        peers: KeptPeers = (),
        bootstrappers: KeptPeers = (),
        resolver: Resolver | None = None,
        by_book: bool = False,
    ) -> None:
        """``peers`` to stay connected to, ``bootstrappers`` to enter by: ids and multiaddrs without /p2p.

        Without a ``resolver``, addresses with names in them are given to the transport as they are.  ``by_book``:
        enter by peers of the book too.
        """
        super().__init__(ctx)
        self.keeping = Keeping(ctx.random)
        self.entering = Entering(ctx.random, bootstrappers, ctx.now() + SETTLE_S)
        self.configured = peers
        self.resolver = resolver
        self.by_book = by_book
        self.book_at = ctx.now() + SETTLE_S  # when to look into the book next, if there are too few connections
        self.resolving: dict[int, tuple[Naming, float, OnAddrs]] = {}  # number -> names, until when, who waits
        self.resolved = 0
        self.asked: set[Question] = set()  # of the resolver, and not yet answered
        self.unknown: set[str] = set()  # peers whose names the DNS did not know when last asked
        self.seen: OrderedDict[str, tuple[str, ...]] = OrderedDict()  # connected peers and where they can be dialled

    def on_start(self) -> None:
        for peer, addrs in self.configured:
            self.keeping.keep(peer, addrs, self.ctx.now())
            self.ctx.send(transport.Protect(peer, KEEP_TAG))
        self._look()

    def on_stop(self) -> None:
        if self.resolver is not None:
            self.resolver.stop()

    @handles(discovery.KeepPeer)
    def on_keep(self, message: discovery.KeepPeer, envelope: Envelope) -> None:
        if not self.keeping.keep(message.peer, message.addrs, self.ctx.now()):
            full = f"{KEPT_PEERS_MAX.value} peers are kept already; release one first"
            self.ctx.reply(envelope, Failed(envelope.kind, "BadInput", full))
            return
        if message.peer in self.seen:
            self.keeping.connected(message.peer, self.ctx.now())
        self.ctx.send(transport.Protect(message.peer, KEEP_TAG))
        self.ctx.reply(envelope, Done())

    @handles(discovery.ReleasePeer)
    def on_release(self, message: discovery.ReleasePeer, envelope: Envelope) -> None:
        if self.keeping.release(message.peer):
            self.ctx.send(transport.Protect(message.peer, KEEP_TAG, False))
        self.ctx.reply(envelope, Done())

    @handles(discovery.ListKept)
    def on_list(self, _: discovery.ListKept, envelope: Envelope) -> None:
        rows = [
            discovery.KeptPeer(peer, kept.addrs, kept.connected, kept.failures)
            for peer, kept in self.keeping.peers.items()
            if kept.tries_left < 0
        ]
        self.ctx.reply(envelope, discovery.KeptListed(tuple(rows)))

    @handles(transport.PeerConnected)
    def on_connected(self, message: transport.PeerConnected, _: Envelope) -> None:
        self._remember(message.peer, () if message.inbound else (message.addr,))
        self.keeping.connected(message.peer, self.ctx.now())

    @handles(transport.PeerIdentified)
    def on_identified(self, message: transport.PeerIdentified, _: Envelope) -> None:
        if message.peer in self.seen:
            self._remember(message.peer, message.listen_addrs)

    @handles(transport.PeerDisconnected)
    def on_disconnected(self, message: transport.PeerDisconnected, _: Envelope) -> None:
        self.seen.pop(message.peer, None)
        self.keeping.lost(message.peer, self.ctx.now())

    @handles(lifecycle.ActorRestarted)
    def on_actor_restarted(self, message: lifecycle.ActorRestarted, _: Envelope) -> None:
        if message.name != "transport":
            return
        now = self.ctx.now()
        self.keeping.forget_connections(now)
        self.entering.start_over(now)
        for peer, addrs in self.seen.items():
            if addrs:
                self.keeping.keep(peer, addrs, now, tries=RECOVER_TRIES)
        self.seen.clear()
        for peer, kept in self.keeping.peers.items():
            if kept.tries_left < 0:
                self.ctx.send(transport.Protect(peer, KEEP_TAG))
        self._dial_due()

    def _remember(self, peer: str, addrs: tuple[str, ...]) -> None:
        known = dict.fromkeys((*self.seen.get(peer, ()), *addrs))
        self.seen[peer] = tuple(known)[:ADDRS_REMEMBERED]

    def _look(self) -> None:
        if self.resolving:
            self._take_answers()
        self._dial_due()
        self.ctx.after(LOOK_EVERY_S, self._look)

    # --- dialling ----------------------------------------------------------------------------------

    def _dial_due(self) -> None:
        now = self.ctx.now()
        for peer, addrs in self.keeping.due(now):
            self._with_addrs(peer, addrs, partial(self._dial_kept, peer))
        wanted = self.ctx.policy.connections_wanted
        # A clock set back must not put the book off for longer than it would wait.
        if self.by_book and len(self.seen) < wanted and not now < self.book_at <= now + BOOK_EVERY_S:
            self.book_at = now + BOOK_EVERY_S
            self.ctx.request(routing.ListBook(BOOK_ROWS), self._booked, timeout_s=BOOK_TIMEOUT_S, deadline=math.inf)
        for peer, addrs in self.entering.due(now, len(self.seen), wanted, set(self.seen)):
            self._with_addrs(peer, addrs, partial(self._dial_bootstrapper, peer))

    def _booked(self, reply: Message) -> None:
        """Try those of the book that this node has had a connection with, and has none with now."""
        if isinstance(reply, routing.BookListed):
            met = (row for row in reply.rows if routing.CONNECTED in row.sources and row.peer not in self.seen)
            known = ((row.peer, tuple(entry.addr for entry in row.addrs)) for row in met)
            self.entering.met_before(tuple((peer, addrs) for peer, addrs in known if addrs), self.ctx.now())

    def _dial_kept(self, peer: str, addrs: tuple[str, ...]) -> None:
        def answered(reply: Message) -> None:
            if isinstance(reply, transport.Dialed):
                self.keeping.connected(peer, self.ctx.now())
            else:
                self.keeping.failed(peer, self.ctx.now())

        self.ctx.request(transport.Dial(peer, addrs), answered, timeout_s=DIAL_TIMEOUT_S, deadline=math.inf)

    def _dial_bootstrapper(self, peer: str, addrs: tuple[str, ...]) -> None:
        def answered(reply: Message) -> None:
            reached = isinstance(reply, transport.Dialed)
            self.entering.dialled(peer, reached, self.ctx.now())
            self.ctx.count("bootstrappers_reached" if reached else "bootstrappers_failed")
            if reached and addrs:
                seen = (routing.PeerAddrs(peer, addrs),)
                self.ctx.send(routing.PeersSeen(routing.BOOTSTRAP, seen, BOOTSTRAP_TTL_S))

        if not addrs:
            answered(Failed("Dial", "NotFound", "no address"))
            return
        self.ctx.request(transport.Dial(peer, addrs), answered, timeout_s=DIAL_TIMEOUT_S, deadline=math.inf)

    # --- names -------------------------------------------------------------------------------------

    def _with_addrs(self, peer: str, addrs: tuple[str, ...], then: OnAddrs) -> None:
        """Call ``then`` with ``addrs`` when their names are resolved, or given up."""
        if self.resolver is None or not has_name(addrs):
            then(addrs)
            return
        naming = Naming(peer, addrs)
        self.resolved += 1
        self.resolving[self.resolved] = (naming, self.ctx.now() + NAMES_TIMEOUT_S, then)
        self._ask(self.resolver, naming)

    def _ask(self, resolver: Resolver, naming: Naming) -> None:
        for question in naming.questions():
            if question not in self.asked:  # the answer is for all who wait for it
                self.asked.add(question)
                self.ctx.count("dns_questions")
                resolver.ask(question)

    def _take_answers(self) -> None:
        assert self.resolver is not None
        for answer in self.resolver.answered():
            self.asked.discard(answer.question)
            for naming, _, _ in self.resolving.values():
                naming.answer(answer)
                self._ask(self.resolver, naming)
        now = self.ctx.now()
        for number, (naming, until, then) in list(self.resolving.items()):
            if naming.over or not until - NAMES_TIMEOUT_S <= now < until:
                del self.resolving[number]
                self._note_faults(naming)
                then(naming.addrs)

    def _note_faults(self, naming: Naming) -> None:
        """Say what the DNS did not know: a name is asked again and again, and the log told once until it is known."""
        if not naming.faults:
            if naming.addrs:  # else nobody answered, which says nothing
                self.unknown.discard(naming.peer)
            return
        self.ctx.count("dns_faults", len(naming.faults))
        level = logging.DEBUG if naming.peer in self.unknown else logging.INFO
        self.ctx.log.log(level, "addresses of %s: %s", naming.peer, "; ".join(naming.faults))
        if len(self.unknown) < KEPT_PEERS_MAX.value:
            self.unknown.add(naming.peer)
