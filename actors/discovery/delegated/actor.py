"""The delegated actor: asks HTTP routing servers who has a CID and where a peer is, and tells routing as it comes.

Source: specs.ipfs.tech/routing/http-routing-v1.  Servers are those that the user named; what they answer is only
ever handed on as addresses of peers, never asked for.  Begin with ``on_search``; what an answer holds is read in
``records``, what a search still wants is ``search``, whom to ask is ``actors/web/standing``.

Killed and started again it knows nothing of its servers and has no searches: routing hears that those ended.
"""

from __future__ import annotations

from typing import ClassVar, Final

from shoal.actors.base import Actor, Context, handles
from shoal.actors.discovery.delegated.asking import Asking
from shoal.actors.discovery.delegated.records import ACCEPT, PeerRecord
from shoal.actors.discovery.delegated.search import Search
from shoal.actors.discovery.peerids import key_cid_of
from shoal.actors.web.client import Get, HttpClient
from shoal.actors.web.standing import Server, Servers
from shoal.messages import lifecycle, routing
from shoal.messages.envelope import Envelope
from shoal.messages.errors import RemoteError
from shoal.messages.limits import (
    DELEGATED_BODY_BYTES,
    DELEGATED_REQUESTS_PER_SERVER,
    DELEGATED_SEARCHES_MAX,
    HTTP_FAULT_CHARS_MAX,
)
from shoal.messages.replies import Failed

SEARCH_S: Final = 30.0  # seconds of one search, however late its deadline: what boxo's server gives one
LATE_S: Final = 0.05  # seconds before a deadline from which on no server is asked: none answers as fast
# Only peers that bitswap can use, as far as the server knows, and addresses that this node can dial (IPIP-484).
PROVIDERS_QUERY: Final = "?filter-protocols=unknown,transport-bitswap&filter-addrs=unknown,tcp,quic-v1"
PEERS_QUERY: Final = "?filter-addrs=unknown,tcp,quic-v1"
OFF: Final = "this role does not ask delegated routers"


