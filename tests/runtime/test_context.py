"""The context: what is inherited, and that every request ends."""

import math

import pytest

from shoal.messages import limits
from shoal.messages.base import Message
from shoal.messages.block import Buffer
from shoal.messages.blocks import BlockSizes, BlocksServed, HasBlocks, RepoStat, RepoStats, ServeBlocks, TierStat
from shoal.messages.envelope import Envelope
from shoal.messages.policy import LEECHER
from shoal.messages.replies import Done, Failed, Overloaded, Refused
from shoal.messages.tiers import TierDelete, TierHas, TierSizes, TierStatus
from shoal.messages.transport import FrameReceived, FrameTaken, PeerConnected
from shoal.runtime.context import ActorContext
from shoal.tests.support.room import Bench

STAT = TierStat("memory", 1, 2, 3, 4, 5)


def ask_placement(bench: Bench, timeout_s: float = 5.0, priority: int = 5) -> Envelope:
    """Send RepoStat from the edge's name to placement and take it out again."""
    edge = bench.actor("edge")
    edge.request(RepoStat(), lambda _: None, deadline=bench.clock.now + timeout_s, priority=priority)
    envelope = bench.contexts["placement"].mailbox.take()
    assert isinstance(envelope, Envelope)
    return envelope


def test_a_handlers_sends_inherit_trace_deadline_priority_and_origin() -> None:
    bench = Bench()
    transport, bitswap = bench.actor("transport"), bench.actor("bitswap")
    first = transport.send(
        FrameReceived("p", 1, "/x", Buffer(b"abc")), origin="peer:p", deadline=9.0, priority=5
    )  # fmt: skip
    envelope = bitswap.mailbox.take()
    assert isinstance(envelope, Envelope)
    bitswap.handle(envelope, lambda _m, _e: bitswap.send(FrameTaken(1, 3)) and None)
    credit = transport.mailbox.take()
    assert isinstance(credit, Envelope)
    assert (credit.trace, credit.deadline, credit.priority, credit.origin) == (first, 9.0, 5, "peer:p")
    bitswap.send(FrameTaken(1, 3))
    later = transport.mailbox.take()
    assert isinstance(later, Envelope)
    assert (later.trace, later.deadline, later.origin) == (later.id, math.inf, "local")


def test_only_transport_and_bitswap_may_name_an_origin_and_only_a_peers() -> None:
    bench = Bench()
    transport, bitswap, placement = bench.actor("transport"), bench.actor("bitswap"), bench.actor("placement")
    bench.actor("memory")
    transport.send(PeerConnected("p", "/a", True), to="bitswap", origin="peer:p")
    transport.send(PeerConnected("p", "/a", True), to="bitswap", origin="user")
    placement.send(TierStatus(), to="memory", origin="peer:p")
    bitswap.send(FrameTaken(1, 1), origin="peer:q")
    bench.work()
    assert [envelope.origin for _, _, envelope in bench.received] == ["peer:q", "peer:p", "local", "local"]


def test_a_reply_is_handled_under_the_tags_of_the_request_and_ends_it() -> None:
    bench = Bench()
    placement, memory = bench.actor("placement"), bench.actor("memory")
    request = ask_placement(bench)
    seen: list[tuple[Message, int]] = []

    def answered(reply: Message) -> None:
        seen.append((reply, placement.send(TierStatus(), to="memory")))

    placement.handle(
        request, lambda _m, _e: placement.request(TierStatus(), answered, to="memory", timeout_s=1.0) and None
    )
    question = memory.mailbox.take()
    assert isinstance(question, Envelope)
    assert (question.trace, question.deadline, question.priority) == (request.id, 1.0, 5)
    memory.reply(question, STAT)
    memory.reply(question, STAT)
    bench.work()
    assert [reply for reply, _ in seen] == [STAT]
    follow_up = bench.received[-1][2]
    assert (follow_up.trace, follow_up.deadline, follow_up.origin) == (request.id, 5.0, "local")
    assert placement.open_requests == 0


def test_a_timer_keeps_the_trace_but_neither_deadline_nor_origin_and_only_once() -> None:
    bench = Bench()
    placement, memory = bench.actor("placement"), bench.actor("memory")
    request = ask_placement(bench)

    def tick() -> None:
        placement.send(TierStatus(), to="memory")
        placement.after(1.0, lambda: placement.send(TierStatus(), to="memory") and None)

    placement.handle(request, lambda _m, _e: placement.after(1.0, tick) and None)
    bench.clock.now = 1.0
    bench.work()
    bench.clock.now = 2.0
    bench.work()
    first, second = [envelope for name, _, envelope in bench.received if name == "memory"]
    assert (first.trace, first.deadline, first.priority) == (request.id, math.inf, 3)
    assert second.trace == second.id
    assert memory.open_requests == 0


