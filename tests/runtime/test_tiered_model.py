"""TieredCacheManager against a dict: any order of calls, with closings between them, and from several threads."""

from __future__ import annotations

import random
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from shoal.messages.cid import CID, DAG_CBOR, DAG_PB, RAW
from shoal.messages.errors import BadInput, NotFound, StorageFull, Unavailable
from shoal.runtime.tiered import TieredCacheManager
from shoal.tests.support.kept_node import noise

MIB = 1024 * 1024
EXAMPLES = 6  # each starts and closes real actors some five times
STEPS = 40
MEMORY = MIB  # blocks up to 64 KiB fit
DATA = [b"", *(noise(size, size) for size in (1, 100, 3000, 9000, 9001, 20_000, 65_536, 65_537, 150_000))]
NUMBERS = st.integers(0, len(DATA) - 1)
ROOMY, TIGHT = 100 * MIB, 40_000  # of the disk tier: nothing moves by itself, or much does


def name(number: int, kind: int) -> CID:
    """One of the names of a block."""
    data = DATA[number]
    return (CID.of(data), CID.of(data, DAG_PB, 0), CID.of(data, DAG_CBOR))[kind]


class CacheMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory()
        self.held: set[int] = set()
        self.pinned: set[int] = set()

    @initialize(disk=st.sampled_from([ROOMY, TIGHT]))
    def start(self, disk: int) -> None:
        self.is_tight = disk == TIGHT
        # With this threshold nothing comes up by its heat between a call and the look at what it did.
        self.config = {
            "memory_cache_size": MEMORY,
            "local_cache_size": disk,
            "local_cache_path": self.place.name,
            "promotion_threshold": 400,
        }
        self.cache = TieredCacheManager(self.config)

    @rule(numbers=st.sets(NUMBERS, min_size=1, max_size=6), kind=st.sampled_from([None, 0, 1, 2]))
    def put(self, numbers: set[int], kind: int | None) -> None:
        for number in sorted(numbers):
            cid = self.cache.put(DATA[number], cid=None if kind is None else name(number, kind))
            assert cid == str(name(number, kind or 0))
            self.held.add(number)

    @rule(number=NUMBERS, kind=st.integers(0, 2), times=st.sampled_from([1, 1, 3]))
    def get(self, number: int, kind: int, times: int) -> None:
        for _ in range(times):
            assert self.cache.get(name(number, kind)) == (DATA[number] if number in self.held else None)

    @rule()
    def look_at_all(self) -> None:
        for number in range(len(DATA)):
            self.expect(number)

    def expect(self, number: int) -> None:
        places = self.cache.tiers_of(name(number, 0))
        assert self.cache.exists(name(number, 0)) == bool(places) == (number in self.held)
        if places:
            assert set(places) & {"disk", "cold"}, "memory is nobody's home"

    @rule(number=NUMBERS, kind=st.integers(0, 2))
    def delete(self, number: int, kind: int) -> None:
        cid = name(number, kind)
        if number in self.pinned:
            with pytest.raises(BadInput, match="pin"):
                self.cache.delete(cid)
        else:
            assert self.cache.delete(cid) == (number in self.held)
            self.held.discard(number)
        self.expect(number)

    @rule(number=NUMBERS, tier=st.sampled_from([None, "memory", "disk"]))
    def promote(self, number: int, tier: str | None) -> None:
        cid = name(number, 0)
        if number not in self.held:
            with pytest.raises(NotFound):
                self.cache.promote(cid, tier)
            return
        before = self.cache.tiers_of(cid)
        try:
            now = self.cache.promote(cid, tier)
        except StorageFull:
            assert self.is_tight
            return
        if tier == "memory" or (tier is None and before[0] != "cold"):
            fits = 0 < len(DATA[number]) * 16 <= MEMORY
            assert (now == "memory") == fits
        elif not self.is_tight:
            assert now in ("memory", "disk")
        self.expect(number)

    @rule(number=NUMBERS, tier=st.sampled_from([None, "disk", "cold"]))
    def demote(self, number: int, tier: str | None) -> None:
        cid = name(number, 0)
        if number not in self.held:
            with pytest.raises(NotFound):
                self.cache.demote(cid, tier)
            return
        before = self.cache.tiers_of(cid)
        now = self.cache.demote(cid, tier)
        assert now in ("disk", "cold")
        assert now == "cold" or tier != "cold"
        assert now == "cold" or tier or before[0] == "memory"
        self.expect(number)

    @rule(number=NUMBERS)
    def pin(self, number: int) -> None:
        if number in self.held:
            self.cache.pin(name(number, 0))
            self.pinned.add(number)
        else:
            with pytest.raises(NotFound):
                self.cache.pin(name(number, 0))

    @rule(number=NUMBERS)
    def unpin(self, number: int) -> None:
        assert self.cache.unpin(name(number, 0)) == (number in self.pinned)
        self.pinned.discard(number)

    @rule(number=NUMBERS)
    def evict_one(self, number: int) -> None:
        freed = self.cache.evict(name(number, 0))
        if number in self.held and number not in self.pinned:
            assert freed >= len(DATA[number])
            self.held.discard(number)
        else:
            assert freed == 0 or number in self.held
        self.expect(number)

    @rule(size=st.sampled_from([0, 1, 1, 5000, 5000, 30_000, 30_000, 10 * MIB]))
    def evict(self, size: int) -> None:
        freed = self.cache.evict(size)
        left = {number for number in self.held if self.cache.exists(name(number, 0))}
        assert left >= self.pinned, "what is pinned stays"
        assert freed >= sum(len(DATA[number]) for number in self.held - left)
        assert freed >= size or left == self.pinned, "it frees what was asked for, or all that may go"
        self.held = left

    @rule()
    def close_and_open(self) -> None:
        self.cache.close()
        self.cache = TieredCacheManager(self.config)
        assert [self.cache.exists(name(number, 0)) for number in range(len(DATA))] == [
            number in self.held for number in range(len(DATA))
        ]

    @precondition(lambda self: not self.is_tight)
    @rule()
    def count(self) -> None:
        figures = self.cache.stats()
        durable = [figures["tiers"][tier] for tier in ("disk", "cold")]
        assert sum(tier["blocks"] for tier in durable) == len(self.held)
        assert sum(tier["bytes"] for tier in durable) == sum(len(DATA[number]) for number in self.held)
        assert figures["tiers"]["memory"]["bytes"] <= MEMORY
        assert figures["pins"] == len(self.pinned)

    def teardown(self) -> None:
        if hasattr(self, "cache"):
            self.cache.close()
        self.place.cleanup()


