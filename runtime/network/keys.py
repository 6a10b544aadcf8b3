"""A node's keys over py-libp2p's crypto: ``actors.discovery.keys.Keys``."""

from __future__ import annotations

from typing import Final

from libp2p.crypto.serialization import deserialize_public_key
from libp2p.peer.id import ID

from shoal.messages.errors import RemoteError
from shoal.runtime.network.identity import key_pair, parse_peer_id

PUBLIC_KEY_BYTES_MAX: Final = 1100
"""Bytes of a public key in protobuf form: RSA of 8,192 bits takes 1,062; more is an attack (CVE-2023-39533)."""


class Libp2pKeys:
    """The pair of one protobuf private key."""

    def __init__(self, key: bytes) -> None:
        """Raises BadConfig when the key is none."""
        self._pair = key_pair(key)
        self.public_key: bytes = self._pair.public_key.serialize()
        self.peer_id: str = ID.from_pubkey(self._pair.public_key).to_base58()

    def sign(self, data: bytes) -> bytes:
        return bytes(self._pair.private_key.sign(data))

    def verify(self, public_key: bytes, data: bytes, signature: bytes) -> bool:
        if len(public_key) > PUBLIC_KEY_BYTES_MAX:
            return False
        try:
            return bool(deserialize_public_key(public_key).verify(data, signature))
        except Exception:  # what a damaged key makes the libraries raise is theirs
            return False

    def peer_of(self, public_key: bytes) -> str:
        if len(public_key) > PUBLIC_KEY_BYTES_MAX:
            raise RemoteError(f"a public key of {len(public_key)} bytes", "public-key")
        try:
            return ID.from_pubkey(deserialize_public_key(public_key)).to_base58()
        except Exception as fault:  # as above
            raise RemoteError(f"this is no public key: {fault}", "public-key") from None

    def key_within(self, peer: str) -> bytes | None:
        raw = parse_peer_id(peer).to_bytes()
        return raw[2:] if raw[:1] == b"\x00" else None
