"""EIO and ENOSPC from the kernel, injected with strace at the Nth call: acknowledged blocks outlive them all."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.messages.block import Block
from shoal.messages.errors import LocalError
from shoal.storage.disk.store import DiskStore
from shoal.tests.storage.disk import tracing
from shoal.tests.storage.disk.samples import QUOTA, block_of, child_environment

pytestmark = pytest.mark.faults

BATCHES = 30

WRITER = """
import json, sys
from pathlib import Path
from shoal.tests.storage.disk.test_disk_io_errors import put_all
print(json.dumps(put_all(Path(sys.argv[1]))))
"""


def batch_of(number: int) -> list[Block]:
    return [block_of(number * 8 + index, 50_000) for index in range(8)]


def put_all(path: Path) -> dict[str, list[int] | list[str]]:
    """Put every batch once; which were acknowledged and what else was said.  Each is read back at once."""
    store = DiskStore(path, QUOTA, reserve_bytes=0)
    acknowledged: list[int] = []
    faults: list[str] = []
    opened = False
    while not opened and len(faults) < 20:
        try:
            store.open()
            opened = True
        except LocalError as fault:
            faults.append(f"{type(fault).__name__}: {fault}")
    for number in range(BATCHES) if opened else ():
        try:
            store.put_many(batch_of(number))
            acknowledged.append(number)
        except LocalError as fault:
            faults.append(f"{type(fault).__name__}: {fault}")
        for known in acknowledged[-3:]:
            assert store.get_many([block.cid for block in batch_of(known)]) == batch_of(known)
    store.close()
    return {"acknowledged": acknowledged, "faults": faults}


@pytest.mark.parametrize(
    "inject",
    [
        "fdatasync,fsync:error=EIO:when=6+9",
        "pwrite64:error=EIO:when=25",  # while the tables are made
        "pwrite64:error=EIO:when=60+97",
        "pwrite64:error=ENOSPC:when=60+97",
        "pwrite64:error=EDQUOT:when=60..80",
    ],
)
def test_calls_that_fail_now_and_then(tmp_path: Path, inject: str) -> None:
    reason = tracing.why_not()
    if reason is not None:
        pytest.skip(f"NOT TESTED WITH FAILING CALLS: {reason}")
    path = tmp_path / "blocks.sqlite"
    argv = [*tracing.injecting(inject), sys.executable, "-B", "-c", WRITER, str(path)]
    done = subprocess.run(argv, env=child_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["faults"], "no injected error was met"
    assert all(fault.startswith(("StorageFault", "StorageFull")) for fault in said["faults"]), said["faults"]
    assert len(said["acknowledged"]) > BATCHES // 4, "it did not recover between errors"
    store = DiskStore(path, QUOTA)
    store.open()
    for number in said["acknowledged"]:
        assert store.get_many([block.cid for block in batch_of(number)]) == batch_of(number)
    assert store._file.db.conn.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    store.close()
