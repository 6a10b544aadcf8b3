"""What one call may ask of the disk store, checked before the disk is touched; and CIDs out of index rows.

No I/O here.
"""

from __future__ import annotations

from collections.abc import Sequence

from shoal.messages import varint
from shoal.messages.block import Block
from shoal.messages.cid import CID, IDENTITY
from shoal.messages.errors import BadInput, RemoteError
from shoal.messages.limits import BLOCK_BYTES_MAX, DISK_PUT_BLOCKS_MAX, DISK_PUT_BYTES_MAX, Limit


def check_count(count: int, limit: Limit) -> None:
    """Raise BadInput for a batch of more than ``limit``."""
    if count > limit.value:
        raise BadInput(f"a batch of {count} {limit.unit}, at most {limit.value}", "ask in parts")


def distinct(blocks: Sequence[Block]) -> dict[bytes, Block]:
    """The blocks of a put by multihash, without repeats and identity blocks.  Raises BadInput above a bound."""
    check_count(len(blocks), DISK_PUT_BLOCKS_MAX)
    found: dict[bytes, Block] = {}
    size_sum = 0
    for block in blocks:
        if block.cid.hash_code == IDENTITY:
            continue
        size = len(block)
        if size > BLOCK_BYTES_MAX.value:
            raise BadInput(f"a block of {size} bytes, at most {BLOCK_BYTES_MAX.value}", "split it into smaller blocks")
        if found.setdefault(block.cid.multihash, block) is block:
            size_sum += size
    if size_sum > DISK_PUT_BYTES_MAX.value:
        raise BadInput(f"a batch of {size_sum} bytes, at most {DISK_PUT_BYTES_MAX.value}", "put it in parts")
    return found


def sane_size(size: object) -> int:
    """The size of an index row, or 0 when damage has left a number that no block has."""
    return size if isinstance(size, int) and 0 <= size <= BLOCK_BYTES_MAX.value else 0


def stored_cid(multihash: object, codec: object) -> CID | None:
    """The CIDv1 of an index row, or None when damage has left none."""
    if not isinstance(multihash, bytes) or not isinstance(codec, int):
        return None
    try:
        hash_code, at = varint.decode(multihash)
        length, at = varint.decode(multihash, at)
        if len(multihash) - at != length:
            return None
        return CID(1, codec, hash_code, multihash[at:])
    except (RemoteError, ValueError):
        return None
