"""The frames of /shoal/filter/1.0.0: a whole filter, news since it, or that there is none any more.  Pure.

    whole    1, flags, generation (8), names (4), filter (messages.bloom form; its bits in a zstd frame when smaller)
    news     2, flags, generation (8), names (4), marks (8 each)
    none     3

Numbers are little-endian.  ``generation`` is random and names one filter of the sender: news change that one and no
other.  ``names`` is how many CIDs are in the filter; the flags say whether it covers all that the sender holds, and
whether the bits are compressed.  News without marks say that nothing has changed.

``decode`` turns any bytes into one of the three, or raises RemoteError.  Streams carry frames one way, from the node
that opened them.  Not here: what may be sent or taken, and when (``telling``, ``hearing``).
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shoal.messages import bloom
from shoal.messages.errors import RemoteError
from shoal.messages.limits import BLOOM_BYTES_MAX, FILTER_NEWS_MAX

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FILTER_1_0: Final = "/shoal/filter/1.0.0"
WHOLE: Final = 1
NEWS: Final = 2
NONE: Final = 3
COMPLETE: Final = 1  # flag: it covers all that its owner holds
PACKED: Final = 2  # flag: the bits are a zstd frame
HEAD: Final = struct.Struct("<BBQI")
MARK_BYTES: Final = 8
FRAME_BYTES_MAX: Final = HEAD.size + bloom.HEADER_BYTES + BLOOM_BYTES_MAX.value  # news are shorter
LEVEL: Final = 3  # zstd's; bits of a filter that is half full do not shrink at any
GAIN_MIN: Final = 0.95  # of the bits' size, above which a zstd frame is not worth decoding
WINDOW_LOG_MAX: Final = 18  # of a decoder's window: the largest filter
_DECODING: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX}

assert HEAD.size + MARK_BYTES * FILTER_NEWS_MAX.value <= FRAME_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Whole:
    """A filter, in the form of ``messages.bloom``; not parsed yet."""

    generation: int
    names: int
    complete: bool
    filter: bytes


@dataclass(frozen=True, slots=True)
class News:
    """Marks of what has been added to a filter."""

    generation: int
    names: int
    complete: bool
    marks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Nothing:
    """The sender tells nobody what it holds."""


Said = Whole | News | Nothing


def encode_whole(generation: int, names: int, complete: bool, one: bloom.Bloom) -> bytes:
    """The frame of a whole filter."""
    form = one.packed()
    head, bits = form[: bloom.HEADER_BYTES], form[bloom.HEADER_BYTES :]
    small = zstd.compress(bits, LEVEL)
    packed = len(small) <= GAIN_MIN * len(bits)
    flags = (COMPLETE if complete else 0) | (PACKED if packed else 0)
    return HEAD.pack(WHOLE, flags, generation, names) + head + (small if packed else bits)


def encode_news(generation: int, names: int, complete: bool, marks: Sequence[int]) -> bytes:
    """The frame of at most FILTER_NEWS_MAX marks."""
    if len(marks) > FILTER_NEWS_MAX.value:
        raise ValueError(f"{len(marks)} marks in one frame")
    flags = COMPLETE if complete else 0
    return HEAD.pack(NEWS, flags, generation, names) + struct.pack(f"<{len(marks)}Q", *marks)


def encode_nothing() -> bytes:
    """The frame that says there is no filter."""
    return bytes((NONE,))


def decode(frame: bytes | memoryview) -> Said:
    """What a frame says.  Raises RemoteError, and nothing else."""
    if len(frame) > FRAME_BYTES_MAX:
        raise RemoteError(f"filter frame of {len(frame)} bytes", "filter-frame")
    if len(frame) == 1 and frame[0] == NONE:
        return Nothing()
    if len(frame) < HEAD.size:
        raise RemoteError(f"filter frame of {len(frame)} bytes", "filter-frame")
    kind, flags, generation, names = HEAD.unpack_from(frame)
    body = frame[HEAD.size :]
    complete = bool(flags & COMPLETE)
    if kind == WHOLE:
        return Whole(generation, names, complete, _form(body, bool(flags & PACKED)))
    if kind == NEWS:
        count, rest = divmod(len(body), MARK_BYTES)
        if rest or count > FILTER_NEWS_MAX.value:
            raise RemoteError(f"filter news of {len(body)} bytes", "filter-frame")
        return News(generation, names, complete, struct.unpack(f"<{count}Q", body))
    raise RemoteError(f"filter frame of kind {kind}", "filter-frame")


def _form(body: bytes | memoryview, packed: bool) -> bytes:
    """The filter in its form, its size as its header says; no more is ever decompressed."""
    log2, _ = bloom.header(body)
    size = 1 << (log2 - 3)
    bits = bytes(body[bloom.HEADER_BYTES :])
    if packed:
        decoder = zstd.ZstdDecompressor(options=_DECODING)
        try:
            bits = decoder.decompress(bits, max_length=size + 1)
        except zstd.ZstdError as fault:
            raise RemoteError(f"a filter's bits do not decompress: {fault}", "filter-frame") from None
        if not decoder.eof or decoder.unused_data:
            raise RemoteError("a filter's bits are cut short, too many, or followed by something", "filter-frame")
    if len(bits) != size:
        raise RemoteError(f"a filter of 2**{log2} bits with {len(bits)} bytes of them", "filter-frame")
    return bytes(body[: bloom.HEADER_BYTES]) + bits
