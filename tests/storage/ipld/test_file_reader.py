"""Reading files: every range, any order of arrival, within the window; and DAGs that lie."""

import random
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.cid import CID, DAG_CBOR, DAG_PB, RAW
from shoal.messages.errors import BadInput, NotFound, RemoteError
from shoal.messages.limits import FILE_DEPTH_MAX, MIB, WALK_BLOCKS_MAX
from shoal.storage.ipld import dagpb, protobuf, unixfs
from shoal.storage.ipld.faults import NotAFile, UnknownCodec
from shoal.storage.ipld.profile import UNIXFS_V0_2015, UNIXFS_V1_2025
from shoal.storage.ipld.reader import FileReader, drive
from shoal.storage.ipld.unixfs import Kind, UnixFS
from shoal.storage.ipld.walk import Slot
from shoal.tests.storage.ipld.dags import TINY, Shelf, file_node, identity, link, pattern, run_shuffled

randoms = st.randoms(use_true_random=False)


def read(root: CID, shelf: Shelf, offset: int = 0, length: int | None = None, window: int = 1 << 20) -> bytes:
    return b"".join(drive(FileReader(root, offset, length, window), shelf.fetch))


@given(
    st.integers(0, 300),
    st.integers(1, 7),
    st.integers(2, 4),
    st.booleans(),
    st.integers(0, 320),
    st.none() | st.integers(0, 320),
    st.integers(1, 60),
    randoms,
)
def test_every_range_in_any_order_within_the_window(
    size: int, chunk: int, width: int, raw: bool, offset: int, length: int | None, window: int, rng: random.Random
) -> None:
    profile = replace(UNIXFS_V0_2015, chunk_bytes=chunk, links_per_node=width, raw_leaves=raw)
    shelf, data = Shelf(), pattern(size)
    root = shelf.file(data, profile)
    reader = FileReader(root.cid, offset, length, window)
    assert reader.size is None
    out, outstanding = b"", []
    while not reader.done:
        wanted = reader.wants()
        outstanding += wanted
        # Of leaves, what is asked for or held is within the window, or one leaf alone.
        assert sum(leaf_bytes(slot, shelf) for slot in line(reader)) <= max(window, chunk)
        assert reader._held == sum(slot.weight for slot in line(reader) if slot.asked or slot.item is not None)
        if outstanding:
            reader.give(shelf.blocks[outstanding.pop(rng.randrange(len(outstanding)))])
        if not outstanding or rng.random() < 0.5:
            out += b"".join(reader.take())
    assert out == data[offset:][: size if length is None else length]
    assert reader.size == size
    assert (reader._held, reader._blocks, reader._inner_asked, reader._open, reader._waiting) == (0, 0, 0, 0, {})


def leaf_bytes(slot: Slot, shelf: Shelf) -> int:
    """What a slot has of leaf data, or will have once what it asked for is there."""
    asked_leaf = slot.asked and not (slot.cid.codec == DAG_PB and dagpb.decode(shelf.blocks[slot.cid].data).links)
    return slot.weight if asked_leaf or slot.item is not None else 0


def line(reader: FileReader) -> Iterable[Slot]:
    slot = reader._head
    while slot is not None:
        yield slot
        slot = slot.next


@given(st.integers(0, 200), st.integers(1, 40), randoms)
def test_each_block_is_asked_for_once(size: int, window: int, rng: random.Random) -> None:
    shelf = Shelf()
    root = shelf.file(bytes(range(size)), TINY)  # no two leaves are equal
    assert b"".join(run_shuffled(FileReader(root.cid, window_bytes=window), shelf, rng)) == bytes(range(size))
    assert sorted(shelf.asked) == sorted(shelf.blocks)


def test_only_what_a_range_needs_is_asked_for() -> None:
    shelf = Shelf()
    profile = replace(TINY, links_per_node=4)
    data = pattern(3 * 64)
    root = shelf.file(data, profile)
    assert read(root.cid, shelf, 100, 1) == data[100:101]
    assert len(shelf.asked) == 4  # the root, two inner nodes and a leaf
    shelf.asked.clear()
    assert read(root.cid, shelf, len(data), 5) == b""
    assert shelf.asked == [root.cid]


