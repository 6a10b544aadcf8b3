"""Who said it: StrictSign, the signing policy under which every message names its author and is signed by them.

Not here: whether a message is old news (``seen``).  A peer id is a multihash of a public key; one that is short enough
carries the key itself, otherwise the message does.  What is signed is the message without signature and key, in the
order of its fields, behind a prefix.

Source: libp2p/specs pubsub/README.md "Message Signing"; peer-ids spec.
"""

from __future__ import annotations

from typing import Final

import libipld

from shoal.actors.discovery.keys import Keys
from shoal.actors.discovery.pubsub import wire
from shoal.actors.discovery.pubsub.wire import Signed
from shoal.messages.errors import RemoteError

PREFIX: Final = b"libp2p-pubsub:"
SEQNO_BYTES: Final = 8
IDENTITY: Final = 0x00  # multihash code of a peer id that carries its key
SHA2_256: Final = 0x12
INLINED_BYTES_MAX: Final = 42  # of a key that a peer id may carry (peer-ids spec)


def peer_text(raw: bytes) -> str:
    """A peer id in base58.  Raises RemoteError when ``raw`` is none."""
    inlined = len(raw) > 2 and raw[0] == IDENTITY and raw[1] == len(raw) - 2 <= INLINED_BYTES_MAX
    hashed = len(raw) == 34 and raw[:2] == bytes((SHA2_256, 32))
    if not (inlined or hashed):
        raise RemoteError(f"{raw[:48].hex()} is no peer id", "pubsub-author")
    return str(libipld.encode_multibase("z", raw))[1:]


def peer_bytes(peer: str) -> bytes:
    """The multihash of a peer id in base58.  ValueError when it is not base58."""
    return bytes(libipld.decode_multibase("z" + peer)[1])


def message_id(author: bytes, seqno: bytes) -> bytes:
    """What a message is known by: its author and their number for it."""
    return author + seqno


class Signer:
    """Makes this node's messages.  ``seqno`` rises from one to the next, and over restarts as far as the clock does."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.author = peer_bytes(keys.peer_id)
        self.key = keys.public_key if keys.key_within(keys.peer_id) is None else None
        self.last = 0

    def make(self, topic: str, data: bytes, wall_s: float) -> Signed:
        """A new message, numbered by the wall clock in nanoseconds as go-libp2p-pubsub does."""
        self.last = max(self.last + 1, int(wall_s * 1e9)) % 2**64
        seqno = self.last.to_bytes(SEQNO_BYTES, "big")
        unsigned = wire.body(self.author, data, seqno, topic)
        signature = self.keys.sign(PREFIX + unsigned)
        return Signed(self.author, data, seqno, topic, signature, self.key, wire.sealed(unsigned, signature, self.key))


def author_of(message: Signed, keys: Keys) -> str:
    """The peer id of whoever signed ``message``.  Raises RemoteError for one that is not signed as it must be."""
    if message.author is None or message.seqno is None or message.signature is None:
        raise RemoteError("a message without author, number or signature", "pubsub-unsigned")
    if len(message.seqno) != SEQNO_BYTES:
        raise RemoteError(f"a number of {len(message.seqno)} bytes", "pubsub-unsigned")
    peer = peer_text(message.author)
    key = keys.key_within(peer) if message.author[0] == IDENTITY else None
    if message.key is not None:
        if keys.peer_of(message.key) != peer:
            raise RemoteError("a message whose key is not its author's", "pubsub-key")
        key = message.key
    if key is None:
        raise RemoteError("a message without its author's key", "pubsub-key")
    unsigned = wire.body(message.author, message.data, message.seqno, message.topic)
    if not keys.verify(key, PREFIX + unsigned, message.signature):
        raise RemoteError("a message with a wrong signature", "pubsub-signature")
    return peer
