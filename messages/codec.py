"""Messages to msgpack and back.  The one place that packs or unpacks what actors say.

A message becomes a header (msgpack of its fields) and a tuple of buffers: block data and frames are not packed
but carried beside the header by reference, the header holding only their index.  ``decode`` gives a message or
raises RemoteError, whatever the bytes; sizes and counts are bounded before anything is built.

Not here: how an envelope finds its receiver (runtime/supervisor), and bitswap's protobuf (actors/bitswap/wire).
"""

from collections.abc import Callable
from typing import Any, Final

import msgpack
import msgspec

from shoal.messages import limits
from shoal.messages.base import Message
from shoal.messages.block import Block, Buffer
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope, check
from shoal.messages.errors import RemoteError
from shoal.messages.registry import KINDS

BUILTIN: Final = (bytes, bytearray, memoryview)
# What msgpack and msgspec raise for bytes that are not a message.  RecursionError and OverflowError come from nesting
# and from integers that do not fit; nothing else has been seen in fuzzing.
FAULTS: Final = (
    ValueError,
    TypeError,
    msgspec.ValidationError,
    msgpack.UnpackException,
    KeyError,
    RecursionError,
    OverflowError,
)


def encode(message: Message) -> tuple[bytes, tuple[memoryview, ...]]:
    """The header of ``message`` and the buffers that ride beside it."""
    buffers: list[memoryview] = []

    def hook(value: Any) -> Any:
        if isinstance(value, CID):
            return value.raw
        if isinstance(value, Block):
            buffers.append(value.data)
            return (value.cid.raw, len(buffers) - 1)
        if isinstance(value, Buffer):
            buffers.append(value.data)
            return len(buffers) - 1
        raise NotImplementedError(f"a message cannot carry a {type(value).__name__}")

    plain = msgspec.to_builtins(message, builtin_types=BUILTIN, enc_hook=hook)
    header: bytes = msgpack.packb(plain)
    return header, tuple(buffers)


def decode(body: bytes | memoryview, buffers: tuple[memoryview, ...] = ()) -> Message:
    """The message in ``body``, its blocks and frames taken from ``buffers``.  Raises RemoteError."""
    if len(body) > limits.ENVELOPE_HEADER_MAX.value:
        raise RemoteError(f"message header of {len(body)} bytes", "message-size")
    try:
        plain = _unpack(body)
        kind = KINDS.get(plain["type"])  # a convert to the union of all kinds costs 45 us, to one kind 2 us
        if kind is None:
            raise RemoteError(f"unknown message {str(plain['type'])[:40]!r}", "message")
        message: Message = msgspec.convert(
            plain, kind, builtin_types=BUILTIN, dec_hook=_decode_hook(buffers), strict=True
        )
    except RemoteError:
        raise
    except FAULTS as fault:
        raise RemoteError(f"not a message: {fault}", "message") from None
    return message


def encode_envelope(envelope: Envelope) -> bytes:
    """An envelope with its buffers' sizes but without their bytes: what a flight recorder keeps and a dump holds."""
    fields = [getattr(envelope, name) for name in envelope.__struct_fields__ if name != "buffers"]
    packed: bytes = msgpack.packb([*fields, [len(view) for view in envelope.buffers]])
    return packed


def decode_envelope(data: bytes) -> tuple[Envelope, tuple[int, ...]]:
    """What ``encode_envelope`` wrote: the envelope (without buffers) and the sizes its buffers had."""
    try:
        *fields, sizes = _unpack(data)
        names = [name for name in Envelope.__struct_fields__ if name != "buffers"]
        plain = dict(zip(names, fields, strict=True))
        envelope = msgspec.convert(plain, Envelope, builtin_types=BUILTIN, strict=True)
        return check(envelope), msgspec.convert(sizes, tuple[int, ...])
    except RemoteError:
        raise
    except FAULTS as fault:
        raise RemoteError(f"not an envelope: {fault}", "envelope") from None


def _unpack(data: bytes | memoryview) -> Any:
    items = limits.MESSAGE_ITEMS_MAX.value
    return msgpack.unpackb(
        data,
        raw=False,
        use_list=False,
        strict_map_key=True,
        max_str_len=limits.MESSAGE_STR_MAX.value,
        max_bin_len=limits.MESSAGE_STR_MAX.value,
        max_array_len=items,
        max_map_len=items,
        max_ext_len=0,
    )


def _decode_hook(buffers: tuple[memoryview, ...]) -> Callable[[type, Any], Any]:
    def pick(index: Any) -> memoryview:
        if type(index) is not int or not 0 <= index < len(buffers):
            raise RemoteError("message names a buffer that did not come with it", "message")
        return buffers[index]

    def hook(kind: type, value: Any) -> Any:
        if kind is CID:
            if not isinstance(value, bytes):
                raise RemoteError("a CID in a message is bytes", "message")
            return CID.from_bytes(value)
        if kind is Block:
            if not isinstance(value, tuple) or len(value) != 2 or not isinstance(value[0], bytes):
                raise RemoteError("a block in a message is a CID and a buffer index", "message")
            return Block(CID.from_bytes(value[0]), pick(value[1]))
        if kind is Buffer:
            return Buffer(pick(value))
        raise NotImplementedError(f"no decoder for {kind}")

    return hook
