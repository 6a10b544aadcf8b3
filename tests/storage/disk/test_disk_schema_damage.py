"""Bits that flip in the text of the tables' definitions: the store opens or says what is wrong, and nothing else."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from pathlib import Path

import pytest

from shoal.messages.errors import LocalError
from shoal.storage.disk.salvage import salvage
from shoal.storage.disk.schema import PAGE_BYTES
from shoal.storage.disk.store import DiskStore
from shoal.tests.storage.disk.samples import QUOTA, block_of
from shoal.tests.storage.disk.test_disk_damage import folder

BLOCKS = [block_of(seed, 3000) for seed in range(4)]
HEADER_BYTES = 100  # of the file, in front of the first page's own


@functools.cache
def sound() -> bytes:
    """A closed store's file with BLOCKS in it."""
    with folder() as place:
        store = DiskStore(place / "blocks.sqlite", QUOTA, reserve_bytes=0)
        store.open()
        store.put_many(BLOCKS)
        store.close()
        return (place / "blocks.sqlite").read_bytes()


def schema_bytes() -> list[int]:
    """Where the first page, which holds the definitions alone, is not empty."""
    page = sound()[:PAGE_BYTES]
    return [at for at in range(HEADER_BYTES, PAGE_BYTES) if page[at]]


def check_salvage(path: Path) -> None:
    """What may not open can be salvaged, or says that it cannot be."""
    new = DiskStore(path.with_name("new.sqlite"), QUOTA, reserve_bytes=0)
    new.open()
    with contextlib.suppress(LocalError):
        salvage(path, new)
    for block in BLOCKS:
        assert new.get_many([block.cid])[0] in (None, block)
    new.close()


def outcome(data: bytes) -> str:
    """Open a store on these bytes and read all that it should have."""
    with folder() as place:
        path = place / "blocks.sqlite"
        path.write_bytes(data)
        store = DiskStore(path, QUOTA, reserve_bytes=0)
        try:
            store.open()
        except LocalError as fault:
            return type(fault).__name__ if fault.remedy else "fault without a remedy"
        try:
            for block in BLOCKS:
                (found,) = store.get_many([block.cid])
                assert found is None or found == block
            store.put_many([block_of(9, 100)])
        except LocalError:
            return "opens, and fails later"
        finally:
            store.close()
    return "opens"


@pytest.mark.parametrize("bit", [0, 7])  # another letter; no text at all
def test_a_flipped_bit_in_the_schema(bit: int) -> None:
    told = Counter[str]()
    for at in schema_bytes():
        data = bytearray(sound())
        data[at] ^= 1 << bit
        told[outcome(bytes(data))] += 1
    print(dict(told))
    assert told["StorageFault"] > 100
    assert set(told) <= {"StorageFault", "BadConfig", "opens", "opens, and fails later"}


@pytest.mark.parametrize("bit", [0, 7])
def test_a_salvage_with_a_flipped_bit_in_the_schema(bit: int) -> None:
    for at in schema_bytes()[bit::16]:
        data = bytearray(sound())
        data[at] ^= 1 << bit
        with folder() as place:
            (place / "blocks.sqlite").write_bytes(data)
            check_salvage(place / "blocks.sqlite")
