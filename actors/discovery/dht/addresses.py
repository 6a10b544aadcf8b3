"""Which addresses belong to which DHT: the public one keeps public ones, the LAN's keeps private ones.

Loopback addresses count for the LAN only while this node itself is on loopback alone, as it is in tests and in set-ups
on one machine.  Also: addresses between their bytes and their text.  Pure.
Source: go-libp2p-kad-dht ``dual`` (PublicQueryFilter, PrivateQueryFilter); multiaddr spec.
"""

from __future__ import annotations

import enum
import functools
import ipaddress
from collections.abc import Iterable
from typing import Final

from multiaddr import Multiaddr

from shoal.messages.limits import DHT_ADDR_BYTES_MAX, DHT_ADDRS_PER_PEER

CACHED: Final = 16384  # addresses whose kind and forms are remembered, about 400 bytes each
IPS: Final = ("ip4", "ip6")
NAMES: Final = ("dns", "dns4", "dns6", "dnsaddr")
LOCAL_NAMES: Final = ("localhost", "local", "internal", "lan", "home.arpa")  # never in the public DNS (RFC 6761, 6762)
PRIVATE: Final = tuple(
    map(
        ipaddress.ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "fc00::/7"),
    )
)
"""RFC 1918, 3927, 6598, 4193: networks of one's own, as go-multiaddr has them; IPv6's link-local ones need a zone."""


class Kind(enum.Enum):
    """Where an address can be reached from."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    NOWHERE = "nowhere"  # unspecified, multicast, reserved, or not understood


@functools.lru_cache(maxsize=CACHED)
def kind_of(addr: str) -> Kind:
    """The kind of a multiaddr in text form, by what it begins with.  A relayed address is as public as its relay."""
    parts = addr.split("/", 4)
    if len(parts) < 3 or parts[0]:
        return Kind.NOWHERE
    if parts[1] in NAMES:
        name = parts[2].rstrip(".").lower()
        local = not name or any(name == one or name.endswith("." + one) for one in LOCAL_NAMES)
        return Kind.NOWHERE if local else Kind.PUBLIC
    if parts[1] not in IPS:
        return Kind.NOWHERE
    try:
        ip = ipaddress.ip_address(parts[2])
    except ValueError:
        return Kind.NOWHERE
    if ip.version == 6 and ip.ipv4_mapped:  # an IPv4 address in disguise: nobody honest tells it so
        return Kind.NOWHERE
    if ip.is_loopback:
        return Kind.LOOPBACK
    if any(ip in network for network in PRIVATE):
        return Kind.PRIVATE
    return Kind.PUBLIC if ip.is_global and not ip.is_multicast else Kind.NOWHERE


def keeps(addr: str, *, lan: bool, loopback: bool) -> bool:
    """Whether a DHT has a use for this address."""
    kind = kind_of(addr)
    if not lan:
        return kind is Kind.PUBLIC
    return kind is Kind.PRIVATE or (loopback and kind is Kind.LOOPBACK)


def kept(addrs: Iterable[str], *, lan: bool, loopback: bool) -> tuple[str, ...]:
    """Those of ``addrs`` that a DHT has a use for, each once, at most DHT_ADDRS_PER_PEER."""
    good = dict.fromkeys(addr for addr in addrs if keeps(addr, lan=lan, loopback=loopback))
    return tuple(good)[: DHT_ADDRS_PER_PEER.value]


def on_loopback(listen: Iterable[str], remote: Iterable[str]) -> bool:
    """Whether a node lives on loopback alone: by where it listens, or, if nowhere, by whom it is connected to."""
    kinds = {kind_of(addr) for addr in listen}
    if kinds:
        return kinds == {Kind.LOOPBACK}
    return any(kind_of(addr) is Kind.LOOPBACK for addr in remote)


@functools.lru_cache(maxsize=CACHED)
def group_of(addr: str) -> str:
    """The network that an address is counted with: its IPv4 /24 or IPv6 /48; empty for a name."""
    parts = addr.split("/", 3)
    if len(parts) < 3 or parts[1] not in IPS:
        return ""
    try:
        ip = ipaddress.ip_address(parts[2])
    except ValueError:
        return ""
    return str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 48), strict=False))


def without_peer(addr: str, peer: str) -> str:
    """``addr`` without the /p2p of the peer itself at its end."""
    return addr.removesuffix(f"/p2p/{peer}")


# --- bytes and text ----------------------------------------------------------------------------------------

_TCP: Final = b"\x06"
_UDP: Final = b"\x91\x02"
_QUIC_V1: Final = b"\xcc\x03"


@functools.lru_cache(maxsize=CACHED)
def addr_text(raw: bytes) -> str:
    """A multiaddr's bytes as text; empty when they are none, or too many.

    The forms that nearly all addresses have are read here; the library, 50 times slower, reads the others.
    """
    if len(raw) > DHT_ADDR_BYTES_MAX.value:
        return ""
    host, rest = "", b""
    if raw[:1] == b"\x04" and len(raw) >= 5:
        host, rest = "/ip4/" + ".".join(map(str, raw[1:5])), raw[5:]
    elif raw[:1] == b"\x29" and len(raw) >= 17:
        host, rest = "/ip6/" + str(ipaddress.IPv6Address(raw[1:17])), raw[17:]
    if host and len(rest) == 3 and rest[:1] == _TCP:
        return f"{host}/tcp/{int.from_bytes(rest[1:])}"
    if host and len(rest) == 6 and rest[:2] == _UDP and rest[4:] == _QUIC_V1:
        return f"{host}/udp/{int.from_bytes(rest[2:4])}/quic-v1"
    try:
        text = str(Multiaddr(raw))
    except Exception:  # the library raises its own and whatever its codecs raise
        return ""
    return text if addr_bytes(text) == raw else ""  # a name with a slash in it, say


@functools.lru_cache(maxsize=CACHED)
def addr_bytes(addr: str) -> bytes:
    """A multiaddr's text as bytes; empty when it is none, or too long."""
    try:
        raw = bytes(Multiaddr(addr).to_bytes())
    except Exception:  # as above
        return b""
    return raw if len(raw) <= DHT_ADDR_BYTES_MAX.value else b""