class DelegatedActor(Actor):
    """Searches by HTTP."""

    NAME: ClassVar[str] = "delegated"

    def __init__(self, ctx: Context, http: HttpClient, urls: tuple[str, ...]) -> None:
        """``urls``: of servers."""
        super().__init__(ctx)
        self.http = http
        self.servers = Servers(
            (url.removesuffix("/routing/v1") for url in urls), ctx.random, DELEGATED_REQUESTS_PER_SERVER.value
        )
        self.searches: dict[Search, None] = {}  # in the order in which they came

    # --- what routing says ---------------------------------------------------------------------------

    @handles(routing.SearchSource)
    def on_search(self, message: routing.SearchSource, envelope: Envelope) -> None:
        self._stop(message.ticket)
        deadline = min(envelope.deadline, self.ctx.now() + SEARCH_S)
        self._begin(Search(envelope, deadline, message.cid, count=message.count, ticket=message.ticket))

    @handles(routing.SearchPeer)
    def on_search_peer(self, message: routing.SearchPeer, envelope: Envelope) -> None:
        search = Search(envelope, min(envelope.deadline, self.ctx.now() + SEARCH_S), peer=message.peer)
        try:
            key_cid_of(message.peer)
        except RemoteError as fault:
            self._answer(search, str(fault))
        else:
            self._begin(search)

    @handles(routing.StopSource)
    def on_stop_source(self, message: routing.StopSource, _: Envelope) -> None:
        self._stop(message.ticket)

    @handles(lifecycle.ActorRestarted)
    def on_actor_restarted(self, message: lifecycle.ActorRestarted, _: Envelope) -> None:
        """A new routing has forgotten what the old one asked."""
        if message.name == "routing":
            for search in list(self.searches):
                self._forget(search)

    @handles(lifecycle.PolicyChanged)
    def on_policy_changed(self, message: lifecycle.PolicyChanged, _: Envelope) -> None:
        if not message.policy.find_by_delegated:
            for search in list(self.searches):
                self._end(search, OFF)

    # --- a search --------------------------------------------------------------------------------------

    def _begin(self, search: Search) -> None:
        if not self.ctx.policy.find_by_delegated:
            self._answer(search, OFF)
        elif len(self.searches) >= DELEGATED_SEARCHES_MAX.value:
            self.ctx.count("searches_refused")
            self._answer(search, f"{DELEGATED_SEARCHES_MAX.value} searches are under way")
        else:
            self.searches[search] = None
            self.ctx.count("searches")
            search.timer = self.ctx.after(max(0.0, search.deadline - self.ctx.now()), lambda: self._late(search))
            self._advance(search)

    def _advance(self, search: Search) -> None:
        """Ask whom there is to ask; end what is over."""
        now = self.ctx.now()
        if search.deadline - now > LATE_S:
            for server in search.next_of(self.servers.ready(now)):
                self._ask(search, server)
        if search.over(self.servers.awake(now)):
            self._end(search, search.outcome() if search.asked else self._nobody(now))

    def _nobody(self, now: float) -> str:
        return f"no server can be asked: {self.servers.explain(now)}"

    def _late(self, search: Search) -> None:
        if search in self.searches:
            self._end(search, search.outcome() or ("" if search.told else "nothing came in time"))

    def _stop(self, ticket: int) -> None:
        for search in list(self.searches):
            if search.cid is not None and search.ticket == ticket:
                self._forget(search)
        self._advance_all()

    def _end(self, search: Search, outcome: str) -> None:
        self._forget(search)
        self._answer(search, outcome)

    def _answer(self, search: Search, outcome: str) -> None:
        outcome = outcome[: HTTP_FAULT_CHARS_MAX.value]
        if search.cid is not None:
            self.ctx.reply(search.envelope, routing.SourceEnded(outcome, search.requests))
        elif (found := search.found()) is not None:
            self.ctx.reply(search.envelope, found)
        else:
            reason = outcome or "no delegated router knows this peer's addresses"
            self.ctx.reply(search.envelope, Failed("SearchPeer", "NotFound", reason))

    def _forget(self, search: Search) -> None:
        """End it without a word.  Its requests are cancelled."""
        self.searches.pop(search, None)
        if search.timer is not None:
            search.timer.cancel()
        for request in search.open.values():
            request.settle()
        search.open.clear()

    def _advance_all(self) -> None:
        """A server has become free, or rests: who waits may ask, or ask another, or has nobody to ask."""
        for search in list(self.searches):
            if search in self.searches:
                self._advance(search)

    # --- a request ---------------------------------------------------------------------------------------

    def _ask(self, search: Search, server: Server) -> None:
        if search.cid is not None:
            path = f"/routing/v1/providers/{search.cid.as_v1()}{PROVIDERS_QUERY}"
        else:
            path = f"/routing/v1/peers/{key_cid_of(search.peer)}{PEERS_QUERY}"
        left_s = search.deadline - self.ctx.now() + LATE_S  # it is we who end what is late
        # A server may be silent all the time: it searches, and has nothing to say.
        get = Get(server.url + path, ACCEPT, DELEGATED_BODY_BYTES.value, left_s, left_s)
        search.asked.add(server.url)
        search.requests += 1
        self.servers.asked(server)
        self.ctx.count("requests")
        search.open[server.url] = Asking(self, search, server, get)

    def came(self, search: Search, records: list[PeerRecord]) -> None:
        """Some records of an answer."""
        fresh = search.take(records)
        if fresh:
            self.ctx.count("providers", len(fresh))
            self.ctx.reply(search.envelope, routing.SourceFound(fresh))
        if search.satisfied:
            self._end(search, "")

    def done(self, search: Search, server: Server) -> None:
        """A request has ended, and ``server`` stands as it deserves."""
        search.open.pop(server.url, None)
        self._advance_all()
