"""A disk without room, or that fails: the error says so, pins that were acknowledged stay, and it goes on with room."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shoal.messages.cid import CID
from shoal.messages.errors import LocalError, StorageFull, Unavailable
from shoal.messages.limits import MIB
from shoal.storage.catalog.catalog import Catalog
from shoal.storage.catalog.rows import Use
from shoal.tests.storage.disk import tracing
from shoal.tests.storage.disk.samples import child_environment

pytestmark = pytest.mark.faults

NOW = 1.8e9


def cid_of(number: int) -> CID:
    return CID.of(number.to_bytes(8, "big"))


def uses_of(number: int) -> list[Use]:
    return [Use(cid_of(1000 * number + each), 100, "disk", True, 0, NOW) for each in range(1000)]


def until_refused(step: Callable[[int], object]) -> tuple[int, LocalError]:
    """How many steps were taken before one was refused, and how."""
    for number in range(100_000):
        try:
            step(number)
        except LocalError as fault:
            return number, fault
    raise AssertionError("it was never full")


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


def test_a_full_volume(small_volume: Path) -> None:
    catalog = Catalog(small_volume / "catalog")
    catalog.open()
    catalog.pin(cid_of(0), True, "before", NOW)
    ballast = small_volume / "ballast"
    ballast.write_bytes(bytes(4 * MIB))
    noted, fault = until_refused(lambda number: catalog.note(uses_of(number)))
    assert isinstance(fault, StorageFull)
    assert "free some space" in fault.remedy
    assert noted
    pinned, fault = until_refused(lambda number: catalog.pin(cid_of(number), True, "x" * 200, NOW))
    assert isinstance(fault, StorageFull)
    with pytest.raises(StorageFull):
        catalog.pin(cid_of(999_999), True, "", NOW)
    assert [pin.cid for pin in catalog.pins(None, 4096)] == sorted(
        (cid_of(number) for number in range(max(1, pinned))), key=lambda cid: cid.multihash
    )
    assert catalog.totals(NOW)["disk"].blocks == 1000 * noted
    # Opened again while it is full, as after a crash, and then with room.
    catalog.close()
    ballast.unlink()
    catalog.open()
    assert catalog.pin_count() == max(1, pinned)
    catalog.note(uses_of(noted))
    catalog.pin(cid_of(999_999), True, "", NOW)
    assert catalog.totals(NOW)["disk"].blocks == 1000 * (noted + 1)
    assert catalog.rebuilt == 0
    catalog.close()


def test_a_volume_too_full_for_marks(small_volume: Path) -> None:
    catalog = Catalog(small_volume / "catalog")
    catalog.open()
    catalog.note(uses_of(0))
    catalog.begin_marking(NOW)
    (small_volume / "ballast").write_bytes(bytes(7 * MIB))

    def mark(number: int) -> None:
        catalog.mark([use.cid for use in uses_of(number)], expand=True)

    marked, fault = until_refused(mark)
    assert isinstance(fault, StorageFull)
    assert catalog.marked_totals().to_expand == 0, "raw leaves"
    assert catalog.is_marked([uses_of(marked)[0].cid]) == [False], "all of a batch or nothing"
    assert all(catalog.is_marked([use.cid for use in uses_of(0)]))
    (small_volume / "ballast").unlink()
    mark(marked)
    catalog.close()


def test_a_put_that_could_not_be_noted_ends_the_marking(small_volume: Path) -> None:
    """Nobody may sweep by marks that have not heard of it."""
    catalog = Catalog(small_volume / "catalog")
    catalog.open()
    catalog.begin_marking(NOW)
    (small_volume / "ballast").write_bytes(bytes(7 * MIB))
    _, fault = until_refused(lambda number: catalog.note(uses_of(number)))
    assert isinstance(fault, StorageFull)
    assert catalog.marking is None
    with pytest.raises(Unavailable, match="begin a marking"):
        catalog.unmarked("disk", NOW, 10, NOW)
    catalog.close()


def test_sqlites_own_page_limit(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    catalog.open()
    for file in (catalog._usage, catalog._pins._file):
        file.conn.execute("PRAGMA max_page_count = 100")
    noted, fault = until_refused(lambda number: catalog.note(uses_of(number)))
    assert isinstance(fault, StorageFull)
    assert catalog.totals(NOW)["disk"].blocks == 1000 * noted
    pinned, fault = until_refused(lambda number: catalog.pin(cid_of(number), True, "x" * 200, NOW))
    assert isinstance(fault, StorageFull)
    assert catalog.pin_count() == len(catalog.pins(None, 4096)) == pinned
    catalog.unpin(cid_of(0))
    catalog.pin(cid_of(0), True, "x" * 200, NOW)
    assert catalog.rebuilt == 0
    catalog.close()


FAILING = """
import json, sys
from pathlib import Path
from shoal.tests.storage.catalog.test_catalog_full import pin_all
print(json.dumps(pin_all(Path(sys.argv[1]))))
"""


def pin_all(folder: Path) -> dict[str, list[int] | list[str]]:
    """Pin each number once; which were acknowledged, and what else was said."""
    acknowledged: list[int] = []
    faults: list[str] = []
    catalog = Catalog(folder)
    for _ in range(20):
        try:
            catalog.open()
            break
        except LocalError as fault:
            faults.append(f"{type(fault).__name__}: {fault}")
            catalog.close()
    for number in range(60):
        try:
            catalog.pin(cid_of(number), True, "", NOW)
            acknowledged.append(number)
            catalog.note(uses_of(number)[:10])
        except LocalError as fault:
            faults.append(f"{type(fault).__name__}: {fault}")
    catalog.close()
    return {"acknowledged": acknowledged, "faults": faults}


@pytest.mark.parametrize(
    "inject",
    [
        "fdatasync,fsync:error=EIO:when=1..3",  # while the folder and the files are made
        "fdatasync,fsync:error=EIO:when=8+9",
        "pwrite64:error=EIO:when=20",  # while the tables are made
        "pwrite64:error=EIO:when=60+37",
        "pwrite64:error=ENOSPC:when=60+37",
    ],
)
def test_calls_that_fail_now_and_then(tmp_path: Path, inject: str) -> None:
    reason = tracing.why_not()
    if reason is not None:
        pytest.skip(f"NOT TESTED WITH FAILING CALLS: {reason}")
    argv = [*tracing.injecting(inject), sys.executable, "-B", "-c", FAILING, str(tmp_path / "catalog")]
    done = subprocess.run(argv, env=child_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["faults"], "no injected error was met"
    assert all(fault.startswith(("StorageFault", "StorageFull")) for fault in said["faults"]), said["faults"]
    assert len(said["acknowledged"]) > 20, "it did not recover between errors"
    catalog = Catalog(tmp_path / "catalog")
    catalog.open()
    pins = catalog.pinned([cid_of(number) for number in said["acknowledged"]])
    assert all(pin is not None for pin in pins)
    catalog.close()
