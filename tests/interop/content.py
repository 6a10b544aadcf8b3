"""What the interop tests send about: files and directories of random bytes, and how they are compared."""

import filecmp
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
PIECE_BYTES: Final = MIB


def random_file(path: Path, size: int) -> Path:
    """A file of ``size`` bytes that no node has yet."""
    with path.open("wb") as file:
        for start in range(0, size, PIECE_BYTES):
            file.write(os.urandom(min(PIECE_BYTES, size - start)))
    return path


def plain_directory(path: Path) -> Path:
    """1,000 files on three levels, an empty file and a name beyond ASCII among them; no empty directory."""
    for folder in (path, path / "below", path / "below" / "deeper"):
        folder.mkdir()
    for number in range(998):
        folder = (path, path / "below", path / "below" / "deeper")[number % 3]
        (folder / f"file-{number}").write_bytes(os.urandom(1 + number % 2000))
    (path / "empty").touch()
    (path / "näme 名 +%20").write_text("not ASCII")
    return path


def many_short_names(path: Path) -> Path:
    """6,000 files: beyond 256 KiB of names and CIDs, from where on Kubo shards a directory."""
    return _directory(path, (f"entry-{number:06}" for number in range(6000)))


def long_names(path: Path) -> Path:
    """1,300 names of 230 bytes: sharded for their length."""
    return _directory(path, (f"{number:04}-".ljust(230, "x") for number in range(1300)))


def _directory(path: Path, names: Iterable[str]) -> Path:
    path.mkdir()
    salt = os.urandom(8).hex()
    for name in names:
        (path / name).write_text(f"{salt} {name[:16]}")
    return path


def equal_files(one: Path, other: Path) -> bool:
    return filecmp.cmp(one, other, shallow=False)


def tree_digests(path: Path) -> dict[str, str]:
    """Every path below, directories with a slash at the end, and the SHA-256 of every file."""
    digests = {}
    for each in path.rglob("*"):
        name = str(each.relative_to(path))
        if each.is_dir():
            digests[name + "/"] = ""
        else:
            digests[name] = hashlib.sha256(each.read_bytes()).hexdigest()
    return digests
