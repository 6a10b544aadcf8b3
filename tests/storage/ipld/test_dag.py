"""Every block of a DAG: once, depth first, whatever the order of arrival and however much is shared."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.cid import CID, DAG_CBOR, DAG_PB
from shoal.messages.errors import BadInput, RemoteError
from shoal.messages.limits import MIB
from shoal.storage.ipld import dag as dag_module
from shoal.storage.ipld import dagcbor
from shoal.storage.ipld.dag import DagWalker, links_of
from shoal.storage.ipld.faults import UnknownCodec
from shoal.storage.ipld.unixfs import Kind, UnixFS
from shoal.tests.storage.ipld.dags import TINY, Shelf, identity, link, pattern, run_shuffled


def first_visits(root: CID, shelf: Shelf, seen: set[CID]) -> Iterator[CID]:
    """The order that is promised, by plain recursion."""
    if root not in seen:
        seen.add(root)
        yield root
        for child, _ in links_of(shelf.blocks[root]):
            yield from first_visits(child, shelf, seen)


@st.composite
def dags(draw: st.DrawFn) -> tuple[Shelf, CID]:
    """A random DAG of all codecs; each node links to some made before it, so much is shared."""
    shelf = Shelf()
    made = [shelf.leaf(b"first")]
    for number in range(draw(st.integers(0, 14))):
        below = draw(st.lists(st.sampled_from(made), max_size=4))
        kind = draw(st.sampled_from(["raw", "dag-pb", "dag-cbor"]))
        if kind == "raw":
            made.append(shelf.leaf(b"leaf %d" % number))
        elif kind == "dag-pb":
            tsize = draw(st.sampled_from([None, 0, 5, 3 * MIB]))
            made.append(shelf.node(UnixFS(Kind.DIRECTORY, b"%d" % number), [link(cid, "x", tsize) for cid in below]))
        else:
            made.append(shelf.value({"number": number, "links": below, "nested": [[cid] for cid in below]}))
    return shelf, made[-1]


@given(dags(), st.integers(1, 4 * MIB), st.randoms(use_true_random=False))
def test_each_block_once_in_order(made: tuple[Shelf, CID], window: int, rng: random.Random) -> None:
    shelf, root = made
    expected = list(first_visits(root, shelf, set()))
    walker = DagWalker(root, window)
    assert [block.cid for block in run_shuffled(walker, shelf, rng)] == expected
    assert (walker._held, walker._blocks, walker._inner_asked, walker._open, walker._waiting) == (0, 0, 0, 0, {})


def test_a_file_and_a_directory() -> None:
    shelf = Shelf()
    root = shelf.directory({"a": shelf.file(pattern(100), TINY), "b": shelf.file(pattern(50), TINY)})
    walker, blocks = DagWalker(root.cid, MIB), []
    while not walker.done:
        for block in shelf.fetch(walker.wants()):
            walker.give(block)
        blocks += walker.take()
    assert {block.cid for block in blocks} == set(shelf.blocks)
    assert len(blocks) == len(shelf.blocks)


def test_a_dag_of_doubling_paths_takes_no_longer_than_it_has_blocks() -> None:
    # 60 levels of two links each: 2**60 paths, 61 blocks.
    shelf = Shelf()
    below = shelf.value(0)
    for _ in range(60):
        below = shelf.value([below, below])
    assert len(run_shuffled(DagWalker(below, 16 * MIB), shelf, random.Random(1))) == 61
    assert len(shelf.asked) < 200


def test_identity_blocks_are_looked_through_and_left_out() -> None:
    shelf = Shelf()
    leaf = shelf.leaf(b"leaf")
    inline = identity(dagcbor.encode([leaf, identity(b"inner")]), DAG_CBOR)
    root = shelf.value([inline, inline])
    assert [block.cid for block in run_shuffled(DagWalker(root), shelf, random.Random(1))] == [root, leaf]
    assert run_shuffled(DagWalker(identity(b"alone")), shelf, random.Random(1)) == []


def test_past_what_it_remembers_only_leaves_may_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    class Few:
        value = 3

    monkeypatch.setattr(dag_module, "WALK_SEEN_MAX", Few)
    shelf = Shelf()
    leaves = [shelf.leaf(b"%d" % number) for number in range(4)]
    root = shelf.value(leaves + leaves)
    blocks = run_shuffled(DagWalker(root), shelf, random.Random(1))
    assert [block.cid for block in blocks] == [root, *leaves, *leaves[2:]]
    deep = shelf.value([])
    for _ in range(3):
        deep = shelf.value([deep])
    with pytest.raises(BadInput, match="more than 3"):
        run_shuffled(DagWalker(deep), shelf, random.Random(1))


def test_codecs_that_cannot_be_followed_and_blocks_that_lie() -> None:
    shelf = Shelf()
    with pytest.raises(UnknownCodec):
        run_shuffled(DagWalker(identity(b"{}", 0x0129)), shelf, random.Random(1))
    for codec in (DAG_PB, DAG_CBOR):
        with pytest.raises(RemoteError):
            run_shuffled(DagWalker(identity(b"\xff", codec)), shelf, random.Random(1))
