"""The actors of the memory and disk tiers, on real stores: their words, group commit, and what a broken disk says."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from shoal.actors.base import Actor
from shoal.actors.tiers.disk.actor import (
    COMMIT_BYTES,
    FOLD_AFTER_BULK_S,
    FOLD_AFTER_S,
    UNBOUNDED,
    DiskTierActor,
    transactions,
)
from shoal.actors.tiers.memory.actor import MemoryTierActor
from shoal.messages import lifecycle, tiers
from shoal.messages.base import Message
from shoal.messages.blocks import TierStat
from shoal.messages.errors import StorageFault
from shoal.messages.limits import (
    DISK_DELETE_MAX,
    DISK_GET_BLOCKS_MAX,
    DISK_PUT_BLOCKS_MAX,
    DISK_PUT_BYTES_MAX,
    DISK_SIZES_MAX,
    KIB,
    MIB,
)
from shoal.messages.policy import WORKER
from shoal.messages.replies import Done, Failed
from shoal.storage.disk.store import DiskStore
from shoal.tests.support.bitswap import block
from shoal.tests.support.context import FakeContext

A, B, C = (block(number, 1000) for number in range(3))


def say(ctx: FakeContext, actor: Actor, message: Message) -> list[Message]:
    """Give it a message; what it replied."""
    ctx.replies.clear()
    ctx.tell(actor, message)
    return [reply for _, reply in ctx.replies]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[FakeContext, DiskTierActor]]:
    ctx = FakeContext("disk")
    actor = DiskTierActor(ctx, DiskStore(tmp_path / "blocks.sqlite", UNBOUNDED, reserve_bytes=0))
    actor.on_start()
    yield ctx, actor
    actor.on_stop()


def test_memory_answers_in_every_word() -> None:
    ctx = FakeContext("memory")
    actor = MemoryTierActor(ctx)
    assert say(ctx, actor, tiers.TierPut((A, B))) == [tiers.TierStored("memory", 2, 2000)]
    assert say(ctx, actor, tiers.TierGet((A.cid, C.cid))) == [tiers.TierBlocks("memory", (A,), (C.cid,))]
    assert say(ctx, actor, tiers.TierHas((A.cid, C.cid))) == [tiers.TierSizes("memory", (1000, -1))]
    assert say(ctx, actor, tiers.TierDelete((A.cid, C.cid))) == [Done()]
    (stat,) = say(ctx, actor, tiers.TierStatus())
    assert isinstance(stat, TierStat)
    assert (stat.blocks, stat.capacity, stat.hits, stat.misses) == (1, WORKER.memory_bytes, 1, 1)


def test_what_memory_is_to_let_go_of_is_gone_without_a_word() -> None:
    ctx = FakeContext("memory")
    actor = MemoryTierActor(ctx)
    say(ctx, actor, tiers.TierPut((A, B)))
    assert say(ctx, actor, tiers.TierEvict((A.cid, C.cid))) == []
    assert say(ctx, actor, tiers.TierHas((A.cid, B.cid))) == [tiers.TierSizes("memory", (-1, 1000))]


def test_a_smaller_policy_shrinks_memory_at_once() -> None:
    ctx = FakeContext("memory")
    actor = MemoryTierActor(ctx)
    for number in range(100):
        say(ctx, actor, tiers.TierPut((block(number, 100_000),)))
    small = msgspec.structs.replace(WORKER, memory_bytes=MIB)
    say(ctx, actor, lifecycle.PolicyChanged(small))
    assert actor.store.stats().bytes <= MIB
    (stat,) = say(ctx, actor, tiers.TierStatus())
    assert isinstance(stat, TierStat)
    assert 0 < stat.blocks <= 10


def test_disk_answers_in_every_word(disk: tuple[FakeContext, DiskTierActor]) -> None:
    ctx, actor = disk
    assert say(ctx, actor, tiers.TierPut((A, B))) == [tiers.TierStored("disk", 2, 2000)]
    assert say(ctx, actor, tiers.TierGet((A.cid, C.cid))) == [tiers.TierBlocks("disk", (A,), (C.cid,))]
    assert say(ctx, actor, tiers.TierHas((A.cid, C.cid))) == [tiers.TierSizes("disk", (1000, -1))]
    assert say(ctx, actor, tiers.TierDelete((A.cid, C.cid))) == [Done()]
    (stat,) = say(ctx, actor, tiers.TierStatus())
    assert stat == TierStat("disk", 1, 1000, 0, 1, 1)


def test_puts_gather_while_more_waits_and_nobody_is_told_before_the_commit(
    disk: tuple[FakeContext, DiskTierActor],
) -> None:
    ctx, actor = disk
    ctx.queued = 3
    assert say(ctx, actor, tiers.TierPut((A,))) == []
    assert say(ctx, actor, tiers.TierPut((B,))) == []
    ctx.queued = 0
    assert say(ctx, actor, tiers.TierPut((C,))) == [tiers.TierStored("disk", 1, 1000)] * 3
    assert ctx.counts["commits"] == 1
    ctx.queued = 3
    large = block(9, 2 * MIB)
    for _ in range(COMMIT_BYTES // len(large) - 1):
        assert say(ctx, actor, tiers.TierPut((large,))) == []
    assert len(say(ctx, actor, tiers.TierPut((large,)))) == COMMIT_BYTES // len(large), "enough bytes are enough"


@pytest.mark.parametrize(
    "question", [tiers.TierGet((A.cid,)), tiers.TierHas((A.cid,)), tiers.TierDelete((A.cid,)), tiers.TierStatus()]
)
def test_whatever_is_asked_after_a_put_comes_after_it(
    disk: tuple[FakeContext, DiskTierActor], question: Message
) -> None:
    ctx, actor = disk
    ctx.queued = 3
    say(ctx, actor, tiers.TierPut((A,)))
    stored, answer = say(ctx, actor, question)
    assert stored == tiers.TierStored("disk", 1, 1000)
    assert not isinstance(answer, Failed)
    assert not isinstance(answer, tiers.TierBlocks) or answer.blocks == (A,)


def test_a_stop_commits_what_was_gathered(tmp_path: Path) -> None:
    ctx = FakeContext("disk")
    path = tmp_path / "blocks.sqlite"
    actor = DiskTierActor(ctx, DiskStore(path, UNBOUNDED, reserve_bytes=0))
    actor.on_start()
    ctx.queued = 3
    say(ctx, actor, tiers.TierPut((A,)))
    actor.on_stop()
    assert [reply for _, reply in ctx.replies] == [tiers.TierStored("disk", 1, 1000)]
    again = DiskStore(path, UNBOUNDED)
    again.open()
    assert again.get_many([A.cid]) == [A]
    again.close()


def test_a_quota_refuses_and_a_larger_policy_takes(disk: tuple[FakeContext, DiskTierActor]) -> None:
    ctx, actor = disk
    ctx.policy = msgspec.structs.replace(WORKER, disk_bytes=1500)
    say(ctx, actor, lifecycle.PolicyChanged(ctx.policy))
    assert say(ctx, actor, tiers.TierPut((A,))) == [tiers.TierStored("disk", 1, 1000)]
    (failed,) = say(ctx, actor, tiers.TierPut((B,)))
    assert isinstance(failed, Failed)
    assert failed.error == "StorageFull"
    (stat,) = say(ctx, actor, tiers.TierStatus())
    assert isinstance(stat, TierStat)
    assert "quota" in stat.state
    assert say(ctx, actor, tiers.TierGet((A.cid,))) == [tiers.TierBlocks("disk", (A,), ())]
    ctx.policy = WORKER
    say(ctx, actor, lifecycle.PolicyChanged(WORKER))
    assert say(ctx, actor, tiers.TierPut((B,))) == [tiers.TierStored("disk", 1, 1000)]
    (stat,) = say(ctx, actor, tiers.TierStatus())
    assert isinstance(stat, TierStat)
    assert stat.state == "ok"


def test_requests_of_any_size_are_cut_to_what_the_store_takes(disk: tuple[FakeContext, DiskTierActor]) -> None:
    ctx, actor = disk
    many = tuple(block(number) for number in range(DISK_PUT_BLOCKS_MAX.value + 10))
    assert say(ctx, actor, tiers.TierPut(many)) == [tiers.TierStored("disk", len(many), 8 * len(many))]
    (found,) = say(ctx, actor, tiers.TierGet(tuple(one.cid for one in many[: DISK_GET_BLOCKS_MAX.value + 5])))
    assert isinstance(found, tiers.TierBlocks)
    assert len(found.blocks) == DISK_GET_BLOCKS_MAX.value + 5
    cids = tuple(block(number).cid for number in range(DISK_SIZES_MAX.value + 5))
    (sizes,) = say(ctx, actor, tiers.TierHas(cids))
    assert isinstance(sizes, tiers.TierSizes)
    assert sizes.sizes.count(8) == len(many)
    assert say(ctx, actor, tiers.TierDelete(cids[: DISK_DELETE_MAX.value + 5])) == [Done()]
    large = tuple(block(number, 2 * MIB) for number in range(17))
    (stored,) = say(ctx, actor, tiers.TierPut(large))
    assert stored == tiers.TierStored("disk", 17, 17 * 2 * MIB), "34 MiB are two transactions"


def test_transactions_keep_both_bounds_and_every_block() -> None:
    blocks_ = [block(number, 2 * MIB) for number in range(20)] + [block(number) for number in range(100, 1300)]
    runs = list(transactions(blocks_))
    assert [one for run in runs for one in run] == blocks_
    assert all(sum(map(len, run)) <= DISK_PUT_BYTES_MAX.value for run in runs)
    assert all(len(run) <= DISK_PUT_BLOCKS_MAX.value for run in runs)
    assert len(runs) == 3
    assert list(transactions([])) == []


def test_a_disk_that_cannot_count_says_so_and_lives(disk: tuple[FakeContext, DiskTierActor]) -> None:
    ctx, actor = disk
    actor.store.close()  # as good as a disk that is gone: whatever is asked of it is refused
    (stat,) = say(ctx, actor, tiers.TierStatus())
    assert isinstance(stat, TierStat)
    assert stat.state not in ("", "ok")
    for question in (tiers.TierGet((A.cid,)), tiers.TierHas((A.cid,)), tiers.TierDelete((A.cid,)), tiers.TierPut((A,))):
        (failed,) = say(ctx, actor, question)
        assert isinstance(failed, Failed)
        assert failed.error == "Unavailable"


def in_the_file_alone(tmp_path: Path) -> int:
    """Blocks that the store's file holds without its log."""
    alone = tmp_path / "alone.sqlite"
    shutil.copy(tmp_path / "blocks.sqlite", alone)
    with closing(sqlite3.connect(alone)) as conn:
        return int(conn.execute("SELECT count(*) FROM blocks").fetchone()[0])


