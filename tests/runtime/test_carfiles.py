"""CAR archives through the edge: what comes out goes in again, and a damaged one is refused and harms nothing."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.messages import varint
from shoal.messages.block import Block
from shoal.messages.cid import CID, IDENTITY, RAW
from shoal.messages.errors import BadInput, StorageFull
from shoal.messages.replies import Failed
from shoal.runtime.carfiles import export_car, import_car
from shoal.runtime.http.backend import ImportResult
from shoal.storage.ipld.car import encode_header, encode_section
from shoal.tests.storage.ipld.dags import Shelf, pattern
from shoal.tests.support.bitswap import block
from shoal.tests.support.scripted_placement import ScriptedPlacement


def archive(roots: list[CID], blocks: list[Block]) -> bytes:
    return encode_header(roots) + b"".join(map(encode_section, blocks))


def take(place: ScriptedPlacement, data: bytes, step: int = 1000) -> list[ImportResult]:
    pieces = (data[start : start + step] for start in range(0, len(data), step))
    try:
        return list(import_car(pieces, place.edge))
    finally:
        place.wait(lambda: False, 0.001)
        assert place.open_requests == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 30_000), st.integers(1, 5000))
def test_what_comes_out_goes_in_again(size: int, step: int) -> None:
    shelf = Shelf()
    root = shelf.file(pattern(size)).cid if size < 200 else shelf.leaf(pattern(size))
    blocks = list(shelf.blocks.values())
    place = ScriptedPlacement()
    results = take(place, b"".join(export_car(root, iter(blocks))), step)
    assert place.stored == shelf.blocks
    assert results == [ImportResult(root), ImportResult(None, blocks=len(blocks), block_bytes=sum(map(len, blocks)))]


def test_roots_are_looked_up_each_once_and_a_missing_one_is_told() -> None:
    here, gone, inline = block(1), block(2), CID(1, RAW, IDENTITY, b"inline")
    place = ScriptedPlacement()
    results = take(place, archive([here.cid, gone.cid, here.cid], [here]))
    assert [(result.root, bool(result.error)) for result in results] == [
        (here.cid, False),
        (gone.cid, True),
        (None, False),
    ]
    assert inline not in place.stored


def test_an_archive_without_roots_or_blocks_is_no_fault() -> None:
    assert take(ScriptedPlacement(), archive([], [])) == [ImportResult(None)]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"not a car at all", id="something else"),
        pytest.param(archive([], [block(1)])[:-1], id="cut short"),
        pytest.param(archive([], [block(1)]) + b"\x05", id="a section announced"),
        pytest.param(archive([], [Block(block(1).cid, b"other bytes")]), id="21 bytes of another hash"),
        pytest.param(encode_header([]) + varint.encode(2**62), id="3 a section beyond all memory"),
        pytest.param(encode_header([]) + b"\xff" * 20, id="1 an endless length"),
        pytest.param(varint.encode(2**30) + b"x" * 100, id="a header beyond all memory"),
    ],
)
def test_a_damaged_archive_is_the_users_to_mend_and_leaves_no_request(data: bytes) -> None:
    for step in (1, 1000):
        with pytest.raises(BadInput, match="not a valid CAR") as caught:
            take(ScriptedPlacement(), data, step)
        assert caught.value.remedy


def test_blocks_before_the_damage_stay_and_those_after_never_come() -> None:
    place = ScriptedPlacement()
    many = [block(number, 2_000_000) for number in range(10)]
    damaged = archive([], many) + encode_section(Block(block(1).cid, b"other")) + encode_section(block(99))
    with pytest.raises(BadInput):
        take(place, damaged, 1_000_000)
    assert set(place.stored) <= {one.cid for one in many}
    assert block(99).cid not in place.stored


def test_a_full_disk_ends_the_import() -> None:
    place = ScriptedPlacement(
        lambda ctx, _, envelope: ctx.reply(envelope, Failed(envelope.kind, "StorageFull", "no room"))
    )
    with pytest.raises(StorageFull):
        take(place, archive([], [block(1)]))


def test_an_endless_archive_is_read_no_faster_than_it_is_stored() -> None:
    place = ScriptedPlacement()
    place.answer = lambda *_: None  # a disk that does not answer
    read = itertools.count(1)
    taken = 0

    def endless() -> itertools.chain[bytes]:
        def sections():  # type: ignore[no-untyped-def]  # a generator of bytes
            nonlocal taken
            for number in read:
                taken = number
                yield encode_section(block(number, 1_000_000))

        return itertools.chain([encode_header([])], sections())

    with pytest.raises(Exception, match="disk"):
        list(import_car(endless(), place.edge))
    assert taken < 25, "three batches of 4 MiB, and what is being gathered"
