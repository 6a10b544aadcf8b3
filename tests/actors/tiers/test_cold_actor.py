"""The cold tier's actor on real stores: its words, its upkeep on a clock by hand, uploads, and what a fault does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from shoal.actors.base import Actor
from shoal.actors.tiers.cold.actor import COMPACT_S, FAULT_S, FAULT_S_MAX, LOOK_S, STEP_S, ColdTierActor
from shoal.actors.tiers.disk.actor import DiskTierActor
from shoal.actors.tiers.durable import UNBOUNDED, DurableTierActor
from shoal.messages import lifecycle, tiers
from shoal.messages.base import Message
from shoal.messages.blocks import TierStat
from shoal.messages.cid import CID
from shoal.messages.errors import StorageFault
from shoal.messages.policy import WORKER
from shoal.messages.replies import Done, Failed
from shoal.storage.cold.objects import ObjectPlace
from shoal.storage.cold.places import INDEX_NAME
from shoal.storage.cold.store import ColdStore
from shoal.storage.disk.store import DiskStore
from shoal.tests.storage.cold.sites import S3, running_s3
from shoal.tests.storage.disk.samples import block_of, v0_block_of
from shoal.tests.support.bitswap import block
from shoal.tests.support.context import FakeContext

A, B, C = (block(number, 1000) for number in range(3))
NOISE = [block_of(seed, 10_000) for seed in range(40)]
WAIT_S = 30.0


def say(ctx: FakeContext, actor: Actor, message: Message) -> list[Message]:
    """Give it a message; what it replied."""
    ctx.replies.clear()
    ctx.tell(actor, message)
    return [reply for _, reply in ctx.replies]


def cold_actor(folder: Path, remote: ObjectPlace | None = None) -> tuple[FakeContext, ColdTierActor]:
    ctx = FakeContext("cold")
    store = ColdStore(folder, UNBOUNDED, reserve_bytes=0, segment_bytes=50_000, remote=remote)
    actor = ColdTierActor(ctx, store)
    actor.on_start()
    return ctx, actor


@pytest.fixture
def cold(tmp_path: Path) -> Iterator[tuple[FakeContext, ColdTierActor]]:
    ctx, actor = cold_actor(tmp_path / "cold")
    yield ctx, actor
    actor.on_stop()


@pytest.fixture(params=["cold", "disk"])
def durable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[FakeContext, DurableTierActor]]:
    """Each of the two tiers that keep blocks durably."""
    ctx: FakeContext
    actor: DurableTierActor
    if request.param == "cold":
        ctx, actor = cold_actor(tmp_path / "cold")
    else:
        ctx = FakeContext("disk")
        actor = DiskTierActor(ctx, DiskStore(tmp_path / "blocks.sqlite", UNBOUNDED, reserve_bytes=0))
        actor.on_start()
    yield ctx, actor
    actor.on_stop()


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with running_s3() as server:
        yield server


def put(ctx: FakeContext, actor: DurableTierActor, start: int, end: int) -> None:
    (stored,) = say(ctx, actor, tiers.TierPut(tuple(NOISE[start:end])))
    assert isinstance(stored, tiers.TierStored)


def delete(ctx: FakeContext, actor: DurableTierActor, start: int, end: int) -> None:
    assert say(ctx, actor, tiers.TierDelete(tuple(one.cid for one in NOISE[start:end]))) == [Done()]


def test_each_word_is_answered(durable: tuple[FakeContext, DurableTierActor]) -> None:
    ctx, actor = durable
    name = actor.NAME
    assert say(ctx, actor, tiers.TierPut((A, B))) == [tiers.TierStored(name, 2, 2000)]
    assert say(ctx, actor, tiers.TierGet((A.cid, C.cid))) == [tiers.TierBlocks(name, (A,), (C.cid,))]
    assert say(ctx, actor, tiers.TierHas((A.cid, C.cid))) == [tiers.TierSizes(name, (1000, -1))]
    assert say(ctx, actor, tiers.TierDelete((A.cid, C.cid))) == [Done()]
    assert say(ctx, actor, tiers.TierStatus()) == [TierStat(name, 1, 1000, 0, 1, 1)]


def test_a_listing_is_read_page_by_page(durable: tuple[FakeContext, DurableTierActor]) -> None:
    ctx, actor = durable
    held = [block_of(seed, seed) for seed in range(1, 11)]
    say(ctx, actor, tiers.TierPut((*held[:-1], v0_block_of(10, 10))))
    seen: list[tiers.TierEntry] = []
    after = b""
    while True:
        (page,) = say(ctx, actor, tiers.TierList(after, 4))
        assert isinstance(page, tiers.TierListed)
        assert page.tier == actor.NAME
        if not page.entries:
            break
        assert len(page.entries) <= 4
        seen += page.entries
        after = page.after
    assert page.after == after
    by_multihash = {one.cid.multihash: len(one) for one in held}
    assert [(entry.cid.multihash, entry.size) for entry in seen] == sorted(by_multihash.items())
    assert all(entry.cid.version == 1 for entry in seen)
    (all_of_it,) = say(ctx, actor, tiers.TierList())
    assert isinstance(all_of_it, tiers.TierListed)
    assert list(all_of_it.entries) == seen
    for limit in (0, -5):
        (page,) = say(ctx, actor, tiers.TierList(b"", limit))
        assert isinstance(page, tiers.TierListed)
        assert len(page.entries) == 1, "a page is never empty before the end"


def damage(actor: DurableTierActor, tmp_path: Path, cid: CID) -> None:
    """Spoil one block behind the actor's back."""
    if isinstance(actor.store, DiskStore):
        with actor.store._file.writing("spoil a block") as writer:
            spoil = "UPDATE payloads SET data = x'00' WHERE multihash = ?"
            writer.db.conn.execute(spoil, (cid.multihash,))
        return
    assert isinstance(actor, ColdTierActor)
    entry = actor.cold._index.find(cid.multihash)
    assert entry is not None
    path = tmp_path / "cold" / f"{entry.segment:04d}.car.zst"
    data = bytearray(path.read_bytes())
    data[entry.offset + entry.length // 2] ^= 1
    path.write_bytes(data)


def test_a_scrub_reads_and_finds_what_is_damaged(durable: tuple[FakeContext, DurableTierActor], tmp_path: Path) -> None:
    ctx, actor = durable
    put(ctx, actor, 0, 35)
    cids = tuple(one.cid for one in NOISE[:35])
    assert say(ctx, actor, tiers.TierScrub((*cids, NOISE[39].cid, cids[0]))) == [
        tiers.TierScrubbed(actor.NAME, 35, (), 350_000)
    ]
    damage(actor, tmp_path, cids[7])
    assert say(ctx, actor, tiers.TierScrub(cids)) == [tiers.TierScrubbed(actor.NAME, 34, (cids[7],), 340_000)]
    assert say(ctx, actor, tiers.TierHas((cids[7],))) == [tiers.TierSizes(actor.NAME, (-1,))]
    assert say(ctx, actor, tiers.TierScrub(cids)) == [tiers.TierScrubbed(actor.NAME, 34, (), 340_000)]
    assert (ctx.counts["damaged_blocks"], ctx.counts["scrubbed_blocks"]) == (1, 35 + 34 + 34)


@pytest.mark.parametrize("question", [tiers.TierList(), tiers.TierScrub((A.cid,))])
def test_what_is_asked_after_a_put_comes_after_it(
    durable: tuple[FakeContext, DurableTierActor], question: Message
) -> None:
    ctx, actor = durable
    ctx.queued = 3
    assert say(ctx, actor, tiers.TierPut((A,))) == []
    stored, answer = say(ctx, actor, question)
    assert stored == tiers.TierStored(actor.NAME, 1, 1000)
    assert isinstance(answer, tiers.TierListed | tiers.TierScrubbed)
    assert not isinstance(answer, tiers.TierListed) or len(answer.entries) == 1
    assert not isinstance(answer, tiers.TierScrubbed) or answer.sound == 1


def test_a_store_that_is_closed_fails_each_word_and_lives(durable: tuple[FakeContext, DurableTierActor]) -> None:
    ctx, actor = durable
    actor.store.close()
    for question in (
        tiers.TierGet((A.cid,)),
        tiers.TierHas((A.cid,)),
        tiers.TierDelete((A.cid,)),
        tiers.TierPut((A,)),
        tiers.TierList(),
        tiers.TierScrub((A.cid,)),
    ):
        (failed,) = say(ctx, actor, question)
        assert isinstance(failed, Failed)
        assert failed.error == "Unavailable"
    (stat,) = say(ctx, actor, tiers.TierStatus())
    assert isinstance(stat, TierStat)
    assert stat.state != "ok"


def test_the_quota_is_the_policys(cold: tuple[FakeContext, ColdTierActor]) -> None:
    ctx, actor = cold
    ctx.policy = msgspec.structs.replace(WORKER, cold_bytes=1500)
    say(ctx, actor, lifecycle.PolicyChanged(ctx.policy))
    assert say(ctx, actor, tiers.TierPut((A,))) == [tiers.TierStored("cold", 1, 1000)]
    (failed,) = say(ctx, actor, tiers.TierPut((B,)))
    assert isinstance(failed, Failed)
    assert failed.error == "StorageFull"
    (stat,) = say(ctx, actor, tiers.TierStatus())
    assert isinstance(stat, TierStat)
    assert stat.capacity == 1500
    assert "quota" in stat.state


def test_compaction_runs_step_by_step_and_reads_are_served_between(cold: tuple[FakeContext, ColdTierActor]) -> None:
    ctx, actor = cold
    for start in range(0, 40, 5):
        put(ctx, actor, start, start + 5)
    delete(ctx, actor, 0, 38)
    before = actor.cold.stats()
    ctx.advance(COMPACT_S - LOOK_S / 2)
    assert actor.cold.stats() == before, "dead blocks cost only room: it is not looked for at once"
    steps = freed = 0
    while freed < 350_000:
        ctx.advance(STEP_S)
        assert ctx.counts["compacted_bytes_freed"] - freed < 60_000, "a segment at a time"
        steps += ctx.counts["compacted_bytes_freed"] > freed
        freed = ctx.counts["compacted_bytes_freed"]
        kept = tuple(one.cid for one in NOISE[38:])
        assert say(ctx, actor, tiers.TierGet(kept)) == [tiers.TierBlocks("cold", tuple(NOISE[38:]), ())]
        assert ctx.clock < 1000 + 2 * COMPACT_S
    assert steps > 3
    assert actor.cold.stats().stored_bytes < before.stored_bytes / 5
    ctx.advance(10 * COMPACT_S)
    assert actor.cold.stats().blocks == 2
    assert ctx.timers == 1, "one timer, whatever it does"


def test_damage_in_the_index_is_mended_by_the_upkeep(cold: tuple[FakeContext, ColdTierActor], tmp_path: Path) -> None:
    ctx, actor = cold
    put(ctx, actor, 0, 5)
    actor.cold._index.damaged = True  # as a read leaves it that SQLite called corrupt
    ctx.queued = 1
    assert say(ctx, actor, tiers.TierPut((A,))) == []
    ctx.queued = 0
    ctx.advance(LOOK_S)
    assert not actor.cold.wants_repair
    assert (tmp_path / "cold" / f"{INDEX_NAME}.unusable").exists()
    held = (*NOISE[:5], A)
    wanted = tiers.TierGet(tuple(one.cid for one in held))
    assert say(ctx, actor, wanted) == [tiers.TierBlocks("cold", held, ())]


def wait_until(holds: Callable[[], bool], ctx: FakeContext) -> None:
    """Let the actor's clock run until ``holds()``: an upload is a thread of its own."""
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)
        ctx.advance(LOOK_S)


