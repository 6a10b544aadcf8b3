"""The key space: 256-bit ids, the XOR metric, and peer ids between their bytes and their text.

A kad id is an ``int`` of 256 bits, the SHA-256 of a key's bytes: of a peer id's multihash, a CID's multihash, or a
value's whole key.  Source: libp2p kad-dht spec, "Kademlia key"; peer ids: libp2p peer-ids spec.
"""

from __future__ import annotations

import functools
import hashlib
import random
from typing import Final

import libipld

from shoal.messages import varint
from shoal.messages.cid import CID
from shoal.messages.errors import RemoteError

BITS: Final = 256
PEER_BYTES_MAX: Final = 64  # of a peer id: an identity multihash of a public key of at most 42 bytes, or SHA-256
INLINED_MAX: Final = 42  # bytes of a public key that an id may carry (peer-ids spec)
CACHED: Final = 16384  # ids whose conversions are remembered, about 300 bytes each
DRAWS_MAX: Final = 1 << 14  # random keys tried for one that falls into a bucket; 0.5 us each


def kad_id(key: bytes) -> int:
    """Where ``key`` is in the key space."""
    return int.from_bytes(hashlib.sha256(key).digest())


@functools.lru_cache(maxsize=CACHED)
def peer_kad_id(peer: str) -> int:
    """Where a peer is.  Raises RemoteError when ``peer`` is no peer id."""
    return kad_id(peer_bytes(peer))


def common_prefix(a: int, b: int) -> int:
    """How many leading bits two kad ids share; 256 when they are equal."""
    return BITS - (a ^ b).bit_length()


@functools.lru_cache(maxsize=CACHED)
def peer_bytes(peer: str) -> bytes:
    """The multihash that ``peer`` writes in base58.  Raises RemoteError when it is no peer id."""
    try:
        _, raw = libipld.decode_multibase("z" + peer)
    except ValueError:
        raise RemoteError(f"{peer[:80]!r} is no peer id", "peer-id") from None
    peer_text(raw)
    return bytes(raw)


@functools.lru_cache(maxsize=CACHED)
def peer_text(raw: bytes) -> str:
    """A peer id's bytes as base58.  Raises RemoteError when they are none."""
    inlined = raw[:1] == b"\x00" and 2 < len(raw) == raw[1] + 2 <= INLINED_MAX + 2
    if not inlined and not (raw[:2] == b"\x12\x20" and len(raw) == 34):
        raise RemoteError(f"{len(raw)} bytes that are no peer id", "peer-id")
    return str(libipld.encode_multibase("z", raw))[1:]


def multihash(cid: CID) -> bytes:
    """What providers of ``cid`` are kept under: its hash alone, whatever its version and codec."""
    return varint.encode(cid.hash_code) + varint.encode(len(cid.digest)) + cid.digest


def key_sharing(me: int, prefix: int, rng: random.Random) -> bytes | None:
    """A random key whose kad id shares exactly ``prefix`` bits with ``me``; None when none was found in DRAWS_MAX."""
    for _ in range(DRAWS_MAX):
        key = b"\x12\x20" + rng.randbytes(32)  # the form of a peer id, so that FIND_NODE takes it anywhere
        if common_prefix(me, kad_id(key)) == prefix:
            return key
    return None
