"""``bin/bench tiers`` measures what it says: shelves keep blocks, flatfs syncs as Kubo does, a liar is found out."""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_PB
from shoal.storage.cold.record import Packer
from shoal.tests.bench import __main__ as bench
from shoal.tests.bench import tiers
from shoal.tests.bench.tiers_material import Material
from shoal.tests.bench.tiers_shelves import Called, Data, FlatFs, Kind, OfMemory, flatfs
from shoal.tests.support.processes import ChildFailed

SMALL = Material.made(2048, 4, 2, 3, 1, text=False)
ABSENT = Block(CID.of(b"absent"), b"absent")


@pytest.mark.parametrize("kind", tiers.KINDS, ids=lambda kind: kind.name)
def test_every_shelf_gives_back_what_it_was_given_and_a_time_for_each_call(kind: Kind, tmp_path: Path) -> None:
    if kind.name.startswith("diskcache"):
        pytest.importorskip("diskcache", reason="bin/bench installs it")
    with kind.open(tmp_path) as shelf:
        assert len(shelf.put([[block] for block in SMALL.singles])) == 4
        assert len(shelf.put(SMALL.batches)) == 2
        for blocks in (SMALL.shuffled(1), *SMALL.batches):
            assert len(shelf.get(blocks)) == len(blocks)
        if "has" in kind.can:
            assert len(shelf.has(SMALL.asked)) == 8
            with pytest.raises(ChildFailed, match="said to be absent"):
                shelf.has([(ABSENT.cid, True)])
        with pytest.raises(ChildFailed, match="was read as nothing"):
            shelf.get([ABSENT])


# --- flatfs ----------------------------------------------------------------------------------------


def test_a_flatfs_block_is_where_kubo_has_it(tmp_path: Path) -> None:
    data = bytes.fromhex("0a020801")  # the empty directory, which every Kubo repository holds
    FlatFs(tmp_path).put_many([Block(CID.of(data, DAG_PB, 0), data)])
    place = tmp_path / "X3" / "CIQFTFEEHEDF6KLBT32BFAGLXEZL4UWFNWM4LFTLMXQBCERZ6CMLX3Y.data"
    assert place.read_bytes() == data
    assert not list((tmp_path / ".temp").iterdir())


def test_flatfs_syncs_a_file_before_and_its_folder_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, Path]] = []
    fsync, rename = os.fsync, os.rename

    def noted_sync(file: int) -> None:
        done.append(("sync", Path(os.readlink(f"/proc/self/fd/{file}"))))
        fsync(file)

    def noted_rename(source: str, target: Path) -> None:
        done.append(("rename", target))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "rename", noted_rename)
    store = FlatFs(tmp_path)
    for batch in ([SMALL.singles[0]], SMALL.batches[0]):
        done.clear()
        store.put_many(batch)
        files, renames, folders = done[: len(batch)], done[len(batch) : 2 * len(batch)], done[2 * len(batch) :]
        assert all(what == "sync" and path.parent.name == ".temp" for what, path in files)
        assert [what for what, _ in renames] == ["rename"] * len(batch)
        assert {path for what, path in folders if what == "sync"} == {p.parent for _, p in renames} | {tmp_path}


# --- the table -------------------------------------------------------------------------------------


class Liar(OfMemory):
    """Says other bytes."""

    def get(self, cid: CID) -> Data | None:
        return b"other bytes"


class Forgetful(OfMemory):
    """Keeps nothing."""

    def put_many(self, blocks: Sequence[Block]) -> None:
        pass


def measured(folder: Path, monkeypatch: pytest.MonkeyPatch, *kinds: Kind, runs: int = 2) -> dict[str, Any]:
    monkeypatch.setattr(tiers, "LOADS", (tiers.Load(2048, 50, 3), tiers.Load(100, 50, 3)))
    options = bench.parser().parse_args(["tiers", "--blocks", "4", "--runs", str(runs)])
    options.contestants = kinds
    return tiers.measure(options, folder)


