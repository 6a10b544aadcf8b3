"""A volume without room: the error says so, what was acknowledged stays, and it goes on when there is room again."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.actors.announce import schedule
from shoal.messages import announcing
from shoal.messages.announcing import WAYS
from shoal.messages.cid import CID
from shoal.messages.errors import LocalError, StorageFull
from shoal.messages.replies import Failed
from shoal.storage.announcements.rows import Origin
from shoal.storage.announcements.store import Announcements
from shoal.tests.actors.announce.bench import Bench, tell

pytestmark = pytest.mark.faults

NOW = 1.8e9


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """A folder on a tmpfs of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED ON A FULL VOLUME: only root may mount a tmpfs")
    folder = tmp_path / "volume"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"NOT TESTED ON A FULL VOLUME: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def batch(number: int) -> list[CID]:
    return [CID.of(f"{number} {each}".encode()) for each in range(1000)]


def fill(folder: Path) -> None:
    """Leave no room on the volume."""
    with (folder / "ballast").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass


def test_what_was_acknowledged_stays_when_the_volume_fills(small_volume: Path) -> None:
    store = Announcements(small_volume / "announce.sqlite")
    store.open()
    kept: list[CID] = []
    fault: LocalError | None = None
    for number in range(1000):
        try:
            store.add([(cid, NOW) for cid in batch(number)], ("dht",), Origin.EXPLICIT)
        except LocalError as full:
            fault = full
            break
        kept += batch(number)
    assert isinstance(fault, StorageFull)
    assert "free some space" in str(fault)
    assert store.totals()["dht"].rows == len(kept)
    store.close()
    (small_volume / "ballast").unlink(missing_ok=True)
    store.open()
    assert store.rebuilt == 0
    assert {row.cid for row in store.due("dht", NOW, 1_000_000)} == set(kept)
    store.close()


def test_an_actor_on_a_full_volume_says_so_and_goes_on_with_room(small_volume: Path) -> None:
    bench = Bench(small_volume)
    bench.run(1)
    cids = batch(0)[:10]
    bench.announce(cids[:5], ways=("dht",))
    bench.run(1)
    (provide,) = bench.provides()
    fill(small_volume)
    reply = bench.announce(batch(1), ways=WAYS)
    assert isinstance(reply, Failed)
    assert reply.error == "StorageFull"
    tell(provide)  # it may not be possible to note it; then it is told once more
    bench.run(1)
    (small_volume / "ballast").unlink()
    assert bench.announce(cids[5:], ways=("dht",)) == announcing.Announced(5, 10)
    for _ in range(30):
        bench.run(10)
        for said in bench.provides():
            tell(said)
    shown = bench.backlog()
    assert (shown.total, shown.never_told) == (10, 0)
    assert all(row.due_s <= schedule.HORIZON_S for row in shown.rows)
    bench.actor.on_stop()