def test_any_order_of_calls_is_that_of_a_dict() -> None:
    run_state_machine_as_test(
        CacheMachine,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_threads_that_all_do_everything(tmp_path: Path) -> None:
    """Each has blocks of its own, of which it knows what became, and all share some that only come and go."""
    shared = [noise(4000, number) for number in range(5)]
    config = {"memory_cache_size": MIB, "local_cache_size": 200_000, "local_cache_path": tmp_path}

    def move(cache: TieredCacheManager, cid: str, up: bool) -> None:
        try:
            (cache.promote if up else cache.demote)(cid)
        except StorageFull:
            assert up, "the disk tier is full at times, the cold one never"

    faults: list[BaseException] = []
    known: dict[str, bytes | None] = {}

    def work(cache: TieredCacheManager, thread: int) -> None:
        rng = random.Random(thread)
        mine: dict[str, bytes | None] = {}
        try:
            for step in range(40):
                data = noise(rng.choice([10, 3000, 20_000]), 1000 * thread + step)
                mine[cache.put(data)] = data
                cid = rng.choice(list(mine))
                assert cache.get(cid) == mine[cid]
                if mine[cid] is not None:
                    move(cache, cid, rng.random() < 0.5)
                if step % 4 == 3:
                    assert cache.delete(cid) == (mine[cid] is not None)
                    mine[cid] = None
                other = rng.choice(shared)
                cache.put(other)
                assert cache.get(CID.of(other)) in (other, None)
                if step % 5 == 4:
                    cache.delete(CID.of(rng.choice(shared)))
            known.update(mine)
        except BaseException as fault:
            faults.append(fault)

    with TieredCacheManager(config) as cache:
        threads = [threading.Thread(target=work, args=(cache, number)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []
        assert {cid: cache.get(cid) for cid in known} == known
    with TieredCacheManager(config) as cache:
        assert {cid: cache.get(cid) for cid in known} == known


def test_a_close_in_the_midst_of_calls_lets_them_end_and_takes_no_more(tmp_path: Path) -> None:
    cache = TieredCacheManager({"local_cache_path": tmp_path})
    began, stored, faults = threading.Event(), [], []

    def work(thread: int) -> None:
        try:
            for step in range(10_000):
                stored.append(cache.put(noise(500, 10_000 * thread + step)))
                if step == 5:
                    began.set()
        except Unavailable as fault:
            faults.append(str(fault))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    assert began.wait(30.0)
    cache.close()
    for thread in threads:
        thread.join()
    assert len(faults) == 4
    assert all("closed" in fault for fault in faults)
    with TieredCacheManager({"local_cache_path": tmp_path}) as again:
        assert all(map(again.exists, stored))


def test_the_first_use_by_many_threads_at_once_starts_one(tmp_path: Path) -> None:
    with TieredCacheManager({"local_cache_path": tmp_path}) as cache:
        cid = cache.put(b"for all of them")
    lazy = TieredCacheManager({"local_cache_path": tmp_path})
    barrier = threading.Barrier(8)
    found: list[bytes | None] = []

    def work() -> None:
        barrier.wait()
        found.append(lazy.get(cid))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lazy.close()
    assert found == [b"for all of them"] * 8
    assert CID.of(b"for all of them", RAW) == CID.parse(cid)
