"""Peer ids as servers write them - base58, or a CID of the key - as the base58 that the node knows peers by.  Pure.

Source: libp2p peer-ids spec, "String representation".
"""

from __future__ import annotations

from typing import Final

import libipld

from shoal.messages.cid import CID, LIBP2P_KEY
from shoal.messages.errors import BadInput, RemoteError

TEXT_MAX: Final = 128  # characters; a hashed id has 46, an inlined one 52 to 69, in base36 or base32
INLINED_MAX: Final = 42  # bytes of a key's message that is inlined rather than hashed (peer-ids spec, "Peer IDs")


def base58_of(text: str) -> str:
    """The peer id that ``text`` writes.  Raises RemoteError when it writes none."""
    return str(libipld.encode_multibase("z", multihash_of(text)))[1:]


def key_cid_of(text: str) -> CID:
    """The same as the CID of its key, the one spelling that every server takes.  Raises RemoteError."""
    multihash = multihash_of(text)
    return CID(1, LIBP2P_KEY, multihash[0], multihash[2:])


def multihash_of(text: str) -> bytes:
    """The same in bytes, as keys of the DHT have it."""
    if not text or len(text) > TEXT_MAX or not text.isascii() or not text.isalnum():
        raise RemoteError("what should be a peer id is none", "peer-id")
    try:
        if text.startswith(("1", "Qm")):
            multihash = bytes(libipld.decode_multibase("z" + text)[1])
        else:
            cid = CID.parse(text)
            multihash = cid.multihash if cid.codec == LIBP2P_KEY else b""
    except (BadInput, ValueError):
        multihash = b""
    inlined = multihash[:1] == b"\x00" and 2 < len(multihash) == multihash[1] + 2 <= INLINED_MAX + 2
    hashed = multihash[:2] == b"\x12\x20" and len(multihash) == 34
    if not (inlined or hashed):
        raise RemoteError(f"{text[:TEXT_MAX]!r} is no peer id", "peer-id")
    return multihash
