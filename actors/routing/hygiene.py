"""What is let in of what sources say of peers: peer ids and addresses that can be real, and no more than fit.

Everything here is somebody's claim.  What is malformed is left out and counted by who asks; nothing here raises.
Pure.  Whether a peer is who it claims to be shows when it is dialled: the connection's handshake proves it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

import libipld

from shoal.actors.transport.dialing import ip_of, is_dialable
from shoal.messages.limits import BOOK_ADDR_CHARS_MAX, BOOK_TTL_S_MAX, PROVIDER_ADDRS_MAX
from shoal.messages.routing import SOURCES, Provider

PEER_CHARS_MAX = 64  # characters of a peer id in base58; the longest of 42 inlined bytes has 61
INLINED_MAX = 42  # bytes of a public key that an id holds whole (libp2p peer-ids spec)
PROTOCOLS_MAX = 8  # of one provider; IPIP-337 has three
NAME_CHARS_MAX = 64  # characters of the name of one
GROUPS_CACHED = 1024  # addresses whose network was worked out lately; each is asked for a few times in a row


def is_peer_id(text: str) -> bool:
    """Whether ``text`` is a peer id in base58: an inlined key or a SHA-256 (libp2p peer-ids spec)."""
    if not 40 <= len(text) <= PEER_CHARS_MAX or not text.isascii() or not text.isalnum():
        return False
    try:
        raw = bytes(libipld.decode_multibase("z" + text)[1])
    except Exception:  # the library's own kind, for characters that base58 has not
        return False
    if raw[:2] == b"\x12\x20":
        return len(raw) == 34
    return len(raw) > 2 and raw[0] == 0 and raw[1] == len(raw) - 2 <= INLINED_MAX


def is_relayed(addr: str) -> bool:
    """Whether the address leads through a relay."""
    return "/p2p-circuit" in addr


def is_plausible(addr: str) -> bool:
    """Whether this node could ever use the address: one that it can dial, or one through a relay."""
    if not 0 < len(addr) <= BOOK_ADDR_CHARS_MAX.value or not addr.isascii() or not addr.isprintable():
        return False
    ip = ip_of(addr)
    if ip is None and addr.startswith(("/ip4/", "/ip6/")):
        return False
    if ip is not None and (ip.is_multicast or ip.is_unspecified):
        return False
    if is_relayed(addr):
        return addr.startswith("/") and addr.count("/p2p-circuit") == 1 and "/p2p/" in addr
    return is_dialable(addr) and _is_port(addr.split("/")[4])


def _is_port(text: str) -> bool:
    return text.isdecimal() and len(text) <= 5 and 0 < int(text) <= 65535


def clean_addrs(addrs: Iterable[str], most: int) -> tuple[tuple[str, ...], int]:
    """At most ``most`` distinct plausible addresses, and how many were left out.  A peer's own /p2p/ID tail is cut."""
    kept: dict[str, None] = {}
    refused = 0
    for addr in addrs:
        bare = addr if is_relayed(addr) else addr.partition("/p2p/")[0]
        if bare in kept:
            continue
        if len(kept) < most and is_plausible(bare):
            kept[bare] = None
        else:
            refused += 1
    return tuple(kept), refused


def clean_ttl(ttl_s: float) -> float | None:
    """Seconds that a claim is believed, within bounds; 0 withdraws it; None for what is no time."""
    if math.isnan(ttl_s):
        return None
    return min(max(ttl_s, 0.0), float(BOOK_TTL_S_MAX.value))


def clean_provider(provider: Provider, source: str) -> Provider | None:
    """A provider as it may be told on; None for what is none.  ``source`` stands in for a name that is none."""
    if not is_peer_id(provider.peer):
        return None
    addrs, _ = clean_addrs(provider.addrs, PROVIDER_ADDRS_MAX.value)
    protocols = tuple(name[:NAME_CHARS_MAX] for name in provider.protocols[:PROTOCOLS_MAX])
    return Provider(provider.peer, addrs, provider.source if provider.source in SOURCES else source, protocols)


@lru_cache(GROUPS_CACHED)
def group_of(addr: str) -> str:
    """The network that a public address is in: an IPv4 /24 or an IPv6 /48; empty for private ones and names."""
    ip = ip_of(addr)
    if ip is None or not ip.is_global:
        return ""
    return str(ip).rpartition(".")[0] if ip.version == 4 else ip.packed[:6].hex(":", 2)
