"""CAR archives: round trips in any pieces, and every way in which one may be broken."""

import struct

import cbrrr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages import varint
from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_CBOR, DAG_PB, RAW
from shoal.messages.errors import RemoteError
from shoal.messages.limits import BLOCK_BYTES_MAX, CAR_HEADER_MAX
from shoal.storage.ipld import car, dagcbor
from shoal.storage.ipld.car import PRAGMA_V2, CarDecoder, CarHeader
from shoal.tests.storage.ipld.dags import identity

blocks = st.one_of(
    st.tuples(st.binary(max_size=300), st.sampled_from([RAW, DAG_PB, DAG_CBOR, 0x0129])).map(
        lambda pair: Block(CID.of(*pair), pair[0])
    ),
    st.binary(max_size=50).map(lambda data: Block(CID.of(data, DAG_PB, 0), data)),
    st.binary(max_size=60).map(lambda data: Block(identity(data), data)),
)
root_lists = st.lists(blocks.map(lambda block: block.cid), max_size=4)


def archive(roots: list[CID], content: list[Block]) -> bytes:
    return car.encode_header(roots) + b"".join(car.encode_section(block) for block in content)


def archive_v2(v1: bytes, gap: int = 0, index: bytes = b"") -> bytes:
    """A v2 around ``v1``, made by hand from the specification."""
    start = 51 + gap
    offset = start + len(v1) if index else 0
    return PRAGMA_V2 + struct.pack("<16xQQQ", start, len(v1), offset) + bytes(gap) + v1 + index


def read(data: bytes, step: int = 1 << 30) -> list[CarHeader | Block]:
    decoder, out = CarDecoder(), []
    for at in range(0, len(data), step):
        out += decoder.feed(memoryview(data)[at : at + step])
    decoder.finish()
    return out


@given(root_lists, st.lists(blocks, max_size=6), st.integers(1, 400), st.integers(0, 20), st.binary(max_size=40))
def test_round_trip_in_any_pieces(roots: list[CID], content: list[Block], step: int, gap: int, index: bytes) -> None:
    v1 = archive(roots, content)
    assert read(v1) == read(v1, step) == read(v1, 1) == [CarHeader(1, tuple(roots)), *content]
    v2 = archive_v2(v1, gap, index)
    assert read(v2) == read(v2, step) == [CarHeader(2, tuple(roots)), *content]


@given(root_lists, st.lists(blocks, max_size=3), st.data(), st.booleans())
def test_any_change_gives_other_content_or_a_remote_error(
    roots: list[CID], content: list[Block], draw: st.DataObject, v2: bool
) -> None:
    data = archive(roots, content)
    data = archive_v2(data, 3, b"index") if v2 else data
    at = draw.draw(st.integers(0, len(data) - 1))
    changed = data[:at] + bytes((draw.draw(st.integers(0, 255)),)) + data[at + 1 :]
    try:
        out = read(changed)
    except RemoteError:
        return
    assert isinstance(out[0], CarHeader)
    assert all(isinstance(item, Block) and item.cid.matches(item.data) for item in out[1:])


@given(st.binary(max_size=120), st.integers(1, 120))
def test_any_bytes_give_content_or_a_remote_error(data: bytes, step: int) -> None:
    try:
        whole = read(data)
    except RemoteError:
        with pytest.raises(RemoteError):
            read(data, step)
    else:
        assert whole == read(data, step)


@given(root_lists, st.lists(blocks, min_size=1, max_size=3), st.data(), st.booleans())
def test_an_archive_cut_anywhere_but_between_blocks_is_cut_short(
    roots: list[CID], content: list[Block], draw: st.DataObject, v2: bool
) -> None:
    v1 = archive(roots, content)
    ends = {len(car.encode_header(roots))}
    for block in content:
        ends.add(max(ends) + len(car.encode_section(block)))
    data = archive_v2(v1) if v2 else v1
    end = draw.draw(st.integers(0, len(data) - 1))
    if not v2 and end in ends:
        assert len(read(data[:end])) <= len(content)
    else:
        with pytest.raises(RemoteError):
            read(data[:end])


LEAF = Block(CID.of(b"leaf"), b"leaf")
HEADER = car.encode_header([LEAF.cid])
SECTION = car.encode_section(LEAF)


def framed(data: bytes) -> bytes:
    return varint.encode(len(data)) + data


