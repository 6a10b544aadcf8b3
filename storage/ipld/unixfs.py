"""The UnixFS message: what a dag-pb node's data says of a file, directory, symlink or HAMT shard.

Only the message; ``reader`` and ``hamt`` judge it against the node's links.  Source: specs.ipfs.tech/unixfs.
Unknown fields are skipped, as protobuf has it; a known field of the wrong type, or twice, is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from shoal.messages.errors import RemoteError
from shoal.messages.limits import DAGPB_LINKS_MAX, HAMT_FANOUT_MAX
from shoal.storage.ipld import protobuf
from shoal.storage.ipld.protobuf import BYTES, FIXED32, VARINT, encode_varint, read_varint

HASH_MURMUR3: Final = 0x22  # multicodec murmur3-x64-64
UINT32_MAX: Final = 2**32 - 1
NANOS_MAX: Final = 999_999_999


class Kind(IntEnum):
    """What a node is.  RAW is the old dag-pb leaf, read but never written; METADATA is unused."""

    RAW = 0
    DIRECTORY = 1
    FILE = 2
    METADATA = 3
    SYMLINK = 4
    HAMT_SHARD = 5


FILE_KINDS: Final = (Kind.FILE, Kind.RAW)


@dataclass(frozen=True, slots=True)
class Mtime:
    """A modification time: seconds since 1970 (may be negative) and 0 to 999,999,999 nanoseconds."""

    seconds: int
    nanos: int = 0


@dataclass(frozen=True, slots=True)
class UnixFS:
    """One message.  ``data``: file bytes, symlink target or bitfield.  None: the field is absent."""

    kind: Kind
    data: bytes | memoryview | None = None
    filesize: int | None = None
    blocksizes: tuple[int, ...] = ()
    hash_type: int | None = None
    fanout: int | None = None
    mode: int | None = None
    mtime: Mtime | None = None


def _encode_mtime(mtime: Mtime) -> bytes:
    """The UnixTime message: int64 seconds, and nanoseconds only when above 0 as the spec demands."""
    out = b"\x08" + encode_varint(mtime.seconds % 2**64)
    if mtime.nanos:
        out += b"\x15" + mtime.nanos.to_bytes(4, "little")
    return out


def encode(message: UnixFS) -> bytes:
    """The message's bytes, fields in ascending order as Kubo writes them."""
    parts: list[bytes | memoryview] = [b"\x08", encode_varint(message.kind)]
    if message.data is not None:
        parts += (b"\x12", encode_varint(len(message.data)), message.data)
    if message.filesize is not None:
        parts += (b"\x18", encode_varint(message.filesize))
    for size in message.blocksizes:
        parts += (b"\x20", encode_varint(size))
    for key, number in ((b"\x28", message.hash_type), (b"\x30", message.fanout), (b"\x38", message.mode)):
        if number is not None:
            parts += (key, encode_varint(number))
    if message.mtime is not None:
        body = _encode_mtime(message.mtime)
        parts += (b"\x42", encode_varint(len(body)), body)
    return b"".join(parts)


def _decode_mtime(data: memoryview) -> Mtime:
    """The UnixTime message.  Raises RemoteError without seconds or with nanoseconds out of range."""
    seconds: int | None = None
    nanos = 0
    for number, wire, value in protobuf.fields(data):
        if number == 1 and wire == VARINT and isinstance(value, int) and seconds is None:
            seconds = value - 2**64 if value >> 63 else value
        elif number == 2 and wire == FIXED32 and isinstance(value, memoryview) and nanos == 0:
            nanos = int.from_bytes(value, "little")
            if not 0 < nanos <= NANOS_MAX:
                raise RemoteError("UnixFS mtime has nanoseconds out of range", "unixfs")
        elif number <= 2:
            raise RemoteError("UnixFS mtime is malformed", "unixfs")
    if seconds is None:
        raise RemoteError("UnixFS mtime has no seconds", "unixfs")
    return Mtime(seconds, nanos)


def _unpack(data: memoryview, into: list[int]) -> None:
    """Add a packed run of block sizes to ``into``."""
    at = 0
    while at < len(data) and len(into) <= DAGPB_LINKS_MAX.value:
        size, at = read_varint(data, at, len(data))
        into.append(size)


_NAMES: Final = {1: "kind", 2: "data", 3: "filesize", 5: "hash_type", 6: "fanout", 7: "mode", 8: "mtime"}
_BYTES_FIELDS: Final = (2, 8)
_BLOCKSIZES: Final = 4


def decode(data: bytes | memoryview) -> UnixFS:
    """The message in ``data``, whose own data is a view.  Raises RemoteError when it is malformed.

    The block sizes' sum is not judged here, nor a shard's parameters: see ``check_shard``.
    """
    found: dict[int, int | memoryview] = {}
    sizes: list[int] = []
    view = data if isinstance(data, memoryview) else memoryview(data)
    for number, wire, value in protobuf.fields(view):
        if number == _BLOCKSIZES:
            if isinstance(value, int):
                sizes.append(value)
            elif wire == BYTES:
                _unpack(value, sizes)
            else:
                raise RemoteError("UnixFS block size of a wrong type", "unixfs")
            if len(sizes) > DAGPB_LINKS_MAX.value:
                raise RemoteError("UnixFS has too many block sizes", "unixfs")
        elif number in _NAMES:
            if number in found or wire != (BYTES if number in _BYTES_FIELDS else VARINT):
                raise RemoteError(f"UnixFS {_NAMES[number]} is repeated or of a wrong type", "unixfs")
            found[number] = value
    return _assemble(found, tuple(sizes))


def _assemble(found: dict[int, int | memoryview], sizes: tuple[int, ...]) -> UnixFS:
    """The message from its fields by number."""

    def number(key: int) -> int | None:
        value = found.get(key)
        return value if isinstance(value, int) else None

    kind, mode = number(1), number(7)
    if kind is None or kind > Kind.HAMT_SHARD:
        raise RemoteError("UnixFS without a known type", "unixfs")
    if mode is not None and mode > UINT32_MAX:
        raise RemoteError("UnixFS mode above 32 bits", "unixfs")
    body, mtime = found.get(2), found.get(8)
    return UnixFS(
        kind=Kind(kind),
        data=body if isinstance(body, memoryview) else None,
        filesize=number(3),
        blocksizes=sizes,
        hash_type=number(5),
        fanout=number(6),
        mode=mode,
        mtime=_decode_mtime(mtime) if isinstance(mtime, memoryview) else None,
    )


def check_shard(message: UnixFS) -> tuple[int, int]:
    """Fanout and bitfield of a HAMT shard.  Raises RemoteError for parameters that nobody honest writes.

    CVE-2023-23625 (fanout without bound), CVE-2023-23626 (bitfield not a multiple of 8, or too long).
    """
    fanout = message.fanout or 0
    if message.hash_type != HASH_MURMUR3:
        raise RemoteError("HAMT shard hashes by something else than murmur3", "hamt")
    if fanout % 8 or fanout & (fanout - 1) or not 8 <= fanout <= HAMT_FANOUT_MAX.value:
        raise RemoteError(f"HAMT shard of fanout {fanout}", "hamt")
    bits = message.data or b""
    if len(bits) > fanout // 8:
        raise RemoteError("HAMT bitfield is longer than its fanout", "hamt")
    return fanout, int.from_bytes(bits, "big")
