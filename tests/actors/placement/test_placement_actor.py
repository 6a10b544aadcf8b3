"""The placement actor alone: the test speaks for the tiers, the wantlist, bitswap and the edge."""

from __future__ import annotations

import msgspec
import pytest

from shoal.actors.placement.actor import OVERDUE_GRACE_S, SWEEP_S
from shoal.actors.placement.tiercalls import DEFAULT_S
from shoal.messages import blocks, keeping, lifecycle, tiers, wants
from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.policy import LEECHER
from shoal.messages.replies import Done, Failed, Overloaded, Refused
from shoal.storage.memory import cost_of
from shoal.tests.actors.placement.bench import INLINE, A, B, Bench, C, get, missing
from shoal.tests.support.bitswap import block

MOVES = (tiers.TierEvict, tiers.TierPut)  # what is said to memory of what it holds


# --- reading ---------------------------------------------------------------------------------------------


def test_memory_then_disk_then_the_network() -> None:
    bench = Bench()
    bench.warm(A, B)
    request = bench.tell(get(A.cid, B.cid, C.cid), deadline=5000.0)
    assert bench.tier("disk", tiers.TierGet) == [], "memory is asked first"
    bench.read(memory=(A,), disk=(B,))
    assert bench.answers(request) == [blocks.BlocksFound((A,)), blocks.BlocksFound((B,))]
    (kept,) = bench.tier("memory", tiers.TierPut)
    assert kept.message == tiers.TierPut((B,)), "what memory has let go comes back to it"
    (want,) = bench.wants_said()
    assert want.message == wants.Want((C.cid,), 7)
    assert want.deadline == 5000.0
    want.answer(Done())
    bench.tell(blocks.BlocksFetched("p", (C,)))
    assert bench.answers(request) == [], "nothing is handed out before it is durable"
    bench.store()
    assert bench.answers(request) == [blocks.BlocksFound((C,)), blocks.BlocksEnd()]
    assert bench.ctx.take(blocks.BlocksAvailable) == [
        blocks.BlocksAvailable((blocks.AvailableBlock(C.cid, len(C)),)),
    ]
    assert bench.actor.gets.open == {}


def test_the_cold_tier_is_asked_for_what_the_disk_lacks_and_only_while_it_holds_something() -> None:
    bench = Bench()
    request = bench.tell(get(A.cid, B.cid, C.cid))
    (said,) = bench.tier("disk", tiers.TierGet)
    assert bench.tier("cold", tiers.TierGet) == [], "the disk is asked first"
    said.answer(tiers.TierBlocks("disk", (A,), (B.cid, C.cid)))
    assert bench.wanted() == [], "not before the cold tier was asked too"
    (said,) = bench.tier("cold", tiers.TierGet)
    assert said.message == tiers.TierGet((B.cid, C.cid))
    said.answer(tiers.TierBlocks("cold", (B,), (C.cid,)))
    assert bench.answers(request) == [blocks.BlocksFound((A,)), blocks.BlocksFound((B,))]
    assert bench.wanted() == [wants.Want((C.cid,), 7)]
    bench.tell(keeping.TiersChanged(cold_used=False, pressed=False))
    request = bench.tell(get(C.cid, fetch=False))
    (said,) = bench.tier("disk", tiers.TierGet)
    said.answer(tiers.TierBlocks("disk", (), (C.cid,)))
    assert bench.tier("cold", tiers.TierGet) == []
    (end,) = bench.answers(request)
    assert isinstance(end, blocks.BlocksEnd)
    assert end.missing[0].error == "NotFound"


def test_the_second_use_of_a_block_brings_it_to_memory_which_is_asked_from_then_on() -> None:
    bench = Bench()
    for given in ([], [tiers.TierPut((A,))]):
        bench.tell(get(A.cid))
        assert bench.tier("memory", tiers.TierGet) == []
        bench.read(disk=(A,))
        assert [said.message for said in bench.tier("memory", tiers.TierPut)] == given
    request = bench.tell(get(A.cid))
    bench.read(memory=(A,))
    assert bench.answers(request) == [blocks.BlocksFound((A,)), blocks.BlocksEnd()]
    bench.tell(blocks.DeleteBlocks((A.cid,)))
    bench.tell(get(A.cid))
    assert bench.tier("memory", tiers.TierGet) == [], "deleted, it is new again"


