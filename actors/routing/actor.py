"""The routing actor: who has this CID, where is this peer.

It asks the sources (pubsub, delegated, dht: an actor each) as ``search`` decides, tells every asker what comes, best
first (``ranking``), and keeps the peer book (``book``, ``library``), into which flows whatever anybody sees of peers.

Others may die at any time.  A source: its part of each search ends.  An asker: its searches end, and the new one asks
again.  The transport: nobody is connected.  This actor: askers hear Unavailable and ask again, sources end by their
deadlines, and only what was learnt since the book was last saved is lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import ClassVar, Final

from shoal.actors.base import Actor, Context, Timer, handles
from shoal.actors.routing import peers
from shoal.actors.routing.book import PeerBook
from shoal.actors.routing.hygiene import clean_addrs, clean_provider, is_peer_id, is_relayed
from shoal.actors.routing.legs import Action, End, Key, Start, Stop, Tell
from shoal.actors.routing.library import Library
from shoal.actors.routing.ranking import ranked
from shoal.actors.routing.recall import Recall
from shoal.actors.routing.records import COSTS, Records
from shoal.actors.routing.rows import Facts
from shoal.actors.routing.search import Searches
from shoal.actors.transport.dialing import is_dialable
from shoal.messages import lifecycle, routing, transport
from shoal.messages.base import Message
from shoal.messages.envelope import PEER_PREFIX, Envelope
from shoal.messages.limits import PROVIDER_ADDRS_MAX
from shoal.messages.policy import Policy
from shoal.messages.replies import Failed, Overloaded, Refused
from shoal.storage.peerbook.store import PeerStore

FOUND_TTL_S: Final = 1800.0  # seconds that the addresses of a found provider are believed; kad-dht clients keep as long
ANSWER_S: Final = 0.1  # seconds before an asker's deadline at which its search ends
FAILED_S: Final = 600.0  # seconds after a peer failed for which the book's word on where it is does not do
SHUNNED_S: Final = 30.0  # seconds after a peer failed for which actors are not told of it; they would not dial it
TICKET_BITS: Final = 48  # of the first ticket given to a source: two lives of this actor do not meet
ASKERS: Final = ("bitswap", "bootstrap")  # actors that ask; the edge's requests end by their deadlines
SWITCHES: Final[dict[str, Callable[[Policy], bool]]] = {
    routing.PUBSUB: lambda policy: policy.find_by_pubsub,
    routing.DELEGATED: lambda policy: policy.find_by_delegated,
    routing.DHT: lambda policy: policy.find_by_dht,
}


class RoutingActor(Actor):
    """Searches, and the peer book."""

    NAME: ClassVar[str] = "routing"

    def __init__(
        self, ctx: Context, me: str, sources: Iterable[str] = tuple(COSTS), store: PeerStore | None = None
    ) -> None:
        """``me``: this node's peer id.  ``sources``: the actors among COSTS that this node has."""
        super().__init__(ctx)
        self.me = me
        self.sources = tuple(name for name in COSTS if name in set(sources))
        self.book = PeerBook(me)
        self.library = Library(ctx, self.book, store)
        self.records = Records()
        first_ticket = ctx.random.getrandbits(TICKET_BITS)
        self.searches = Searches(self.records, Recall(), self._rank, self._remembered, self._has_failed, first_ticket)
        self.peer_searches = peers.PeerSearches()
        self._asked: dict[Key, Envelope] = {}
        self._timer: Timer | None = None
        self._timer_at = math.inf

    def on_start(self) -> None:
        self.library.open()

    def on_stop(self) -> None:
        self.library.close()

    def _enabled(self) -> tuple[str, ...]:
        return tuple(name for name in self.sources if SWITCHES[name](self.ctx.policy))

    # --- who has it --------------------------------------------------------------------------------------

    @handles(routing.FindProviders)
    def on_find(self, message: routing.FindProviders, envelope: Envelope) -> None:
        if self.searches.full:
            self.ctx.count("searches_refused")
            self.ctx.reply(envelope, Overloaded(envelope.kind, self.NAME))
            return
        key = (envelope.sender, message.ticket)
        now = self.ctx.now()
        self._carry_out(self.searches.stop(key, now))
        # What the user asks is looked for, whatever was not there a moment ago.
        fresh = envelope.sender not in ASKERS
        # A little early, so that the asker has the end and its reports before its request runs out.
        deadline = max(envelope.deadline - ANSWER_S, min(envelope.deadline, now + ANSWER_S))
        self._asked[key] = envelope  # first: the search may end within ``ask``
        self._carry_out(self.searches.ask(key, message.cid, message.count, deadline, now, self._enabled(), fresh=fresh))

    @handles(routing.StopSearch)
    def on_stop_search(self, message: routing.StopSearch, envelope: Envelope) -> None:
        key = (envelope.sender, message.ticket)
        self._asked.pop(key, None)
        self._carry_out(self.searches.stop(key, self.ctx.now()))

    def _carry_out(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, Tell):
                if (asked := self._asked.get(action.key)) is not None:
                    self.ctx.reply(asked, routing.ProvidersFound(action.cid, action.providers))
            elif isinstance(action, End):
                if (asked := self._asked.pop(action.key, None)) is not None:
                    self.ctx.reply(asked, routing.SearchEnded(action.cid, action.reports))
            elif isinstance(action, Start):
                self._ask_source(action)
            elif isinstance(action, Stop):
                self.ctx.send(routing.StopSource(action.ticket), to=action.source, deadline=math.inf)
        self.ctx.gauge("searches", len(self.searches.open))
        self._wake_later()

    def _ask_source(self, start: Start) -> None:
        ticket, source = start.ticket, start.source

        def answered(reply: Message) -> None:
            now = self.ctx.now()
            if isinstance(reply, routing.SourceFound):
                self._carry_out(self.searches.found(ticket, self._clean(reply.providers, source), now))
            elif isinstance(reply, routing.SourceEnded):
                self._carry_out(self.searches.ended(ticket, reply.outcome, now))
            else:
                late = isinstance(reply, Failed) and reply.error == "DeadlineExceeded"
                why = "out of time" if late else reason_of(reply)
                self._carry_out(self.searches.ended(ticket, why, now, late=late, broken=not late))

        message = routing.SearchSource(start.cid, ticket, start.count)
        self.ctx.request(message, answered, to=source, deadline=start.deadline)

    def _clean(self, providers: Iterable[routing.Provider], source: str) -> list[routing.Provider]:
        """What may be told on, with the addresses that this node knew already; the new ones go into the book."""
        now = self.ctx.now()
        kept = []
        for provider in providers:
            clean = clean_provider(provider, source)
            if clean is None:
                self.ctx.count("providers_refused")
            elif clean.peer != self.me:
                self.book.seen(clean.source, (routing.PeerAddrs(clean.peer, clean.addrs),), FOUND_TTL_S, now)
                kept.append(self._with_addrs(clean, now))
        return kept

    def _with_addrs(self, provider: routing.Provider, now: float) -> routing.Provider:
        merged = dict.fromkeys((*self.book.addrs(provider.peer, now), *provider.addrs))
        best = sorted(merged, key=is_relayed)[: PROVIDER_ADDRS_MAX.value]
        return routing.Provider(provider.peer, tuple(best), provider.source, provider.protocols)

    def _rank(self, providers: list[routing.Provider]) -> list[routing.Provider]:
        now = self.ctx.now()
        return ranked(providers, lambda provider: self._facts(provider, now))

    def _facts(self, provider: routing.Provider, now: float) -> Facts:
        load = self.searches.load[provider.peer]
        facts = self.book.facts(provider.peer, now, load)
        direct = facts.direct or any(map(is_dialable, provider.addrs))
        relayed = facts.relayed or any(map(is_relayed, provider.addrs))
        return Facts(facts.connected, facts.rtt_s, facts.good, facts.bad, facts.kind, direct, relayed, facts.load)

    def _remembered(self, peer: str, at: float) -> routing.Provider | None:
        """A provider of a moment ago, unless it has disappointed since or nobody knows where it is."""
        now = self.ctx.now()
        addrs = self.book.addrs(peer, now)
        if self.book.failed_since(peer, at) or not (addrs or self.book.facts(peer, now).connected):
            return None
        return routing.Provider(peer, addrs[: PROVIDER_ADDRS_MAX.value], routing.BOOK)

    def _has_failed(self, provider: routing.Provider) -> bool:
        return self.book.failed_since(provider.peer, self.ctx.now() - SHUNNED_S)

    # --- where is it -------------------------------------------------------------------------------------

    @handles(routing.FindPeer)
    def on_find_peer(self, message: routing.FindPeer, envelope: Envelope) -> None:
        peer, now = message.peer, self.ctx.now()
        if not is_peer_id(peer):
            self.ctx.reply(envelope, Failed(envelope.kind, "BadInput", f"{peer[:80]!r} is no peer id"))
            return
        known = self.book.addrs(peer, now)
        if known and not self.book.failed_since(peer, now - FAILED_S):
            self.ctx.reply(envelope, routing.PeerFound(peer, known[: PROVIDER_ADDRS_MAX.value], routing.BOOK))
            return
        asked = self.peer_searches.ask(peer, envelope, self._enabled())
        if asked is None:
            self.ctx.reply(envelope, Overloaded(envelope.kind, self.NAME))
            return
        search, new = asked
        if new:
            for source in sorted(search.waiting):
                self._ask_for_peer(peer, search, source)
            if not search.waiting:  # there is nobody to ask
                self._nobody_knows(peer, search, self.peer_searches.found(peer, search))

    def _ask_for_peer(self, peer: str, search: peers.PeerSearch, source: str) -> None:
        def answered(reply: Message) -> None:
            if isinstance(reply, routing.PeerFound):
                addrs, _ = clean_addrs(reply.addrs, PROVIDER_ADDRS_MAX.value)
                if addrs and reply.peer == peer:
                    self._peer_found(peer, search, addrs, reply.source or source)
                    return
                reply = Failed("SearchPeer", "NotFound", "no address that can be used")
            askers = self.peer_searches.unknown(peer, search, source, reason_of(reply))
            self._nobody_knows(peer, search, askers)

        deadline = self.ctx.now() + peers.PEER_SEARCH_S
        self.ctx.request(routing.SearchPeer(peer), answered, to=source, deadline=deadline)

    def _peer_found(self, peer: str, search: peers.PeerSearch, addrs: tuple[str, ...], source: str) -> None:
        now = self.ctx.now()
        self.book.seen(source, (routing.PeerAddrs(peer, addrs),), FOUND_TTL_S, now)
        merged = tuple(dict.fromkeys((*addrs, *self.book.addrs(peer, now))))[: PROVIDER_ADDRS_MAX.value]
        for envelope in self.peer_searches.found(peer, search):
            self.ctx.reply(envelope, routing.PeerFound(peer, merged, source))

    def _nobody_knows(self, peer: str, search: peers.PeerSearch, askers: list[Envelope]) -> None:
        """The last source has said no: what the book has, though it failed lately, is better than nothing."""
        known = self.book.addrs(peer, self.ctx.now())
        for envelope in askers:
            if known:
                answer: Message = routing.PeerFound(peer, known[: PROVIDER_ADDRS_MAX.value], routing.BOOK)
            else:
                answer = Failed(envelope.kind, "NotFound", f"nobody knows where {peer} is: {peers.explain(search)}")
            self.ctx.reply(envelope, answer)

    # --- what is seen of peers ---------------------------------------------------------------------------

    @handles(routing.PeersSeen)
    def on_seen(self, message: routing.PeersSeen, envelope: Envelope) -> None:
        teller = envelope.origin.removeprefix(PEER_PREFIX) if envelope.origin.startswith(PEER_PREFIX) else ""
        before = self.book.refused
        self.book.seen(message.source, message.peers, message.ttl_s, self.ctx.now(), teller)
        if self.book.refused > before:
            self.ctx.count("book_refused", self.book.refused - before)

    @handles(routing.PeerOutcome)
    def on_outcome(self, message: routing.PeerOutcome, _: Envelope) -> None:
        self.book.outcome(message.peer, message.blocks, message.failures, message.rtt_s, self.ctx.now())

    @handles(transport.PeerConnected)
    def on_connected(self, message: transport.PeerConnected, _: Envelope) -> None:
        self.book.connected(message.peer, "" if message.inbound else message.addr, self.ctx.now())

    @handles(transport.PeerDisconnected)
    def on_disconnected(self, message: transport.PeerDisconnected, _: Envelope) -> None:
        self.book.disconnected(message.peer, self.ctx.now())

    @handles(transport.PeerIdentified)
    def on_identified(self, message: transport.PeerIdentified, _: Envelope) -> None:
        self.book.identified(message.peer, message.protocols, message.listen_addrs, self.ctx.now())

    # --- others come back --------------------------------------------------------------------------------

    @handles(lifecycle.ActorRestarted)
    def on_actor_restarted(self, message: lifecycle.ActorRestarted, _: Envelope) -> None:
        if message.name == "transport":
            self.book.all_disconnected(self.ctx.now())
        elif message.name in ASKERS:
            for key in [key for key in self._asked if key[0] == message.name]:
                del self._asked[key]
            self._carry_out(self.searches.forget_asker(message.name, self.ctx.now()))

    # --- for people --------------------------------------------------------------------------------------

    @handles(routing.ListBook)
    def on_list(self, message: routing.ListBook, envelope: Envelope) -> None:
        self.ctx.reply(envelope, self.library.listing(message.limit, message.peer))

    @handles(routing.RoutingStat)
    def on_stat(self, _: routing.RoutingStat, envelope: Envelope) -> None:
        searches = self.searches
        for name in self.sources:
            self.records.of(name)
        self.ctx.reply(
            envelope,
            routing.RoutingStats(
                searches.total, len(searches.open), searches.shared, searches.spared, self.records.stats()
            ),
        )

    # --- time --------------------------------------------------------------------------------------------

    def _wake_later(self) -> None:
        wait = self.searches.wake_in(self.ctx.now())
        at = math.inf if wait is None else self.ctx.now() + wait
        if self._timer is not None:
            if self._timer_at <= at < math.inf:
                return
            self._timer.cancel()
            self._timer = None
        if wait is not None:
            self._timer_at = at
            self._timer = self.ctx.after(wait, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        self._carry_out(self.searches.tick(self.ctx.now()))


def reason_of(reply: Message) -> str:
    """Why a request came to nothing, in a few words."""
    if isinstance(reply, Failed | Refused):
        return reply.reason
    if isinstance(reply, Overloaded):
        return f"{reply.receiver} is overloaded"
    return f"answered {type(reply).__name__}"
