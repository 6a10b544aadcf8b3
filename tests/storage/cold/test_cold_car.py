"""A segment, decompressed by the zstd tool, is a CAR that somebody else's reader finds whole: npm's @ipld/car.

Needs node, npm and its registry, and the zstd tool; skipped, loudly, where one of them is missing.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_PB
from shoal.storage.cold.places import name_of
from shoal.tests.storage.cold.sites import Site, upload_all
from shoal.tests.storage.disk.samples import block_of, v0_block_of

PACKAGES = ("@ipld/car@5", "multiformats@13")
INSTALL_S = 180

READER = """
import { createReadStream } from 'node:fs'
import { createHash } from 'node:crypto'
import { CarBlockIterator } from '@ipld/car'

const blocks = []
const car = await CarBlockIterator.fromIterable(createReadStream(process.argv[2]))
const roots = await car.getRoots()
for await (const { cid, bytes } of car) {
  const digest = createHash('sha256').update(bytes).digest()
  if (!digest.equals(Buffer.from(cid.multihash.digest))) throw new Error(`${cid} is not its bytes`)
  blocks.push([cid.toString(), bytes.length])
}
console.log(JSON.stringify({ version: car.version, roots: roots.length, blocks }))
"""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the npm packages and the program that reads a CAR with them."""
    for tool in ("node", "npm", "zstd"):
        if shutil.which(tool) is None:
            pytest.skip(f"NOT READ BY ANOTHER CAR READER: {tool} is not installed")
    folder = tmp_path_factory.mktemp("npm")
    (folder / "package.json").write_text('{"type": "module", "private": true}')
    argv = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
    try:
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        pytest.skip("NOT READ BY ANOTHER CAR READER: npm does not answer")
    if done.returncode:
        pytest.skip(f"NOT READ BY ANOTHER CAR READER: npm install failed: {done.stderr[-500:]}")
    (folder / "read.js").write_text(READER)
    return folder


def read_by_others(reader: Path, segment: Path) -> list[tuple[str, int]]:
    """The CIDs and sizes that the other reader finds; it has hashed each block."""
    archive = reader / "segment.car"
    with archive.open("wb") as out:
        subprocess.run(["zstd", "-dc", str(segment)], stdout=out, check=True)
    done = subprocess.run(["node", "read.js", str(archive)], cwd=reader, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["version"], said["roots"]) == (1, 0)
    return [(cid, size) for cid, size in said["blocks"]]


def test_segments_are_archives_for_everyone(site: Site, reader: Path, tmp_path: Path) -> None:
    text = b"words that come again " * 9000
    blocks = [
        *(block_of(seed, size) for seed, size in enumerate([0, 1, 500, 40_000, 300_000, 2 << 20])),
        *(v0_block_of(seed, 700) for seed in range(20, 24)),
        block_of(30, 900, DAG_PB),
        Block(CID.of(text), text),
    ]
    store = site.open(segment_bytes=600_000)
    for block in blocks:
        store.put_many([block])
    upload_all(store)
    segments = {path.name: path for path in site.files()}
    if site.url:
        assert store._remote is not None
        for name in map(name_of, store._remote.list()):
            copy = tmp_path / name
            copy.write_bytes(store._remote.read(name, [(0, 1 << 30)])[0])
            segments[name] = copy
    store.close()
    assert len(segments) >= 2
    found = [one for name in sorted(segments) for one in read_by_others(reader, segments[name])]
    assert sorted(found) == sorted((str(block.cid), len(block)) for block in blocks)


def test_what_the_store_leaves_after_a_day_of_its_life_is_an_archive(reader: Path, tmp_path: Path) -> None:
    site = Site(tmp_path / "cold")
    store = site.open(segment_bytes=100_000)
    blocks = [block_of(seed, 9_000) for seed in range(30)]
    for start in range(0, 30, 3):
        store.put_many(blocks[start : start + 3])
    store.delete_many([block.cid for block in blocks[::2]])
    while store.compact(20_000, 0.9).segment is not None:
        pass
    store.close()
    found = {cid for path in site.files() for cid, _ in read_by_others(reader, path)}
    assert found >= {str(block.cid) for block in blocks[1::2]}