def test_the_log_is_folded_while_nobody_puts(disk: tuple[FakeContext, DiskTierActor], tmp_path: Path) -> None:
    ctx, actor = disk
    assert isinstance(actor.store, DiskStore)
    actor.store.fold()  # the tables
    for number in range(3):
        say(ctx, actor, tiers.TierPut((block(number, 256 * KIB),)))
    ctx.advance(10 * FOLD_AFTER_S)
    assert in_the_file_alone(tmp_path) == 0, "too little to be worth two syncs"
    say(ctx, actor, tiers.TierPut((block(3, 256 * KIB),)))
    assert in_the_file_alone(tmp_path) == 0, "another may come at once"
    ctx.advance(FOLD_AFTER_S)
    assert in_the_file_alone(tmp_path) == 4
    say(ctx, actor, tiers.TierPut(tuple(block(number, 256 * KIB) for number in range(4, 10))))
    ctx.advance(FOLD_AFTER_S)
    assert in_the_file_alone(tmp_path) == 4, "a transfer goes on"
    ctx.advance(FOLD_AFTER_BULK_S)
    assert in_the_file_alone(tmp_path) == 10


def test_a_log_that_cannot_be_folded_costs_nothing(
    disk: tuple[FakeContext, DiskTierActor], monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx, actor = disk

    def broken(_: DiskStore) -> None:
        raise StorageFault("the device failed", "replace it")

    monkeypatch.setattr(DiskStore, "fold", broken)
    many = tuple(block(number, 256 * KIB) for number in range(4))
    say(ctx, actor, tiers.TierPut(many))
    ctx.advance(FOLD_AFTER_BULK_S)
    assert ctx.counts["folds_failed"] == 1
    (read,) = say(ctx, actor, tiers.TierGet(tuple(each.cid for each in many)))
    assert isinstance(read, tiers.TierBlocks)
    assert read.blocks == many
