"""A node's keys, as actors use them: to sign what they say, and to check what others said.

The crypto itself is a library's, behind this interface (``runtime/network/keys.py``), so that no actor holds a private
key and the pure cores can be driven with any keys.  Public keys are in libp2p's protobuf form (peer-ids spec).
"""

from __future__ import annotations

from typing import Protocol


class Keys(Protocol):
    """This node's pair, and what can be told from others' public keys."""

    @property
    def peer_id(self) -> str:
        """Base58."""

    @property
    def public_key(self) -> bytes:
        """Protobuf form."""

    def sign(self, data: bytes) -> bytes:
        """A signature by this node."""

    def verify(self, public_key: bytes, data: bytes, signature: bytes) -> bool:
        """Whether the holder of ``public_key`` signed ``data``.  False for a key that cannot be used."""

    def peer_of(self, public_key: bytes) -> str:
        """The peer id of a public key.  Raises RemoteError when it is none."""

    def key_within(self, peer: str) -> bytes | None:
        """The public key that an inlined (Ed25519, secp256k1) peer id carries; None: it is hashed."""
