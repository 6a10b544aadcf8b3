"""Putting blocks where they belong, and taking them out so that nobody is hurt."""

from __future__ import annotations

import msgspec
import pytest

from shoal.messages import blocks, keeping, lifecycle, tiers
from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_PB
from shoal.messages.limits import MIB
from shoal.messages.replies import Done, Failed
from shoal.tests.actors.placement.bench import A, B, Bench, C, get
from shoal.tests.support.bitswap import block

FULL = Failed("TierPut", "StorageFull", "no room")
GONE = Failed("TierDelete", "Unavailable", "disk ended")
V0 = Block(CID.of(A.data, DAG_PB, 0), A.data)
LARGE = block(9, MIB)


def pressed() -> Bench:
    """One whose disk is above its low watermark."""
    bench = Bench()
    bench.tell(keeping.TiersChanged(cold_used=True, pressed=True))
    return bench


def drop(bench: Bench, *cids: CID, tier: str = "") -> int:
    return bench.tell(keeping.DropBlocks(cids, tier))


def knows(bench: Bench, tier: str, *sizes: int) -> tuple[CID, ...]:
    """Let a tier say what it holds of what it was asked; what that was."""
    (said,) = bench.tier(tier, tiers.TierHas)
    said.answer(tiers.TierSizes(tier, sizes))
    return said.message.cids  # type: ignore[attr-defined,no-any-return]  # a TierHas


# --- in --------------------------------------------------------------------------------------------------


def test_a_full_disk_is_no_reason_to_refuse_what_the_cold_tier_takes() -> None:
    bench = Bench()
    bench.tell(keeping.TiersChanged(cold_used=False, pressed=False))
    put = bench.tell(blocks.PutBlocks((A,)))
    bench.store(FULL)
    assert bench.answers(put) == []
    bench.store(tier="cold")
    assert bench.answers(put) == [blocks.BlocksStored(1, len(A))]
    assert bench.ctx.counts["puts_to_the_other_tier"] == 1
    request = bench.tell(get(A.cid, fetch=False))
    bench.read(cold=[A])
    assert bench.answers(request) == [blocks.BlocksFound((A,)), blocks.BlocksEnd()]


def test_a_full_cold_tier_leaves_the_disk() -> None:
    bench = pressed()
    put = bench.tell(blocks.PutBlocks((A,)), priority=1)
    bench.store(FULL, "cold")
    bench.store()
    assert bench.answers(put) == [blocks.BlocksStored(1, len(A))]


def test_when_both_are_full_the_first_says_so() -> None:
    bench = Bench()
    put = bench.tell(blocks.PutBlocks((A,)))
    bench.store(FULL)
    bench.store(Failed("TierPut", "StorageFault", "EIO"), "cold")
    assert bench.answers(put) == [FULL]
    assert not bench.actor.reading.uses.busy(A.cid)


def test_without_a_cold_tier_there_is_no_other_way() -> None:
    bench = Bench()
    bench.ctx.policy = msgspec.structs.replace(bench.ctx.policy, use_cold_tier=False)
    put = bench.tell(blocks.PutBlocks((A,)))
    bench.store(FULL)
    assert bench.tier("cold", tiers.TierPut) == []
    assert bench.answers(put) == [FULL]


def test_a_disk_that_fails_is_not_a_full_one() -> None:
    bench = Bench()
    put = bench.tell(blocks.PutBlocks((A,)))
    bench.store(Failed("TierPut", "StorageFault", "EIO"))
    assert bench.tier("cold", tiers.TierPut) == []
    assert bench.answers(put) == [Failed("TierPut", "StorageFault", "EIO")]


def test_blocks_of_one_put_go_where_each_belongs_and_are_answered_together() -> None:
    bench = pressed()
    put = bench.tell(blocks.PutBlocks((A, LARGE)))
    (disk,), (cold,) = bench.tier("disk", tiers.TierPut), bench.tier("cold", tiers.TierPut)
    assert (disk.message, cold.message) == (tiers.TierPut((A,)), tiers.TierPut((LARGE,)))
    cold.answer(tiers.TierStored("cold", 1, len(LARGE)))
    assert bench.answers(put) == [], "the other half is not durable"
    assert bench.actor.reading.uses.busy(A.cid)
    disk.answer(tiers.TierStored("disk", 1, len(A)))
    assert bench.answers(put) == [blocks.BlocksStored(2, len(A) + len(LARGE))]