@pytest.mark.parametrize(("hot", "cool"), [(A, B), (B, A)])
def test_what_is_read_from_memory_counts_and_what_is_worth_less_leaves_first(hot: Block, cool: Block) -> None:
    bench = Bench()
    small = msgspec.structs.replace(bench.ctx.policy, memory_bytes=2 * cost_of(100))
    bench.tell(lifecycle.PolicyChanged(small))
    bench.warm(A, B)
    bench.ctx.said.clear()
    for _ in range(3):
        bench.tell(get(hot.cid))
        bench.read(memory=(hot,))
    for _ in range(3):
        bench.tell(get(C.cid))
        bench.read(disk=(C,))
    moves = [(said.to, said.message) for said in bench.ctx.said if isinstance(said.message, MOVES)]
    assert moves == [("", tiers.TierEvict((cool.cid,))), ("memory", tiers.TierPut((C,)))]


def test_a_smaller_policy_lets_go_of_what_is_worth_least() -> None:
    bench = Bench()
    bench.warm(A, B, A)
    small = msgspec.structs.replace(bench.ctx.policy, memory_bytes=cost_of(100))
    bench.tell(lifecycle.PolicyChanged(small))
    assert bench.ctx.take(tiers.TierEvict) == [tiers.TierEvict((B.cid,))]
    bench.tell(lifecycle.PolicyChanged(bench.ctx.policy))
    assert bench.ctx.take(tiers.TierEvict) == []


def test_a_new_memory_is_not_asked_for_what_the_last_one_held() -> None:
    bench = Bench()
    bench.warm(A)
    bench.tell(lifecycle.ActorRestarted("memory", 2))
    bench.tell(get(A.cid))
    assert bench.tier("memory", tiers.TierGet) == []
    bench.read(disk=(A,))
    (kept,) = bench.tier("memory", tiers.TierPut)
    assert kept.message == tiers.TierPut((A,)), "but how often it was used is known"


def test_nothing_asked_and_inline_cids_are_answered_at_once() -> None:
    bench = Bench()
    assert bench.answers(bench.tell(get())) == [blocks.BlocksEnd()]
    inline = Block(INLINE, b"inline")
    assert bench.answers(bench.tell(get(INLINE))) == [blocks.BlocksFound((inline,)), blocks.BlocksEnd()]
    request = bench.tell(get(A.cid, INLINE, A.cid))
    bench.read(disk=(A,))
    assert bench.answers(request) == [blocks.BlocksFound((inline,)), blocks.BlocksFound((A,)), blocks.BlocksEnd()]
    assert bench.wanted() == []


def test_without_fetching_what_is_not_here_is_missing() -> None:
    bench = Bench()
    request = bench.tell(get(A.cid, fetch=False))
    bench.read()
    (end,) = bench.answers(request)
    assert isinstance(end, blocks.BlocksEnd)
    assert end.missing[0].error == "NotFound"
    assert bench.wanted() == []


def test_a_dead_memory_is_passed_over_and_a_failing_disk_is_told() -> None:
    bench = Bench()
    bench.warm(A)
    request = bench.tell(get(A.cid, fetch=False))
    (said,) = bench.tier("memory", tiers.TierGet)
    said.answer(Failed("TierGet", "Unavailable", "memory ended"))
    (said,) = bench.tier("disk", tiers.TierGet)
    said.answer(Failed("TierGet", "StorageFault", "EIO"))
    assert bench.answers(request) == [], "the cold tier may have it"
    bench.read()
    assert bench.answers(request) == [missing(A.cid, "EIO", "StorageFault")]
    request = bench.tell(get(A.cid))
    bench.read()
    (want,) = bench.wants_said()
    want.answer(Done())
    assert bench.answers(request) == [], "with fetching there is another way"


