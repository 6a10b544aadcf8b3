"""Finding blocks in the tiers: each is read once for all who ask, under every name, and every request ends once."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shoal.messages import blocks, keeping, tiers
from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_PB
from shoal.messages.replies import Failed, Overloaded, Refused
from shoal.tests.actors.placement.bench import A, B, Bench, C, get, missing
from shoal.tests.support.bitswap import block
from shoal.tests.support.context import Said

V1 = Block(CID.of(A.data, DAG_PB, 1), A.data)
V0 = Block(CID.of(A.data, DAG_PB, 0), A.data)
GONE = "not in the local store, and fetching was not asked for"


def asked(bench: Bench, tier: str) -> list[Said[Message]]:
    return bench.tier(tier, tiers.TierGet)


def found(bench: Bench, request: int) -> list[Block]:
    """What one request was given since the last time."""
    return [one for reply in bench.answers(request) if isinstance(reply, blocks.BlocksFound) for one in reply.blocks]


# --- one read for all ------------------------------------------------------------------------------------


def test_one_block_is_read_once_however_many_ask_for_it_at_the_same_time() -> None:
    bench = Bench()
    requests = [bench.tell(get(A.cid, fetch=False)) for _ in range(5)]
    serve = bench.tell(blocks.ServeBlocks("p", (A.cid,)))
    (said,) = asked(bench, "disk")
    said.answer(tiers.TierBlocks("disk", (), (A.cid,)))
    (said,) = asked(bench, "cold")
    assert said.message == tiers.TierGet((A.cid,))
    requests.append(bench.tell(get(A.cid, fetch=False)))
    bench.read()
    assert asked(bench, "cold") == [], "the last comer waits for the read that was under way"
    said.answer(tiers.TierBlocks("cold", (A,), ()))
    for request in requests:
        assert bench.answers(request) == [blocks.BlocksFound((A,)), blocks.BlocksEnd()]
    assert bench.answers(serve) == [blocks.BlocksServed("p", (A,))]
    assert bench.actor.reading._flights == {}
    assert bench.actor.reading.epochs.inside == 0


def test_requests_that_overlap_read_what_the_others_do_not() -> None:
    bench = Bench()
    first, second = bench.tell(get(A.cid, B.cid, fetch=False)), bench.tell(get(B.cid, C.cid, fetch=False))
    one, two = asked(bench, "disk")
    assert (one.message, two.message) == (tiers.TierGet((A.cid, B.cid)), tiers.TierGet((C.cid,)))
    two.answer(tiers.TierBlocks("disk", (C,), ()))
    assert found(bench, second) == [C]
    one.answer(tiers.TierBlocks("disk", (A, B), ()))
    assert bench.answers(first) == [blocks.BlocksFound((A, B)), blocks.BlocksEnd()]
    assert bench.answers(second) == [blocks.BlocksFound((B,)), blocks.BlocksEnd()]


def test_every_name_of_the_same_bytes_gets_its_block_from_one_read() -> None:
    bench = Bench()
    both = bench.tell(get(V0.cid, A.cid, fetch=False))
    (said,) = asked(bench, "disk")
    assert len(said.message.cids) == 1  # type: ignore[attr-defined]  # a TierGet
    other = bench.tell(get(V1.cid, fetch=False))
    assert asked(bench, "disk") == []
    (cid,) = said.message.cids  # type: ignore[attr-defined]  # a TierGet
    said.answer(tiers.TierBlocks("disk", (Block(cid, A.data),), ()))
    assert set(found(bench, both)) == {V0, A}
    assert found(bench, other) == [V1]


def test_every_name_of_the_same_bytes_is_missing_or_wanted() -> None:
    bench = Bench()
    request = bench.tell(get(V0.cid, A.cid, fetch=False))
    bench.read()
    (end,) = bench.answers(request)
    assert isinstance(end, blocks.BlocksEnd)
    assert {one.cid for one in end.missing} == {V0.cid, A.cid}
    bench.tell(get(V0.cid, A.cid))
    bench.read()
    (want,) = bench.wanted()
    assert set(want.cids) == {V0.cid, A.cid}


def test_memory_has_a_block_under_every_name_too() -> None:
    bench = Bench()
    bench.warm(A)
    request = bench.tell(get(V0.cid, A.cid, fetch=False))
    bench.read(memory=[A])
    assert set(found(bench, request)) == {V0, A}


# --- what fails ------------------------------------------------------------------------------------------


def test_a_read_that_ends_at_anothers_deadline_is_made_again_for_who_has_time() -> None:
    bench = Bench()
    hasty = bench.tell(get(A.cid, fetch=False), deadline=bench.ctx.now() + 1.0)
    patient = [bench.tell(get(A.cid, fetch=False), deadline=bench.ctx.now() + 100.0) for _ in range(2)]
    (said,) = asked(bench, "disk")
    bench.ctx.advance(1.0)
    said.answer(Failed("TierGet", "DeadlineExceeded", "late"))
    (again,) = asked(bench, "disk")
    assert again.deadline == bench.ctx.now() + 99.0
    assert found(bench, patient[0]) == []
    again.answer(tiers.TierBlocks("disk", (A,), ()))
    for request in patient:
        assert bench.answers(request) == [blocks.BlocksFound((A,)), blocks.BlocksEnd()]
    (said,) = asked(bench, "cold")
    said.answer(Failed("TierGet", "DeadlineExceeded", "late here too"))
    (end,) = bench.answers(hasty)
    assert isinstance(end, blocks.BlocksEnd)
    assert end.missing[0].error == "DeadlineExceeded"


def test_a_cold_tier_that_fails_is_told_and_what_was_on_disk_is_handed_out() -> None:
    bench = Bench()
    request = bench.tell(get(A.cid, B.cid, fetch=False))
    (said,) = asked(bench, "disk")
    said.answer(tiers.TierBlocks("disk", (A,), (B.cid,)))
    (said,) = asked(bench, "cold")
    said.answer(Failed("TierGet", "StorageFault", "EIO"))
    assert bench.answers(request) == [blocks.BlocksFound((A,)), missing(B.cid, "EIO", "StorageFault")]


def test_a_tier_that_will_not_take_a_request_is_no_proof_that_a_block_is_not_there() -> None:
    bench = Bench()
    for answer in (Refused("TierGet", "no"), Overloaded("TierGet", "disk")):
        request = bench.tell(get(A.cid, fetch=False), deadline=bench.ctx.now() + 0.01)
        (said,) = asked(bench, "disk")
        bench.ctx.advance(0.02)
        said.answer(answer)
        bench.read()
        (end,) = bench.answers(request)
        assert isinstance(end, blocks.BlocksEnd)
        assert end.missing[0].error == "Unavailable"


def test_a_memory_that_has_lost_a_block_is_not_asked_for_it_again() -> None:
    bench = Bench()
    bench.warm(A)
    request = bench.tell(get(A.cid, fetch=False))
    bench.read(disk=[A])
    assert found(bench, request) == [A]
    (back,) = bench.tier("memory", tiers.TierPut)
    assert back.message == tiers.TierPut((A,)), "it is used again, and comes back"


# --- while blocks come and move --------------------------------------------------------------------------


def test_a_block_that_is_stored_behind_a_readers_back_reaches_it() -> None:
    """The disk said no before the put, and by now the cold tier is asked: it has never heard of the block."""
    bench = Bench()
    request = bench.tell(get(A.cid))
    (said,) = asked(bench, "disk")
    said.answer(tiers.TierBlocks("disk", (), (A.cid,)))
    bench.tell(blocks.PutBlocks((A,)))
    bench.store()
    assert bench.answers(request) == [blocks.BlocksFound((A,)), blocks.BlocksEnd()]
    bench.read()
    assert bench.wanted() == []
    assert bench.answers(request) == []


def test_a_block_that_comes_while_it_is_about_to_be_wanted_is_not_fetched() -> None:
    bench = Bench()
    request = bench.tell(get(A.cid, B.cid))
    bench.read()
    bench.tell(blocks.PutBlocks((A,)))
    bench.store()
    assert found(bench, request) == [A]
    assert [want.cids for want in bench.wanted()] == [(B.cid,)]


def test_the_cold_tier_is_asked_from_before_something_is_put_there() -> None:
    bench = Bench()
    bench.tell(keeping.TiersChanged(cold_used=False, pressed=True))
    put = bench.tell(blocks.PutBlocks((A,)), priority=1)
    (said,) = bench.tier("cold", tiers.TierPut)
    bench.tell(keeping.TiersChanged(cold_used=False, pressed=True))  # the keeper has not seen it yet
    said.answer(tiers.TierStored("cold", 1, len(A)))
    assert bench.answers(put) == [blocks.BlocksStored(1, len(A))]
    request = bench.tell(get(A.cid, fetch=False))
    bench.read(cold=[A])
    assert found(bench, request) == [A]


def test_sizes_come_from_the_first_tier_that_has_the_block() -> None:
    bench = Bench()
    has = bench.tell(blocks.HasBlocks((A.cid, V0.cid, B.cid)))
    (said,) = bench.tier("disk", tiers.TierHas)
    said.answer(tiers.TierSizes("disk", (-1, -1, len(B))))
    assert bench.answers(has) == []
    (said,) = bench.tier("cold", tiers.TierHas)
    assert said.message == tiers.TierHas((A.cid, V0.cid))
    said.answer(tiers.TierSizes("cold", (len(A), len(A))))
    assert bench.answers(has) == [blocks.BlockSizes((len(A), len(A), len(B)))]
    assert bench.actor.reading.epochs.inside == 0


# --- any mix ---------------------------------------------------------------------------------------------

MANY = [block(number, 100) for number in range(4)]
NAMES = [one.cid for one in MANY] + [CID.of(one.data, DAG_PB, 0) for one in MANY[:2]]
DATA = {cid: one.data for cid, one in zip(NAMES, [*MANY, *MANY[:2]], strict=True)}
FAULT = Failed("TierGet", "StorageFault", "EIO")


class ReadingMachine(RuleBasedStateMachine):
    """Requests of any names at any time; tiers that answer in any order, and sometimes fail."""

    @initialize(disk=st.sets(st.integers(0, 3)), cold=st.sets(st.integers(0, 3)), hot=st.sets(st.integers(0, 3)))
    def begin(self, disk: set[int], cold: set[int], hot: set[int]) -> None:
        self.bench = Bench()
        self.bench.warm(*(MANY[number] for number in sorted(hot)))
        self.held = {"disk": self.named(disk), "cold": self.named(cold), "memory": self.named(hot)}
        self.open: list[Said[Message]] = []
        self.reads: dict[int, set[CID]] = {}  # what each request still waits for
        self.sure: dict[int, bool] = {}  # nothing has failed since it began
        self.ended: list[int] = []

    def named(self, numbers: set[int]) -> set[bytes]:
        return {MANY[number].cid.multihash for number in numbers}

    @rule(cids=st.sets(st.sampled_from(NAMES)))
    def ask(self, cids: set[CID]) -> None:
        request = self.bench.tell(get(*sorted(cids), fetch=False))
        self.reads[request] = set(cids)
        self.sure[request] = True
        self.hear()

    @precondition(lambda self: self.open)
    @rule(data=st.data(), well=st.sampled_from([True, True, True, False]))
    def answer(self, data: st.DataObject, well: bool) -> None:
        said = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        if not well:
            self.sure = dict.fromkeys(self.sure, False)
            said.answer(FAULT)
        else:
            cids = said.message.cids  # type: ignore[attr-defined]  # a TierGet
            assert len({cid.multihash for cid in cids}) == len(cids) or said.to == "memory"
            here = tuple(Block(cid, DATA[cid]) for cid in cids if cid.multihash in self.held[said.to])
            gone = tuple(cid for cid in cids if cid.multihash not in self.held[said.to])
            said.answer(tiers.TierBlocks(said.to, here, gone))
        self.hear()

    def hear(self) -> None:
        for tier in ("memory", "disk", "cold"):
            for said in asked(self.bench, tier):
                self.open.append(said)
        for request in list(self.reads):
            for reply in self.bench.answers(request):
                self.take(request, reply)

    def take(self, request: int, reply: Message) -> None:
        waited = self.reads[request]
        if isinstance(reply, blocks.BlocksFound):
            for one in reply.blocks:
                assert one.data == DATA[one.cid]
                waited.remove(one.cid)
            return
        assert isinstance(reply, blocks.BlocksEnd)
        assert {one.cid for one in reply.missing} == waited
        for cid in waited:
            here = any(cid.multihash in self.held[tier] for tier in ("disk", "cold"))
            assert not here or not self.sure[request], "it was there to be found"
        del self.reads[request]
        self.ended.append(request)

    @invariant()
    def one_read_of_a_block_at_a_time(self) -> None:
        if hasattr(self, "bench"):
            for tier in ("disk", "cold"):
                names = [
                    cid.multihash
                    for said in self.open
                    if said.to == tier
                    for cid in said.message.cids  # type: ignore[attr-defined]  # a TierGet
                ]
                assert len(names) == len(set(names))
            assert self.bench.actor.reading.epochs.inside == len(self.reads)

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        while self.open:
            said = self.open.pop()
            cids = said.message.cids  # type: ignore[attr-defined]  # a TierGet
            said.answer(tiers.TierBlocks(said.to, (), cids))
            self.sure = dict.fromkeys(self.sure, False)
            self.hear()
        assert self.reads == {}, "a request that never ends"
        assert self.bench.actor.reading._flights == {}


TestReading: Any = ReadingMachine.TestCase
TestReading.settings = settings(stateful_step_count=30)
