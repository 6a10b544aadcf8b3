"""Trees onto disk: whole or not at all, and never outside of the target.  And into a tar, read back by tarfile."""

import errno
import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.errors import BadInput, NotFound, RemoteError, StorageFault, StorageFull
from shoal.messages.limits import KIB
from shoal.storage.files import exporter
from shoal.storage.files.exporter import export_tree
from shoal.storage.files.importer import import_path
from shoal.storage.files.tar import tar_stream
from shoal.storage.ipld.profile import UNIXFS_V1_2025
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
from shoal.tests.storage.ipld.dags import Shelf, link, pattern


def file(path: str, data: bytes = b"x", **more) -> list[TreeEvent]:
    return [FileBegin(path, len(data), **more), *([FileData(memoryview(data))] if data else []), FileEnd()]


def folder(*inner: TreeEvent, path: str = "") -> list[TreeEvent]:
    return [EnterDir(path), *inner, LeaveDir()]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where to export to: beside a file that nothing may touch."""
    (tmp_path / "outside").write_bytes(b"untouched")
    (tmp_path / "here").mkdir()
    return tmp_path / "here" / "target"


def nothing_else(target: Path) -> bool:
    """Whether the target is all that was made, and what lies outside is as it was."""
    return (target.parent.parent / "outside").read_bytes() == b"untouched" and set(target.parent.iterdir()) <= {target}


def test_what_is_imported_is_exported(tmp_path: Path, target: Path) -> None:
    source = tmp_path / "source"
    (source / "a/b").mkdir(parents=True)
    (source / "empty").mkdir()
    (source / "a/file").write_bytes(pattern(3 * 1024 * KIB + 1))
    (source / "a/b/none").write_bytes(b"")
    (source / "a/link").symlink_to("../a/file")
    (source / "absolute").symlink_to("/etc/passwd")
    (source / "zażółć\n").write_bytes(b"odd name")
    shelf = Shelf()
    root = import_path(source, UNIXFS_V1_2025, shelf.put)
    export_tree(drive(TreeReader(root.cid), shelf.fetch), target)
    assert import_path(target, UNIXFS_V1_2025, Shelf().put) == root
    assert nothing_else(target)
    assert stat.S_IMODE(target.stat().st_mode) & 0o700 == 0o700
    assert os.readlink(target / "absolute") == "/etc/passwd"


@pytest.mark.parametrize("root", ["file", "link"])
def test_a_root_that_is_no_directory(target: Path, root: str) -> None:
    export_tree(file("", b"data") if root == "file" else [Symlink("", "away")], target)
    assert (target.read_bytes() == b"data") if root == "file" else (os.readlink(target) == "away")
    assert nothing_else(target)


def test_modes_and_times(target: Path) -> None:
    stamp = Mtime(1_000_000_000, 5)
    script = file("run", b"#!", mode=0o4755, mtime=stamp)
    export_tree([EnterDir("", 0o000, stamp), *script, *file("far", mtime=Mtime(2**62)), LeaveDir()], target)
    assert stat.S_IMODE((target / "run").stat().st_mode) == 0o755  # no set-uid
    assert (target / "run").stat().st_mtime_ns == target.stat().st_mtime_ns == 1_000_000_000_000_000_005
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert (target / "far").read_bytes() == b"x"


@pytest.mark.parametrize("old", ["file", "folder", "link", "empty folder"])
@pytest.mark.parametrize("new", ["file", "folder", "link"])
def test_what_exists_is_replaced_only_when_asked(target: Path, old: str, new: str) -> None:
    if old == "file":
        target.write_bytes(b"old")
    elif old == "link":
        target.symlink_to("../outside")
    else:
        target.mkdir()
        if old == "folder":
            (target / "inner").write_bytes(b"old")
    events = {"file": file("", b"new"), "folder": folder(*file("new", b"new")), "link": [Symlink("", "new")]}[new]
    before = sorted(target.parent.rglob("*"))
    with pytest.raises(BadInput, match="exists"):
        export_tree(events, target)
    assert sorted(target.parent.rglob("*")) == before
    export_tree(events, target, overwrite=True)
    if new == "link":
        assert os.readlink(target) == "new"
    else:
        assert (target if new == "file" else target / "new").read_bytes() == b"new"
        assert not target.is_symlink()
        assert not (target / "inner").exists()
    assert nothing_else(target)


ESCAPES = {
    "parent": folder(*file("..")),
    "this": folder(*file(".")),
    "above": folder(*file("../outside")),
    "slash in a name": folder(*file("a/b")),
    "absolute": folder(*file("/etc/passwd")),
    "empty name": folder(*file("a/")),
    "NUL": folder(*file("a\0")),
    "too long": folder(*file("x" * 256)),
    "directory named as its parent": folder(*folder(path="..")),
    "symlink above": folder(Symlink("../link", "x")),
    "root with a path": file("../outside"),
    "file in another directory": folder(EnterDir("a"), *file("b"), LeaveDir()),
    "through a symlink": folder(Symlink("a", ".."), EnterDir("a"), *file("a/outside"), LeaveDir()),
    "through a symlink by a file": folder(Symlink("a", "../../outside"), *file("a")),
    "through a root that is a symlink": [Symlink("", ".."), *folder(*file("outside"))],
    "a name twice": folder(*file("a"), *file("a")),
    "two roots": [*file(""), *file("")],
    "a directory twice": folder(*folder(path="a"), *folder(path="a")),
    "file within a file": [FileBegin("", 1), *file("")],
    "file shorter than it says": [FileBegin("", 2), FileData(memoryview(b"x")), FileEnd()],
    "file longer than it says": [FileBegin("", 0), FileData(memoryview(b"x")), FileEnd()],
    "file that never ends": [FileBegin("", 1), FileData(memoryview(b"x"))],
    "directory that never ends": [EnterDir("")],
    "directory that was never entered": [LeaveDir()],
    "end of no file": [FileEnd()],
    "nothing": [],
}


@pytest.mark.parametrize("name", ESCAPES)
def test_input_26_nothing_escapes_and_nothing_is_left(target: Path, name: str) -> None:
    with pytest.raises(RemoteError):
        export_tree(ESCAPES[name], target)
    assert not os.path.lexists(target)
    assert nothing_else(target)


def test_the_same_from_a_peers_blocks(target: Path) -> None:
    # Two entries of one HAMT shard cannot share a name unnoticed, nor can a symlink be written through.
    shelf = Shelf()
    evil = shelf.node(UnixFS(Kind.DIRECTORY), [link(shelf.leaf(b"evil"), "outside")])
    up = shelf.node(UnixFS(Kind.SYMLINK, b"../.."))
    for entries in ([link(up, "a"), link(evil, "a")], [link(evil, "..")], [link(evil, "../here")]):
        root = shelf.node(UnixFS(Kind.DIRECTORY), entries)
        try:
            export_tree(drive(TreeReader(root), shelf.fetch), target)
        except RemoteError:
            assert not os.path.lexists(target)
        else:
            assert os.listdir(target) == ["a"]  # the first of one name
            assert os.readlink(target / "a") == "../.."
            os.unlink(target / "a")
            target.rmdir()
        assert nothing_else(target)


def test_what_is_interrupted_leaves_nothing(target: Path) -> None:
    def events() -> Iterator[TreeEvent]:
        yield EnterDir("")
        yield from file("done")
        yield FileBegin("half", 100)
        yield FileData(memoryview(b"x" * 50))
        raise NotFound("nobody has the rest")

    with pytest.raises(NotFound):
        export_tree(events(), target)
    assert nothing_else(target)
    target.write_bytes(b"old")
    with pytest.raises(NotFound):
        export_tree(events(), target, overwrite=True)
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("code", "error"), [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, StorageFault)]
)
def test_a_disk_that_refuses(target: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception]) -> None:
    def refuse(fd: int, data: bytes) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(exporter.os, "write", refuse)
    with pytest.raises(error):
        export_tree(folder(*file("a")), target)
    assert nothing_else(target)


def test_short_writes_are_gone_on_with(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(exporter.os, "write", lambda fd, data: write(fd, data[:3]))
    export_tree(file("", b"0123456789"), target)
    assert target.read_bytes() == b"0123456789"


def test_a_failed_replacement_puts_back_what_was_there(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target.mkdir()
    (target / "old").write_bytes(b"old")
    rename, calls = os.rename, []

    def third_fails(source: str, destination: str) -> None:
        calls.append(destination)
        if len(calls) == 3:
            raise OSError(errno.EIO, "no")
        rename(source, destination)

    monkeypatch.setattr(exporter.os, "rename", third_fails)
    with pytest.raises(StorageFault):
        export_tree(folder(*file("new")), target, overwrite=True)
    assert (target / "old").read_bytes() == b"old"
    assert nothing_else(target)


def test_targets_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for target in ("/", tmp_path / "missing/target", tmp_path / "file/target"):
        with pytest.raises(BadInput) as caught:
            export_tree(file(""), target, overwrite=True)
        assert caught.value.remedy


def test_no_descriptor_is_left_open(target: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for events in ESCAPES.values():
        with pytest.raises(RemoteError):
            export_tree(events, target)
    assert len(os.listdir("/proc/self/fd")) == before


# --- tar -----------------------------------------------------------------------------------------


def members(events: Iterable[TreeEvent], name: str = "root") -> dict[str, object]:
    data = b"".join(tar_stream(events, name))
    out: dict[str, object] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            reader = archive.extractfile(member) if member.isreg() else None
            out[member.name] = reader.read() if reader else member.linkname if member.issym() else member.isdir()
    return out


def test_a_tree_as_a_tar() -> None:
    long = "/".join(["directory"] * 20)
    events = folder(*file("a", b"x" * 1000), *file("b", b"y" * 512), *file("ó", b""), Symlink("c", "t" * 300))
    assert members(events) == {
        "root": True,
        "root/a": b"x" * 1000,
        "root/b": b"y" * 512,
        "root/ó": b"",
        "root/c": "t" * 300,
    }
    assert members(file("", b"data"), "bafy") == {"bafy": b"data"}
    assert members(file(long, b"deep")) == {f"root/{long}": b"deep"}
    assert all(len(piece) for piece in tar_stream(events, "x"))


def test_modes_and_times_in_a_tar() -> None:
    events = file("", b"x", mode=0o4711, mtime=Mtime(1_000_000_000, 5))
    with tarfile.open(fileobj=io.BytesIO(b"".join(tar_stream(events, "x")))) as archive:
        (member,) = archive
    assert (member.mode, member.mtime) == (0o711, 1_000_000_000)


@given(st.dictionaries(st.text("abcó", min_size=1, max_size=4), st.binary(max_size=1100), max_size=5))
def test_any_directory_as_a_tar(entries: dict[str, bytes]) -> None:
    events = folder(*(event for name, data in entries.items() for event in file(name, data)))
    assert members(events) == {"root": True, **{f"root/{name}": data for name, data in entries.items()}}


@pytest.mark.parametrize("name", ["parent", "above", "absolute", "NUL", "too long", "file shorter than it says"])
def test_nothing_escapes_from_a_tar(name: str) -> None:
    with pytest.raises(RemoteError):
        list(tar_stream(ESCAPES[name], "root"))


@pytest.mark.parametrize("name", ["directory that never ends", "file that never ends"])
def test_a_tree_cut_short_is_no_tar(name: str) -> None:
    with pytest.raises(RemoteError):
        list(tar_stream(ESCAPES[name], "root"))


@pytest.mark.parametrize("name", ["", "..", "a/b", "/"])
def test_names_that_no_archive_root_has(name: str) -> None:
    with pytest.raises(BadInput):
        tar_stream([], name)
