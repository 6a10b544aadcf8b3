"""What a directory entry may be called, and what a path behind a CID may say.  Pure text, no disk.

One rule for both sides: ``fault_of`` finds what is wrong with a name; our user gets it as BadInput, a peer's
directory as RemoteError.
"""

from __future__ import annotations

from shoal.messages.errors import BadInput, RemoteError
from shoal.messages.limits import NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_PARTS_MAX


def fault_of(name: str) -> str:
    """What keeps ``name`` from being a file name on disk, or "" when nothing does."""
    if not name:
        return "it is empty"
    if name in (".", ".."):
        return "it means a directory itself or its parent"
    if "/" in name or "\0" in name:
        return "it holds a slash or a NUL"
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return "it is not UTF-8"
    return f"it is longer than {NAME_BYTES_MAX.value} bytes" if length > NAME_BYTES_MAX.value else ""


def shown(text: str) -> str:
    """``text`` quoted, short and free of control characters, for an error message."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")


def check_ours(name: str) -> None:
    """Raise BadInput unless ``name`` may be added to a directory."""
    fault = fault_of(name)
    if fault:
        raise BadInput(f"cannot add an entry named {shown(name)}: {fault}", "rename it")


def check_theirs(name: str) -> None:
    """Raise RemoteError unless a peer's ``name`` may be written to disk."""
    fault = fault_of(name)
    if fault:
        raise RemoteError(f"directory entry named {shown(name)}: {fault}", "entry-name")


def split_path(path: str) -> list[str]:
    """The names in ``path``, with ``.`` dropped and ``..`` resolved, as the UnixFS spec has it.

    Raises BadInput for a path that climbs above its root, holds a NUL or is too long.
    """
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        raise BadInput(f"path {shown(path)} is not UTF-8", "check how it was typed") from None
    if length > PATH_BYTES_MAX.value or "\0" in path:
        raise BadInput(f"path {shown(path)} is too long or holds a NUL", "check that it was copied right")
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if not parts:
                raise BadInput(f"path {shown(path)} climbs above its root", "leave out the '..'")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    if len(parts) > PATH_PARTS_MAX.value:
        raise BadInput(f"path of {len(parts)} names, at most {PATH_PARTS_MAX.value}", "start from a nearer CID")
    return parts
