"""One record of a segment: a zstd frame that holds exactly one CAR section.  Bytes to bytes; no I/O here.

Not a file: ``tail`` appends records, ``scan`` finds them again, ``store`` knows where each is.  Begin at
``Packer.pack`` and ``unpack``.

A segment is the frame of a CARv1 header without roots, then one frame a block.  zstd decodes frames that stand one
behind another as one stream, so ``zstd -dc`` of a segment is a whole CARv1 (RFC 8878, 3.1;
ipld.io/specs/transport/car).  Each frame carries zstd's own content checksum, and the section names its bytes by their
hash: a record can be told sound from itself alone.

The library is ``backports.zstd``: the very module that Python has as ``compression.zstd`` from 3.14 on, by the same
author, so the dependency goes away by itself.  It lets go of the GIL while it works.  A compressor is kept and
used again: making one costs more than compressing a small block.
"""

from __future__ import annotations

import sys
import zlib
from dataclasses import dataclass
from typing import Final

from shoal.messages import varint
from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.errors import BadConfig, RemoteError
from shoal.messages.limits import BLOCK_BYTES_MAX
from shoal.storage.ipld.car import SECTION_BYTES_MAX, encode_header, encode_section

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC: Final = bytes.fromhex("28b52ffd")  # begins every zstd frame
LEVEL_DEFAULT: Final = 3  # text to a quarter; random bytes pass at memory speed
LEVEL_MAX: Final = 19  # zstd's own bound for levels that need no unusual memory to decode
GAIN_MIN: Final = (95, 100)  # a frame above this part of its section is not worth decoding: the bytes are kept raw
WINDOW_LOG_MAX: Final = 22  # a decoder's window, 4 MiB: the next power of two above the largest section
CONTENT_BYTES_MAX: Final = varint.MAX_BYTES + SECTION_BYTES_MAX
FRAME_BYTES_MAX: Final = CONTENT_BYTES_MAX + CONTENT_BYTES_MAX // 256 + 1024  # above ZSTD_compressBound

_PARAMETER: Final = zstd.CompressionParameter
_WHOLE: Final = zstd.ZstdCompressor.FLUSH_FRAME
_DECODING: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX}

HEADER: Final = encode_header([])


@dataclass(frozen=True, slots=True)
class Record:
    """A block as it was read out of a frame.  ``data`` has been hashed only if that was asked for."""

    cid: CID
    data: memoryview


class Packer:
    """Makes frames.  Of one thread."""

    def __init__(self, level: int = LEVEL_DEFAULT) -> None:
        """``level`` is zstd's, 1 to LEVEL_MAX.  Raises BadConfig for any other."""
        if not 1 <= level <= LEVEL_MAX:
            raise BadConfig(f"a cold tier's zstd level of {level}", f"give 1 (fast) to {LEVEL_MAX} (small)")
        self._small = zstd.ZstdCompressor(options=_options(level))
        # zstd's fastest level codes no literals and looks for matches so rarely that a block which level 3 cannot
        # shrink comes out as raw blocks.  A frame of raw blocks made by hand would need XXH64 for its checksum, which
        # hashlib lacks; and this runs at the speed of a copy.
        self._raw = zstd.ZstdCompressor(options=_options(_PARAMETER.compression_level.bounds()[0]))

    def pack(self, block: Block) -> bytes:
        """The frame of ``block``: compressed, or raw when that would gain less than 5 %."""
        section = encode_section(block)
        frame = self._small.compress(section, _WHOLE)
        kept, parts = GAIN_MIN
        if len(frame) >= len(section) or len(frame) * parts <= len(section) * kept:
            return frame  # small, or zstd has seen by itself that nothing is to be gained
        return self._raw.compress(section, _WHOLE)

    def header(self) -> bytes:
        """The frame that begins every segment."""
        return self._small.compress(HEADER, _WHOLE)


def _options(level: int) -> dict[int, int]:
    return {_PARAMETER.compression_level: level, _PARAMETER.checksum_flag: 1}


def frame_length(data: memoryview) -> int | None:
    """The length in bytes of the whole frame that ``data`` begins with; None when it begins with none."""
    try:
        return zstd.get_frame_size(data)
    except zstd.ZstdError:
        return None


def content_of(frame: bytes | memoryview) -> bytes:
    """What is in exactly one frame, its checksum verified.  Raises RemoteError for anything else."""
    decoder = zstd.ZstdDecompressor(options=_DECODING)
    try:
        content = decoder.decompress(frame, max_length=CONTENT_BYTES_MAX + 1)
    except zstd.ZstdError as fault:
        raise RemoteError(f"a frame that does not decode: {fault}", "segment") from fault
    if not decoder.eof or decoder.unused_data:
        raise RemoteError("a frame that is cut short, too large, or followed by something else", "segment")
    return content


def unpack(frame: bytes | memoryview) -> Record:
    """The block of a frame, its hash not yet checked.  Raises RemoteError when the frame holds none."""
    return section_of(content_of(frame))


def section_of(content: bytes) -> Record:
    """The block of exactly one CAR section, its hash not yet checked.  Raises RemoteError for anything else."""
    length, start = varint.decode(content)
    if len(content) - start != length:
        raise RemoteError("a record that is not exactly one CAR section", "segment")
    cid, at = CID.read(content, start)
    if len(content) - at > BLOCK_BYTES_MAX.value:
        raise RemoteError(f"a record's block of {len(content) - at} bytes", "segment")
    return Record(cid, memoryview(content)[at:])


def crc_of(frame: bytes | memoryview) -> int:
    """The CRC-32 of a stored frame, which the index keeps: it tells a rotten frame before anything decodes it."""
    return zlib.crc32(frame)


def checked(frame: bytes, length: int, crc: int, multihash: bytes) -> memoryview | str:
    """The bytes in ``frame``, seen to hash to ``multihash``; or, in words, why they are not that.

    ``length`` and ``crc`` are the index's word on the frame.
    """
    if not frame:
        return "its segment is gone"
    if len(frame) != length:
        return "its segment is cut short"
    if crc_of(frame) != crc:
        return "the stored bytes have changed"
    try:
        held = unpack(frame)
    except RemoteError as fault:
        return str(fault)
    if held.cid.multihash != multihash or not held.cid.matches(held.data):
        return "does not hash to its name"
    return held.data