def test_sealed_segments_are_uploaded_in_the_background(s3: S3, tmp_path: Path) -> None:
    ctx, actor = cold_actor(tmp_path / "cold", ObjectPlace.from_url(s3.url()))
    for start in range(0, 20, 5):
        put(ctx, actor, start, start + 5)
    wait_until(lambda: actor.cold.stats().remote_segments == 4, ctx)
    assert ctx.counts["uploads"] == 4
    assert list((tmp_path / "cold").glob("*.car.zst")) == []
    wanted = tiers.TierGet(tuple(one.cid for one in NOISE[:20]))
    assert say(ctx, actor, wanted) == [tiers.TierBlocks("cold", tuple(NOISE[:20]), ())]
    delete(ctx, actor, 0, 18)
    ctx.advance(COMPACT_S)
    wait_until(lambda: actor.cold.stats().segments <= 1, ctx)
    wanted = tiers.TierGet(tuple(one.cid for one in NOISE[17:20]))
    assert say(ctx, actor, wanted) == [tiers.TierBlocks("cold", tuple(NOISE[18:20]), (NOISE[17].cid,))]
    actor.on_stop()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("shoal-upload")]


def test_an_upload_that_fails_is_told_and_tried_again_later_and_later(s3: S3, tmp_path: Path) -> None:
    url = s3.url(bucket="not-yet", prefix="node")
    ctx, actor = cold_actor(tmp_path / "cold", ObjectPlace.from_url(s3.url()))
    put(ctx, actor, 0, 5)
    wait_until(lambda: actor.cold.stats().remote_segments == 1, ctx)
    actor.cold._remote = ObjectPlace.from_url(url)  # the bucket goes away
    put(ctx, actor, 5, 10)
    wait_until(lambda: ctx.counts["failed_uploads"] >= 1, ctx)
    (stat,) = say(ctx, actor, tiers.TierStatus())
    assert isinstance(stat, TierStat)
    assert "NoSuchBucket" in stat.state
    assert "SECRET" not in stat.state
    wanted = tiers.TierGet(tuple(one.cid for one in NOISE[5:10]))
    assert say(ctx, actor, wanted) == [tiers.TierBlocks("cold", tuple(NOISE[5:10]), ())], "still in the spool"
    assert FAULT_S < FAULT_S_MAX
    assert s3.request("PUT", "/not-yet")[0] == 200
    wait_until(lambda: actor.cold.stats().waiting_bytes == 0, ctx)
    (stat,) = say(ctx, actor, tiers.TierStatus())
    assert isinstance(stat, TierStat)
    assert stat.state == "ok"
    actor.on_stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_upload_that_ends_without_a_word_is_not_taken_for_done(s3: S3, tmp_path: Path) -> None:
    class Breaking(ObjectPlace):
        def put(self, name: str, path: Path) -> None:
            raise RuntimeError("a bug in the client")

    true = ObjectPlace.from_url(s3.url())
    ctx, actor = cold_actor(tmp_path / "cold", Breaking(true.where, true._reads, true._writes))
    put(ctx, actor, 0, 5)
    wait_until(lambda: ctx.counts["failed_uploads"] >= 1, ctx)
    assert actor.cold.stats().remote_segments == 0
    assert (tmp_path / "cold" / "0000.car.zst").exists()
    actor.on_stop()


