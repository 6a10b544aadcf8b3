"""A tree goes through a tar and comes out as the same events; a hostile tar gives RemoteError and nothing else."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.errors import RemoteError
from shoal.storage.files.tar import tar_stream
from shoal.storage.files.untar import tar_events
from shoal.storage.ipld.tree import EnterDir, FileBegin, FileData, FileEnd, LeaveDir, Symlink, TreeEvent

names = st.text(st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1).filter(
    lambda name: name not in (".", "..") and len(name.encode()) <= 200
)
files = st.binary(max_size=2000)
trees = st.recursive(files, lambda below: st.dictionaries(names, below, max_size=4), max_leaves=12)


def events_of(tree: bytes | dict[str, object], path: str = "") -> list[TreeEvent]:
    """The events of bytes (a file) or a dict (a folder)."""
    if isinstance(tree, bytes):
        data = [FileData(memoryview(tree))] if tree else []
        return [FileBegin(path, len(tree)), *data, FileEnd()]
    below: list[TreeEvent] = []
    for name, each in tree.items():
        assert isinstance(each, bytes | dict)
        below += events_of(each, f"{path}/{name}" if path else name)
    return [EnterDir(path), *below, LeaveDir()]


def through(data: bytes) -> tuple[set[str], list[TreeEvent]]:
    found = list(tar_events(io.BytesIO(data)))
    return {root for root, _ in found}, [event for _, event in found]


@given(trees, names)
def test_a_tree_survives_its_tar(tree: bytes | dict[str, object], root: str) -> None:
    events = events_of(tree)
    assert through(b"".join(tar_stream(events, root))) == ({root}, events)


def test_a_symlink_within_the_tree_is_kept() -> None:
    events: list[TreeEvent] = [EnterDir(""), EnterDir("a"), Symlink("a/l", "../b"), LeaveDir(), LeaveDir()]
    assert through(b"".join(tar_stream(events, "root")))[1] == events


@given(st.binary(max_size=3000) | trees.map(lambda tree: b"".join(tar_stream(events_of(tree), "r"))), st.data())
def test_bytes_that_were_changed_give_events_or_a_remote_error(data: bytes, draw: st.DataObject) -> None:
    changed = bytearray(data)
    for _ in range(draw.draw(st.integers(0, 3))):
        if changed:
            changed[draw.draw(st.integers(0, len(changed) - 1))] ^= draw.draw(st.integers(1, 255))
    cut = draw.draw(st.integers(0, len(changed)))
    try:
        list(tar_events(io.BytesIO(bytes(changed[:cut]))))
    except RemoteError:
        pass


@pytest.mark.parametrize("mtime", ["inf", "nan", "-inf", "1e400"])
def test_a_time_that_is_none_is_left_out(mtime: str) -> None:
    info = tarfile.TarInfo("root")
    info.pax_headers = {"mtime": mtime}
    data = info.tobuf(tarfile.PAX_FORMAT) + bytes(1024)
    assert through(data) == ({"root"}, [FileBegin("", 0), FileEnd()])


def test_headers_are_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    usual = tarfile.TarFile.next

    def counting(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
        nonlocal most
        member = usual(tar)
        most = max(most, len(tar.members))  # type: ignore[attr-defined]  # not in the stubs
        return member

    monkeypatch.setattr(tarfile.TarFile, "next", counting)
    events = events_of({f"{number}": b"x" for number in range(50)})
    assert through(b"".join(tar_stream(events, "root")))[1] == events
    assert most == 1