def test_half_a_put_that_fails_is_a_put_that_fails() -> None:
    bench = pressed()
    put = bench.tell(blocks.PutBlocks((A, LARGE)))
    bench.store()
    bench.store(Failed("TierPut", "StorageFault", "EIO"), "cold")
    assert bench.answers(put) == [Failed("TierPut", "StorageFault", "EIO")]
    bench.kept_books()
    assert not any(bench.actor.reading.uses.busy(one.cid) for one in (A, LARGE))


def test_nothing_put_is_stored_at_once() -> None:
    bench = Bench()
    put = bench.tell(blocks.PutBlocks(()))
    bench.store()
    assert bench.answers(put) == [blocks.BlocksStored(0, 0)]


# --- one copy out ----------------------------------------------------------------------------------------


def test_a_copy_goes_once_every_read_that_began_before_has_ended() -> None:
    bench = Bench()
    before = bench.tell(get(A.cid, fetch=False))
    told = drop(bench, A.cid, tier="disk")
    bench.ctx.advance(0.0)
    assert bench.tier("cold", tiers.TierHas) == bench.tier("disk", tiers.TierDelete) == []
    (said,) = bench.tier("disk", tiers.TierGet)
    after = bench.tell(get(B.cid, fetch=False))
    said.answer(tiers.TierBlocks("disk", (A,), ()))
    assert len(bench.answers(before)) == 2
    bench.ctx.advance(0.0)
    assert knows(bench, "cold", len(A)) == (A.cid,)
    assert bench.answers(told) == []
    assert bench.gone("disk") == [(A.cid,)]
    assert bench.answers(told) == [keeping.BlocksDropped()]
    assert bench.gone("cold") == [], "the other copy stays"
    assert bench.answers(after) == [], "who came later was not waited for"


def test_a_copy_stays_when_it_is_the_only_one() -> None:
    bench = Bench()
    told = drop(bench, A.cid, B.cid, tier="cold")
    bench.ctx.advance(0.0)
    assert knows(bench, "disk", -1, len(B)) == (A.cid, B.cid)
    assert bench.gone() == [(B.cid,)]
    assert bench.answers(told) == [keeping.BlocksDropped((A.cid,))]


def test_of_two_that_would_drop_either_copy_only_one_does() -> None:
    bench = Bench()
    up, down = drop(bench, A.cid, tier="cold"), drop(bench, A.cid, tier="disk")
    bench.ctx.advance(0.0)
    knows(bench, "disk", len(A))
    assert bench.tier("cold", tiers.TierHas) == []
    assert bench.gone() == [(A.cid,)]
    assert bench.answers(up) == [keeping.BlocksDropped()]
    assert bench.answers(down) == [keeping.BlocksDropped((A.cid,))]


@pytest.mark.parametrize("first", ["put", "delete"])
def test_what_is_put_or_deleted_while_its_copy_waits_to_go_is_left_alone(first: str) -> None:
    bench = Bench()
    told = drop(bench, A.cid, tier="disk")
    bench.ctx.advance(0.0)
    bench.tell(blocks.PutBlocks((A,)) if first == "put" else blocks.DeleteBlocks((A.cid,)))
    bench.gone()
    knows(bench, "cold", len(A))
    assert bench.gone() == []
    assert bench.answers(told) == [keeping.BlocksDropped((A.cid,))]


def test_a_tier_that_cannot_say_what_it_holds_keeps_the_copy() -> None:
    bench = Bench()
    told = drop(bench, A.cid, tier="disk")
    bench.ctx.advance(0.0)
    (said,) = bench.tier("cold", tiers.TierHas)
    said.answer(Failed("TierHas", "StorageFault", "EIO"))
    assert bench.gone() == []
    assert bench.answers(told) == [Failed("TierHas", "StorageFault", "EIO")]
    told = drop(bench, A.cid, tier="disk")
    bench.ctx.advance(0.0)
    knows(bench, "cold", len(A))
    assert bench.gone() == [(A.cid,)], "and nothing is left of the first attempt"


# --- for good --------------------------------------------------------------------------------------------


