"""Peer ids and addresses by number, as they are on the network."""

from __future__ import annotations

from typing import Final

import libipld

PREFIX: Final = bytes.fromhex("002408011220")  # an inlined Ed25519 public key follows (libp2p peer-ids spec)


def peer(number: int) -> str:
    """A well-formed peer id, different for each number."""
    text: str = libipld.encode_multibase("z", PREFIX + number.to_bytes(32, "big"))
    return text[1:]


def addr(number: int) -> str:
    """A private address, different for each number below 65,536."""
    return f"/ip4/10.0.{number >> 8 & 255}.{number & 255}/tcp/4001"


def public(number: int) -> str:
    """A public address in a /24 of its own for each number below 65,536."""
    return f"/ip4/{1 + number % 9}.{40 + (number // 9 >> 8)}.{number // 9 & 255}.7/tcp/4001"
