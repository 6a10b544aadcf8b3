"""A file that could not be opened for writing for a moment is not left open for reading alone."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal.storage.disk import opening
from shoal.storage.disk.opening import TRIES, connected

REAL = sqlite3.connect


def refusing(times: int) -> Callable[..., sqlite3.Connection]:
    """What SQLite does while the disk refuses to open a file for writing: it opens it for reading."""
    left = times

    def connect(path: Path, **given: Any) -> sqlite3.Connection:
        nonlocal left
        left -= 1
        return REAL(f"file:{path}?mode=ro", uri=True, **given) if left >= 0 else REAL(path, **given)

    return connect


@pytest.fixture
def path(tmp_path: Path) -> Path:
    conn = REAL(tmp_path / "file.sqlite")
    conn.execute("CREATE TABLE t (n INTEGER)")
    conn.close()
    return tmp_path / "file.sqlite"


@pytest.mark.parametrize("times", range(TRIES))
def test_a_moment_is_outlasted(path: Path, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening.sqlite3, "connect", refusing(times))
    conn = connected(path, 1.0)
    conn.execute("INSERT INTO t VALUES (1)")
    conn.close()


def test_what_lasts_is_opened_for_reading(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening.sqlite3, "connect", refusing(TRIES))
    conn = connected(path, 1.0)
    assert conn.execute("SELECT count(*) FROM t").fetchone() == (0,)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        conn.execute("INSERT INTO t VALUES (1)")
    conn.close()


def test_looking_writes_nothing(tmp_path: Path) -> None:
    conn = connected(tmp_path / "new.sqlite", 1.0)
    conn.execute("PRAGMA page_size = 32768")
    conn.execute("CREATE TABLE t (n INTEGER)")
    assert conn.execute("PRAGMA page_size").fetchone() == (32768,), "how the file is laid out is still open"
    conn.close()
    (tmp_path / "new.sqlite").unlink()
    conn = connected(tmp_path / "new.sqlite", 1.0)
    assert os.listdir(tmp_path) == ["new.sqlite"]
    assert (tmp_path / "new.sqlite").stat().st_size == 0
    conn.close()
