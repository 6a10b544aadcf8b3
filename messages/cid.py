"""Content identifiers: a small frozen type over the canonical bytes.

Source: multiformats/cid (CIDv0, CIDv1), multiformats/multihash; bounds as in boxo's verifcid.  A CID is
made only through ``from_bytes`` or ``parse``, so one that exists is well formed, within bounds and of a
hash we can check.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import string
from typing import Final

import libipld

from shoal.messages import varint
from shoal.messages.errors import BadInput, RemoteError
from shoal.messages.limits import CID_BYTES_MAX, CID_TEXT_MAX, DIGEST_BYTES_MIN, IDENTITY_DIGEST_MAX

RAW: Final = 0x55
DAG_PB: Final = 0x70
DAG_CBOR: Final = 0x71
LIBP2P_KEY: Final = 0x72
DAG_JSON: Final = 0x0129

IDENTITY: Final = 0x00
SHA2_256: Final = 0x12
V0_PREFIX: Final = bytes((0, DAG_PB, SHA2_256, 32))  # a CIDv0 says none of it
CIDS_KEPT: Final = 8192  # of the last that were read from bytes, some 450 bytes each: a full wantlist or eight

# base16, base32, base36, base58 and base64url text; a path or a NUL never gets as far as a decoder.
CID_ALPHABET: Final = frozenset(string.ascii_letters + string.digits + "-_")

# multihash code -> (hashlib name, full digest bytes).  The allow-list of boxo's verifcid, less the ones
# that hashlib lacks; a CID of another hash is refused when it is parsed, since nobody could check it.
HASHES: Final[dict[int, tuple[str, int]]] = {
    0x11: ("sha1", 20),
    0x12: ("sha256", 32),
    0x13: ("sha512", 64),
    0x14: ("sha3_512", 64),
    0x15: ("sha3_384", 48),
    0x16: ("sha3_256", 32),
    0x17: ("sha3_224", 28),
    0x20: ("sha384", 48),
    0xB220: ("blake2b", 32),
    0xB240: ("blake2b", 64),
    0xB260: ("blake2s", 32),
}


def _check_digest(hash_code: int, length: int) -> None:
    """Raise RemoteError unless a digest of ``length`` bytes of this hash is one that we can check."""
    if hash_code == IDENTITY:
        if length > IDENTITY_DIGEST_MAX.value:
            raise RemoteError(f"identity CID of {length} bytes, at most {IDENTITY_DIGEST_MAX.value}", "cid")
        return
    known = HASHES.get(hash_code)
    if known is None:
        raise RemoteError(f"hash 0x{hash_code:x} is not one that we can check", "cid")
    if not DIGEST_BYTES_MIN.value <= length <= known[1]:
        raise RemoteError(f"digest of {length} bytes for {known[0]}", "cid")


def _text_to_bytes(text: str) -> bytes:
    """Multibase text, or the bare base58 of a CIDv0, as bytes."""
    is_v0 = len(text) == 46 and text.startswith("Qm")
    _, raw = libipld.decode_multibase("z" + text if is_v0 else text)
    if not is_v0 and raw[:1] == b"\x12":
        raise ValueError("a CIDv0 carries no multibase prefix")
    return bytes(raw)


def digest_of(hash_code: int, length: int, data: bytes | memoryview) -> bytes:
    """The first ``length`` bytes of the digest of ``data`` under an allow-listed hash."""
    if hash_code == SHA2_256:
        return hashlib.sha256(data).digest()[:length]
    if hash_code == IDENTITY:
        return bytes(data)
    name, size = HASHES[hash_code]
    if name == "blake2b":
        return hashlib.blake2b(data, digest_size=size).digest()[:length]
    if name == "blake2s":
        return hashlib.blake2s(data, digest_size=size).digest()[:length]
    return hashlib.new(name, data).digest()[:length]


class CID:
    """An immutable, hashable content identifier.  ``raw`` is its canonical binary form."""

    __slots__ = ("_hash", "codec", "digest", "hash_code", "multihash", "raw", "version")

    raw: bytes
    version: int
    codec: int
    hash_code: int
    digest: bytes
    multihash: bytes  # hash code, digest length and digest: what names the bytes whatever the codec
    _hash: int

    def __init__(self, version: int, codec: int, hash_code: int, digest: bytes) -> None:
        """Build from parts.  Raises RemoteError when they do not make a CID that we can handle."""
        _check_digest(hash_code, len(digest))
        tail = varint.encode(hash_code) + varint.encode(len(digest)) + digest
        if version == 0:
            if codec != DAG_PB or hash_code != SHA2_256 or len(digest) != 32:
                raise RemoteError("a CIDv0 is dag-pb with a 32-byte sha2-256", "cid")
            raw = tail
        elif version == 1:
            raw = b"\x01" + varint.encode(codec) + tail
        else:
            raise RemoteError(f"unknown CID version {version}", "cid")
        if len(raw) > CID_BYTES_MAX.value:
            raise RemoteError(f"CID of {len(raw)} bytes, at most {CID_BYTES_MAX.value}", "cid")
        put = object.__setattr__
        put(self, "raw", raw)
        put(self, "version", version)
        put(self, "codec", codec)
        put(self, "hash_code", hash_code)
        put(self, "digest", bytes(digest))
        put(self, "multihash", tail)
        put(self, "_hash", hash(raw))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a CID is immutable")

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> CID:
        """The CID that is exactly ``data``.  Raises RemoteError for anything else, trailing bytes too."""
        if len(data) == 36 and data[0] == 1 and data[1] < 0x80 and data[2] == SHA2_256 and data[3] == 32:
            return _sha256(bytes(data))  # nearly every CID there is: a twentieth of the general way's time
        if len(data) == 34 and data[0] == SHA2_256 and data[1] == 32:
            return _sha256(bytes(data))
        cid, end = cls.read(data, 0)
        if end != len(data):
            raise RemoteError(f"{len(data) - end} bytes behind the CID", "cid")
        return cid

    @classmethod
    def read(cls, data: bytes | memoryview, offset: int) -> tuple[CID, int]:
        """The CID that starts at ``offset`` and the offset behind it (CAR sections, CID prefixes)."""
        if len(data) - offset >= 34 and data[offset] == 0x12 and data[offset + 1] == 0x20:
            return cls(0, DAG_PB, SHA2_256, bytes(data[offset + 2 : offset + 34])), offset + 34
        version, at = varint.decode(data, offset)
        if version != 1:
            raise RemoteError(f"unknown CID version {version}", "cid")
        codec, at = varint.decode(data, at)
        hash_code, at = varint.decode(data, at)
        length, at = varint.decode(data, at)
        _check_digest(hash_code, length)
        if len(data) - at < length:
            raise RemoteError("CID is cut short", "cid")
        return cls(1, codec, hash_code, bytes(data[at : at + length])), at + length

    @classmethod
    def parse(cls, text: str) -> CID:
        """The CID written as ``text`` (base58 CIDv0, or multibase CIDv1), optionally behind ``/ipfs/``.

        Raises BadInput with the fault and a remedy: text comes from users.
        """
        bare = text.removeprefix("/ipfs/").removeprefix("ipfs://").rstrip("/")
        shown = repr(text if len(text) <= 80 else text[:77] + "...")
        if not bare or len(bare) > CID_TEXT_MAX.value or not CID_ALPHABET.issuperset(bare):
            raise BadInput(f"{shown} is not a CID", "give a CID such as bafy... or Qm..., with no path")
        try:
            return cls.from_bytes(_text_to_bytes(bare))
        except (ValueError, RemoteError) as fault:
            raise BadInput(f"{shown} is not a CID: {fault}", "check that it was copied whole") from None

    @classmethod
    def of(cls, data: bytes | memoryview, codec: int = RAW, version: int = 1) -> CID:
        """The sha2-256 CID of ``data``."""
        return cls(version, codec, SHA2_256, hashlib.sha256(data).digest())

    def matches(self, data: bytes | memoryview) -> bool:
        """Whether ``data`` hashes to this CID.  hashlib lets go of the GIL from 2 KiB up."""
        return digest_of(self.hash_code, len(self.digest), data) == self.digest

    def as_v1(self) -> CID:
        """The same multihash and codec as a CIDv1."""
        return self if self.version else CID(1, DAG_PB, SHA2_256, self.digest)

    @property
    def prefix(self) -> bytes:
        """Version, codec, hash code and digest length (bitswap's ``Block.prefix``)."""
        return self.raw[: len(self.raw) - len(self.digest)] if self.version else V0_PREFIX

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CID) and self.raw == other.raw

    def __lt__(self, other: CID) -> bool:
        return self.raw < other.raw

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        if len(self.digest) > 64:  # libipld stops there; identity CIDs of up to 128 bytes are legal
            return "b" + base64.b32encode(self.raw).decode().lower().rstrip("=")
        return libipld.encode_cid(self.raw)

    def __repr__(self) -> str:
        return f"CID({self})"

    def __reduce__(self) -> tuple[object, tuple[bytes]]:
        return CID.from_bytes, (self.raw,)


@functools.lru_cache(maxsize=CIDS_KEPT)
def _sha256(raw: bytes) -> CID:
    """The CID of a 32-byte sha2-256, of either version, whose bytes have just been seen to be one.

    Kept for a while: what is fetched passes a dozen mailboxes within milliseconds, and is a CID of bytes in each.
    """
    cid = object.__new__(CID)
    put = object.__setattr__
    version = int(raw[0] == 1)
    put(cid, "raw", raw)
    put(cid, "version", version)
    put(cid, "codec", raw[1] if version else DAG_PB)
    put(cid, "hash_code", SHA2_256)
    put(cid, "digest", raw[-32:])
    put(cid, "multihash", raw[-34:])
    put(cid, "_hash", hash(raw))
    return cid
