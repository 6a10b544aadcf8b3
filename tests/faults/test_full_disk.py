"""A node on a volume without room: it refuses in clear words, and keeps and serves what it has."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.tests.support.faults import Download, noise, refuse
from shoal.tests.support.shoal import Shoal, ShoalFactory

pytestmark = pytest.mark.faults

MIB = 1024 * 1024
VOLUME_MIB = 112
"""Room for some 40 MiB: the store leaves 64 MiB free, and its log takes a little."""


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A folder on a small tmpfs."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED ON A FULL VOLUME: only root may mount a tmpfs")
    folder = tmp_path / "volume"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={VOLUME_MIB}m", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"NOT TESTED ON A FULL VOLUME: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def is_healthy(node: Shoal) -> None:
    rows = node.call("shoal/actors")["Actors"]
    assert {row["State"] for row in rows} == {"running"}
    assert {row["Generation"] for row in rows} == {1}, "nothing died of it"


def test_a_full_disk(shoal: ShoalFactory, volume: Path) -> None:
    holder = shoal()
    kept, large = noise(4 * MIB, "kept"), noise(80 * MIB, "too large")
    large_cid = holder.add(large)
    with Shoal.start(volume / "repo") as node:
        cid = node.add(kept)
        text = refuse(lambda: node.add(large))
        print(text)
        assert "free some space" in text
        assert node.cat(cid) == kept
        is_healthy(node)

        node.connect(holder.addrs[0])
        download = Download(node, large_cid, 20)
        download.end()
        print(f"{download.received} bytes, {download.seconds:.1f} s: {download.failure}")
        assert "free some space" in download.failure
        assert download.received < len(large)
        assert node.cat(cid) == kept
        is_healthy(node)
        assert node.stop() == 0

    with Shoal.start(volume / "repo") as node:
        assert node.cat(cid) == kept, "it starts again on the full disk, and has what it had"
        assert "free some space" in refuse(lambda: node.add(large))
        assert node.stop() == 0


def fill(path: Path) -> None:
    """Write to ``path`` until not one byte more fits: ends in OSError."""
    with path.open("wb", buffering=0) as file:
        while file.write(bytes(MIB)):
            pass


def test_a_volume_filled_to_the_last_byte_by_others(volume: Path) -> None:
    kept = noise(4 * MIB, "kept")
    ballast = volume / "ballast"
    with Shoal.start(volume / "repo") as node:
        cid = node.add(kept)
        with pytest.raises(OSError, match="No space left"):
            fill(ballast)
        text = refuse(lambda: node.add(noise(MIB, "one more")))
        print(text)
        assert "free some space" in text
        assert node.cat(cid) == kept
        is_healthy(node)
        node.crash("disk")
        assert node.cat(cid) == kept, "a new disk tier opens on a full volume"
        node.kill9()

    with Shoal.start(volume / "repo") as node:
        assert node.cat(cid) == kept, "it starts on a full volume after a kill"
        ballast.unlink()
        more = noise(MIB, "one more")
        assert node.cat(node.add(more)) == more, "there is room again"
        assert node.stop() == 0
