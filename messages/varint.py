"""Unsigned varints as multiformats defines them: minimal, at most 9 bytes (63 bits).

Source: multiformats/unsigned-varint, "Practical maximum of 9 bytes".  Every length that a peer sends
goes through ``decode``; a value is bounded before anything is allocated for it.
"""

from shoal.messages.errors import RemoteError

MAX_BYTES = 9  # bytes; the multiformats practical maximum, 63 bits of value


def encode(value: int) -> bytes:
    """``value`` (0 <= value < 2**63) as 1 to 9 bytes."""
    if value < 0x80:
        if value < 0:
            raise ValueError("a varint is unsigned")
        return bytes((value,))
    if value >> 63:
        raise ValueError("a varint holds at most 63 bits")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(data: bytes | memoryview, offset: int = 0) -> tuple[int, int]:
    """The varint at ``offset`` and the offset behind it.

    Raises RemoteError when it is cut short, longer than 9 bytes or not minimal.
    """
    result = shift = 0
    end = min(len(data), offset + MAX_BYTES)
    for index in range(offset, end):
        byte = data[index]
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and index > offset:
                raise RemoteError("varint is not minimal", "varint")
            return result, index + 1
        shift += 7
    if end - offset == MAX_BYTES:
        raise RemoteError("varint is longer than 9 bytes", "varint")
    raise RemoteError("varint is cut short", "varint")
