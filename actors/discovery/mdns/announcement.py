"""What an announcement says, both ways: our addresses as TXT strings, and a stranger's record as a peer.  Pure.

A record's strings are ``dnsaddr=<multiaddr>/p2p/<peer id>``, one for each address, all of one peer.  Of what others
say, only addresses of a local network are taken: whoever can send a packet here must not be able to have this node
dial any address of the Internet, a group, or itself.

Source: libp2p discovery/mdns.md; RFC 6763 section 6 for TXT records.
"""

from __future__ import annotations

import ipaddress
import random
import string
from typing import Final, NamedTuple

from shoal.actors.discovery.multiaddrs import direct, whose
from shoal.messages.errors import RemoteError
from shoal.messages.limits import MDNS_ADDRS_MAX, MDNS_STRINGS_MAX, MDNS_TXT_BYTES_MAX

KEY: Final = b"dnsaddr="
NAME_CHARS: Final = 32  # the specification's least; a label may have 63
STRING_BYTES_MAX: Final = 255  # the length of a string is one byte

_LOCAL: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",  # RFC 1918
        "169.254.0.0/16",  # link-local
        "100.64.0.0/10",  # RFC 6598: what carriers and overlay networks give out
        "fc00::/7",  # RFC 4193; link-local IPv6 would need to say on which interface
    )
)


class Announcement(NamedTuple):
    """A peer and its usable addresses, without /p2p, in its own order; ``refused`` strings were not usable."""

    peer: str
    addrs: tuple[str, ...]
    refused: int


def random_name(rng: random.Random) -> str:
    """A name for this run of the node; it means nothing, and is nobody else's."""
    return "".join(rng.choices(string.ascii_lowercase + string.digits, k=NAME_CHARS))


def strings_of(addrs: tuple[str, ...]) -> tuple[bytes, ...]:
    """The strings that announce ``addrs`` (each ending in /p2p/ID): those that a neighbour can dial, while they fit."""
    strings: list[bytes] = []
    size = 0
    for text in addrs:
        ip, _ = direct(text.rpartition("/p2p/")[0]) or (None, "")
        said = KEY + text.encode()
        told = ip is not None and not (ip.is_loopback or ip.is_link_local or ip.is_unspecified)
        if told and len(said) <= STRING_BYTES_MAX and size + len(said) + 1 <= MDNS_TXT_BYTES_MAX.value:
            strings.append(said)
            size += len(said) + 1
    return tuple(strings)


def packed(strings: tuple[bytes, ...]) -> bytes:
    """The data of a TXT record; one empty string stands for none (RFC 6763, section 6.1)."""
    return b"".join(bytes((len(each),)) + each for each in strings) or b"\0"


def unpacked(data: bytes) -> list[bytes]:
    """The first strings of a TXT record's data.  Raises RemoteError when a length leads past its end."""
    strings: list[bytes] = []
    at = 0
    while at < len(data) and len(strings) < MDNS_STRINGS_MAX.value:
        end = at + 1 + data[at]
        if end > len(data):
            raise RemoteError("a string longer than its record", "txt")
        strings.append(data[at + 1 : end])
        at = end
    return strings


def read(data: bytes) -> Announcement:
    """What a TXT record announces.  Raises RemoteError: not TXT data, no peer, or more than one."""
    peers: set[str] = set()
    addrs: dict[str, None] = {}
    refused = 0
    for said in unpacked(data):
        if said[: len(KEY)].lower() != KEY:
            continue  # other keys are allowed, and mean nothing here
        try:
            at = whose(said[len(KEY) :].decode("ascii"))
        except (RemoteError, UnicodeDecodeError):
            refused += 1
            continue
        peers.add(at.peer)
        usable = local(at.addr)
        if usable and len(addrs) < MDNS_ADDRS_MAX.value:
            addrs[usable] = None
        else:
            refused += 1
    if len(peers) != 1:
        raise RemoteError(f"a record of {len(peers)} peers", "mixed" if peers else "nobody")
    return Announcement(peers.pop(), tuple(addrs), refused)


def local(addr: str) -> str:
    """``addr`` in its one spelling when it leads to a host of a local network by TCP or QUIC; else ""."""
    ip, spelled = direct(addr) or (None, "")
    return spelled if ip is not None and is_local(ip) else ""


def is_local(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether it is an address of a local network: not public, not this machine, not a group."""
    return any(ip in network for network in _LOCAL)
