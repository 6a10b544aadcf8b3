"""Several requests at a time: replies as they come, nothing left open, and which noes may be asked again."""

from __future__ import annotations

import pytest

from shoal.messages.base import Message
from shoal.messages.blocks import BlocksEnd, BlocksFound, CancelGet, GetBlocks
from shoal.messages.envelope import Envelope
from shoal.messages.errors import Unavailable
from shoal.messages.limits import EDGE_REQUESTS_MAX
from shoal.messages.replies import Done, Failed, Overloaded, Refused
from shoal.runtime.context import ActorContext
from shoal.runtime.inbox import Inbox, lost_with_its_actor
from shoal.tests.support.bitswap import block
from shoal.tests.support.scripted_placement import ScriptedPlacement

A, B = block(1), block(2)


def later(seconds: dict[int, float]) -> ScriptedPlacement:
    """A placement that answers each session's request after so many seconds, first with a block, then with the end."""

    def answer(ctx: ActorContext, message: Message, envelope: Envelope) -> None:
        if isinstance(message, GetBlocks):
            wait_s = seconds[message.session]
            ctx.mailbox.schedule(wait_s, lambda: ctx.reply(envelope, BlocksFound((A,))))
            ctx.mailbox.schedule(wait_s + 1, lambda: ctx.reply(envelope, BlocksEnd()))

    return ScriptedPlacement(answer)


def test_replies_come_in_their_own_order_and_each_says_whose_it_is() -> None:
    place = later({1: 5.0, 2: 1.0})
    inbox = Inbox(place.edge)
    slow = inbox.send(GetBlocks((A.cid,), 1), deadline=100.0)
    quick = inbox.send(GetBlocks((A.cid,), 2), deadline=100.0)
    assert [inbox.next(100.0) for _ in range(4)] == [
        (quick, BlocksFound((A,))),
        (quick, BlocksEnd()),
        (slow, BlocksFound((A,))),
        (slow, BlocksEnd()),
    ]
    assert place.open_requests == 0
    inbox.close()
    assert place.of(CancelGet) == []


def test_nothing_in_time_is_none_and_the_request_stays_open() -> None:
    place = later({1: 5.0})
    inbox = Inbox(place.edge)
    request = inbox.send(GetBlocks((A.cid,), 1), deadline=100.0)
    assert inbox.next(2.0) is None
    assert place.now == pytest.approx(2.0)
    assert inbox.next(100.0) == (request, BlocksFound((A,)))


def test_closing_cancels_what_is_open_and_only_that() -> None:
    place = later({1: 0.0, 2: 50.0})
    inbox = Inbox(place.edge)
    done = inbox.send(GetBlocks((A.cid,), 1), deadline=100.0)
    waiting = inbox.send(GetBlocks((B.cid,), 2), deadline=100.0)
    while inbox.next(1.5) is not None:
        pass
    inbox.close()
    place.wait(lambda: False, 0.1)
    assert place.of(CancelGet) == [CancelGet(waiting)]
    assert done != waiting
    assert place.open_requests == 0
    inbox.close()


def test_a_dying_placement_is_an_answer_not_a_wait() -> None:
    place = later({1: 50.0})
    inbox = Inbox(place.edge)
    request = inbox.send(GetBlocks((A.cid,), 1), deadline=100.0)
    place.wait(lambda: False, 1.0)
    place.die()
    got = inbox.next(1.0)
    assert got is not None
    assert got[0] == request
    assert lost_with_its_actor(got[1])
    assert place.now == pytest.approx(1.0)


def test_a_request_beyond_the_bound_is_refused_and_leaves_nothing() -> None:
    place = later({1: 50.0})
    inbox = Inbox(place.edge)
    for _ in range(EDGE_REQUESTS_MAX.value):
        inbox.send(GetBlocks((A.cid,), 1), deadline=100.0)
    with pytest.raises(Unavailable):
        inbox.send(GetBlocks((A.cid,), 1), deadline=100.0)
    inbox.close()
    assert place.open_requests == 0


def test_a_deadline_that_has_passed_is_a_very_short_one() -> None:
    place = later({1: 50.0})
    inbox = Inbox(place.edge)
    inbox.send(GetBlocks((A.cid,), 1), deadline=-5.0)
    inbox.close()


@pytest.mark.parametrize(
    ("reply", "again"),
    [
        (Overloaded("X", "placement"), True),
        (Failed("X", "Unavailable", "ended"), True),
        (Failed("X", "StorageFull", "full"), False),
        (Refused("X", "a leecher"), False),
        (Done(), False),
    ],
)
def test_which_noes_may_be_asked_again(reply: Message, again: bool) -> None:
    assert lost_with_its_actor(reply) == again
