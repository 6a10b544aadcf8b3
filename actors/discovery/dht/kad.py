"""One of the two DHTs: its table, its records, whom it takes for servers, and how it asks them.

The public one and the LAN's differ in protocol, in the addresses that they have a use for, and in whether peers are
counted by network.  Searches are beside (``searching``); the answers to others are ``server``'s.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from shoal.actors.base import Context
from shoal.actors.discovery.dht import addresses, wire
from shoal.actors.discovery.dht.calls import Calls
from shoal.actors.discovery.dht.keys import peer_bytes
from shoal.actors.discovery.dht.lines import OnEnd, Outcome
from shoal.actors.discovery.dht.peers import Connected, Peers
from shoal.actors.discovery.dht.records import Records
from shoal.actors.discovery.dht.server import Server
from shoal.actors.discovery.dht.table import K, Table
from shoal.actors.discovery.dht.values import Validators
from shoal.actors.transport.dialing import is_dialable
from shoal.messages.limits import DHT_FAILED_KEPT, DHT_PROBES_MAX
from shoal.messages.routing import DHT, LAN_DHT, PeerAddrs

FAILED_S: Final = 60.0  # seconds that a peer which did not answer is not asked again
PROBES_AT_ONCE: Final = 8  # connected servers that are tried for the table at one time
CHECKS_AT_ONCE: Final = 2  # silent peers of the table asked at one time, every minute

OFF: Final = "off"
CLIENT: Final = "client"
SERVER: Final = "server"


class Kad:
    """One DHT.  ``on_new(kad)`` is called when its table has one peer more."""

    def __init__(
        self,
        ctx: Context,
        calls: Calls,
        peers: Peers,
        records: Records,
        validators: Validators,
        me: str,
        on_new: Callable[[Kad], None],
        *,
        lan: bool,
    ) -> None:
        self.ctx = ctx
        self.calls = calls
        self.peers = peers
        self.records = records
        self.me = me
        self.on_new = on_new
        self.lan = lan
        self.source = LAN_DHT if lan else DHT
        self.protocol = wire.LAN_PROTOCOL if lan else wire.PUBLIC_PROTOCOL
        self.table = Table(me, diverse=not lan)
        self.server = Server(self.table, records, validators, self.where, lan=lan)
        self.mode = OFF
        self.own_addrs: tuple[str, ...] = ()  # of ours, those of this DHT
        self.queries = 0
        self.answered = 0
        self.lookups = 0
        self._loopback = False
        self._failed: OrderedDict[str, float] = OrderedDict()  # peer -> until when it is not asked
        self._probes: OrderedDict[str, None] = OrderedDict()
        self._probing = 0

    # --- addresses -----------------------------------------------------------------------------------------

    def reachable_at(self, listen: tuple[str, ...]) -> None:
        """This node listens at these, all kinds."""
        self._loopback = self.lan and addresses.on_loopback(listen, self.peers.remotes())
        self.server.loopback = self._loopback
        self.own_addrs = self.of_use(listen)

    def of_use(self, addrs: Iterable[str]) -> tuple[str, ...]:
        """Those of ``addrs`` that this DHT has a use for."""
        return addresses.kept(addrs, lan=self.lan, loopback=self._loopback)

    def where(self, peer: str) -> tuple[str, ...]:
        """At which addresses of this DHT a connected peer listens; none when it is not connected."""
        row = self.peers.get(peer)
        return self.of_use(row.addrs) if row else ()

    def useful(self, named: Iterable[PeerAddrs]) -> list[PeerAddrs]:
        """Peers as others named them, with the addresses that count; without those whom this node cannot dial."""
        found = [PeerAddrs(one.peer, self.of_use(one.addrs)) for one in named]
        return [one for one in found if any(map(is_dialable, one.addrs)) or self.peers.get(one.peer)]

    def nearest(self, target: int) -> list[PeerAddrs]:
        """Whom a lookup begins with: the nearest of the table, or connected servers that are not in it yet."""
        rows = [PeerAddrs(row.peer, row.addrs) for row in self.table.nearest(target, K)]
        if rows:
            return rows
        servers = (row for row in self.peers if self.protocol in row.protocols)
        return [PeerAddrs(row.peer, self.of_use(row.addrs)) for row, _ in zip(servers, range(K), strict=False)]

    # --- asking --------------------------------------------------------------------------------------------

    def ask(
        self, peer: str, addrs: tuple[str, ...], message: wire.Message, on_end: OnEnd, *, answered: bool = True
    ) -> None:
        """Ask ``peer``; the table learns from how it ends."""
        if self._failed.get(peer, -math.inf) > self.ctx.now() and self.peers.get(peer) is None:
            self.ctx.after(0.0, lambda: on_end(Outcome(failure="it did not answer a moment ago")))
            return

        def ended(outcome: Outcome) -> None:
            if outcome.failure:
                if not outcome.ours:
                    self._not_answered(peer)
            elif outcome.answer is not None:
                self.answered += 1
                self._heard(peer, addrs)
            on_end(outcome)

        self.queries += 1
        self.calls.call(peer, addrs, self.protocol, message, ended, answered=answered)

    def _heard(self, peer: str, addrs: tuple[str, ...]) -> None:
        self._failed.pop(peer, None)
        known = self.table.row(peer)
        where = self.where(peer) or self.of_use(addrs) or (known.addrs if known else ())
        if self.table.answered(peer, where, self.ctx.now()) and known is None:
            self.on_new(self)

    def _not_answered(self, peer: str) -> None:
        self.table.failed(peer)
        self._failed[peer] = self.ctx.now() + FAILED_S
        self._failed.move_to_end(peer)
        if len(self._failed) > DHT_FAILED_KEPT.value:
            self._failed.popitem(last=False)

    # --- the table -----------------------------------------------------------------------------------------

    def identified(self, row: Connected) -> None:
        """A connected peer has told what it speaks.  Who serves this DHT is tried; who no longer does is left out."""
        if self.protocol not in row.protocols:
            self.table.failed(row.peer)
        elif row.peer not in self.table and self.of_use(row.addrs):
            self._failed.pop(row.peer, None)
            asked = self.calls.is_asking(row.peer, self.protocol)  # as it is when we have dialled it to ask it
            if not asked and len(self._probes) < DHT_PROBES_MAX.value:
                self._probes[row.peer] = None
                self.probe()

    def probe(self) -> None:
        """Try connected servers for the table: it takes only who has answered."""
        while self._probes and self._probing < PROBES_AT_ONCE and self.mode != OFF:
            peer, _ = self._probes.popitem(last=False)
            row = self.peers.get(peer)
            if row is not None and peer not in self.table:
                self._probing += 1
                self.ask(peer, self.of_use(row.addrs), self.about_us(), self._probed)

    def _probed(self, _: Outcome) -> None:
        self._probing -= 1
        self.probe()

    def about_us(self) -> wire.Message:
        """The question that every server answers."""
        return wire.Message(wire.Kind.FIND_NODE, peer_bytes(self.me))

    def upkeep(self) -> None:
        """Every minute: ask some who have long been silent; with an empty table, try again who is connected."""
        for row in self.table.silent(self.ctx.now(), CHECKS_AT_ONCE):
            self.ask(row.peer, row.addrs, self.about_us(), lambda _: None)
        if not len(self.table):
            for connected in list(self.peers):
                if self.protocol in connected.protocols:
                    self.identified(connected)
        self.records.maintain(self.ctx.wall())