@pytest.mark.parametrize("answer", [Refused("Want", "a leecher"), Overloaded("Want", "wantlist")])
def test_a_want_that_is_not_taken_is_missing(answer: Message) -> None:
    bench = Bench()
    request = bench.tell(get(A.cid))
    bench.read()
    (said,) = bench.wants_said()
    said.answer(answer)
    (end,) = bench.answers(request)
    assert isinstance(end, blocks.BlocksEnd)
    assert end.missing[0].error == "Unavailable"


def test_wants_that_fail_end_the_requests_of_their_session_only() -> None:
    bench = Bench()
    mine, other = bench.tell(get(A.cid, session=7)), bench.tell(get(A.cid, session=8))
    bench.read()
    bench.tell(wants.WantsFailed((wants.FailedWant(A.cid, 7, "asked 3 peers"),)))
    assert bench.answers(mine) == [missing(A.cid, "asked 3 peers", "DeadlineExceeded")]
    assert bench.answers(other) == []


def test_one_block_goes_to_all_who_wait_once() -> None:
    bench = Bench()
    requests = [bench.tell(get(A.cid, session=session)) for session in (1, 1, 2)]
    bench.read()
    bench.tell(blocks.BlocksFetched("p", (A,)))
    bench.tell(blocks.BlocksFetched("q", (A,)))
    bench.store()
    for request in requests:
        assert bench.answers(request) == [blocks.BlocksFound((A,)), blocks.BlocksEnd()]


def test_a_block_that_a_user_adds_ends_the_wait_for_it() -> None:
    bench = Bench()
    waiting = bench.tell(get(A.cid))
    bench.read()
    put = bench.tell(blocks.PutBlocks((A,)))
    assert bench.answers(put) == []
    bench.store()
    assert bench.answers(put) == [blocks.BlocksStored(1, len(A))]
    assert bench.answers(waiting) == [blocks.BlocksFound((A,)), blocks.BlocksEnd()]


def test_going_away_cancels_what_nobody_else_of_the_session_waits_for() -> None:
    bench = Bench()
    first, second = bench.tell(get(A.cid, B.cid)), bench.tell(get(B.cid, C.cid))
    bench.read()
    bench.tell(blocks.CancelGet(first))
    assert bench.ctx.take(wants.CancelWants) == [wants.CancelWants((A.cid,), 7)]
    bench.tell(blocks.CancelGet(second))
    (cancel,) = bench.ctx.take(wants.CancelWants)
    assert set(cancel.cids) == {B.cid, C.cid}
    bench.tell(blocks.CancelGet(second))
    assert bench.ctx.take(wants.CancelWants) == []
    assert bench.actor.gets.open == {}
    assert bench.actor.gets.wanted == {}


def test_going_away_while_the_tiers_are_asked_wants_nothing() -> None:
    bench = Bench()
    request = bench.tell(get(A.cid))
    bench.tell(blocks.CancelGet(request))
    bench.read()
    assert bench.wanted() == []
    assert bench.answers(request) == []


def test_no_request_outlives_its_deadline_though_nobody_says_a_word() -> None:
    bench = Bench()
    bench.tell(get(B.cid))
    request = bench.tell(get(A.cid), deadline=bench.ctx.now() + 5.0)
    bench.read()
    bench.ctx.advance(5.0)
    assert bench.answers(request) == [], "the wantlist has the first word"
    bench.ctx.advance(OVERDUE_GRACE_S + SWEEP_S)
    assert bench.answers(request) == [missing(A.cid, "nothing answered by the deadline", "DeadlineExceeded")]
    assert len(bench.actor.gets.open) == 1


# --- storing ---------------------------------------------------------------------------------------------


