"""kill -9 in the middle of adds: what was acknowledged is in the backlog, and the totals are those of its rows."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shoal.messages.announcing import WAYS
from shoal.messages.cid import CID
from shoal.storage.announcements.store import Announcements
from shoal.tests.storage.announcements import add_until_killed
from shoal.tests.storage.announcements.add_until_killed import BATCH, NOW, batch_of
from shoal.tests.storage.disk.samples import child_environment

pytestmark = pytest.mark.faults

ROUNDS = 6
DELAY_MAX_S = 0.2


def run_and_kill(path: Path, first: int, delay_s: float) -> list[tuple[str, int]]:
    """What the child said before it was killed ``delay_s`` after its first word."""
    command = [sys.executable, "-B", add_until_killed.__file__, str(path), str(first)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, env=child_environment(), text=True)
    assert child.stdout is not None
    try:
        head = child.stdout.readline()
        assert head, "the child could not start"
        time.sleep(delay_s)  # the point in its work at which it dies; nothing is asserted about time
    finally:
        child.kill()
        tail = child.stdout.read()
        child.stdout.close()
        child.wait()
    lines = (head + tail).split("\n")[:-1]
    return [(word, int(number)) for word, number in (line.split() for line in lines)]


def test_what_was_acknowledged_survives(tmp_path: Path) -> None:
    path = tmp_path / "announce.sqlite"
    rng = random.Random(5)
    added: set[int] = set()
    told: set[int] = set()
    for _ in range(ROUNDS):
        first = max(added, default=-1) + 2  # past the batch whose adding may have been cut short
        for word, number in run_and_kill(path, first, rng.uniform(0, DELAY_MAX_S)):
            (added if word == "added" else told).add(number)
        store = Announcements(path)
        store.open()
        assert store.rebuilt == 0
        there: dict[CID, float] = {}
        while rows := store.due("dht", NOW + 10_000, 4096):
            there.update((row.cid, row.due) for row in rows)
            store.told("dht", [(row.cid, row.due + 1e8) for row in rows], NOW + 2)
        assert {cid for number in added for cid in batch_of(number)} <= there.keys()
        assert all(there[cid] > NOW for number in told for cid in batch_of(number)), "told, and due again at once"
        assert len(there) % BATCH == 0, "half a batch"
        assert {way: total.rows for way, total in store.totals().items()} == dict.fromkeys(WAYS, len(there))
        # As they were, for the next round.
        store.told("dht", list(there.items())[:4096], NOW + 2)
        store.close()
        assert len(there) <= 4096, "the next round would not see them all"
    assert len(added) > ROUNDS