def test_inner_nodes_are_asked_for_ahead_of_leaves() -> None:
    # Two subtrees of 2.25 MiB each: the second's node is wanted while the first's leaves still come in.
    shelf = Shelf()
    leaf = MIB // 4
    leaves = [shelf.leaf(bytes((number,)) * leaf) for number in range(18)]
    halves = [shelf.node(file_node(*[leaf] * 9), [link(cid) for cid in leaves[start : start + 9]]) for start in (0, 9)]
    root = shelf.node(file_node(9 * leaf, 9 * leaf), [link(cid) for cid in halves])
    reader = FileReader(root, window_bytes=MIB)
    assert reader.wants() == [root]
    reader.give(shelf.blocks[root])
    assert reader.wants() == halves[:1]
    reader.give(shelf.blocks[halves[0]])
    assert reader.wants() == leaves[:4]
    for number in range(9):
        reader.give(shelf.blocks[leaves[number]])
        reader.take()
        wanted = reader.wants()
        # Nothing of what lies behind an inner node is asked for before it is there.
        ahead = halves[1:] if number == 0 else []
        assert wanted == ahead + leaves[number + 4 : min(number + 5, 9)]
    reader.give(shelf.blocks[halves[1]])
    assert reader.wants() == leaves[9:13]


def test_a_leaf_that_repeats_is_fetched_once_a_window() -> None:
    shelf = Shelf()
    root = shelf.file(bytes(3 * 100), TINY)
    assert read(root.cid, shelf, window=30) == bytes(300)
    zeros = CID.parse(str(shelf.file(bytes(3), TINY).cid))
    assert 1 < shelf.asked.count(zeros) <= 30


@pytest.mark.parametrize("profile", [UNIXFS_V0_2015, UNIXFS_V1_2025])
def test_a_file_of_some_megabytes(profile) -> None:
    shelf, data = Shelf(), pattern(5 * MIB + 17)
    root = shelf.file(data, profile)
    assert read(root.cid, shelf, window=2 * MIB) == data
    assert read(root.cid, shelf, 2 * MIB - 3, MIB + 7) == data[2 * MIB - 3 :][: MIB + 7]


def test_a_window_of_one_byte_still_reads() -> None:
    shelf, data = Shelf(), pattern(2 * MIB)
    assert read(shelf.file(data, UNIXFS_V1_2025).cid, shelf, window=1) == data


def test_leaves_are_views_into_their_blocks() -> None:
    shelf = Shelf()
    root = shelf.file(pattern(1000), UNIXFS_V0_2015)
    (view,) = drive(FileReader(root.cid), shelf.fetch)
    assert view.obj is shelf.blocks[root.cid].data.obj
    assert view.readonly


def test_a_few_bytes_do_not_keep_a_whole_block() -> None:
    # A field that nobody knows, of a mebibyte, beside three bytes of data.
    shelf = Shelf()
    padding = b"\x7a" + protobuf.encode_varint(MIB) + bytes(MIB)
    root = shelf.raw_node(dagpb.encode((), unixfs.encode(UnixFS(Kind.FILE, b"abc", 3)) + padding))
    (view,) = drive(FileReader(root), shelf.fetch)
    assert view == b"abc"
    assert view.obj is not shelf.blocks[root].data.obj


def test_input_23_and_25_blocks_not_asked_for_or_again_are_ignored() -> None:
    shelf = Shelf()
    root, other = shelf.file(b"abc"), shelf.file(b"xyz")
    reader = FileReader(root.cid)
    reader.give(shelf.blocks[root.cid])  # not yet reported
    assert reader.wants() == [root.cid]
    reader.give(shelf.blocks[other.cid])
    assert (reader.take(), reader.done) == ([], False)
    for _ in range(1000):
        reader.give(shelf.blocks[root.cid])
    assert reader.take() == [b"abc"]
    assert reader.done