def test_what_cannot_be_stored_fails_its_askers_and_is_wanted_no_more() -> None:
    bench = Bench()
    requests = [bench.tell(get(A.cid, session=session)) for session in (1, 1, 2)]
    bench.read()
    bench.tell(blocks.BlocksFetched("p", (A,)))
    bench.store(Failed("TierPut", "StorageFull", "no room"))
    assert bench.answers(requests[0]) == [], "the cold tier may have room"
    bench.store(Failed("TierPut", "StorageFull", "none here either"), "cold")
    for request in requests:
        assert bench.answers(request) == [missing(A.cid, "no room", "StorageFull")]
    assert bench.ctx.take(wants.CancelWants) == [wants.CancelWants((A.cid,), 1), wants.CancelWants((A.cid,), 2)]
    assert bench.ctx.take(blocks.BlocksAvailable) == []
    put = bench.tell(blocks.PutBlocks((A,)))
    bench.store(Failed("TierPut", "StorageFull", "no room"))
    bench.store(Failed("TierPut", "StorageFull", "none here either"), "cold")
    assert bench.answers(put) == [Failed("TierPut", "StorageFull", "no room")]


def test_who_only_reads_gets_a_block_before_it_is_durable_and_nobody_else_does() -> None:
    bench = Bench()
    reader, keeper = bench.tell(get(A.cid, session=1, early=True)), bench.tell(get(A.cid, session=2))
    both = bench.tell(get(A.cid, B.cid, session=3, early=True))
    bench.read()
    bench.tell(blocks.BlocksFetched("p", (A,)))
    assert bench.answers(reader) == [blocks.BlocksFound((A,)), blocks.BlocksEnd()]
    assert bench.answers(both) == [blocks.BlocksFound((A,))]
    assert bench.answers(keeper) == []
    assert not bench.ctx.take(blocks.BlocksAvailable), "peers hear of it when it is here"
    bench.store()
    assert bench.answers(keeper) == [blocks.BlocksFound((A,)), blocks.BlocksEnd()]
    assert bench.answers(reader) == []
    assert len(bench.ctx.take(blocks.BlocksAvailable)) == 1
    assert not bench.ctx.take(wants.CancelWants)


def test_what_was_read_early_and_cannot_be_stored_is_wanted_no_more() -> None:
    bench = Bench()
    reader = bench.tell(get(A.cid, session=1, early=True))
    bench.read()
    bench.tell(blocks.BlocksFetched("p", (A,)))
    bench.store(Failed("TierPut", "StorageFull", "no room"))
    bench.store(Failed("TierPut", "StorageFull", "none here either"), "cold")
    assert bench.answers(reader) == [blocks.BlocksFound((A,)), blocks.BlocksEnd()]
    assert bench.ctx.take(wants.CancelWants) == [wants.CancelWants((A.cid,), 1)]


def test_a_block_for_nobody_is_stored_all_the_same() -> None:
    bench = Bench()
    bench.tell(blocks.BlocksFetched("p", (A,)))
    assert bench.ctx.counts["fetched_for_nobody"] == 1
    bench.store()
    assert len(bench.ctx.take(blocks.BlocksAvailable)) == 1


def test_a_large_block_is_not_kept_in_a_small_memory() -> None:
    bench = Bench()
    bench.ctx.policy = LEECHER
    large = block(9, 2 * 1024 * 1024)
    for _ in range(2):
        bench.tell(blocks.BlocksFetched("p", (large, A)))
        bench.store()
    (kept,) = bench.tier("memory", tiers.TierPut)
    assert kept.message == tiers.TierPut((A,))


def test_a_tier_that_dies_is_asked_again_when_it_is_back_or_after_a_while() -> None:
    bench = Bench()
    put = bench.tell(blocks.PutBlocks((A,)))
    (said,) = bench.tier("disk", tiers.TierPut)
    said.answer(Failed("TierPut", "Unavailable", "disk ended"))
    assert bench.tier("disk", tiers.TierPut) == []
    bench.tell(lifecycle.ActorRestarted("disk", 2))
    (said,) = bench.tier("disk", tiers.TierPut)
    said.answer(Overloaded("TierPut", "disk"))
    bench.ctx.advance(0.1)
    (said,) = bench.tier("disk", tiers.TierPut)
    said.answer(Failed("TierPut", "Unavailable", "disk ended"))
    bench.ctx.advance(1.1)  # nobody says that it is back
    bench.store()
    assert bench.answers(put) == [blocks.BlocksStored(1, len(A))]


