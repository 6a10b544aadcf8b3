"""The connections of a node as rows of a pure table: who is admitted, who must go.

Caps hold at once: the node's own, eight per peer, eight per IPv4 address or IPv6 /56 (loopback free, as in go-libp2p's
resource manager).  They are looked at twice, before the handshake and when the connection stands, since many handshakes
may go on at the same time.  Above the high watermark the table names connections to close, down to the low one: the
idle before the busy, those who dialled us before those whom we dialled, never a protected peer and never one younger
than the grace time.  At the node's own cap a connection that we dialled takes the place of the idlest other, young or
not: a walk through a DHT needs more peers one after the other than a small node may hold at one time.  Kubo says
plainly that per-peer bounds do not stop a deliberate attack; the node's bound does.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Final

from shoal.actors.transport.dialing import ip_of
from shoal.actors.transport.network import Connection, PeerFacts
from shoal.messages.limits import CONNECTIONS_PER_IP, CONNECTIONS_PER_PEER
from shoal.messages.policy import Policy

IDLE_S: Final = 0.5  # seconds without a frame after which a connection may make room for another
PREFIX_BITS: Final = {4: 32, 6: 56}  # what counts as one address, go-libp2p's ConnLimitPerSubnet


@dataclass(slots=True)
class PeerRow:
    """One connected peer."""

    peer: str
    connections: dict[int, Connection] = field(default_factory=dict)
    since: float = 0.0
    used_at: float = 0.0
    streams: set[int] = field(default_factory=set)
    protected: set[str] = field(default_factory=set)
    facts: PeerFacts | None = None
    rtt_s: float = 0.0

    @property
    def dialled(self) -> bool:
        """Whether we dialled the peer, rather than only it us."""
        return not all(connection.inbound for connection in self.connections.values())


class ConnectionTable:
    """Rows by peer and by connection, and the counts that the caps need."""

    def __init__(self) -> None:
        self.peers: dict[str, PeerRow] = {}
        self.protected: dict[str, set[str]] = {}
        self._by_id: dict[int, Connection] = {}
        self._per_subnet: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def may_admit(self, addr: str, policy: Policy) -> str:
        """Why an inbound connection from ``addr`` is refused; "" to admit it."""
        if not policy.accept_inbound:
            return f"a {policy.role} takes no inbound connections"
        if len(self._by_id) >= policy.connections_max:
            return "the node has all the connections that it may have"
        subnet = subnet_of(addr)
        if subnet and self._per_subnet.get(subnet, 0) >= CONNECTIONS_PER_IP.value:
            return "too many connections from this address"
        return ""

    def add(self, connection: Connection, now: float) -> bool:
        """Enter a connection; whether it is its peer's first."""
        row = self.peers.get(connection.peer)
        first = row is None
        if row is None:
            row = PeerRow(connection.peer, since=now, used_at=now)
            row.protected = self.protected.setdefault(connection.peer, set())
            self.peers[connection.peer] = row
        row.connections[connection.id] = connection
        self._by_id[connection.id] = connection
        subnet = subnet_of(connection.addr)
        if subnet:
            self._per_subnet[subnet] = self._per_subnet.get(subnet, 0) + 1
        return first

    def too_many(self, connection: Connection, policy: Policy) -> bool:
        """Whether this connection, just added, breaks its peer's cap, its address's or the node's."""
        row = self.peers.get(connection.peer)
        over_peer = row is not None and len(row.connections) > CONNECTIONS_PER_PEER.value
        at_address = self._per_subnet.get(subnet_of(connection.addr), 0) if connection.inbound else 0
        return over_peer or at_address > CONNECTIONS_PER_IP.value or len(self._by_id) > policy.connections_max

    def to_close(self, connection: Connection, now: float, policy: Policy) -> list[Connection]:
        """What to close for the sake of the caps, now that this connection has been added."""
        if not self.too_many(connection, policy):
            return []
        row = self.peers[connection.peer]
        if connection.inbound or len(row.connections) > CONNECTIONS_PER_PEER.value:
            return [connection]
        others = [
            other
            for other in self.peers.values()
            if other is not row and not other.protected and now - other.used_at >= IDLE_S
        ]
        if not others:
            return [connection]
        idlest = min(others, key=lambda other: (len(other.streams) > 0, other.dialled, other.used_at, other.peer))
        return list(idlest.connections.values())

    def remove(self, connection: Connection) -> bool:
        """Take a connection out; whether it was its peer's last."""
        if self._by_id.pop(connection.id, None) is None:
            return False
        subnet = subnet_of(connection.addr)
        if subnet:
            left = self._per_subnet[subnet] - 1
            if left:
                self._per_subnet[subnet] = left
            else:
                del self._per_subnet[subnet]
        row = self.peers[connection.peer]
        del row.connections[connection.id]
        if row.connections:
            return False
        del self.peers[connection.peer]
        if not row.protected:
            self.protected.pop(connection.peer, None)
        return True

    def protect(self, peer: str, tag: str, on: bool) -> None:
        """Hold, or let go of, a peer for ``tag``; it may be one that is not connected yet."""
        tags = self.protected.setdefault(peer, set())
        if on:
            tags.add(tag)
        else:
            tags.discard(tag)
        if not tags and peer not in self.peers:
            del self.protected[peer]

    def surplus(self, now: float, policy: Policy) -> list[Connection]:
        """The connections to close so that the count falls from above the high watermark to the low one."""
        if len(self._by_id) <= policy.connections_high:
            return []
        rows = [
            row for row in self.peers.values() if not row.protected and now - row.since >= policy.connection_grace_s
        ]
        rows.sort(key=lambda row: (len(row.streams) > 0, row.dialled, row.used_at, row.peer))
        excess = len(self._by_id) - policy.connections_low
        chosen: list[Connection] = []
        for row in rows:
            if len(chosen) >= excess:
                break
            chosen.extend(row.connections.values())
        return chosen


def subnet_of(addr: str) -> str:
    """What counts as one remote address; "" for loopback and for what has no IP address."""
    ip = ip_of(addr)
    if ip is None or ip.is_loopback:
        return ""
    return str(ipaddress.ip_network((ip, PREFIX_BITS[ip.version]), strict=False))
