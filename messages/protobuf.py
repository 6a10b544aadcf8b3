"""As much of protobuf as the node's protocols need: fields of a message one after another, and the ways to write one.

Reading is strict where laxness would hide an attack (lengths are checked before anything is cut out; nothing is
allocated from a count) and lax where the format is (varints need not be minimal, unknown fields are skipped).
Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from shoal.messages import varint
from shoal.messages.errors import RemoteError

Part = bytes | memoryview
VARINT_BYTES_MAX: Final = 10  # bytes of a 64-bit varint, the longest that protobuf knows
UINT64_MASK: Final = 2**64 - 1
INT32_SIGN: Final = 2**31
FIELDS_UNBOUNDED: Final = 2**63  # where the length of the whole message bounds the work well enough


def read_uint(data: Part, at: int) -> tuple[int, int]:
    """The varint at ``at``, of up to 10 bytes, and the offset behind it.  IndexError when it is cut short."""
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    value = shift = 0
    for index in range(at, at + VARINT_BYTES_MAX):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & UINT64_MASK, index + 1
        shift += 7
    raise RemoteError("varint of more than 10 bytes", "protobuf")


def int32(value: int) -> int:
    """The low 32 bits as a signed number: how an int32 field is read, whatever its length."""
    value &= 2 * INT32_SIGN - 1
    return value - 2 * INT32_SIGN if value >= INT32_SIGN else value


def fields(
    data: Part, numbers: tuple[int, ...], views: tuple[int, ...], most: int = FIELDS_UNBOUNDED
) -> Iterator[tuple[int, int, Part]]:
    """Each known field as (field number, value, b"") or (field number, 0, bytes of it).

    ``numbers`` are the field numbers that hold varints, ``views`` those that hold bytes.  A known field of another wire
    type, a group, a field that is cut short, and more than ``most`` fields, known or not, are malformed: RemoteError.
    """
    at, end, left = 0, len(data), most
    try:
        while at < end:
            left -= 1
            if left < 0:
                raise RemoteError(f"protobuf message of more than {most} fields", "protobuf")
            tag, at = read_uint(data, at)
            number, kind = tag >> 3, tag & 7
            if kind == 2:
                size, at = read_uint(data, at)
                if size > end - at:
                    raise RemoteError("protobuf field is cut short", "protobuf")
                if number in views:
                    yield number, 0, data[at : at + size]
                at += size
            elif kind == 0:
                value, at = read_uint(data, at)
                if number in numbers:
                    yield number, value, b""
            elif kind in (1, 5):
                at += 8 if kind == 1 else 4
            else:
                raise RemoteError(f"protobuf wire type {kind}", "protobuf")
            if number == 0 or (kind != 0 and number in numbers) or (kind != 2 and number in views):
                raise RemoteError(f"protobuf field {number} of wire type {kind}", "protobuf")
    except IndexError:
        raise RemoteError("protobuf message is cut short", "protobuf") from None
    if at > end:
        raise RemoteError("protobuf field is cut short", "protobuf")


def bytes_field(number: int, value: bytes) -> bytes:
    """A field of bytes, or of an embedded message."""
    return bytes((number << 3 | 2,)) + varint.encode(len(value)) + value


def int32_field(number: int, value: int) -> bytes:
    """A field of an int32; a negative one takes ten bytes."""
    if value >= 0:
        return bytes((number << 3,)) + varint.encode(value)
    low, high = value & (2**63 - 1), b"\x01"
    tail = varint.encode(low)
    return bytes((number << 3,)) + bytes(byte | 0x80 for byte in tail) + high


def uint_field(number: int, value: int) -> bytes:
    """A field of an unsigned number or an enum, 0 to 2**63 - 1; it is written when it is 0 too."""
    return bytes((number << 3,)) + varint.encode(value)


def bool_field(number: int) -> bytes:
    """A field that is true; one that is false is left out."""
    return bytes((number << 3, 1))
