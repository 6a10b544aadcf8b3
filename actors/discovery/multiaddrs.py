"""Multiaddrs as texts: whose an address is, and where it leads.  Pure.

Not a parser of every protocol: discovery needs the peer at the end, and an IP and a port at the beginning, each
checked, so that a text which a stranger wrote becomes one of the few forms that the transport dials, or nothing.

Source: libp2p addressing spec; for peer ids, the libp2p peer-ids spec.
"""

from __future__ import annotations

import ipaddress
from typing import Final, NamedTuple

import libipld

from shoal.messages.cid import CID, LIBP2P_KEY
from shoal.messages.errors import LocalError, RemoteError

PEER_CHARS_MAX: Final = 128  # of a peer id in any base: 42 bytes take 60 to 70
_INLINED_BYTES_MAX: Final = 42  # of a key that is its own id; longer ones are hashed

_IP = ipaddress.IPv4Address | ipaddress.IPv6Address


class At(NamedTuple):
    """A peer and one address of it, without /p2p; ``addr`` is "" where only the peer was named."""

    peer: str
    addr: str


def peer_id(text: str) -> str:
    """The base58 form of a peer id written in base58, or as a CID of its key.  Raises RemoteError."""
    multihash = b""
    if 0 < len(text) <= PEER_CHARS_MAX:
        try:
            if text[0] in "1Q":  # base58 of an identity (Ed25519) or sha2-256 multihash
                multihash = bytes(libipld.decode_multibase("z" + text)[1])
            else:
                cid = CID.parse(text)
                multihash = cid.multihash if cid.codec == LIBP2P_KEY else b""
        except (ValueError, LocalError):
            multihash = b""
    inlined = multihash[:1] == b"\x00" and 2 < len(multihash) <= _INLINED_BYTES_MAX + 2
    hashed = multihash[:2] == b"\x12\x20" and len(multihash) == 34
    if not (hashed or (inlined and multihash[1] == len(multihash) - 2)):
        raise RemoteError("not a peer id", "peer")
    return str(libipld.encode_multibase("z", multihash))[1:]


def whose(text: str) -> At:
    """``/ip4/.../tcp/.../p2p/ID`` taken apart.  Raises RemoteError when it does not end in a peer."""
    addr, found, peer = text.rpartition("/p2p/")
    if not found:
        addr, found, peer = text.rpartition("/ipfs/")  # the old name of /p2p, which some still write
    if not found or (addr and not addr.startswith("/")):
        raise RemoteError("no /p2p at its end", "peer")
    return At(peer_id(peer), addr)


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
