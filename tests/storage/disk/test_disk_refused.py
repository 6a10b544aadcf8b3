"""What was refused does not happen after all: a commit whose sync failed is not played back after a kill."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from shoal.storage.catalog.catalog import Catalog
from shoal.storage.cold.store import ColdStore
from shoal.storage.disk.commits import Commits
from shoal.storage.disk.store import DiskStore
from shoal.tests.storage.disk import refused_then_done, tracing
from shoal.tests.storage.disk.refused_then_done import BLOCK
from shoal.tests.storage.disk.samples import QUOTA, child_environment

FIRST, SYNCS = 8, 30  # of those that fail: the first ones are of making the files, and none makes more


def is_made(store: str, folder: Path) -> bool:
    """Whether the change is there for who opens the store now."""
    if store == "pins":
        catalog = Catalog(folder / "catalog")
        catalog.open()
        try:
            return catalog.pinned([BLOCK.cid])[0] is not None
        finally:
            catalog.close()
    shelf = DiskStore(folder / "blocks.sqlite", QUOTA) if store == "disk" else ColdStore(folder / "cold", QUOTA)
    shelf.open()
    try:
        return shelf.get_many([BLOCK.cid]) == [BLOCK]
    finally:
        shelf.close()


@pytest.mark.faults
@pytest.mark.parametrize("until", ["", "+"])
@pytest.mark.parametrize("store", sorted(refused_then_done.STORES))
def test_a_refused_change_is_not_made_after_a_kill(tmp_path: Path, store: str, until: str) -> None:
    """With one sync that fails, and with all that do from then on: then nobody may be told that it is still here."""
    reason = tracing.why_not()
    if reason is not None:
        pytest.skip(f"NOT TESTED WITH A FAILING SYNC: {reason}")
    refused = 0
    for nth in range(FIRST, SYNCS):
        folder = tmp_path / str(nth)
        folder.mkdir()
        argv = [*tracing.injecting(f"fdatasync:error=EIO:when={nth}{until}"), sys.executable, "-B"]
        argv += [refused_then_done.__file__, store, str(folder)]
        done = subprocess.run(argv, env=child_environment(), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        said = done.stdout.splitlines()
        if "again" in said or "here" in said:
            assert is_made(store, folder), f"said to be here, and gone after sync {nth} failed"
        refused += "refused" in said
        assert "here" not in said or not until
        if said == ["done", "again"] and refused:
            break  # the syncs after this one are not made
    assert refused, "no sync of the second change failed"


class FailingCommits(sqlite3.Connection):
    """A connection whose commits fail while ``broken``."""

    broken = False

    def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        if sql == "COMMIT" and self.broken:
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *parameters)  # type: ignore[arg-type]  # passed on as they came


def test_doubt_lasts_until_another_commit(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None, factory=FailingCommits)) as conn:
        commits = Commits()
        with commits.transaction(conn):
            conn.execute("CREATE TABLE words (word TEXT)")
        conn.broken = True
        with pytest.raises(sqlite3.OperationalError), commits.transaction(conn):
            conn.execute("INSERT INTO words VALUES ('refused')")
        assert commits.in_doubt
        with pytest.raises(sqlite3.OperationalError, match="I/O"), commits.transaction(conn):
            conn.execute("nonsense: nothing may be tried before the doubt is settled")
        assert not conn.in_transaction
        conn.broken = False
        with commits.transaction(conn):
            conn.execute("INSERT INTO words VALUES ('made')")
        assert not commits.in_doubt
        assert conn.execute("SELECT word FROM words").fetchall() == [("made",)]
        assert conn.execute("PRAGMA user_version").fetchone() == (1,), "it wrote something, so that the log has it"


def test_what_raises_in_the_body_leaves_no_doubt(tmp_path: Path) -> None:
    def change(conn: sqlite3.Connection, commits: Commits) -> None:
        with commits.transaction(conn):
            conn.execute("CREATE TABLE words (word TEXT)")
            raise KeyError

    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as conn:
        commits = Commits()
        with pytest.raises(KeyError):
            change(conn, commits)
        assert not commits.in_doubt
        assert conn.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