def test_identity_cids_are_opened_without_asking() -> None:
    shelf = Shelf()
    assert read(identity(b""), shelf) == b""
    assert read(identity(b"inline"), shelf, 2, 3) == b"lin"
    parts = [b"ab", b"cd", b"ab"]
    root = shelf.node(file_node(2, 2, 2), [link(identity(part)) for part in parts])
    assert read(root, shelf) == b"abcdab"
    nested = identity(bytes(shelf.blocks[shelf.node(file_node(2), [link(identity(b"hi"))])].data), DAG_PB)
    assert read(nested, shelf) == b"hi"
    assert shelf.asked == [root]


def test_old_shapes_are_read() -> None:
    shelf = Shelf()
    old_leaf = shelf.node(UnixFS(Kind.RAW, b"old", 3))
    assert read(old_leaf, shelf) == b"old"
    # Data in an inner node stands in front of its links; a missing filesize is none to disagree with.
    mixed = UnixFS(Kind.FILE, b"in front ", None, (3,))
    assert read(shelf.node(mixed, [link(old_leaf)]), shelf) == b"in front old"
    # A trickle DAG mixes leaves and subtrees.
    trickle = shelf.node(file_node(3, 12), [link(old_leaf), link(shelf.node(mixed, [link(old_leaf)]))])
    assert read(trickle, shelf) == b"oldin front old"


def test_empty_parts_are_passed_over_not_fetched() -> None:
    shelf = Shelf()
    absent = CID.of(b"never there")
    root = shelf.node(file_node(0, 2, 0), [link(absent), link(shelf.leaf(b"ab")), link(absent)])
    assert read(root, shelf) == b"ab"
    bomb = shelf.node(file_node(*[0] * 10_000), [link(absent)] * 10_000)
    assert read(bomb, shelf) == b""


LEAF = b"leaf"
LIES = {
    "leaf shorter than announced": lambda shelf: (file_node(5), [link(shelf.leaf(LEAF))]),
    "leaf longer than announced": lambda shelf: (file_node(3), [link(shelf.leaf(LEAF))]),
    "dag-pb leaf of another size": lambda shelf: (file_node(3), [link(shelf.node(UnixFS(Kind.FILE, LEAF, 4)))]),
    "filesize that disagrees": lambda shelf: (file_node(4, filesize=5), [link(shelf.leaf(LEAF))]),
    "leaf whose own size disagrees": lambda shelf: (file_node(4), [link(shelf.node(UnixFS(Kind.FILE, LEAF, 9)))]),
    "subtree of another size": lambda shelf: (
        file_node(9),
        [link(shelf.node(file_node(4), [link(shelf.leaf(LEAF))]))],
    ),
    "more links than sizes": lambda shelf: (file_node(4), [link(shelf.leaf(LEAF))] * 2),
    "more sizes than links": lambda shelf: (file_node(4, 4), [link(shelf.leaf(LEAF))]),
    "part with a name": lambda shelf: (file_node(4), [link(shelf.leaf(LEAF), "name")]),
    "part that is a directory": lambda shelf: (file_node(4), [link(shelf.directory({}).cid)]),
    "part that is a symlink": lambda shelf: (file_node(4), [link(shelf.symlink("leaf").cid)]),
    "part that is no UnixFS": lambda shelf: (file_node(4), [link(shelf.raw_node(b"\x0a\x01\xff"))]),
    "part that is no dag-pb": lambda shelf: (file_node(4), [link(shelf.raw_node(b"\xff"))]),
    "raw part above a block's size": lambda shelf: (file_node(3 * MIB), [link(shelf.leaf(LEAF))]),
    "size above 63 bits": lambda shelf: (file_node(2**63), [link(shelf.node(UnixFS(Kind.FILE)))]),
    "sizes that add up above 63 bits": lambda shelf: (file_node(*[2**62] * 2, filesize=2**63), [link(DEEP)] * 2),
}
DEEP = CID.of(b"deep", DAG_PB)