def test_for_good_goes_what_is_not_in_use() -> None:
    bench = Bench()
    bench.warm(C)
    bench.tell(get(B.cid))
    bench.read()  # wanted from outside
    bench.tell(blocks.PutBlocks((A,)))  # about to be stored
    told = drop(bench, V0.cid, B.cid, C.cid)
    assert [said.message for said in bench.tier("memory", tiers.TierDelete)] == [tiers.TierDelete((C.cid,))]
    assert bench.gone() == [(C.cid,), (C.cid,)]
    assert bench.answers(told) == [keeping.BlocksDropped((V0.cid, B.cid))]
    bench.store()
    told = drop(bench, A.cid)
    assert bench.answers(told) == [keeping.BlocksDropped((A.cid,))], "stored, and the keeper does not know"
    bench.kept_books()
    told = drop(bench, A.cid)
    assert bench.gone() == [(A.cid,), (A.cid,)]
    assert bench.answers(told) == [keeping.BlocksDropped()]


def test_a_block_that_was_just_read_stays() -> None:
    bench = Bench()
    bench.tell(get(A.cid, fetch=False))
    bench.read(disk=[A])
    assert bench.answers(drop(bench, A.cid)) == [keeping.BlocksDropped((A.cid,))]


def test_after_a_restart_nothing_goes_before_the_keeper_knows_of_it() -> None:
    bench = Bench()
    bench.actor.on_start()
    assert bench.answers(drop(bench, A.cid)) == [keeping.BlocksDropped((A.cid,))]


def test_a_put_waits_for_the_deletion_of_the_same_block() -> None:
    """A deletion over which the disk died is repeated once it is back: after the put, it would take what was put."""
    bench = Bench()
    deleted = bench.tell(blocks.DeleteBlocks((A.cid,)))
    (said,) = bench.tier("disk", tiers.TierDelete)
    said.answer(GONE)
    put, other = bench.tell(blocks.PutBlocks((V0, C))), bench.tell(blocks.PutBlocks((B,)))
    bench.store()
    assert bench.answers(other) == [blocks.BlocksStored(1, len(B))], "this one has nothing to do with it"
    assert bench.answers(put) == []
    bench.tell(lifecycle.ActorRestarted("disk", 2))
    assert bench.tier("disk", tiers.TierPut) == []
    assert bench.gone("disk") == [(A.cid,)]
    assert bench.tier("disk", tiers.TierPut) == [], "the cold tier has not deleted it"
    assert bench.gone("cold") == [(A.cid,)]
    assert bench.answers(deleted) == [Done()]
    bench.store()
    assert bench.answers(put) == [blocks.BlocksStored(2, len(V0) + len(C))]
    assert bench.actor.storing._waiting == []
    assert not bench.actor.storing._deleting


def test_a_put_waits_no_longer_than_the_deletion_does() -> None:
    bench = Bench()
    bench.tell(blocks.DeleteBlocks((A.cid,)), deadline=bench.ctx.now() + 5.0)
    bench.gone("cold")
    put = bench.tell(blocks.PutBlocks((A,)))
    for _ in range(8):
        for said in bench.tier("disk", tiers.TierDelete):
            said.answer(GONE)
        bench.ctx.advance(1.1)
    bench.store()
    assert bench.answers(put) == [blocks.BlocksStored(1, len(A))]


def test_what_a_reader_brought_to_memory_after_a_deletion_leaves_it_again() -> None:
    bench = Bench()
    bench.tell(get(A.cid, fetch=False))
    (said,) = bench.tier("disk", tiers.TierGet)
    said.answer(tiers.TierBlocks("disk", (), (A.cid,)))
    bench.tell(get(A.cid, fetch=False))
    bench.tell(blocks.DeleteBlocks((A.cid,)))
    bench.ctx.take(tiers.TierDelete)
    bench.read(disk=[A], cold=[A])
    assert len(bench.tier("memory", tiers.TierPut)) == 1, "two reads, of a block that is gone"
    bench.ctx.advance(0.0)
    (said,) = bench.tier("memory", tiers.TierDelete)
    assert said.message == tiers.TierDelete((A.cid,))
    bench.tell(get(A.cid, fetch=False))
    assert bench.tier("memory", tiers.TierGet) == []
