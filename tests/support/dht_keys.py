"""Peer ids, addresses and messages of the DHT for tests: by number, and as hypothesis strategies."""

from __future__ import annotations

import hashlib
from ipaddress import IPv6Address

from hypothesis import strategies as st

from shoal.actors.discovery.dht import wire
from shoal.actors.discovery.dht.keys import peer_text
from shoal.messages.routing import PeerAddrs

ED25519_PREFIX = bytes.fromhex("002408011220")  # identity multihash of a protobuf Ed25519 key (peer-ids spec)


def peer(number: int) -> str:
    """A peer id; the same for the same number."""
    return peer_text(ED25519_PREFIX + hashlib.sha256(b"peer %d" % number).digest())


def public(number: int) -> str:
    """A public address, each in a /24 of its own for some 60,000 numbers."""
    return f"/ip4/8.{number // 250 % 250}.{number % 250}.7/tcp/4001"


def private(number: int) -> str:
    """A private address."""
    return f"/ip4/10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}/tcp/4001"


def at(number: int, *, lan: bool = True) -> PeerAddrs:
    """A peer with an address."""
    return PeerAddrs(peer(number), (private(number) if lan else public(number),))


numbers = st.integers(0, 2**20)
ports = st.integers(1, 65535)
ip4s = st.ip_addresses(v=4).map(lambda ip: f"/ip4/{ip}")
ip6s = st.integers(1 << 100, 2**128 - 1).map(IPv6Address).map(lambda ip: f"/ip6/{ip}")
names = st.sampled_from(["/dns4/example.org", "/dns6/a.b.example", "/dnsaddr/x.libp2p.io"])
ends = st.one_of(
    ports.map(lambda port: f"/tcp/{port}"),
    ports.map(lambda port: f"/udp/{port}/quic-v1"),
    ports.map(lambda port: f"/tcp/{port}/ws"),
    ports.map(lambda port: f"/tcp/{port}/p2p/{peer(1)}/p2p-circuit"),
)
addrs = st.builds(lambda host, end: host + end, st.one_of(ip4s, ip6s, names), ends)
peers = st.builds(PeerAddrs, numbers.map(peer), st.lists(addrs, max_size=5, unique=True).map(tuple))
keys = st.binary(max_size=80)
records = st.builds(
    wire.Record, keys, st.binary(max_size=200), st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
)
messages = st.builds(
    wire.Message,
    st.sampled_from(wire.Kind),
    keys,
    st.none() | records,
    st.lists(peers, max_size=6).map(tuple),
    st.lists(peers, max_size=6).map(tuple),
)
