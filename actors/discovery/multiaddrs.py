"""Multiaddrs as texts: whose an address is, and where it leads.  Pure.

Not a parser of every protocol: discovery needs the peer at the end, and an IP and a port at the beginning, each
checked, so that a text which a stranger wrote becomes one of the few forms that the transport dials, or nothing.

Source: libp2p addressing spec.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from shoal.actors.discovery.peerids import base58_of
from shoal.messages.errors import RemoteError

_IP = ipaddress.IPv4Address | ipaddress.IPv6Address


class At(NamedTuple):
    """A peer and one address of it, without /p2p; ``addr`` is "" where only the peer was named."""

    peer: str
    addr: str


def whose(text: str) -> At:
    """``/ip4/.../tcp/.../p2p/ID`` taken apart.  Raises RemoteError when it does not end in a peer."""
    addr, found, peer = text.rpartition("/p2p/")
    if not found:
        addr, found, peer = text.rpartition("/ipfs/")  # the old name of /p2p, which some still write
    if not found or (addr and not addr.startswith("/")):
        raise RemoteError("no /p2p at its end", "peer")
    return At(base58_of(peer), addr)


def direct(addr: str) -> tuple[_IP, str] | None:
    """The IP of a plain ``/ip4|ip6/IP/tcp/PORT`` or ``.../udp/PORT/quic-v1``, and its one spelling; else None."""
    parts = addr.split("/")
    if len(parts) not in (5, 6) or parts[0] or parts[1] not in ("ip4", "ip6"):
        return None
    if parts[3:4] + parts[5:] not in (["tcp"], ["udp", "quic-v1"]):
        return None
    try:
        ip = ipaddress.IPv4Address(parts[2]) if parts[1] == "ip4" else ipaddress.IPv6Address(parts[2])
    except ValueError:
        return None
    if not (parts[4].isascii() and parts[4].isdigit() and len(parts[4]) <= 5 and 0 < int(parts[4]) < 65536):
        return None
    if ip.version == 6 and "%" in parts[2]:
        return None  # a zone is the speaker's own name for an interface
    return ip, "/".join(("", parts[1], str(ip), parts[3], str(int(parts[4])), *parts[5:]))
