"""The little of Protocol Buffers that dag-pb and UnixFS need: varints and fields, read strictly.

Not a general protobuf library: groups are refused, and a varint must be minimal, as every IPFS
implementation writes it.  Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from shoal.messages.errors import RemoteError

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5

UINT64_MAX: Final = 2**64 - 1
VARINT_BYTES_MAX: Final = 10  # bytes; 64 bits in groups of seven


def encode_varint(value: int) -> bytes:
    """``value`` (0 <= value < 2**64) as 1 to 10 bytes."""
    if value < 0x80:
        if value < 0:
            raise ValueError("a varint is unsigned")
        return bytes((value,))
    if value > UINT64_MAX:
        raise ValueError("a protobuf varint holds at most 64 bits")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def varint_length(value: int) -> int:
    """How many bytes ``encode_varint(value)`` takes."""
    return (max(value.bit_length(), 1) + 6) // 7


def read_varint(data: bytes | memoryview, at: int, end: int) -> tuple[int, int]:
    """The varint at ``at`` and the offset behind it.  Raises RemoteError past ``end``, 64 bits or the minimum."""
    value = shift = 0
    for index in range(at, min(end, at + VARINT_BYTES_MAX)):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if (byte == 0 and index > at) or value > UINT64_MAX:
                raise RemoteError("protobuf varint is not minimal or above 64 bits", "protobuf")
            return value, index + 1
        shift += 7
    raise RemoteError("protobuf varint is cut short or too long", "protobuf")


def read_bytes(data: bytes | memoryview, at: int, end: int) -> tuple[int, int]:
    """Start and end of the length-delimited field whose length stands at ``at``."""
    length, start = read_varint(data, at, end)
    if length > end - start:
        raise RemoteError("protobuf field is cut short", "protobuf")
    return start, start + length


def fields(data: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Each field of a message: its number, wire type and value (an int for VARINT, else the raw bytes)."""
    at, end = 0, len(data)
    while at < end:
        key, at = read_varint(data, at, end)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise RemoteError("protobuf field number 0", "protobuf")
        if wire == VARINT:
            value, at = read_varint(data, at, end)
            yield number, wire, value
            continue
        if wire == BYTES:
            start, at = read_bytes(data, at, end)
        elif wire in (FIXED32, FIXED64):
            start, at = at, at + (4 if wire == FIXED32 else 8)
            if at > end:
                raise RemoteError("protobuf field is cut short", "protobuf")
        else:
            raise RemoteError(f"protobuf wire type {wire}", "protobuf")
        yield number, wire, data[start:at]
