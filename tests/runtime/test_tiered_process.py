"""TieredCacheManager in processes of its own: kill -9 at any moment, an end without a close, a folder shared."""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path

import pytest

from shoal.messages.cid import CID
from shoal.messages.errors import RepoBusy, Unavailable
from shoal.runtime.tiered import TieredCacheManager
from shoal.tests.support.kept_node import noise
from shoal.tests.support.processes import Child

WAIT_S = 60.0  # only reached by what is broken
SMALL = {"memory_cache_size": "256KiB", "local_cache_size": 150_000}

# Prints each CID once it is stored, and `-` and a CID before that is deleted.
CHURN = """
import random, sys, threading
from shoal.messages.errors import StorageFull
from shoal.runtime.tiered import TieredCacheManager

small = {"memory_cache_size": "256KiB", "local_cache_size": 150_000}
cache = TieredCacheManager({**small, "local_cache_path": sys.argv[1]})
told = threading.Lock()

def say(line):
    with told:
        print(line, flush=True)

def work(thread):
    rng = random.Random(int(sys.argv[2]) * 100 + thread)
    mine = []
    while True:
        cid = cache.put(rng.randbytes(rng.choice([100, 5_000, 15_000])))
        say(cid)
        mine.append(cid)
        one = rng.choice(mine)
        try:
            rng.choice([cache.promote, cache.demote, cache.get, cache.pin])(one)
        except StorageFull:
            pass
        if rng.random() < 0.2 and not cache.unpin(one):
            mine.remove(one)
            say("- " + one)
            cache.delete(one)

for thread in range(3):
    threading.Thread(target=work, args=(thread,)).start()
"""

LEAVES_IT_OPEN = """
import sys
from shoal.runtime.tiered import TieredCacheManager
cache = TieredCacheManager({"local_cache_path": sys.argv[1]})
print(cache.put(b"put by one that just ends"), flush=True)
"""

WORKS_ON = """
import sys, threading, time
from shoal.runtime.tiered import TieredCacheManager
cache = TieredCacheManager({"local_cache_path": sys.argv[1]})

def work():
    threading.main_thread().join()
    for number in range(5):
        print(cache.put(b"after the main thread: %d" % number), flush=True)

threading.Thread(target=work).start()
"""

HOLDS = """
import sys
from shoal.runtime.tiered import TieredCacheManager
with TieredCacheManager({"local_cache_path": sys.argv[1]}) as cache:
    print("open", flush=True)
    sys.stdin.readline()
"""


def child(script: str, *args: object) -> Child:
    return Child.start([sys.executable, "-c", script, *map(str, args)], name="tiers")


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(2))
def test_what_was_acknowledged_is_there_after_kill_9(tmp_path: Path, seed: int) -> None:
    stored: set[str] = set()
    gone: set[str] = set()
    with child(CHURN, tmp_path, seed) as process:
        for _ in range(random.Random(seed).randint(60, 160)):
            line = process.line(WAIT_S)
            (gone if line.startswith("- ") else stored).add(line.removeprefix("- "))
        assert process.kill() == -signal.SIGKILL
    with TieredCacheManager({**SMALL, "local_cache_path": tmp_path}) as cache:
        assert len(stored - gone) > 30
        for cid in stored - gone:
            data = cache.get(cid)
            assert data is not None, cid
            assert CID.parse(cid).matches(data)
        for cid in gone:
            data = cache.get(cid)
            assert data is None or CID.parse(cid).matches(data), "it was about to go"
        assert cache.get(cache.put(noise(1000, seed))) == noise(1000, seed), "it goes on"


def test_a_program_that_ends_without_closing_it_ends_in_order(tmp_path: Path) -> None:
    with child(LEAVES_IT_OPEN, tmp_path) as process:
        cid = process.line(WAIT_S)
        assert process.wait(WAIT_S) == 0
        assert process.error_text() == ""
    assert (tmp_path / "repo.lock").read_text() == "", "it was let go of, not just left"
    with TieredCacheManager({"local_cache_path": tmp_path}) as cache:
        assert cache.get(cid) == b"put by one that just ends"


def test_threads_may_use_it_when_the_main_one_has_ended(tmp_path: Path) -> None:
    with child(WORKS_ON, tmp_path) as process:
        cids = [process.line(WAIT_S) for _ in range(5)]
        assert process.wait(WAIT_S) == 0
        assert process.error_text() == ""
    with TieredCacheManager({"local_cache_path": tmp_path}) as cache:
        assert all(map(cache.exists, cids))


def test_a_folder_that_another_process_uses(tmp_path: Path) -> None:
    cache = TieredCacheManager({"local_cache_path": tmp_path})
    with child(HOLDS, tmp_path) as process:
        assert process.line(WAIT_S) == "open"
        with pytest.raises(RepoBusy, match=rf"process {process.pid}.*another folder"):
            cache.put(b"x")
        process.send("")
        assert process.wait(WAIT_S) == 0
    assert cache.exists(cache.put(b"x"))
    cache.close()


def test_a_child_that_was_forked_off_is_told_to_make_its_own(tmp_path: Path) -> None:
    with TieredCacheManager({"local_cache_path": tmp_path}) as cache:
        cid = cache.put(b"the parent's")
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                cache.get(cid)
            except Unavailable as fault:
                code = 0 if "in each process" in str(fault) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert cache.get(cid) == b"the parent's"
