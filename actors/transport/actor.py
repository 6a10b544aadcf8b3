"""The transport actor: stands on a Network, answers for connections, streams and dials, and publishes their events.

Begin with ``network.py`` for the two interfaces between which this sits.  Decisions are in the pure cores beside it
(``dialing``, ``connections``, ``addresses``); bytes are the Network's.  Handlers run on the actor's own thread,
as do the Network's events, so there is one writer of all state here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Final

from shoal.actors.base import Actor, Context, Timer, handles
from shoal.actors.transport.addresses import AddressBook
from shoal.actors.transport.connections import ConnectionTable, PeerRow
from shoal.actors.transport.dialing import STAGGER_S, BackOff, Dialing
from shoal.actors.transport.framed import FramedStreams
from shoal.actors.transport.network import Connection, Network, PeerFacts
from shoal.messages import lifecycle, transport
from shoal.messages.envelope import USER, Envelope
from shoal.messages.limits import DIALS_MAX, PROTOCOLS_LISTED_MAX
from shoal.messages.replies import Done, Failed

PING_TIMEOUT_S: Final = 10.0  # seconds; a peer that does not answer in this is of no use
PRUNE_EVERY_S: Final = 10.0  # seconds between looks at the watermarks, Kubo's ConnMgr silence period


@dataclass(slots=True)
class PeerDial:
    """A dial in progress and everybody who waits for it."""

    plan: Dialing
    waiting: list[Envelope] = field(default_factory=list)
    timer: Timer | None = None


class TransportActor(Actor):
    """Connections, streams and dialling."""

    NAME: ClassVar[str] = "transport"

    def __init__(self, ctx: Context, network: Network, listen: tuple[str, ...], agent: str) -> None:
        super().__init__(ctx)
        self.network = network
        self.listen = listen
        self.agent = agent
        self.table = ConnectionTable()
        self.book = AddressBook()
        self.back_off = BackOff()
        self.dials: dict[str, PeerDial] = {}
        self.attempts: dict[int, tuple[str, str]] = {}  # attempt -> (peer, address)
        self.pings: dict[int, tuple[str, Envelope]] = {}
        self.framed = FramedStreams(ctx, network, self.table)
        self.listening = False
        self._next = 0

    def on_start(self) -> None:
        self.listening = self.ctx.policy.accept_inbound
        self.network.start(self, self.listen if self.listening else ())
        self._prune()

    def on_stop(self) -> None:
        self.network.stop()

    # --- asked by other actors ---------------------------------------------------------------------

    @handles(transport.Dial)
    def on_dial(self, message: transport.Dial, envelope: Envelope) -> None:
        peer = message.peer
        row = self.table.peers.get(peer)
        if row is not None:
            self._dialed(envelope, peer, next(iter(row.connections.values())).addr)
            return
        if peer == self.network.peer_id:
            self._failed(envelope, "BadInput", "that is this node's own peer id")
            return
        self.book.add(peer, message.addrs)
        dial = self.dials.get(peer)
        if dial is not None:
            # Who asks again and again with short deadlines must not make the list of waiters long.
            dial.waiting = [one for one in dial.waiting if one.deadline > self.ctx.now()]
            dial.waiting.append(envelope)
            return
        if len(self.dials) >= DIALS_MAX.value:
            self._failed(envelope, "Unavailable", f"{DIALS_MAX.value} dials are in progress already")
            return
        known = [*message.addrs, *self.book.of(peer)]
        if envelope.origin != USER:
            known = [addr for addr in known if self.back_off.ready(addr, self.ctx.now())]
        self.dials[peer] = PeerDial(Dialing(known), [envelope])
        self._advance(peer)

    @handles(transport.Hangup)
    def on_hangup(self, message: transport.Hangup, envelope: Envelope) -> None:
        row = self.table.peers.get(message.peer)
        if row is None:
            self._failed(envelope, "NotFound", f"not connected to {message.peer}")
            return
        for connection in list(row.connections):
            self.network.close_connection(connection)
        self.ctx.reply(envelope, Done())

    @handles(transport.Protect)
    def on_protect(self, message: transport.Protect, envelope: Envelope) -> None:
        self.table.protect(message.peer, message.tag, message.on)
        self.ctx.reply(envelope, Done())

    @handles(transport.Ping)
    def on_ping(self, message: transport.Ping, envelope: Envelope) -> None:
        if message.peer not in self.table.peers:
            self._failed(envelope, "NotFound", f"not connected to {message.peer}")
            return
        ticket = self._ticket()
        self.pings[ticket] = (message.peer, envelope)
        self.network.ping(ticket, message.peer, PING_TIMEOUT_S)

    @handles(transport.WhoAmI)
    def on_who_am_i(self, _: transport.WhoAmI, envelope: Envelope) -> None:
        me = self.network.peer_id
        addrs = tuple(f"{addr}/p2p/{me}" for addr in self.network.listen_addrs())
        self.ctx.reply(envelope, transport.Identity(me, addrs, self.agent, tuple(self.framed.served)))

    @handles(transport.ListPeers)
    def on_list_peers(self, _: transport.ListPeers, envelope: Envelope) -> None:
        rows = [info for row in self.table.peers.values() for info in peer_infos(row)]
        self.ctx.reply(envelope, transport.PeersListed(tuple(rows)))

    @handles(transport.ServeProtocol)
    def on_serve_protocol(self, message: transport.ServeProtocol, envelope: Envelope) -> None:
        """Register the sender and tell it of the peers that are here already.

        An actor says this first of all.  Said again, it comes from a restarted actor that knows nothing of its streams,
        or from one that serves other protocols now: its streams are reset, so that both ends begin anew.
        """
        self.framed.owner_gone(envelope.sender)
        self.framed.serve(envelope.sender, message)
        self.ctx.reply(envelope, Done())
        self._tell_who_is_here(envelope.sender)

    @handles(transport.OpenStream)
    def on_open_stream(self, message: transport.OpenStream, envelope: Envelope) -> None:
        if message.peer not in self.table.peers:
            self._failed(envelope, "NotFound", f"not connected to {message.peer}")
            return
        self.framed.open(self._ticket(), message, envelope)

    @handles(transport.SendFrame)
    def on_send_frame(self, message: transport.SendFrame, envelope: Envelope) -> None:
        row = self.framed.send(message, envelope)
        if row is not None:
            row.used_at = self.ctx.now()

    @handles(transport.FrameTaken)
    def on_frame_taken(self, message: transport.FrameTaken, _: Envelope) -> None:
        self.framed.taken(message.stream, message.size)

    @handles(transport.CloseStream)
    def on_close_stream(self, message: transport.CloseStream, _: Envelope) -> None:
        self.framed.close(message.stream, reset=message.reset)

    @handles(transport.RemoteFault)
    def on_remote_fault(self, message: transport.RemoteFault, _: Envelope) -> None:
        self.remote_fault(message.peer, message.code, message.detail)
        if message.stream:
            self.framed.close(message.stream, reset=True)

    @handles(lifecycle.ActorRestarted)
    def on_actor_restarted(self, message: lifecycle.ActorRestarted, _: Envelope) -> None:
        """A new bootstrap must know who is connected: should this actor die too, it is who dials them again."""
        if message.name == "bootstrap":
            self._tell_who_is_here(message.name)

    @handles(lifecycle.PolicyChanged)
    def on_policy_changed(self, message: lifecycle.PolicyChanged, _: Envelope) -> None:
        """Take a new role up.  One that admits nobody keeps its sockets open, for the way back, and turns all away."""
        if message.policy.accept_inbound and not self.listening:
            self.listening = True
            self.network.listen(self.listen)
        self._close_surplus()

    # --- told by the network -----------------------------------------------------------------------

    def admit(self, addr: str) -> bool:
        reason = self.table.may_admit(addr, self.ctx.policy)
        if reason:
            self.ctx.count("refused_connections")
            self.ctx.log.info("refused a connection from %s: %s", addr, reason)
        return not reason

    def connected(self, connection: Connection) -> None:
        first = self.table.add(connection, self.ctx.now())
        self.ctx.gauge("connections", len(self.table))
        if not connection.inbound:
            self.book.add(connection.peer, [connection.addr])
            self.back_off.succeeded(connection.addr)
        for surplus in self.table.to_close(connection, self.ctx.now(), self.ctx.policy):
            self.network.close_connection(surplus.id)
            self.ctx.count("surplus_connections")
        if first:
            self.ctx.count("peers_connected")
            self.ctx.send(transport.PeerConnected(connection.peer, connection.addr, connection.inbound))
        if connection.inbound:  # it was faster than our dial; of our own attempts ``dialed`` tells
            self._reached(connection)
        self._close_surplus()

    def disconnected(self, connection: Connection, reason: str) -> None:
        last = self.table.remove(connection)
        self.ctx.gauge("connections", len(self.table))
        if last:
            self.ctx.send(transport.PeerDisconnected(connection.peer, reason))

    def identified(self, peer: str, facts: PeerFacts) -> None:
        row = self.table.peers.get(peer)
        if row is None:
            return
        row.facts = facts
        self.book.add(peer, facts.listen_addrs)
        self.ctx.send(identified(peer, facts))

    def dialed(self, attempt: int, connection: Connection) -> None:
        self.attempts.pop(attempt, None)
        self._reached(connection)

    def dial_failed(self, attempt: int, reason: str) -> None:
        peer, addr = self.attempts.pop(attempt, ("", ""))
        if peer not in self.dials:
            return
        self.back_off.failed(addr, self.ctx.now())
        self.dials[peer].plan.failed(addr, reason)
        self._advance(peer)

    def stream_opened(self, ticket: int, stream: int, peer: str, protocol: str) -> None:
        self.framed.opened(ticket, stream, peer, protocol)

    def stream_failed(self, ticket: int, reason: str) -> None:
        self.framed.open_failed(ticket, reason)

    def stream_accepted(self, stream: int, peer: str, protocol: str) -> None:
        self.framed.accepted(stream, peer, protocol)

    def frame(self, stream: int, data: memoryview) -> None:
        row = self.framed.received(stream, data)
        if row is not None:
            row.used_at = self.ctx.now()

    def frame_sent(self, stream: int, size: int) -> None:
        self.framed.sent(stream, size)

    def stream_closed(self, stream: int, reason: str) -> None:
        self.framed.closed(stream, reason)

    def pong(self, ticket: int, rtt_s: float) -> None:
        peer, envelope = self.pings.pop(ticket)
        if peer in self.table.peers:
            self.table.peers[peer].rtt_s = rtt_s
        self.ctx.reply(envelope, transport.Pong(peer, rtt_s))

    def ping_failed(self, ticket: int, reason: str) -> None:
        _, envelope = self.pings.pop(ticket)
        self._failed(envelope, "NotFound", reason)

    def remote_fault(self, peer: str, code: str, detail: str) -> None:
        self.ctx.count("remote_faults")
        self.ctx.log.info("peer %s broke a rule (%s): %s", peer, code, detail)

    # --- within ------------------------------------------------------------------------------------

    def _tell_who_is_here(self, actor: str) -> None:
        """The events that ``actor`` would have had, had it been there when the peers came."""
        for row in list(self.table.peers.values()):
            connection = next(iter(row.connections.values()))
            self.ctx.send(transport.PeerConnected(row.peer, connection.addr, connection.inbound), to=actor)
            if row.facts is not None:
                self.ctx.send(identified(row.peer, row.facts), to=actor)

    def _advance(self, peer: str) -> None:
        """Start the attempts that are due, end the dial if there is nothing left, else look again in a while."""
        dial = self.dials[peer]
        for addr, timeout_s in dial.plan.advance(self.ctx.now()):
            attempt = self._ticket()
            self.attempts[attempt] = (peer, addr)
            self.network.dial(attempt, peer, addr, timeout_s)
        if dial.timer is not None:
            dial.timer.cancel()
            dial.timer = None
        if dial.plan.over:
            del self.dials[peer]
            self._end_dial(peer, dial)
            for envelope in dial.waiting:
                self._failed(envelope, "NotFound", f"cannot reach {peer}: {dial.plan.explain()}")
        elif dial.plan.waiting:
            dial.timer = self.ctx.after(STAGGER_S, lambda: self._advance(peer) if peer in self.dials else None)

    def _reached(self, connection: Connection) -> None:
        """The peer is connected: whoever waits for a dial to it has it."""
        dial = self.dials.pop(connection.peer, None)
        if dial is None:
            return
        self._end_dial(connection.peer, dial)
        for envelope in dial.waiting:
            self._dialed(envelope, connection.peer, connection.addr)

    def _end_dial(self, peer: str, dial: PeerDial) -> None:
        """Give the attempts that still run up: their ends no longer concern this dial, nor the next one to the peer."""
        if dial.timer is not None:
            dial.timer.cancel()
        for attempt in [number for number, (name, _) in self.attempts.items() if name == peer]:
            del self.attempts[attempt]
            self.network.cancel_dial(attempt)

    def _dialed(self, envelope: Envelope, peer: str, addr: str) -> None:
        self.ctx.reply(envelope, transport.Dialed(peer, addr))

    def _failed(self, envelope: Envelope, error: str, reason: str) -> None:
        self.ctx.reply(envelope, Failed(envelope.kind, error, reason))

    def _prune(self) -> None:
        self._close_surplus()
        self.ctx.after(PRUNE_EVERY_S, self._prune)

    def _close_surplus(self) -> None:
        for connection in self.table.surplus(self.ctx.now(), self.ctx.policy):
            self.ctx.count("pruned_connections")
            self.network.close_connection(connection.id)

    def _ticket(self) -> int:
        self._next += 1
        return self._next


def identified(peer: str, facts: PeerFacts) -> transport.PeerIdentified:
    """Identify's facts as the event that is published."""
    return transport.PeerIdentified(peer, facts.agent, facts.protocols, facts.listen_addrs)


def peer_infos(row: PeerRow) -> list[transport.PeerInfo]:
    """One ``PeerInfo`` a connection of the peer; of the protocols that it claims, only so many that a list fits."""
    agent, protocols = (row.facts.agent, row.facts.protocols) if row.facts else ("", ())
    protocols = protocols[: PROTOCOLS_LISTED_MAX.value]
    return [
        transport.PeerInfo(
            peer=row.peer,
            addr=connection.addr,
            inbound=connection.inbound,
            security=connection.security,
            agent=agent,
            protocols=protocols,
            streams=len(row.streams),
            rtt_s=row.rtt_s,
            connected_at=row.since,
            protected=tuple(sorted(row.protected)),
        )
        for connection in row.connections.values()
    ]
