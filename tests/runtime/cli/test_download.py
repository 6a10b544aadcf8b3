"""Unpacking a tar that a hostile peer chose: everything stays inside, or nothing is left."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.runtime.cli.download import unpack
from shoal.runtime.cli.rpc import RpcError


def tar_of(*members: tuple[str, bytes, str, bytes]) -> bytes:
    """Members: name, type, link name, content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, link, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size, info.mode = kind, link, len(content), 0o7777
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def get(data: bytes, folder: Path, target: str | None = "out", force: bool = False) -> str:
    pieces = iter([data[at : at + 777] for at in range(0, len(data), 777)])
    return unpack(pieces, str(folder / target) if target else None, force, lambda _: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "victim").write_bytes(b"untouched")
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.mark.parametrize(
    "members",
    [
        [("../victim", tarfile.REGTYPE, "", b"gotcha")],
        [("root", tarfile.DIRTYPE, "", b""), ("root/../../victim", tarfile.REGTYPE, "", b"gotcha")],
        [("root", tarfile.SYMTYPE, "/etc", b"")],
        [("root", tarfile.DIRTYPE, "", b""), ("root/l", tarfile.SYMTYPE, "../../victim", b"")],
        [
            ("root", tarfile.DIRTYPE, "", b""),
            ("root/l", tarfile.SYMTYPE, "../..", b""),
            ("root/l/victim", tarfile.REGTYPE, "", b"gotcha"),
        ],
        [("root", tarfile.DIRTYPE, "", b""), ("root/h", tarfile.LNKTYPE, "../victim", b"")],
        [("root", tarfile.CHRTYPE, "", b"")],
        [("root", tarfile.FIFOTYPE, "", b"")],
        [("one", tarfile.REGTYPE, "", b""), ("two", tarfile.REGTYPE, "", b"")],
        [],
    ],
    ids=str,
)
def test_hostile_tars_are_refused_and_leave_nothing(folder: Path, members: list[tuple[str, bytes, str, bytes]]) -> None:
    with pytest.raises(RpcError):
        get(tar_of(*members), folder)
    assert os.listdir(folder) == []
    assert (folder.parent / "victim").read_bytes() == b"untouched"


def test_an_absolute_name_stays_inside(folder: Path) -> None:
    get(tar_of(("/victim", tarfile.REGTYPE, "", b"data")), folder)
    assert (folder / "out").read_bytes() == b"data"
    assert (folder.parent / "victim").read_bytes() == b"untouched"


def test_nothing_is_set_user_id_or_writable_by_all(folder: Path) -> None:
    get(tar_of(("root", tarfile.REGTYPE, "", b"data")), folder)
    assert (folder / "out").stat().st_mode & 0o7022 == 0


@pytest.mark.parametrize("cut", [1, 600, 1500])
def test_an_answer_that_breaks_off_leaves_nothing(folder: Path, cut: int) -> None:
    data = tar_of(("root", tarfile.DIRTYPE, "", b""), ("root/f", tarfile.REGTYPE, "", b"x" * 5000))

    def broken() -> Iterator[bytes]:
        yield data[:cut]
        raise RpcError("broke off")

    with pytest.raises(RpcError, match="broke off"):
        unpack(broken(), str(folder / "out"), False, lambda _: None)
    assert os.listdir(folder) == []


def test_bytes_that_are_no_tar(folder: Path) -> None:
    with pytest.raises(RpcError, match="not a tar"):
        get(b"\x01" * 5000, folder)
    assert os.listdir(folder) == []


def test_a_folder_that_exists_is_never_replaced(folder: Path) -> None:
    (folder / "out" / "root").mkdir(parents=True)
    with pytest.raises(RpcError, match="folder that exists"):
        get(tar_of(("root", tarfile.DIRTYPE, "", b"")), folder, force=True)


def test_a_symlink_at_the_target_is_replaced_not_followed(folder: Path) -> None:
    (folder / "out").symlink_to("../victim")
    with pytest.raises(RpcError, match="exists"):
        get(tar_of(("root", tarfile.REGTYPE, "", b"data")), folder)
    get(tar_of(("root", tarfile.REGTYPE, "", b"data")), folder, force=True)
    assert not (folder / "out").is_symlink()
    assert (folder.parent / "victim").read_bytes() == b"untouched"
