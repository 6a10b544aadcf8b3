"""Files, directories and symlinks from disk: Kubo's CIDs, and what is left out or refused."""

import io
import os
from pathlib import Path

import pytest

from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.errors import BadInput, StorageFull
from shoal.messages.limits import IMPORT_BATCH_BYTES, KIB, MIB, TREE_DEPTH_MAX
from shoal.storage.files.importer import import_path, import_stream
from shoal.storage.ipld.profile import UNIXFS_V0_2015, UNIXFS_V1_2025
from shoal.storage.ipld.reader import DagWalker, drive
from shoal.tests.storage.ipld.dags import Shelf, pattern

CHUNK = 256 * KIB


def make_tree(root: Path) -> Path:
    """The tree whose CID Kubo 0.22 gave."""
    (root / "sub/deeper").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a.txt").write_bytes(b"alpha\n")
    (root / "sub/b.bin").write_bytes(pattern(CHUNK + 1))
    (root / "sub/deeper/c").write_bytes(b"")
    (root / "zażółć").write_bytes(b"name in UTF-8\n")
    (root / "sub/link").symlink_to("../a.txt")
    (root / "dangling").symlink_to("/nowhere/at/all")
    return root


def test_a_tree_with_symlinks_has_kubos_cid(tmp_path: Path) -> None:
    shelf = Shelf()
    entry = import_path(make_tree(tmp_path / "tree"), UNIXFS_V0_2015, shelf.put)
    assert str(entry.cid) == "QmUgsB2v9eFPtHvSNGa1Y9hihiCrFfSMHT2REohNF6Ku12"
    assert {block.cid for block in drive(DagWalker(entry.cid), shelf.fetch)} == set(shelf.blocks)
    assert entry.size == 6 + (CHUNK + 1) + 14 + len("../a.txt") + len("/nowhere/at/all")


def test_hidden_entries_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    (tmp_path / ".dot").write_bytes(b"dot\n")
    (tmp_path / "seen").write_bytes(b"seen\n")
    whole = import_path(tmp_path, UNIXFS_V0_2015, Shelf().put, hidden=True)
    assert str(whole.cid) == "QmeJteJ8ucLZoJXSp6Vk4xjZcSCwnvwUFZcxCGTw1NJfAK"  # Kubo's, which was asked for all
    seen = import_path(tmp_path, UNIXFS_V0_2015, Shelf().put)
    (tmp_path / ".dot").unlink()
    assert import_path(tmp_path, UNIXFS_V0_2015, Shelf().put, hidden=True) == seen != whole
    named = tmp_path / ".named"
    named.write_bytes(b"x")
    assert import_path(named, UNIXFS_V0_2015, Shelf().put).size == 1


def test_folders_as_another_implementation_has_them(tmp_path: Path) -> None:
    aleph_cid = pytest.importorskip("aleph_cid")
    for number in range(300):
        folder = tmp_path / f"folder {number % 7}"
        folder.mkdir(exist_ok=True)
        (folder / f"file {number}").write_bytes(pattern(number))
    for version in (0, 1):
        profile = UNIXFS_V0_2015.tuned(cid_version=version)
        entry = import_path(tmp_path, profile, Shelf().put)
        assert str(entry.cid) == aleph_cid.hash_folder(tmp_path, cid_version=version)


def test_a_stream_and_a_file_give_the_same(tmp_path: Path) -> None:
    data = pattern(3 * MIB + 1)
    (tmp_path / "file").write_bytes(data)
    for profile in (UNIXFS_V0_2015, UNIXFS_V1_2025):
        from_file = import_path(tmp_path / "file", profile, Shelf().put)
        assert import_stream(io.BytesIO(data), profile, Shelf().put) == from_file
        assert from_file.size == len(data)


def test_blocks_come_in_batches_children_first() -> None:
    batches: list[list[Block]] = []
    size = 3 * IMPORT_BATCH_BYTES.value + 1
    entry = import_stream(io.BytesIO(pattern(size)), UNIXFS_V1_2025, batches.append)
    bytes_each = [sum(map(len, batch)) for batch in batches]
    assert all(IMPORT_BATCH_BYTES.value <= count < IMPORT_BATCH_BYTES.value + 2 * MIB for count in bytes_each[:-1])
    assert len(batches) == 4
    assert batches[-1][-1].cid == entry.cid


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []
    make_tree(tmp_path / "tree")
    import_path(tmp_path / "tree", UNIXFS_V0_2015, Shelf().put, lambda path, count: told.append((path, count)))
    assert told == [("tree/a.txt", 6), ("tree/sub/b.bin", CHUNK + 1), ("tree/zażółć", 14)]


def test_a_symlink_is_never_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "file").symlink_to("secret")
    (tmp_path / "folder").symlink_to("/")
    shelf = Shelf()
    for name in ("file", "folder"):
        assert import_path(tmp_path / name, UNIXFS_V0_2015, shelf.put).size == len(os.readlink(tmp_path / name))
    assert not any(b"secret" in bytes(block.data) and len(block) > 20 for block in shelf.blocks.values())


def test_what_cannot_be_added(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "not-utf8").symlink_to(os.fsdecode(b"\xff"))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / os.fsdecode(b"\xff.txt")).write_bytes(b"")
    for name in ("pipe", "not-utf8", "folder", "missing", "folder/missing/x"):
        with pytest.raises(BadInput) as caught:
            import_path(tmp_path / name, UNIXFS_V0_2015, Shelf().put)
        assert caught.value.remedy
        str(caught.value).encode()  # fit to be shown
    with pytest.raises(BadInput):
        import_path(tmp_path, UNIXFS_V0_2015, Shelf().put)


def test_depth_is_bounded(tmp_path: Path) -> None:
    bottom = tmp_path
    for _ in range(TREE_DEPTH_MAX.value):
        bottom = bottom / "d"
        bottom.mkdir()
    with pytest.raises(BadInput, match="deep"):
        import_path(tmp_path, UNIXFS_V0_2015, Shelf().put)
    bottom.rmdir()
    assert import_path(tmp_path, UNIXFS_V0_2015, Shelf().put).size == 0


def test_what_the_store_raises_comes_through(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")

    def full(blocks: list[Block]) -> None:
        raise StorageFull("no room")

    with pytest.raises(StorageFull):
        import_path(tmp_path, UNIXFS_V0_2015, full)


def test_a_path_that_changes_into_a_pipe_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, pipe = tmp_path / "file", tmp_path / "pipe"
    file.write_bytes(b"x")
    os.mkfifo(pipe)
    before = os.lstat(file)
    monkeypatch.setattr(os, "lstat", lambda path: before)  # what was seen before the change
    with pytest.raises(BadInput, match="changed"):
        import_path(pipe, UNIXFS_V0_2015, Shelf().put)
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(BadInput):
        import_path(tmp_path / "link", UNIXFS_V0_2015, Shelf().put)


def test_an_empty_file_and_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    cids = {name: import_path(tmp_path / name, UNIXFS_V0_2015, Shelf().put).cid for name in ("file", "folder")}
    assert cids["file"] == CID.parse("QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH")
    assert cids["folder"] == CID.parse("QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn")
