"""The wantlist's actor alone: what it tells bitswap and placement, and that nothing it says is too large to be said."""

from __future__ import annotations

import math

from shoal.actors.wantlist.actor import BATCH, EXPIRE_EVERY_S, WantlistActor
from shoal.messages import blocks, codec, lifecycle, wants
from shoal.messages.base import Message
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.limits import ENVELOPE_HEADER_MAX, OUR_WANTS_MAX, WANTS_LISTED_MAX, WANTS_PER_PEER_MAX
from shoal.messages.replies import Done, Overloaded
from shoal.tests.support.context import FakeContext


def cid(number: int) -> CID:
    return CID.of(number.to_bytes(4, "big"))


A, B, C = map(cid, range(3))


class Bench:
    """A wantlist actor and a context that records."""

    def __init__(self) -> None:
        self.ctx = FakeContext("wantlist")
        self.actor = WantlistActor(self.ctx)
        self._id = 0

    def tell(self, message: Message, *, deadline: float = math.inf, priority: int = 3) -> list[Message]:
        """Give it a message; what it replied."""
        self._id += 1
        kind = type(message).__name__
        self.ctx.replies.clear()
        self.actor.receive(
            message, Envelope(self._id, kind, "test", "wantlist", b"", deadline=deadline, priority=priority)
        )
        self.actor.ours.check()
        self.actor.demand.check()
        return [message for _, message in self.ctx.replies]

    def listed(self, peer: str = "") -> list[wants.WantEntry]:
        (listed,) = self.tell(wants.ListWants(peer))
        assert isinstance(listed, wants.WantsListed)
        return list(listed.wants)


def test_a_want_is_passed_on_and_ends_with_its_block() -> None:
    bench = Bench()
    assert bench.tell(wants.Want((A, B), 7), deadline=2000.0, priority=5) == [Done()]
    assert bench.ctx.take(wants.SeekBlocks) == [wants.SeekBlocks((A, B), 7, 5, 2000.0)]
    assert bench.ctx.gauges["wants"] == 2
    bench.tell(blocks.BlocksAvailable((blocks.AvailableBlock(A, 10),)))
    assert [entry.cid for entry in bench.listed()] == [B]
    bench.tell(wants.CancelWants((A, B), 7))
    assert bench.ctx.take(wants.StopSeeking) == [wants.StopSeeking((B,), 7)]
    assert bench.listed() == []
    bench.tell(wants.CancelWants((A, B), 7))
    assert bench.ctx.take(wants.StopSeeking) == []


def test_at_its_deadline_a_want_fails_with_what_was_tried() -> None:
    bench = Bench()
    now = bench.ctx.now()
    bench.tell(wants.Want((A,), 7), deadline=now + 1.0)
    bench.tell(wants.Want((B,), 7), deadline=now + 100.0)
    bench.tell(wants.SeekProgress(7, "asked 3 peers"))
    bench.ctx.advance(1.0 + EXPIRE_EVERY_S)
    assert bench.ctx.take(wants.WantsFailed) == [wants.WantsFailed((wants.FailedWant(A, 7, "asked 3 peers"),))]
    assert bench.ctx.take(wants.StopSeeking) == [wants.StopSeeking((A,), 7)]
    assert bench.ctx.gauges["wants"] == 1
    bench.ctx.advance(200.0)
    assert bench.ctx.timers == 0, "nothing is left to look for"


def test_more_wants_than_there_is_room_for_are_turned_away_whole() -> None:
    bench = Bench()
    many = tuple(cid(number) for number in range(OUR_WANTS_MAX.value))
    assert bench.tell(wants.Want(many, 1)) == [Done()]
    assert bench.tell(wants.Want((CID.of(b"one more"),), 1)) == [Overloaded("Want", "wantlist")]
    assert len(bench.actor.ours) == OUR_WANTS_MAX.value
    assert len(bench.listed()) == WANTS_LISTED_MAX.value


def test_whatever_ends_at_once_is_said_in_messages_that_can_be_sent() -> None:
    """All wants there may be, each with a long text: in one message it would end the actor that says it, again and
    again."""
    bench = Bench()
    many = tuple(cid(number) for number in range(OUR_WANTS_MAX.value))
    bench.tell(wants.Want(many, 1), deadline=bench.ctx.now() + 1.0)
    bench.tell(wants.SeekProgress(1, "x" * 500))
    bench.ctx.said.clear()
    bench.tell(lifecycle.ActorRestarted("bitswap", 2))
    bench.ctx.advance(2.0)
    said = [one.message for one in bench.ctx.said]
    assert max(len(codec.encode(message)[0]) for message in said) < ENVELOPE_HEADER_MAX.value / 8
    failed = bench.ctx.take(wants.WantsFailed)
    assert max(len(message.wants) for message in failed) == BATCH
    assert {one.cid for message in failed for one in message.wants} == set(many)
    for kind in (wants.SeekBlocks, wants.StopSeeking):
        assert {one for message in bench.ctx.take(kind) for one in message.cids} == set(many)


def test_a_new_bitswap_is_told_everything_and_the_demand_is_void() -> None:
    bench = Bench()
    bench.tell(wants.Want((A,), 1), deadline=2000.0)
    bench.tell(wants.Want((A, B), 2), deadline=3000.0)
    bench.tell(wants.PeerDemand("p", (wants.PeerWant(C, 1),)))
    bench.ctx.take(wants.SeekBlocks)
    bench.tell(lifecycle.ActorRestarted("placement", 2))
    assert bench.ctx.take(wants.SeekBlocks) == []
    assert len(bench.listed("p")) == 1
    bench.tell(lifecycle.ActorRestarted("bitswap", 2))
    told = bench.ctx.take(wants.SeekBlocks)
    assert {(message.session, message.deadline, frozenset(message.cids)) for message in told} == {
        (1, 2000.0, frozenset({A})),
        (2, 3000.0, frozenset({A, B})),
    }
    assert bench.listed("p") == []


def test_demand_is_listed_most_urgent_first_and_goes_with_its_peer() -> None:
    bench = Bench()
    bench.tell(wants.Want((A,), 1), priority=4)
    bench.tell(wants.PeerDemand("p", (wants.PeerWant(B, 2**31 - 1), wants.PeerWant(C, -(2**31)))))
    bench.tell(wants.PeerDemand("q", (wants.PeerWant(A, 1),)))
    rows = [(entry.cid, entry.priority, entry.requesters, entry.ours) for entry in bench.listed()]
    assert rows == [(B, 2**31 - 1, 1, False), (A, 4, 2, True), (C, -(2**31), 1, False)]
    bench.tell(wants.PeerDemand("p", (), (B,)))
    assert [entry.cid for entry in bench.listed("p")] == [C]
    bench.tell(wants.PeerDemandGone("p"))
    bench.tell(wants.PeerDemandGone("stranger"))
    assert bench.listed("p") == []
    assert bench.ctx.gauges["demand"] == 1


def test_a_peer_that_wants_too_much_is_cut_short_and_counted() -> None:
    bench = Bench()
    many = tuple(wants.PeerWant(cid(number), 1) for number in range(WANTS_PER_PEER_MAX.value + 5))
    bench.tell(wants.PeerDemand("p", many))
    assert bench.ctx.counts["demand_refused"] == 5
    assert len(bench.listed("p")) == WANTS_PER_PEER_MAX.value