def header_of(value: object) -> bytes:
    return framed(dagcbor.encode(value))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00", id="header of no bytes"),
        pytest.param(framed(b"\xff"), id="header that is no dag-cbor"),
        pytest.param(header_of({"version": 1}), id="no roots"),
        pytest.param(header_of({"roots": [], "version": 2}) + SECTION, id="version 2 without its header"),
        pytest.param(header_of({"roots": [], "version": True}), id="version true"),
        pytest.param(framed(cbrrr.encode_dag_cbor({"roots": [], "version": 1.0})), id="version 1.0"),
        pytest.param(header_of({"roots": []}), id="no version"),
        pytest.param(header_of({"roots": ["x"], "version": 1}), id="root that is no CID"),
        pytest.param(header_of({"roots": {}, "version": 1}), id="roots that are no list"),
        pytest.param(header_of([1]), id="header that is no map"),
        pytest.param(varint.encode(CAR_HEADER_MAX.value + 1) + bytes(100), id="header above its bound"),
        pytest.param(varint.encode(2**62), id="header beyond all memory"),
        pytest.param(b"\xff" * 10, id="input 1: header length of ten bytes"),
        pytest.param(HEADER + b"\x00", id="input 7: section of no bytes"),
        pytest.param(HEADER + SECTION + bytes(512), id="padding of zeros"),
        pytest.param(HEADER + b"\xa8\x00" + SECTION[1:], id="input 2: length that is not minimal"),
        pytest.param(HEADER + varint.encode(car.SECTION_BYTES_MAX + 1), id="section above its bound"),
        pytest.param(HEADER + varint.encode(2**62), id="input 3: section beyond all memory"),
        pytest.param(HEADER + SECTION[:-1], id="section cut short"),
        pytest.param(HEADER + b"\x80", id="length cut short"),
        pytest.param(HEADER + framed(b"\x12\x20abc"), id="CID cut short"),
        pytest.param(HEADER + framed(b"\x02abc"), id="input 14: CID of version 2"),
        pytest.param(HEADER + framed(LEAF.cid.raw + b"Leaf"), id="input 21: bytes that do not hash to the CID"),
        pytest.param(HEADER + framed(identity(b"a").raw + b"b"), id="identity CID of other bytes"),
        pytest.param(HEADER + framed(b"\x01\x55\x22\x20" + bytes(32)), id="input 15: hash that secures nothing"),
        pytest.param(PRAGMA_V2, id="v2 without its header"),
        pytest.param(PRAGMA_V2 + bytes(40), id="v2 of nothing"),
        pytest.param(PRAGMA_V2 + struct.pack("<16xQQQ", 50, 10, 0) + HEADER, id="v2 data within its header"),
        pytest.param(PRAGMA_V2 + struct.pack("<16xQQQ", 51, 2**63, 0) + HEADER, id="v2 data past the end"),
        pytest.param(PRAGMA_V2 + struct.pack("<16xQQQ", 2**63, 9, 0) + HEADER, id="v2 gap past the end"),
        pytest.param(PRAGMA_V2 + struct.pack("<16xQQQ", 51, 99, 60) + HEADER, id="v2 index within the data"),
        pytest.param(PRAGMA_V2 + struct.pack("<16xQQQ", 51, 5, 0) + HEADER, id="v2 data shorter than its header"),
        pytest.param(archive_v2(HEADER + SECTION[:-1], index=b"x"), id="v2 data that ends within a section"),
        pytest.param(archive_v2(archive_v2(HEADER + SECTION)), id="v2 within a v2"),
    ],
)
def test_broken_archives_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteError):
        read(data)
    with pytest.raises(RemoteError):
        read(data, 1)


def test_nothing_is_read_past_the_end_of_a_v2s_data() -> None:
    # The data ends within the section; what follows would complete it.
    data = PRAGMA_V2 + struct.pack("<16xQQQ", 51, len(HEADER) + 10, 0) + HEADER + SECTION
    with pytest.raises(RemoteError, match="past the end"):
        CarDecoder().feed(data)


def test_input_24_blocks_of_two_mebibytes_and_one_byte_more() -> None:
    fits = bytes(BLOCK_BYTES_MAX.value)
    block = Block(CID.of(fits), fits)
    assert read(archive([block.cid], [block]), 100_000)[1] == block
    # The section's own bound leaves room for the longest CID, so the block is measured too.
    large = bytes(BLOCK_BYTES_MAX.value + 1)
    with pytest.raises(RemoteError):
        read(archive([], [Block(CID.of(large), large)]))


def test_a_section_is_held_once_and_no_more() -> None:
    decoder = CarDecoder()
    decoder.feed(HEADER)
    for _ in range(3000):
        assert decoder.feed(SECTION) == [LEAF]
        assert not decoder._buffer


def test_heads_and_data_are_a_section() -> None:
    assert car.section_head(LEAF) + LEAF.data == SECTION == bytes((40,)) + LEAF.cid.raw + b"leaf"
    assert read(car.encode_header([])) == [CarHeader(1, ())]
    # The header of the specification's example, "no roots".
    assert car.encode_header([]).hex() == "11a265726f6f7473806776657273696f6e01"
