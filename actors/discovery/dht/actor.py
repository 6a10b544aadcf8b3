"""The DHT actor: the public DHT and the LAN's, as server or client, in one.

It knows peers by what the transport tells, asks them through ``calls``, answers theirs through ``serving``, and does
what others want of it in ``questions`` and ``providing``.  Each of the two DHTs is a ``Kad``.  Only the records outlive
the actor; a new one fills its tables again from who is connected.

It serves only while policy lets it and others can reach it; a client asks to be told who is connected and serves
nothing.  Restarts: with a new transport all streams and peers are gone, and are told anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import ClassVar, Final

from shoal.actors.base import Actor, Context, handles
from shoal.actors.discovery.dht import wire
from shoal.actors.discovery.dht.calls import Calls
from shoal.actors.discovery.dht.kad import CLIENT, OFF, SERVER, Kad
from shoal.actors.discovery.dht.keys import key_sharing, peer_bytes
from shoal.actors.discovery.dht.peers import Peers
from shoal.actors.discovery.dht.providing import Providing
from shoal.actors.discovery.dht.questions import Questions
from shoal.actors.discovery.dht.records import MemoryRecords, Records
from shoal.actors.discovery.dht.searching import Question, Search, Searches
from shoal.actors.discovery.dht.serving import Serving
from shoal.actors.discovery.dht.table import K
from shoal.actors.discovery.dht.values import Validators
from shoal.messages import dht, lifecycle, routing, transport
from shoal.messages.base import Message
from shoal.messages.envelope import Envelope
from shoal.messages.errors import LocalError, RemoteError
from shoal.messages.limits import DHT_MESSAGE_MAX
from shoal.messages.replies import Done, Failed
from shoal.messages.routing import PeerAddrs

RETRY_S: Final = 1.0  # seconds before the transport is asked again for what it could not do
TEND_S: Final = 1.0  # seconds between commits of what a server keeps for others: a crash loses so much
UPKEEP_S: Final = 60.0  # seconds between looks at addresses, silent peers and old records
JOIN_WAIT_S: Final = 1.0  # seconds from a first peer to the walk to our own id: others may come meanwhile
JOIN_AGAIN_S: Final = 30.0  # seconds between such walks while the table is small and grows
SEEN_TTL_S: Final = 1800.0  # seconds that what a search found of peers is believed (go-libp2p peerstore)
WALK_TARGETS_MAX: Final = 64  # keys in one answer


class DhtActor(Actor):
    """Both DHTs.  ``records(lan)`` opens a store; ``validators`` know the namespaces of values."""

    NAME: ClassVar[str] = "dht"

    def __init__(
        self,
        ctx: Context,
        records: Callable[[bool], Records] = lambda _lan: MemoryRecords(),
        validators: Validators | None = None,
    ) -> None:
        super().__init__(ctx)
        self.open_records = records
        self.validators = validators or Validators({})
        self.peers = Peers()
        self.calls = Calls(ctx, self._fault)
        self.searches = Searches(ctx)
        self.listen: tuple[str, ...] = ()
        self.serves: tuple[str, ...] | None = None  # what the transport was last told; None: nothing yet
        self.kads: tuple[Kad, ...] = ()  # none until the transport has told who we are
        self._joining: set[bool] = set()
        self._joined: dict[bool, float] = {}

    def on_start(self) -> None:
        self._ask_who_we_are()
        self.ctx.after(UPKEEP_S, self._upkeep)
        self.ctx.after(TEND_S, self._tend_records)

    def on_stop(self) -> None:
        for kad in self.kads:
            kad.records.close()

    # --- who we are, and what we serve -------------------------------------------------------------------

    def _ask_who_we_are(self) -> None:
        def answered(reply: Message) -> None:
            if isinstance(reply, transport.Identity):
                self._we_are(reply)
            else:
                self.ctx.after(RETRY_S, self._ask_who_we_are)

        self.ctx.request(transport.WhoAmI(), answered, deadline=math.inf)

    def _we_are(self, identity: transport.Identity) -> None:
        if not self.kads:
            self._begin(identity.peer)
        self.listen = tuple(addr.removesuffix(f"/p2p/{identity.peer}") for addr in identity.addrs)
        self._reconsider()

    def _begin(self, me: str) -> None:
        self.kads = tuple(
            Kad(self.ctx, self.calls, self.peers, self._records(lan), self.validators, me, self._table_grew, lan=lan)
            for lan in (False, True)
        )
        self.serving = Serving(self.ctx, {kad.protocol: kad.server for kad in self.kads})
        self.questions = Questions(self.ctx, self.searches, self.kads, self.validators, self._saw)
        self.providing = Providing(self.ctx, self.searches, self.kads)

    def _records(self, lan: bool) -> Records:
        """What this DHT keeps for others.  A disk that fails costs what was kept, not the DHT."""
        try:
            return self.open_records(lan)
        except LocalError as fault:
            self.ctx.log.warning("what the DHT keeps for others is in memory alone: %s", fault)
            return MemoryRecords()

    def _tend_records(self) -> None:
        for kad in self.kads:
            if kad.mode == SERVER:
                kad.records.maintain(self.ctx.wall())
        self.ctx.after(TEND_S, self._tend_records)

    def _reconsider(self) -> None:
        """The mode of each DHT, by policy and addresses; the transport hears what has changed."""
        policy = self.ctx.policy
        for kad in self.kads:
            kad.reachable_at(self.listen)
            if not policy.find_by_dht:
                kad.mode = OFF
            else:
                kad.mode = SERVER if policy.serve_dht and kad.own_addrs else CLIENT
        serves = tuple(kad.protocol for kad in self.kads if kad.mode == SERVER)
        if self.kads and serves != self.serves:
            self.serves = serves
            self._serve()

    def _serve(self) -> None:
        """Say what we serve; a client says so too, since whoever says it is told who is connected."""

        def answered(reply: Message) -> None:
            if not isinstance(reply, Done):
                self.ctx.after(RETRY_S, self._serve)

        message = transport.ServeProtocol(self.serves or (), DHT_MESSAGE_MAX.value)
        self.ctx.request(message, answered, deadline=math.inf)
        self._begin_anew()

    def _begin_anew(self) -> None:
        """All our streams are gone; who is connected will be told."""
        self.peers.clear()
        self.calls.begin_anew()
        self.serving.begin_anew()

    # --- peers ---------------------------------------------------------------------------------------------

    @handles(transport.PeerConnected)
    def on_connected(self, message: transport.PeerConnected, _: Envelope) -> None:
        self.calls.connected.add(message.peer)
        self.peers.connected(message.peer, message.addr, message.inbound)

    @handles(transport.PeerDisconnected)
    def on_disconnected(self, message: transport.PeerDisconnected, _: Envelope) -> None:
        self.peers.disconnected(message.peer)
        self.calls.disconnected(message.peer)

    @handles(transport.PeerIdentified)
    def on_identified(self, message: transport.PeerIdentified, _: Envelope) -> None:
        ours = (wire.PUBLIC_PROTOCOL, wire.LAN_PROTOCOL)
        row = self.peers.identified(message.peer, message.protocols, message.listen_addrs, ours)
        if row is None:
            return
        for kad in self.kads:
            if kad.mode != OFF:
                kad.reachable_at(self.listen)
                kad.identified(row)

    def _table_grew(self, kad: Kad) -> None:
        """Walk to our own id when the first peers are there, and again while the table is small and grows."""
        self.ctx.gauge("lan_table" if kad.lan else "public_table", len(kad.table))
        if kad.lan in self._joining or len(kad.table) > K:
            return
        self._joining.add(kad.lan)
        since = self.ctx.now() - self._joined.get(kad.lan, -math.inf)
        self.ctx.after(max(JOIN_WAIT_S, JOIN_AGAIN_S - since), lambda: self._join(kad))

    def _join(self, kad: Kad) -> None:
        def ended(search: Search) -> None:
            self._saw(kad, [PeerAddrs(step.peer, step.addrs) for step in search.nearest()])

        self._joining.discard(kad.lan)
        self._joined[kad.lan] = self.ctx.now()
        if kad.mode != OFF:
            self.searches.start(kad, Question(wire.Kind.FIND_NODE, peer_bytes(kad.me)), on_end=ended)

    def _saw(self, kad: Kad, peers: Iterable[PeerAddrs]) -> None:
        """Servers that answered, for the peer book."""
        known = tuple(peer for peer in peers if peer.addrs)
        if known:
            self.ctx.send(routing.PeersSeen(kad.source, known, SEEN_TTL_S), deadline=math.inf)

    def _upkeep(self) -> None:
        self.ctx.after(UPKEEP_S, self._upkeep)
        if self.kads:
            self._ask_who_we_are()
        for kad in self.kads:
            if kad.mode != OFF:
                kad.upkeep()

    # --- frames --------------------------------------------------------------------------------------------

    @handles(transport.FrameReceived)
    def on_frame(self, message: transport.FrameReceived, _: Envelope) -> None:
        if self.kads and not self.calls.frame(message.stream, message.data.data):
            willing = self.serves is not None and message.protocol in self.serves
            self.serving.frame(message, willing=willing)
        else:
            self.ctx.send(transport.FrameTaken(message.stream, len(message.data.data)), deadline=math.inf)

    @handles(transport.FrameSent)
    def on_frame_sent(self, message: transport.FrameSent, _: Envelope) -> None:
        if self.kads and not self.calls.frame_sent(message.stream, message.size):
            self.serving.frame_sent(message.stream, message.size)

    @handles(transport.StreamClosed)
    def on_stream_closed(self, message: transport.StreamClosed, _: Envelope) -> None:
        if self.kads and not self.calls.stream_closed(message.stream, message.reason):
            self.serving.stream_closed(message.stream)

    def _fault(self, peer: str, stream: int, fault: RemoteError) -> None:
        self.ctx.count("remote_faults")
        self.ctx.send(transport.RemoteFault(peer, stream, fault.code, str(fault)), deadline=math.inf)

    # --- asked by others -----------------------------------------------------------------------------------

    @handles(routing.SearchSource)
    def on_search_source(self, message: routing.SearchSource, envelope: Envelope) -> None:
        if self._takes_part(envelope):
            self.questions.providers(message, envelope)

    @handles(routing.StopSource)
    def on_stop_source(self, message: routing.StopSource, envelope: Envelope) -> None:
        if self.kads:
            self.questions.stop(envelope.sender, message.ticket)

    @handles(routing.SearchPeer)
    def on_search_peer(self, message: routing.SearchPeer, envelope: Envelope) -> None:
        if self._takes_part(envelope):
            self.questions.peer(message, envelope)

    @handles(dht.ClosestPeers)
    def on_closest(self, message: dht.ClosestPeers, envelope: Envelope) -> None:
        if self._takes_part(envelope):
            self.questions.closest(message, envelope)

    @handles(dht.GetValue)
    def on_get_value(self, message: dht.GetValue, envelope: Envelope) -> None:
        if self._takes_part(envelope):
            self.questions.value(message, envelope)

    @handles(dht.PutValue)
    def on_put_value(self, message: dht.PutValue, envelope: Envelope) -> None:
        if self._takes_part(envelope):
            self.questions.put(message, envelope)

    @handles(dht.ProvideCids)
    def on_provide(self, message: dht.ProvideCids, envelope: Envelope) -> None:
        if self._takes_part(envelope):
            self.providing.provide(message, envelope)

    def _takes_part(self, envelope: Envelope) -> bool:
        """Whether this node uses a DHT at all; whoever asks is told if not."""
        reason = ""
        if not self.ctx.policy.find_by_dht:
            reason = f"a {self.ctx.policy.role} with policy.find_by_dht off does not use the DHT"
        elif not self.kads:
            reason = "the transport is starting; try again"
        if reason:
            self.ctx.reply(envelope, Failed(envelope.kind, "Unavailable", reason))
        return not reason

    @handles(dht.WalkTargets)
    def on_walk_targets(self, message: dht.WalkTargets, envelope: Envelope) -> None:
        """Keys for the buckets that are due: our own id first, the farthest buckets next."""
        targets: list[dht.WalkTarget] = []
        now, most = self.ctx.now(), min(message.most, WALK_TARGETS_MAX)
        for kad in self.kads:
            if kad.mode == OFF or not len(kad.table):
                continue
            if now - kad.table.refreshed_self >= message.stale_s:
                targets.insert(0, dht.WalkTarget(peer_bytes(kad.me), kad.lan, 256))
            for prefix in kad.table.due(now, message.stale_s):
                key = key_sharing(kad.table.at, prefix, self.ctx.random) if len(targets) < most else None
                if key is not None:
                    targets.append(dht.WalkTarget(key, kad.lan, prefix))
        self.ctx.reply(envelope, dht.WalkTargetsFound(tuple(targets[:most])))

    @handles(dht.DhtStat)
    def on_stat(self, _: dht.DhtStat, envelope: Envelope) -> None:
        self.ctx.reply(envelope, dht.DhtStats(tuple(self._row(kad) for kad in self.kads)))

    def _row(self, kad: Kad) -> dht.TableRow:
        now = self.ctx.now()
        buckets = tuple(
            dht.BucketRow(prefix, tuple(bucket.rows), now - bucket.refreshed)
            for prefix, bucket in sorted(kad.table.buckets.items())
            if bucket.rows
        )
        providers, values = kad.records.counts()
        return dht.TableRow(
            lan=kad.lan,
            mode=kad.mode,
            peers=len(kad.table),
            buckets=buckets,
            queries=kad.queries,
            answered=kad.answered,
            served=sum(kad.server.served[kind.name] for kind in wire.Kind),
            provider_records=providers,
            values=values,
            lookups=kad.lookups,
        )

    # --- others come back, policy changes ----------------------------------------------------------------

    @handles(lifecycle.ActorRestarted)
    def on_actor_restarted(self, message: lifecycle.ActorRestarted, _: Envelope) -> None:
        if message.name == "transport" and self.kads:
            self._serve()
            self._ask_who_we_are()
        elif message.name == "routing" and self.kads:
            self.questions.stop_of(message.name)
        elif message.name == "announce" and self.kads:
            self.providing.stop_of(message.name)

    @handles(lifecycle.PolicyChanged)
    def on_policy_changed(self, _: lifecycle.PolicyChanged, __: Envelope) -> None:
        if self.kads:
            if not self.ctx.policy.find_by_dht:
                self.searches.stop_all()
            self._ask_who_we_are()
