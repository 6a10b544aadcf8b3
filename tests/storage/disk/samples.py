"""Blocks made from a number, and folders for stores: what the tests of the disk tier share."""

import hashlib
import os
from pathlib import Path
from typing import Final

from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_PB, RAW

ROOT: Final = Path(__file__).resolve().parents[3]

# Memory-backed where there is one: a test that opens hundreds of stores need not wait for a real sync.
FAST_FOLDER: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

QUOTA: Final = 1 << 40


def data_of(seed: int, size: int) -> bytes:
    """``size`` bytes that only ``seed`` has; no two pages of them are alike."""
    return hashlib.shake_128(seed.to_bytes(8, "big")).digest(size)


def block_of(seed: int, size: int, codec: int = RAW, version: int = 1) -> Block:
    data = data_of(seed, size)
    return Block(CID.of(data, codec, version), data)


def v0_block_of(seed: int, size: int) -> Block:
    return block_of(seed, size, DAG_PB, 0)


def child_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / ".links")}
