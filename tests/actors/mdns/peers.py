"""Peers and records for the tests of mDNS."""

import hashlib

import libipld

from shoal.actors.discovery.mdns.announcement import packed


def peer(number: int) -> str:
    """A peer id of an Ed25519 key, made from a number."""
    key = bytes.fromhex("002408011220") + hashlib.sha256(number.to_bytes(8, "big")).digest()
    return str(libipld.encode_multibase("z", key))[1:]


OWN, OTHER = peer(0), peer(1)


def record(*addrs: str, of: str = OTHER) -> bytes:
    """The data of a TXT record that announces ``addrs`` (without /p2p) of a peer."""
    return packed(tuple(f"dnsaddr={addr}/p2p/{of}".encode() for addr in addrs))