def test_partial_replies_come_until_the_last() -> None:
    from shoal.messages.blocks import BlocksEnd, BlocksFound, GetBlocks

    bench = Bench()
    edge, placement = bench.actor("edge"), bench.actor("placement")
    seen: list[Message] = []
    edge.request(GetBlocks(()), seen.append, origin="user")
    envelope = placement.mailbox.take()
    assert isinstance(envelope, Envelope)
    for reply in (BlocksFound(()), BlocksFound(()), BlocksEnd(), BlocksFound(())):
        placement.reply(envelope, reply)
    bench.work()
    assert [type(one) for one in seen] == [BlocksFound, BlocksFound, BlocksEnd]


@pytest.mark.parametrize("limited_by", ["timeout", "deadline", "both"])
def test_a_request_ends_at_the_earlier_of_timeout_and_deadline(limited_by: str) -> None:
    bench = Bench()
    placement = bench.actor("placement")
    bench.actor("memory")
    seen: list[Message] = []
    placement.request(
        TierStatus(), seen.append, to="memory",
        timeout_s=None if limited_by == "deadline" else 2.0, deadline=None if limited_by == "timeout" else 2.0,
    )  # fmt: skip
    bench.clock.now = 1.99
    bench.work()
    assert seen == []
    bench.clock.now = 2.0
    bench.work()
    assert [(type(one), getattr(one, "error", "")) for one in seen] == [(Failed, "DeadlineExceeded")]
    assert placement.open_requests == 0


def test_a_request_that_is_late_already_ends_without_burdening_anybody() -> None:
    bench = Bench()
    placement, memory = bench.actor("placement"), bench.actor("memory")
    seen: list[Message] = []
    bench.clock.now = 5.0
    placement.request(TierStatus(), seen.append, to="memory", deadline=4.0)
    assert memory.mailbox.empty()
    assert seen == []  # never from within request()
    bench.work()
    assert isinstance(seen[0], Failed)


def test_an_answered_requests_timer_is_gone() -> None:
    bench = Bench()
    placement, memory = bench.actor("placement"), bench.actor("memory")
    placement.request(TierStatus(), lambda _: None, to="memory", timeout_s=2.0)
    assert len(placement.mailbox.timers) == 1
    bench.work(lambda ctx, _m, envelope: ctx.reply(envelope, STAT))
    assert len(placement.mailbox.timers) == 0
    assert memory.open_requests == 0


def test_a_dying_receiver_ends_what_was_asked_of_it_queued_or_in_hand() -> None:
    bench = Bench()
    placement, memory, disk = bench.actor("placement"), bench.actor("memory"), bench.actor("disk")
    seen: list[tuple[str, Message]] = []
    placement.request(TierStatus(), lambda reply: seen.append(("in hand", reply)), to="memory")
    memory.mailbox.take()
    placement.request(TierStatus(), lambda reply: seen.append(("queued", reply)), to="memory")
    placement.request(TierStatus(), lambda reply: seen.append(("other", reply)), to="disk")
    bench.end("memory")
    placement.request(TierStatus(), lambda reply: seen.append(("after", reply)), to="memory")
    bench.work()
    assert {name for name, _ in seen} == {"in hand", "queued", "after"}
    assert {getattr(reply, "error", "") for _, reply in seen} == {"Unavailable"}
    assert placement.open_requests == 1
    assert not disk.mailbox.closed


def test_the_next_generation_answers_what_it_was_asked() -> None:
    """The news of a death must not end requests made of its successor."""
    bench = Bench()
    placement = bench.actor("placement")
    bench.actor("memory")
    bench.end("memory")  # placement has not dealt with the news yet
    memory = bench.actor("memory")
    seen: list[Message] = []
    placement.request(TierStatus(), seen.append, to="memory")
    bench.work(lambda ctx, _m, envelope: ctx.reply(envelope, STAT))
    assert seen == [STAT]
    assert memory.open_requests == 0


def test_a_callback_may_end_other_requests_and_make_new_ones() -> None:
    bench = Bench()
    placement = bench.actor("placement")
    bench.actor("memory")
    seen: list[Message] = []

    def again(reply: Message) -> None:
        seen.append(reply)
        if len(seen) < 4:
            placement.request(TierStatus(), again, to="memory")

    for _ in range(2):
        placement.request(TierStatus(), again, to="memory")
    bench.end("memory")
    bench.work()
    assert len(seen) == 5
    assert placement.open_requests == 0


