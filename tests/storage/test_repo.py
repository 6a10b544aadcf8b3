"""The node's folder: one owner, whole files, and errors that say what to do."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.messages.errors import BadConfig, RepoBusy, StorageFault, StorageFull
from shoal.storage import repo as repo_module
from shoal.storage.repo import LAYOUT_VERSION, SMALL_FILE_BYTES_MAX, Repo, atomic_write
from shoal.tests.storage.disk import tracing

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / ".links")}

HOLDER = """
import sys
from pathlib import Path
from shoal.storage.repo import Repo
repo = Repo.open(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def temporaries(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".write-")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a" / "node"


def test_a_new_folder_is_its_owners_only(folder: Path) -> None:
    before = os.umask(0)
    try:
        with Repo.open(folder) as repo:
            assert mode_of(folder) == 0o700
            assert (folder / "version").read_text() == f"{LAYOUT_VERSION}\n"
            assert (folder / "repo.lock").read_text() == f"{os.getpid()}\n"
            assert all(mode_of(path) == 0o600 for path in folder.iterdir())
            assert repo.blocks_path.parent == repo.cold_path.parent == repo.api_path.parent == folder
    finally:
        os.umask(before)


def test_it_opens_again_and_again(folder: Path) -> None:
    for _ in range(3):
        repo = Repo.open(folder)
        repo.close()
        repo.close()


def test_two_processes_cannot_have_it(folder: Path) -> None:
    argv = [sys.executable, "-c", HOLDER, str(folder)]
    child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "locked\n"
        with pytest.raises(RepoBusy, match=f"repo {folder} is in use by process {child.pid} "):
            Repo.open(folder)
        # The one that was refused changed nothing for the one that has it.
        assert (folder / "repo.lock").read_text() == f"{child.pid}\n"
    finally:
        child.kill()
        child.communicate()
    Repo.open(folder).close()  # a killed process leaves no lock behind


def test_the_same_process_cannot_have_it_twice(folder: Path) -> None:
    with Repo.open(folder), pytest.raises(RepoBusy, match=f"process {os.getpid()}"):
        Repo.open(folder)
    Repo.open(folder).close()


def test_a_lock_that_names_nobody_is_still_a_lock(folder: Path) -> None:
    with Repo.open(folder):
        (folder / "repo.lock").write_text("")
        with pytest.raises(RepoBusy, match="another process"):
            Repo.open(folder)


def test_a_newer_layout_is_refused_and_the_lock_let_go(folder: Path) -> None:
    Repo.open(folder).close()
    (folder / "version").write_text("2\n")
    for _ in range(2):
        with pytest.raises(BadConfig, match=r"layout 2.*upgrade"):
            Repo.open(folder)


@pytest.mark.parametrize("text", ["", "one", "-1", "1.5", "9" * 5000, "1" * (SMALL_FILE_BYTES_MAX + 1)])
def test_a_version_that_is_no_number(folder: Path, text: str) -> None:
    Repo.open(folder).close()
    (folder / "version").write_text(text)
    with pytest.raises(BadConfig, match="version"):
        Repo.open(folder)


def test_somebody_elses_folder_is_left_alone(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("")
    with pytest.raises(BadConfig, match=r"not empty.*thesis.tex"):
        Repo.open(folder)


def test_a_folder_that_was_being_made_when_we_were_killed_is_taken_up(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "repo.lock").write_text("12\n")
    (folder / ".write-abc.tmp").write_text("1")
    (folder / "lost+found").mkdir()
    with Repo.open(folder):
        assert (folder / "version").exists()
        assert temporaries(folder) == []


def test_a_file_in_its_place(folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("")
    with pytest.raises(BadConfig, match="is a file"):
        Repo.open(folder)
    with pytest.raises(BadConfig, match="folder of its own"):
        Repo.open(folder / "below")


def test_a_folder_that_may_not_be_written(folder: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("NOT TESTED WITHOUT PERMISSION: root may write everywhere")
    folder.mkdir(parents=True, mode=0o500)
    with pytest.raises(BadConfig, match="accessible"):
        Repo.open(folder)


def test_the_key_is_for_its_owner(folder: Path) -> None:
    with Repo.open(folder) as repo:
        assert repo.read_identity() is None
        repo.write_identity(b"\x00secret\n")
        assert mode_of(repo.identity_path) == 0o600
        assert repo.read_identity() == b"\x00secret\n"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o666])
def test_a_key_that_others_may_use_is_refused_with_the_remedy(folder: Path, mode: int) -> None:
    with Repo.open(folder) as repo:
        repo.write_identity(b"secret")
        repo.identity_path.chmod(mode)
        with pytest.raises(BadConfig, match=rf"mode {mode:04o}.*chmod 600 {repo.identity_path}"):
            repo.read_identity()
        repo.identity_path.chmod(0o600)
        assert repo.read_identity() == b"secret"


def test_a_key_that_is_no_key_file(folder: Path) -> None:
    with Repo.open(folder) as repo:
        repo.write_identity(bytes(SMALL_FILE_BYTES_MAX + 1))
        with pytest.raises(BadConfig, match="more than"):
            repo.read_identity()
        repo.identity_path.unlink()
        repo.identity_path.mkdir(mode=0o700)
        with pytest.raises(BadConfig, match=r"identity\.key"):
            repo.read_identity()


def test_the_api_address_is_gone_after_a_crash(folder: Path) -> None:
    repo = Repo.open(folder)
    repo.write_api("/ip4/127.0.0.1/tcp/5001")
    assert repo.api_path.read_text() == "/ip4/127.0.0.1/tcp/5001\n"
    repo.close()  # without remove_api, as a crash would leave it
    with Repo.open(folder) as repo:
        assert not repo.api_path.exists()
        repo.remove_api()


def test_an_atomic_write_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic_write(path, b"long old content", 0o644)
    atomic_write(path, b"new", 0o600)
    assert path.read_bytes() == b"new"
    assert mode_of(path) == 0o600
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("call", "number", "error"),
    [
        ("fsync", errno.ENOSPC, StorageFull),
        ("fsync", errno.EDQUOT, StorageFull),
        ("fsync", errno.EIO, StorageFault),
        ("rename", errno.EIO, StorageFault),
        ("rename", errno.EROFS, BadConfig),
    ],
)
def test_an_atomic_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, error: type[Exception]
) -> None:
    path = tmp_path / "file"
    atomic_write(path, b"old", 0o600)

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(repo_module.os, call, fail)
    with pytest.raises(error, match="cannot write"):
        atomic_write(path, b"new", 0o600)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


WRITER = """
import sys
from pathlib import Path
from shoal.storage.repo import atomic_write
atomic_write(Path(sys.argv[1]), b"new", 0o600)
"""


@pytest.mark.faults
@pytest.mark.parametrize(
    ("inject", "content"),
    [
        ("fsync:signal=KILL:when=1", b"old"),
        ("rename:signal=KILL:when=1", b"old"),
        ("fsync:signal=KILL:when=2", b"new"),  # of the folder, behind the rename
    ],
)
def test_a_kill_during_an_atomic_write_leaves_the_old_file_or_the_new(
    folder: Path, inject: str, content: bytes
) -> None:
    reason = tracing.why_not()
    if reason is not None:
        pytest.skip(f"NOT TESTED WITH A KILL AT EACH CALL: {reason}")
    with Repo.open(folder) as repo:
        repo.write_identity(b"old")
        path = repo.identity_path
    argv = [*tracing.injecting(inject), sys.executable, "-B", "-c", WRITER, str(path)]
    assert subprocess.run(argv, env=ENVIRONMENT, timeout=120).returncode != 0
    assert len(temporaries(folder)) == (content == b"old")
    with Repo.open(folder) as repo:
        assert repo.read_identity() == content
        assert temporaries(folder) == []