def test_a_fault_of_the_upkeep_ends_nothing(cold: tuple[FakeContext, ColdTierActor], tmp_path: Path) -> None:
    ctx, actor = cold
    put(ctx, actor, 0, 5)
    put(ctx, actor, 5, 10)
    delete(ctx, actor, 0, 4)
    first = tmp_path / "cold" / "0000.car.zst"
    first.rename(tmp_path / "aside")
    first.mkdir()  # reads of it fail with EISDIR
    ctx.advance(COMPACT_S + LOOK_S)
    assert ctx.counts["upkeep_faults"] == 1
    (stat,) = say(ctx, actor, tiers.TierStatus())
    assert isinstance(stat, TierStat)
    assert "0000.car.zst" in stat.state
    wanted = tiers.TierGet(tuple(one.cid for one in NOISE[5:10]))
    assert say(ctx, actor, wanted) == [tiers.TierBlocks("cold", tuple(NOISE[5:10]), ())]
    (failed,) = say(ctx, actor, tiers.TierGet((NOISE[4].cid,)))
    assert isinstance(failed, Failed)
    assert failed.error == StorageFault.__name__
    first.rmdir()
    (tmp_path / "aside").rename(first)
    assert say(ctx, actor, tiers.TierGet((NOISE[4].cid,))) == [tiers.TierBlocks("cold", (NOISE[4],), ())]


def test_a_second_life_finds_what_the_first_left(tmp_path: Path) -> None:
    ctx, actor = cold_actor(tmp_path / "cold")
    ctx.queued = 3
    assert say(ctx, actor, tiers.TierPut((A,))) == []
    ctx.replies.clear()
    actor.on_stop()
    assert [reply for _, reply in ctx.replies] == [tiers.TierStored("cold", 1, 1000)]
    (tmp_path / "cold" / INDEX_NAME).unlink()
    ctx, actor = cold_actor(tmp_path / "cold")
    assert say(ctx, actor, tiers.TierGet((A.cid,))) == [tiers.TierBlocks("cold", (A,), ())]
    actor.on_stop()
