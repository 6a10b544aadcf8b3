"""Whole trees as events: depth first, in any order of arrival; and names that would be paths."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.cid import CID, DAG_PB
from shoal.messages.errors import RemoteError
from shoal.messages.limits import MIB, TREE_DEPTH_MAX
from shoal.storage.ipld import hamt
from shoal.storage.ipld.builder import Entry
from shoal.storage.ipld.faults import UnknownCodec
from shoal.storage.ipld.profile import UNIXFS_V0_2015, ImportProfile
from shoal.storage.ipld.reader import (
    EnterDir,
    FileBegin,
    FileData,
    FileEnd,
    LeaveDir,
    Symlink,
    TreeEvent,
    TreeReader,
    drive,
)
from shoal.storage.ipld.unixfs import Kind, Mtime, UnixFS
from shoal.tests.storage.ipld.dags import TINY, Shelf, file_node, link, pattern, run_shuffled

# A directory is a dict, a file is bytes, a symlink is text.
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=6).filter(
    lambda name: name not in (".", "..")
)
targets = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=9)
leaves = st.one_of(st.binary(max_size=40), targets)
trees = st.recursive(leaves, lambda inner: st.dictionaries(names, inner, max_size=4), max_leaves=12)
profiles = st.sampled_from(
    [TINY, TINY.tuned(raw_leaves=True), replace(TINY, hamt_threshold_bytes=0, hamt_fanout=8), UNIXFS_V0_2015]
)


def build(tree: object, shelf: Shelf, profile: ImportProfile) -> Entry:
    if isinstance(tree, bytes):
        return shelf.file(tree, profile)
    if isinstance(tree, str):
        return shelf.symlink(tree, profile)
    return shelf.directory({name: build(inner, shelf, profile) for name, inner in tree.items()}, profile)


def gather(events: list[TreeEvent]) -> object:
    """The tree that ``events`` tell of; every path and order is checked on the way."""
    stack: list[tuple[str, dict]] = [("", {})]

    def place(path: str, what: object) -> None:
        parent, here = stack[-1]
        name = path.removeprefix(f"{parent}/" if parent else "")
        assert path == (f"{parent}/{name}" if parent else name)
        assert name not in here
        here[name] = what

    data: list[bytes] = []
    begun: FileBegin | None = None
    for event in events:
        if isinstance(event, FileData):
            assert event.data
            data.append(bytes(event.data))
        elif isinstance(event, FileEnd):
            assert begun is not None
            assert len(b"".join(data)) == begun.size
            place(begun.path, b"".join(data))
            begun = None
        elif isinstance(event, FileBegin):
            begun, data = event, []
        elif isinstance(event, EnterDir):
            inner: dict = {}
            place(event.path, inner)
            stack.append((event.path, inner))
        elif isinstance(event, LeaveDir):
            stack.pop()
        else:
            place(event.path, event.target)
    assert len(stack) == 1
    assert begun is None
    return stack[0][1][""]


@given(trees, profiles, st.integers(1, 100), st.randoms(use_true_random=False))
def test_what_is_built_is_told(tree: object, profile: ImportProfile, window: int, rng: random.Random) -> None:
    shelf = Shelf()
    root = build(tree, shelf, profile)
    reader = TreeReader(root.cid, window)
    shuffled = run_shuffled(reader, shelf, rng)
    assert gather(shuffled) == tree
    assert gather(list(drive(TreeReader(root.cid), shelf.fetch))) == tree
    assert (reader._held, reader._blocks, reader._inner_asked, reader._open, reader._waiting) == (0, 0, 0, 0, {})


def test_a_tree_in_order() -> None:
    shelf = Shelf()
    root = build({"b": {"c": "../a"}, "a": b"abcd"}, shelf, TINY)
    assert list(drive(TreeReader(root.cid), shelf.fetch)) == [
        EnterDir(""),
        FileBegin("a", 4),
        FileData(memoryview(b"abc")),
        FileData(memoryview(b"d")),
        FileEnd(),
        EnterDir("b"),
        Symlink("b/c", "../a"),
        LeaveDir(),
        LeaveDir(),
    ]


def test_modes_and_times_are_told() -> None:
    shelf = Shelf()
    stamp = Mtime(1_700_000_000, 5)
    child = shelf.node(UnixFS(Kind.FILE, b"x", 1, mode=0o755, mtime=stamp))
    root = shelf.node(UnixFS(Kind.DIRECTORY, mode=0o700, mtime=Mtime(-1)), [link(child, "x")])
    events = list(drive(TreeReader(root), shelf.fetch))
    assert events[:2] == [EnterDir("", 0o700, Mtime(-1)), FileBegin("x", 1, 0o755, stamp)]


def test_a_directory_of_files_is_fetched_in_a_few_rounds() -> None:
    shelf = Shelf()
    root = build({f"{number:03}": pattern(number) for number in range(200)}, shelf, UNIXFS_V0_2015)
    rounds = []
    reader = TreeReader(root.cid, 16 * MIB)
    while not reader.done:
        wanted = reader.wants()
        rounds.append(len(wanted))
        for block in shelf.fetch(wanted):
            reader.give(block)
        reader.take()
    assert [count for count in rounds if count] == [1, 200]


def test_a_directory_that_lies_about_sizes_stays_within_the_window() -> None:
    shelf = Shelf()
    big = [shelf.leaf(bytes((number,)) * (2 * MIB)) for number in range(12)]
    root = shelf.node(UnixFS(Kind.DIRECTORY), [link(cid, f"{n:02}", 1) for n, cid in enumerate(big)])
    reader = TreeReader(root, MIB)
    reader.wants()
    reader.give(shelf.blocks[root])
    reader.take()
    wanted = reader.wants()
    assert wanted == big, "1 byte each, it says"
    asked, files = [], 0
    while not reader.done:
        for cid in reversed(wanted):
            reader.give(shelf.blocks[cid])
            assert reader._held <= MIB + 2 * MIB, "the window, and the one block that all wait for"
        files += sum(isinstance(event, FileData) for event in reader.take())
        wanted = reader.wants()
        asked += wanted
    assert files == len(big)
    assert len(asked) < 2 * len(big), "from then on the sizes are known"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "/etc/passwd", "a\0b", "x" * 256])
@pytest.mark.parametrize("sharded", [False, True])
def test_input_26_names_that_would_be_paths_are_a_remote_error(name: str, sharded: bool) -> None:
    shelf = Shelf()
    leaf = shelf.leaf(b"x")
    if sharded and name:
        # A HAMT that places the name where its hash belongs, so that nothing but the name is wrong.
        bucket = hamt.bucket_of(hamt.hash_name(name), 0, 256)
        message = UnixFS(Kind.HAMT_SHARD, (1 << bucket).to_bytes(32, "big"), hash_type=0x22, fanout=256)
        root = shelf.node(message, [link(leaf, f"{bucket:02X}{name}")])
    else:
        root = shelf.node(UnixFS(Kind.DIRECTORY), [link(leaf, name)])
    with pytest.raises(RemoteError, match="entry named"):
        list(drive(TreeReader(root), shelf.fetch))


@pytest.mark.parametrize("target", [b"", b"a\0b", b"\xff", b"x" * 4096])
def test_symlinks_that_no_disk_takes(target: bytes) -> None:
    shelf = Shelf()
    with pytest.raises(RemoteError, match="symlink"):
        list(drive(TreeReader(shelf.node(UnixFS(Kind.SYMLINK, target))), shelf.fetch))


def test_a_symlink_with_links() -> None:
    shelf = Shelf()
    root = shelf.node(UnixFS(Kind.SYMLINK, b"x"), [link(shelf.leaf(b"x"))])
    with pytest.raises(RemoteError):
        list(drive(TreeReader(root), shelf.fetch))


def test_depth_is_bounded() -> None:
    shelf = Shelf()
    root = shelf.directory({})
    for _ in range(TREE_DEPTH_MAX.value - 1):
        root = shelf.directory({"d": root})
    events = list(drive(TreeReader(root.cid), shelf.fetch))
    assert sum(isinstance(event, EnterDir) for event in events) == TREE_DEPTH_MAX.value
    with pytest.raises(RemoteError, match="nested deeper"):
        list(drive(TreeReader(shelf.directory({"d": root}).cid), shelf.fetch))


def test_what_has_no_place_in_a_tree() -> None:
    shelf = Shelf()
    with pytest.raises(RemoteError):
        list(drive(TreeReader(shelf.node(UnixFS(Kind.METADATA))), shelf.fetch))
    root = shelf.node(UnixFS(Kind.DIRECTORY), [link(shelf.value([1]), "cbor")])
    with pytest.raises(UnknownCodec):
        list(drive(TreeReader(root), shelf.fetch))
    lying = shelf.node(file_node(4), [link(shelf.value([1]))])
    with pytest.raises(RemoteError):
        list(drive(TreeReader(lying), shelf.fetch))


def test_a_directory_cannot_hold_itself_but_may_repeat() -> None:
    # Cycles cannot be made; a tree that doubles at each level can, and is read as it comes, not all at once.
    shelf = Shelf()
    root = shelf.directory({})
    for _ in range(40):
        root = shelf.directory({"a": root, "b": root})
    reader = TreeReader(root.cid)
    events: list[TreeEvent] = []
    while len(events) < 5000:
        for block in shelf.fetch(reader.wants()):
            reader.give(block)
        events += reader.take()
    assert reader._open < 10_000
    assert CID.of(b"", DAG_PB) not in shelf.asked