def test_a_tier_is_not_asked_for_ever() -> None:
    bench = Bench()
    put = bench.tell(blocks.PutBlocks((A,)))
    for _ in range(int(DEFAULT_S) + 5):
        for said in bench.tier("disk", tiers.TierPut):
            said.answer(Failed("TierPut", "Unavailable", "disk ended"))
        bench.ctx.advance(1.1)
    assert bench.answers(put) == [Failed("TierPut", "Unavailable", "disk ended")]
    assert bench.actor.calls._open == {}
    assert bench.ctx.timers == 0


def test_a_new_wantlist_is_told_what_is_still_wanted() -> None:
    bench = Bench()
    bench.tell(get(A.cid, B.cid))
    bench.read(disk=(B,))
    for said in bench.wants_said():
        said.answer(Failed("Want", "Unavailable", "wantlist ended"))
    bench.tell(lifecycle.ActorRestarted("wantlist", 2))
    assert bench.wanted() == [wants.Want((A.cid,), 7)]


# --- for peers, and about the store ----------------------------------------------------------------------


def test_sizes_and_blocks_for_peers_never_go_to_the_network() -> None:
    bench = Bench()
    has = bench.tell(blocks.HasBlocks((A.cid, INLINE, B.cid)))
    (said,) = bench.tier("disk", tiers.TierHas)
    assert said.message == tiers.TierHas((A.cid, B.cid))
    said.answer(tiers.TierSizes("disk", (100, -1)))
    (said,) = bench.tier("cold", tiers.TierHas)
    assert said.message == tiers.TierHas((B.cid,))
    said.answer(tiers.TierSizes("cold", (-1,)))
    assert bench.answers(has) == [blocks.BlockSizes((100, 6, -1))]
    serve = bench.tell(blocks.ServeBlocks("p", (A.cid, INLINE, B.cid)))
    bench.read(disk=(A,))
    (served,) = bench.answers(serve)
    assert isinstance(served, blocks.BlocksServed)
    assert {one.cid for one in served.blocks} == {A.cid, INLINE}
    assert served.missing == (B.cid,)
    assert bench.wanted() == []
    has = bench.tell(blocks.HasBlocks((A.cid,)))
    (said,) = bench.tier("disk", tiers.TierHas)
    said.answer(Failed("TierHas", "StorageFault", "EIO"))
    assert bench.answers(has) == [Failed("TierHas", "StorageFault", "EIO")]


def test_deleting_and_figures_reach_every_tier() -> None:
    bench = Bench()
    gone = bench.tell(blocks.DeleteBlocks((A.cid,)))
    assert len(bench.tier("memory", tiers.TierDelete)) == 1
    assert bench.gone("disk") == [(A.cid,)]
    assert bench.answers(gone) == [], "not before it has left them all"
    assert bench.gone("cold") == [(A.cid,)]
    assert bench.answers(gone) == [Done()]
    stat = bench.tell(blocks.RepoStat())
    (memory,), (disk,), (cold,) = (bench.tier(name, tiers.TierStatus) for name in ("memory", "disk", "cold"))
    disk.answer(blocks.TierStat("disk", 1, 2, 3, 4, 5))
    cold.answer(blocks.TierStat("cold", 1, 2, 3, 4, 5))
    assert bench.answers(stat) == []
    memory.answer(Failed("TierStatus", "Unavailable", "memory ended"))
    (stats,) = bench.answers(stat)
    assert isinstance(stats, blocks.RepoStats)
    rows = [(row.tier, row.state) for row in stats.tiers]
    assert rows == [("memory", "not answering"), ("disk", "ok"), ("cold", "ok")]
