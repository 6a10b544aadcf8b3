"""Paths: through directories, HAMTs and dag-cbor, and everything that a path may not say."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.cid import CID, DAG_CBOR, DAG_PB
from shoal.messages.errors import BadInput, RemoteError
from shoal.messages.limits import PATH_BYTES_MAX, PATH_PARTS_MAX
from shoal.storage.ipld import dagcbor
from shoal.storage.ipld.faults import NoSuchEntry, NotADirectory, UnknownCodec
from shoal.storage.ipld.names import split_path
from shoal.storage.ipld.resolve import PathResolver, Resolution
from shoal.storage.ipld.unixfs import Kind, UnixFS
from shoal.tests.storage.ipld.dags import TINY, Shelf, identity, link, resolve

SHARDED = replace(TINY, hamt_threshold_bytes=0, hamt_fanout=8)


@pytest.mark.parametrize("profile", [TINY, SHARDED])
def test_through_directories(profile) -> None:
    shelf = Shelf()
    file = shelf.file(b"content", profile)
    inner = shelf.directory({"file": file, **{str(n): file for n in range(60)}}, profile)
    root = shelf.directory({"dir": inner, "link": shelf.symlink("dir", profile)}, profile)
    assert resolve(root.cid, "", shelf) == Resolution(root.cid, (root.cid,))
    assert shelf.asked == []
    assert resolve(root.cid, "dir/file", shelf) == Resolution(file.cid, (root.cid, inner.cid, file.cid))
    assert file.cid not in shelf.asked
    assert resolve(root.cid, "//dir/./x/../59/", shelf).cid == file.cid
    for path in ("nothing", "dir/nothing", "dir/60"):
        with pytest.raises(NoSuchEntry, match="no entry"):
            resolve(root.cid, path, shelf)
    for path in ("dir/file/behind", "link/file"):
        with pytest.raises(NotADirectory, match="lies behind it"):
            resolve(root.cid, path, shelf)


def test_behind_a_raw_leaf_lies_nothing() -> None:
    shelf = Shelf()
    with pytest.raises(NotADirectory):
        resolve(shelf.leaf(b"x"), "a", shelf)


def test_through_dag_cbor() -> None:
    shelf = Shelf()
    file = shelf.file(b"content")
    directory = shelf.directory({"file": file})
    inner = shelf.value({"deep": [1, {"x": None}]})
    value = {"map": {"list": [10, directory.cid, inner]}, "": 1, "0": "zero"}
    root = shelf.value(value)
    assert resolve(root, "", shelf) == Resolution(root, (root,))
    assert resolve(root, "map/list/0", shelf) == Resolution(root, (root,), ("map", "list", "0"), 10)
    assert resolve(root, "map/list/1", shelf) == Resolution(directory.cid, (root, directory.cid))
    assert resolve(root, "map/list/1/file", shelf).cid == file.cid
    assert resolve(root, "0", shelf).value == "zero"
    found = resolve(root, "map/list/2/deep/1/x", shelf)
    assert found == Resolution(inner, (root, inner), ("deep", "1", "x"), None)
    for path in ("nothing", "map/list/3", "map/list/-1", "map/list/+1", "map/list/x", "map/list/٠", "map/list/0/x"):
        with pytest.raises(NoSuchEntry):
            resolve(root, path, shelf)
    with pytest.raises(NoSuchEntry):
        resolve(root, "map/list/" + "1" * 5000, shelf)


def test_identity_cids_are_opened_without_asking() -> None:
    shelf = Shelf()
    file = shelf.file(b"content")
    root = identity(dagcbor.encode({"a": file.cid}), DAG_CBOR)
    assert resolve(root, "a", shelf).cid == file.cid
    assert shelf.asked == []


def test_of_two_entries_with_one_name_the_first_is_found() -> None:
    shelf = Shelf()
    first, second = shelf.leaf(b"1"), shelf.leaf(b"2")
    root = shelf.node(UnixFS(Kind.DIRECTORY), [link(first, "same"), link(second, "same")])
    assert resolve(root, "same", shelf).cid == first


def test_blocks_not_asked_for_are_ignored() -> None:
    shelf = Shelf()
    root, other = shelf.directory({"a": shelf.file(b"a")}), shelf.directory({"b": shelf.file(b"b")})
    resolver = PathResolver(root.cid, "a")
    resolver.give(shelf.blocks[root.cid])  # not yet reported
    assert resolver.wants() == [root.cid]
    assert resolver.wants() == []
    resolver.give(shelf.blocks[other.cid])
    assert not resolver.done
    resolver.give(shelf.blocks[root.cid])
    assert resolver.done


def test_a_codec_that_has_no_paths() -> None:
    shelf = Shelf()
    with pytest.raises(UnknownCodec):
        resolve(identity(b"{}", 0x0129), "a", shelf)
    with pytest.raises(RemoteError):
        resolve(identity(b"\xff", DAG_PB), "a", shelf)
    with pytest.raises(RemoteError):
        resolve(identity(b"\xff", DAG_CBOR), "a", shelf)


@pytest.mark.parametrize(
    "path",
    ["..", "../x", "a/../..", "/../etc/passwd", "a\0b", "\ud800", "x" * (PATH_BYTES_MAX.value + 1), "a/" * 257],
    ids=lambda path: repr(path[:12]),
)
def test_input_26_paths_that_cannot_be(path: str) -> None:
    assert PATH_PARTS_MAX.value < 257
    with pytest.raises(BadInput) as caught:
        PathResolver(CID.of(b""), path)
    assert caught.value.remedy
    assert len(str(caught.value)) < 300


@given(st.lists(st.sampled_from(["a", "b", "..", ".", "", "c d"]), max_size=12))
def test_paths_are_cleaned_as_posix_has_it(parts: list[str]) -> None:
    expected: list[str] | None = []
    for part in parts:
        if part == ".." and expected is not None:
            expected = expected[:-1] if expected else None
        elif part not in ("", ".") and expected is not None:
            expected = [*expected, part]
    if expected is None:
        with pytest.raises(BadInput, match="climbs"):
            split_path("/".join(parts))
    else:
        assert split_path("/".join(parts)) == expected


@given(st.binary(max_size=60), st.sampled_from([DAG_PB, DAG_CBOR, 0x55, 0x0129]), st.text(max_size=8))
def test_any_block_and_path_lead_somewhere_or_are_refused(data: bytes, codec: int, path: str) -> None:
    shelf = Shelf()
    try:
        assert resolve(identity(data, codec), path, shelf).trail
    except (BadInput, NoSuchEntry, RemoteError):
        return
    except KeyError:
        pytest.fail("a block that nobody has was taken for granted")