def test_the_table_compares_and_names_who_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured(
        tmp_path,
        monkeypatch,
        Kind("flatfs", "files", flatfs, many_files=True),
        Kind("kept", "a dictionary", lambda folder: nullcontext(Called(OfMemory(folder)))),
        Kind("got", "the same", lambda folder: nullcontext(Called(OfMemory(folder))), frozenset({"get"})),
        Kind("liar", "lies", lambda folder: nullcontext(Called(Liar(folder)))),
        Kind("forgetful", "forgets", lambda folder: nullcontext(Called(Forgetful(folder)))),
    )
    entries = found["contestants"]
    for size in ("2 KiB", "100 B"):
        assert {name: len(entries[f"{size}: {name}"]["runs"]) for name in ("flatfs", "kept", "got", "liar")} == {
            "flatfs": 2,
            "kept": 2,
            "got": 2,
            "liar": 0,
        }
        times = entries[f"{size}: kept"]["times"]
        assert set(times) == {"put", "batch", "get", "has"}
        assert all(each["flatfs"]["median"] > 0 for each in times.values())
        assert set(entries[f"{size}: got"]["times"]) == {"get"}
        assert entries[f"{size}: flatfs"]["times"]["put"]["flatfs"] == {"median": 1.0, "min": 1.0, "max": 1.0}
        assert "11 other bytes" in entries[f"{size}: liar"]["failure"]
        assert "nothing" in entries[f"{size}: forgetful"]["failure"]
    told = tiers.text(found)
    assert "100 B: put, 3 blocks at one time, durable" in told
    assert "2 KiB: liar FAILED" in told
    assert told.count("flatfs: files") == 1
    assert bench.failed(found)
    assert not list(tmp_path.iterdir())


def test_figures_follow_from_the_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Told:
        def put(self, batches: Sequence[Sequence[Block]]) -> list[float]:
            return [0.5 * len(batch) for batch in batches]

        def get(self, blocks: Sequence[Block]) -> list[float]:
            return [0.25] * (len(blocks) - 1) + [1.0]

        def has(self, asked: Sequence[tuple[CID, bool]]) -> list[float]:
            return [0.125 for _ in asked]

    found = measured(tmp_path, monkeypatch, Kind("told", "says so", lambda _: nullcontext(Told())), runs=1)
    (run,) = found["contestants"]["2 KiB: told"]["runs"]
    mib = 4 * 2048 / 1024**2
    assert run == {
        "put_seconds": 2.0, "put_per_s": mib / 2, "put_p50_ms": 500, "put_p99_ms": 500,
        "batch_seconds": 3.0, "batch_per_s": mib * 1.5 / 3, "batch_p50_ms": 1500, "batch_p99_ms": 1500,
        "get_seconds": 1.75, "get_per_s": mib / 1.75, "get_p50_ms": 250, "get_p99_ms": 1000,
        "has_seconds": 1.0, "has_per_s": 8, "has_p50_ms": 125, "has_p99_ms": 125,
    }  # fmt: skip


def test_blocks_follow_from_the_seed_and_only_text_compresses() -> None:
    packer = Packer(3)
    for text, least, most in ((True, 0.2, 0.5), (False, 0.99, 1.1)):
        one, two, other = (Material.made(65536, 3, 2, 2, seed, text=text) for seed in (1, 1, 2))
        assert one == two
        blocks = [*one.singles, *one.batches[0], *one.batches[1]]
        assert len({block.cid for block in blocks}) == 7
        assert {len(block) for block in blocks} == {65536}
        assert not {block.cid for block in blocks} & {block.cid for block in other.singles}
        packed = sum(len(packer.pack(block)) for block in blocks)
        assert least < packed / (7 * 65536) < most
        assert sum(is_here for _, is_here in one.asked) == len(one.asked) / 2 == 3


def test_contestants_are_chosen_by_the_beginnings_of_their_names() -> None:
    chosen = bench.parser().parse_args(["tiers", "--contestants", "disk store, flatfs"]).contestants
    assert [kind.name for kind in chosen] == ["flatfs", "disk store", "disk store unhashed"]
    for text in ("nobody", "disk,,", ""):
        with pytest.raises(SystemExit):
            bench.parser().parse_args(["tiers", "--contestants", text])
