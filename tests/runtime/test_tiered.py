"""TieredCacheManager as its user sees it: each call, its errors, and its life."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal.messages.cid import CID, DAG_PB, IDENTITY, RAW
from shoal.messages.errors import BadConfig, BadInput, NotFound, RepoBusy, StorageFull, Unavailable
from shoal.messages.limits import BLOCK_BYTES_MAX, MEMORY_ENTRY_BYTES
from shoal.runtime.tiered import TieredCacheManager
from shoal.tests.support.generated import ROOT
from shoal.tests.support.kept_node import noise, until

ABSENT = str(CID.of(b"nobody ever puts this"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TieredCacheManager]:
    """One for all tests that need no folder of their own; each puts blocks that are in no other."""
    config = {
        "memory_cache_size": "1MiB",
        "local_cache_path": tmp_path_factory.mktemp("tiers"),
        "max_item_size": 20_000,
    }
    with TieredCacheManager(config) as made:
        yield made


# --- content -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"bytes", bytearray(b"an array"), memoryview(b"a view of more")[2:6], b""])
def test_what_is_put_is_there(cache: TieredCacheManager, data: bytes) -> None:
    cid = cache.put(data)
    assert cid == str(CID.of(bytes(data)))
    assert cache.exists(cid)
    assert cache.get(cid) == bytes(data)
    assert cache.tiers_of(cid)[-1] == "disk"


def test_what_was_not_put_is_not_there(cache: TieredCacheManager) -> None:
    assert cache.get(ABSENT) is None
    assert not cache.exists(ABSENT)
    assert not cache.delete(ABSENT)
    assert cache.tiers_of(ABSENT) == ()
    assert cache.evict(ABSENT) == 0
    assert not cache.unpin(ABSENT)
    for call in (cache.promote, cache.demote, cache.pin):
        with pytest.raises(NotFound, match="put it first"):
            call(ABSENT)


def test_a_block_has_the_name_that_it_was_put_under_if_that_is_right(cache: TieredCacheManager) -> None:
    data = noise(100, 1)
    old = CID.of(data, DAG_PB, 0)
    assert cache.put(data, cid=str(old)) == str(old)
    assert cache.put(data, cid=CID.of(data)) == str(CID.of(data)), "the same bytes under another name"
    assert cache.get(old) == cache.get(CID.of(data)) == data
    with pytest.raises(BadInput, match=f"leave the CID out.*{CID.of(b'other')}"):
        cache.put(b"other", cid=old)


def test_a_largest_block_and_none_above_it(cache: TieredCacheManager) -> None:
    data = noise(BLOCK_BYTES_MAX.value, 2)
    assert cache.get(cache.put(data)) == data
    with pytest.raises(BadInput, match=r"2097153 bytes, at most 2097152.*in parts"):
        cache.put(bytes(BLOCK_BYTES_MAX.value + 1))


def test_bytes_that_are_changed_afterwards_stay_as_they_were_put(cache: TieredCacheManager) -> None:
    data = bytearray(b"as it was when it was put")
    cid = cache.put(data)
    data[:2] = b"AS"
    assert cache.get(cid) == b"as it was when it was put"


def test_what_carries_its_bytes_in_its_name_is_always_there_and_in_no_tier(cache: TieredCacheManager) -> None:
    cid = CID(1, RAW, IDENTITY, b"short")
    assert cache.put(b"short", cid=cid) == str(cid)
    assert cache.get(cid) == b"short"
    assert cache.exists(cid)
    assert cache.tiers_of(cid) == ()
    assert not cache.delete(cid)
    assert cache.evict(cid) == 0
    with pytest.raises(NotFound, match="in its name"):
        cache.promote(cid)


@pytest.mark.parametrize("cid", ["QmExampleContentID", "", "b", "/ipfs/", "x" * 400, 7, None, b"bafy"])
def test_what_is_no_cid_is_refused(cache: TieredCacheManager, cid: Any) -> None:
    for call in (cache.get, cache.exists, cache.delete, cache.promote, cache.demote, cache.pin, cache.unpin):
        with pytest.raises(BadInput, match=r"is not a CID|is no CID"):
            call(cid)


def test_what_is_no_bytes_is_refused(cache: TieredCacheManager) -> None:
    for data in ("text", 7, None, [1]):
        with pytest.raises(BadInput, match="give bytes"):
            cache.put(data)  # type: ignore[arg-type]  # what is tested


# --- tiers -------------------------------------------------------------------------------------------


def test_up_and_down_step_by_step(cache: TieredCacheManager) -> None:
    data = noise(5000, 3)
    cid = cache.put(data)
    assert cache.tiers_of(cid) == ("disk",)
    for step, tier, places in (
        (cache.promote, "memory", ("memory", "disk")),
        (cache.promote, "memory", ("memory", "disk")),
        (cache.demote, "disk", ("disk",)),
        (cache.demote, "cold", ("cold",)),
        (cache.demote, "cold", ("cold",)),
        (cache.promote, "disk", ("disk",)),
    ):
        assert step(cid) == tier
        assert cache.tiers_of(cid) == places
        assert cache.exists(cid)
    assert cache.get(cid) == data


def test_to_a_tier_by_name(cache: TieredCacheManager) -> None:
    cid = cache.put(noise(6000, 4))
    assert cache.demote(cid, "cold") == "cold"
    assert cache.promote(cid, "memory") == "memory"
    assert cache.tiers_of(cid) == ("memory", "cold"), "a copy: its home is where it was"
    assert cache.demote(cid, "disk") == "cold", "it was below the disk tier already"
    cache.promote(cid, "memory")
    assert cache.promote(cid, "disk") == "memory"
    assert cache.tiers_of(cid) == ("memory", "disk")
    assert cache.demote(cid, "cold") == "cold"
    for call, tier in ((cache.promote, "cold"), (cache.demote, "memory"), (cache.promote, "tape")):
        with pytest.raises(BadInput, match="use one of"):
            call(cid, tier)


def test_memory_takes_nothing_above_max_item_size(cache: TieredCacheManager) -> None:
    large, small = cache.put(noise(20_001, 5)), cache.put(noise(20_000, 6))
    assert cache.promote(large, "memory") == "disk"
    assert cache.promote(small, "memory") == "memory"
    for _ in range(5):
        cache.get(large)
    assert cache.tiers_of(large) == ("disk",)


def test_what_is_read_again_is_in_memory(cache: TieredCacheManager) -> None:
    cid = cache.put(noise(3000, 7))
    before = cache.stats()["tiers"]["memory"]["hits"]
    for _ in range(4):
        cache.get(cid)
    assert cache.tiers_of(cid) == ("memory", "disk")
    assert cache.stats()["tiers"]["memory"]["hits"] > before


# --- going -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tier", ["memory", "disk", "cold"])
def test_what_is_deleted_is_gone_from_every_tier(cache: TieredCacheManager, tier: str) -> None:
    cid = cache.put(noise(2000, 8))
    if tier != "disk":
        (cache.promote if tier == "memory" else cache.demote)(cid, tier)
    assert cache.delete(cid)
    assert cache.tiers_of(cid) == ()
    assert cache.get(cid) is None
    assert not cache.delete(cid)


def test_what_is_pinned_stays(cache: TieredCacheManager) -> None:
    data = noise(2500, 9)
    cid = cache.put(data)
    cache.pin(cid)
    cache.pin(cid)
    other = CID.of(data, DAG_PB, 0)
    for name in (cid, other):
        with pytest.raises(BadInput, match=f"kept by the pin of {cid}.*unpin"):
            cache.delete(name)
    cache.promote(cid, "memory")
    assert cache.evict(cid) == 2500 + MEMORY_ENTRY_BYTES.value, "its copy only"
    assert cache.evict(cid) == 0
    assert cache.demote(cid) == "cold", "a pin does not hold a block to a tier"
    assert cache.get(cid) == data
    assert cache.unpin(cid)
    assert not cache.unpin(cid)
    assert cache.evict(cid) >= 2500
    assert not cache.exists(cid)


def test_room_is_made_of_copies_first_then_of_the_coldest_and_never_of_what_is_pinned(tmp_path: Path) -> None:
    with TieredCacheManager({"memory_cache_size": "4MiB", "local_cache_path": tmp_path}) as cache:
        warm, cold, plain, pinned = (
            [cache.put(noise(10_000, 10 * tens + one)) for one in range(4)] for tens in range(4)
        )
        for cid in warm:
            cache.promote(cid, "memory")
        for cid in cold:
            cache.demote(cid, "cold")
        for cid in pinned:
            cache.pin(cid)
        every = [*warm, *cold, *plain, *pinned]
        assert cache.evict(0) == 0
        assert cache.evict(10_000) == 10_000 + MEMORY_ENTRY_BYTES.value
        assert sum("memory" in cache.tiers_of(cid) for cid in warm) == 3
        assert all(map(cache.exists, every)), "copies were enough"
        copies = 3 * (10_000 + MEMORY_ENTRY_BYTES.value)
        assert cache.evict(copies + 25_000) == copies + 30_000
        assert not any("memory" in cache.tiers_of(cid) for cid in warm)
        assert sum(map(cache.exists, cold)) == 1, "the cold tier's first, and no more than needed"
        assert cache.evict(10**9) == 9 * 10_000
        assert [cid for cid in every if cache.exists(cid)] == pinned
        assert cache.evict(1) == 0, "nothing may go"
        for wrong in (-1, True):
            with pytest.raises(BadInput, match="number of bytes"):
                cache.evict(wrong)


def test_a_full_disk_tier_goes_on_to_the_cold_one(tmp_path: Path) -> None:
    data = [noise(10_000, number) for number in range(20)]
    config = {"local_cache_path": tmp_path, "local_cache_size": 50_000, "memory_cache_size": 0}
    with TieredCacheManager(config) as cache:
        cids = [cache.put(one) for one in data]
        assert [cache.get(cid) for cid in cids] == data
        until(lambda: cache.stats()["tiers"]["disk"]["bytes"] <= 40_000, "down to the low watermark, by itself")
        assert [cache.get(cid) for cid in cids] == data
        figures = cache.stats()
        assert figures["moves"]["down"] >= 1
        assert figures["tiers"]["memory"]["blocks"] == 0
        assert sum(figures["tiers"][tier]["blocks"] for tier in ("disk", "cold")) >= 20


def test_with_both_tiers_bounded_what_nothing_keeps_makes_way(tmp_path: Path) -> None:
    config = {"local_cache_path": tmp_path, "local_cache_size": 60_000, "cold_cache_size": 60_000}
    with TieredCacheManager(config) as cache:
        pinned = [cache.put(noise(10_000, number)) for number in range(3)]
        for cid in pinned:
            cache.pin(cid)
        for number in range(3, 24):
            cid = cache.put(noise(10_000, number))
            assert cache.exists(cid)
        assert all(map(cache.exists, pinned))
        figures = cache.stats()
        assert figures["collected"]["blocks"] >= 24 - 12
        assert all(figures["tiers"][tier]["bytes"] <= 60_000 for tier in ("disk", "cold"))


def test_where_all_is_pinned_a_put_says_that_there_is_no_room(tmp_path: Path) -> None:
    config = {"local_cache_path": tmp_path, "local_cache_size": 20_000, "cold_cache_size": 20_000}
    with TieredCacheManager(config) as cache:
        pinned = [cache.put(noise(9_000, number)) for number in range(4)]
        for cid in pinned:
            cache.pin(cid)
        with pytest.raises(StorageFull):
            cache.put(noise(9_000, 4))
        assert all(map(cache.exists, pinned))
        assert cache.unpin(pinned[2])
        cid = cache.put(noise(9_000, 5))
        assert [cache.exists(one) for one in (*pinned, cid)] == [True, True, False, True, True]


# --- figures -----------------------------------------------------------------------------------------


def test_stats_count_what_was_done(tmp_path: Path) -> None:
    with TieredCacheManager({"local_cache_path": tmp_path, "local_cache_size": "10MB"}) as cache:
        empty = cache.stats()
        assert (empty["hits"], empty["misses"], empty["hit_ratio"]) == (0, 0, 0.0)
        a, b, c = (cache.put(noise(1000 * size, size)) for size in (1, 2, 3))
        cache.demote(c)
        for cid in (a, a, a, a, b, c, ABSENT):
            cache.get(cid)
        cache.pin(b)
        figures = cache.stats()
        memory, disk, cold = (figures["tiers"][tier] for tier in ("memory", "disk", "cold"))
        assert (disk["blocks"], disk["bytes"], disk["capacity"]) == (2, 3000, 10_000_000)
        assert (cold["blocks"], cold["bytes"], cold["capacity"]) == (1, 3000, 0)
        assert memory["blocks"] == 1
        assert memory["hits"] + disk["hits"] + cold["hits"] == figures["hits"] == 6
        assert (memory["hits"], cold["hits"]) == (2, 1), "its second read brings a block into memory"
        assert figures["misses"] == 1
        assert figures["hit_ratio"] == pytest.approx(6 / 7)
        assert disk["hit_ratio"] == pytest.approx(3 / 5), "the cold block and the absent one were not there"
        assert figures["moves"] == {"up": 0, "down": 1, "bytes": 3000}
        assert figures["pins"] == 1
        until(lambda: sum(cache.stats()["tiers"]["disk"]["heats"]) == 2, "the keeper has heard of the uses")
        assert len(figures["heat_edges"]) == len(cache.stats()["tiers"]["disk"]["heats"])
        assert all(one["state"] == "ok" for one in figures["tiers"].values())


# --- its life ----------------------------------------------------------------------------------------


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("shoal-tiers-")]


def test_nothing_runs_before_its_first_use_nor_after_its_end(tmp_path: Path) -> None:
    before = len(threads())
    folder = tmp_path / "not" / "yet"
    cache = TieredCacheManager({"local_cache_path": str(folder)})
    assert not folder.exists()
    assert len(threads()) == before
    cid = cache.put(b"kept")
    assert len(threads()) > before
    cache.close()
    cache.close()
    assert len(threads()) == before
    for call in (lambda: cache.get(cid), lambda: cache.put(b"x"), cache.stats, cache.__enter__):
        with pytest.raises(Unavailable, match=r"closed.*make a new"):
            call()
    with TieredCacheManager({"local_cache_path": folder}) as again:
        assert again.get(cid) == b"kept"


def test_closed_without_a_use_it_has_made_nothing(tmp_path: Path) -> None:
    TieredCacheManager({"local_cache_path": tmp_path / "never"}).close()
    assert not (tmp_path / "never").exists()


def test_pins_tiers_and_blocks_outlive_it(tmp_path: Path) -> None:
    config = {"local_cache_path": tmp_path}
    with TieredCacheManager(config) as cache:
        on_disk, in_cold = cache.put(b"on disk"), cache.put(b"in the cold tier")
        cache.demote(in_cold)
        cache.pin(in_cold)
        cache.promote(on_disk)
    with TieredCacheManager(config) as cache:
        assert cache.tiers_of(on_disk) == ("disk",), "memory begins anew"
        assert cache.tiers_of(in_cold) == ("cold",)
        with pytest.raises(BadInput, match="pin"):
            cache.delete(in_cold)


def test_one_folder_has_one_user(tmp_path: Path) -> None:
    config = {"local_cache_path": tmp_path}
    second = TieredCacheManager(config)
    with TieredCacheManager(config) as first:
        cid = first.put(b"the first one's")
        with pytest.raises(RepoBusy, match=f"process {os.getpid()}.*another folder"):
            second.get(cid)
    assert second.get(cid) == b"the first one's", "once it is free"
    second.close()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(BadConfig, match=r"letters\.txt.*folder of its own"):
        TieredCacheManager({"local_cache_path": tmp_path}).put(b"x")
    assert (tmp_path / "letters.txt").read_text() == "mine"
    assert set(os.listdir(tmp_path)) <= {"letters.txt", "repo.lock"}


def test_the_example_in_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "README.md").read_text()
    _, _, section = text.partition("\n## Only the tiers, in a program\n")
    code = section.partition("```python\n")[2].partition("```\n")[0]
    assert "TieredCacheManager(settings)" in code
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "ipfs_cache" / "blocks.sqlite").exists()