@pytest.mark.parametrize("lie", LIES)
def test_a_dag_that_lies_is_a_remote_error(lie: str) -> None:
    shelf = Shelf()
    message, links = LIES[lie](shelf)
    root = shelf.node(message, links)
    with pytest.raises(RemoteError):
        read(root, shelf)


def test_a_part_of_another_codec() -> None:
    shelf = Shelf()
    root = shelf.node(file_node(4), [link(shelf.value({"a": 1}))])
    with pytest.raises(RemoteError):
        read(root, shelf)


def test_a_chain_without_end_is_cut() -> None:
    shelf = Shelf()
    below = shelf.leaf(LEAF)
    for _ in range(FILE_DEPTH_MAX.value):
        below = shelf.node(file_node(4), [link(below)])
    assert read(below, shelf) == LEAF
    with pytest.raises(RemoteError, match="levels"):
        read(shelf.node(file_node(4), [link(below)]), shelf)


def test_fan_out_is_bounded() -> None:
    # 1,024 inner nodes of 1,000 one-byte leaves each: a million places, though the window is 16 MiB.
    shelf = Shelf()
    many = shelf.node(file_node(*[1] * 1000), [link(shelf.leaf(b"x"))] * 1000)
    root = shelf.node(file_node(*[1000] * 1024), [link(many)] * 1024)
    with pytest.raises(RemoteError, match="open places"):
        read(root, shelf, window=16 * MIB)


def test_no_more_blocks_are_asked_for_than_one_may_want() -> None:
    shelf = Shelf()
    leaves = [shelf.leaf(number.to_bytes(2, "big")) for number in range(3000)]
    root = shelf.node(file_node(*[2] * 3000), [link(leaf) for leaf in leaves])
    reader = FileReader(root, window_bytes=16 * MIB)
    reader.wants()
    reader.give(shelf.blocks[root])
    assert reader.wants() == leaves[: WALK_BLOCKS_MAX.value]
    assert reader.wants() == []


@pytest.mark.parametrize("kind", ["directory", "symlink", "shard"])
def test_what_is_no_file(kind: str) -> None:
    shelf = Shelf()
    root = {"directory": shelf.directory({}).cid, "symlink": shelf.symlink("x").cid}.get(kind)
    root = root or shelf.directory({"a": shelf.file(b"a")}, replace(TINY, hamt_threshold_bytes=0)).cid
    with pytest.raises(NotAFile, match="not a file"):
        read(root, shelf)


def test_what_is_no_unixfs() -> None:
    shelf = Shelf()
    with pytest.raises(UnknownCodec):
        read(shelf.value({"a": 1}), shelf)
    with pytest.raises(RemoteError):
        read(shelf.raw_node(b"\x0a\x01\xff"), shelf)


@pytest.mark.parametrize(("offset", "length", "window"), [(-1, None, 1), (0, -1, 1), (0, None, 0)])
def test_ranges_and_windows_that_cannot_be(offset: int, length: int | None, window: int) -> None:
    with pytest.raises(BadInput):
        FileReader(CID.of(b""), offset, length, window)


def test_a_source_that_lacks_a_block_is_not_found() -> None:
    shelf = Shelf()
    root = shelf.file(pattern(50), TINY)
    del shelf.blocks[min(cid for cid in shelf.blocks if cid != root.cid)]
    with pytest.raises(NotFound):
        read(root.cid, shelf)


@given(st.binary(max_size=60), st.sampled_from([RAW, DAG_PB, DAG_CBOR]), st.integers(0, 3))
def test_any_root_is_read_or_refused(data: bytes, codec: int, part: int) -> None:
    shelf = Shelf()
    root = identity(data, codec)
    if part:
        root = shelf.node(file_node(part), [link(root)])
    try:
        assert len(read(root, shelf)) <= 60
    except (RemoteError, NotAFile, UnknownCodec, NotFound):
        return