def test_open_requests_are_bounded() -> None:
    bench = Bench()
    placement = bench.actor("placement")
    bench.actor("memory", work_max=10**6)
    seen: list[Message] = []
    for _ in range(limits.REQUESTS_OPEN_MAX.value):
        placement.request(TierStatus(), lambda _: None, to="memory")
    placement.request(TierStatus(), seen.append, to="memory")
    assert seen == []
    item = placement.mailbox.take()
    assert callable(item)
    item()
    assert seen == [Overloaded("TierStatus", "memory")]
    assert placement.open_requests == limits.REQUESTS_OPEN_MAX.value


def test_a_full_receiver_is_overloaded_and_its_answers_still_arrive() -> None:
    bench = Bench()
    placement = bench.actor("placement", work_max=1)
    bench.actor("memory", work_max=1)
    bench.actor("edge").send(RepoStat())
    seen: list[Message] = []
    for _ in range(2):
        placement.request(TierStatus(), seen.append, to="memory")
    bench.work(lambda ctx, message, envelope: ctx.reply(envelope, STAT if isinstance(message, TierStatus) else Done()))
    assert sorted(type(one).__name__ for one in seen) == ["Overloaded", "TierStat"]


def test_what_policy_refuses_is_answered() -> None:
    bench = Bench(LEECHER)
    bitswap, placement = bench.actor("bitswap"), bench.actor("placement")
    seen: list[Message] = []
    bitswap.request(ServeBlocks("p", ()), seen.append, origin="peer:p")
    assert placement.mailbox.empty()
    bench.work()
    assert seen == [Refused("ServeBlocks", "a leecher does not serve blocks to peers")]


def test_a_message_that_cannot_be_read_fails_its_request_and_not_its_receiver() -> None:
    bench = Bench()
    bitswap, placement = bench.actor("bitswap"), bench.actor("placement")
    seen: list[Message] = []
    too_long = "x" * (limits.MESSAGE_STR_MAX.value + 1)
    bitswap.request(ServeBlocks(too_long, ()), seen.append, origin="peer:p")
    bench.work(lambda *_: pytest.fail("it was handled"))
    assert [getattr(one, "error", "") for one in seen] == ["BadInput"]
    bitswap.request(ServeBlocks("p", ()), seen.append, origin="peer:p")
    bench.work(lambda ctx, _m, envelope: ctx.reply(envelope, BlocksServed(too_long, ())))
    assert getattr(seen[1], "error", "") == "Unavailable"
    assert placement.open_requests == bitswap.open_requests == 0


def test_a_retired_context_says_nothing() -> None:
    bench = Bench()
    placement, memory = bench.actor("placement"), bench.actor("memory")
    request = ask_placement(bench)
    placement.retire()
    placement.send(TierStatus(), to="memory")
    placement.request(TierStatus(), lambda _: None, to="memory")
    placement.reply(request, RepoStats(()))
    assert memory.mailbox.empty()
    assert bench.contexts["edge"].mailbox.empty()


def test_an_answer_to_a_plain_send_goes_nowhere() -> None:
    bench = Bench()
    placement, memory = bench.actor("placement"), bench.actor("memory")
    placement.send(TierDelete(()), to="memory")
    bench.work(lambda ctx, _m, envelope: ctx.reply(envelope, Done()))
    assert placement.mailbox.empty()
    assert memory.open_requests == 0
    assert bench.figure("shoal_placement_late_replies_total") == 0


def test_several_actors_may_be_in_one_conversation() -> None:
    bench = Bench()
    bitswap = bench.actor("bitswap")
    bench.actor("placement")
    bench.actor("disk")
    seen: list[Message] = []
    bitswap.request(HasBlocks(()), seen.append)

    def answer(ctx: ActorContext, message: Message, envelope: Envelope) -> None:
        if isinstance(message, HasBlocks):

            def told(reply: Message) -> None:
                assert isinstance(reply, TierSizes)
                ctx.reply(envelope, BlockSizes(reply.sizes))

            ctx.request(TierHas(()), told, to="disk")
        else:
            ctx.reply(envelope, TierSizes("disk", ()))

    bench.work(answer)
    assert seen == [BlockSizes(())]
    assert {envelope.trace for _, _, envelope in bench.received} == {bench.received[0][2].id}


def test_figures_are_named_after_the_actor() -> None:
    bench = Bench()
    placement = bench.actor("placement")
    placement.count("things", 2)
    placement.count("things")
    placement.gauge("level", 0.5)
    assert bench.figure("shoal_placement_things_total") == 3
    assert bench.figure("shoal_placement_level") == 0.5
    assert b"shoal_placement_things_total 3.0" in bench.metrics.exposition()


def test_the_policy_is_the_one_in_force() -> None:
    bench = Bench()
    placement = bench.actor("placement")
    bench.router.set_policy(LEECHER)
    assert placement.policy is LEECHER
    assert placement.queued == 0
