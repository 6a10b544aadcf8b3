"""Holds are open while they are needed and no longer, whatever becomes of the keeper and of its messages."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.keeper.holds import Holds
from shoal.messages.base import Message
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.errors import DeadlineExceeded, Unavailable
from shoal.messages.keeping import Held, Hold, Release
from shoal.messages.limits import HOLDS_MAX, RELEASES_WAITING_MAX
from shoal.messages.replies import Done, Failed
from shoal.runtime.asking import RESTART_S, RETRY_S
from shoal.runtime.context import ActorContext
from shoal.runtime.edge import Edge
from shoal.runtime.holding import REPEATED_AT_ONCE, Holding
from shoal.tests.support.room import Bench

ROOT = CID.of(b"root")


class Room:
    """The real edge and the real table of holds, with a keeper between them that may be away, silent or deaf."""

    def __init__(self) -> None:
        self.bench = Bench()
        self.edge = Edge(self.bench.router, self.bench.clock, lambda: self)
        self.holds = Holds()
        self.holding = Holding(self.edge)
        self.deaf = False  # takes messages and does not deal with them
        self.later: list[Callable[[], None]] = []  # what is to happen while somebody waits
        self.start()

    def start(self) -> None:
        self.bench.actor("keeper")

    def die(self) -> None:
        self.bench.end("keeper")

    def notify(self) -> None:
        """Nobody sleeps: ``wait`` looks for itself."""

    def wait(self, changed: Callable[[], bool], timeout_s: float) -> bool:
        self.work()
        if changed():
            return True
        self.bench.clock.advance_to(self.bench.clock.now + timeout_s)
        if self.later:
            self.later.pop(0)()
        self.work()
        return changed()

    def work(self) -> None:
        if not self.deaf:
            self.bench.work(self.answer)

    def answer(self, ctx: ActorContext, message: Message, envelope: Envelope) -> None:
        if isinstance(message, Hold):
            try:
                self.holds.add(envelope.id, message.roots, self.bench.clock.now)
                ctx.reply(envelope, Held(envelope.id))
            except Unavailable as fault:
                ctx.reply(envelope, Failed("Hold", "Unavailable", str(fault)))
        else:
            assert isinstance(message, Release)
            self.holds.release(message.hold)
            ctx.reply(envelope, Done())


def test_what_is_stored_is_held_from_before_the_first_block_to_the_end() -> None:
    room = Room()
    with room.holding.storing(ROOT):
        assert [hold.roots for hold in room.holds.open.values()] == [(ROOT,)]
    room.work()
    assert room.holds.open == {}
    room.holding.settle()
    assert room.holding.unconfirmed == 0
    assert room.edge._pending == {}


def test_a_reader_waits_for_nothing_and_its_hold_is_gone_after_it() -> None:
    room = Room()
    room.deaf = True
    with room.holding.reading(ROOT):
        assert room.holds.open == {}
    room.deaf = False
    room.work()
    assert room.holds.open == {}
    with room.holding.reading(ROOT):
        room.work()
        assert [hold.roots for hold in room.holds.open.values()] == [(ROOT,)]
    room.work()
    assert room.holds.open == {}


def test_a_request_that_fails_lets_go() -> None:
    room = Room()
    for manner in (room.holding.storing, room.holding.reading):
        with pytest.raises(ZeroDivisionError), manner(ROOT):
            raise ZeroDivisionError
        room.work()
        assert room.holds.open == {}


def test_a_keeper_that_comes_back_is_asked_again() -> None:
    room = Room()
    room.die()
    room.later = [room.start]
    with room.holding.storing():
        assert len(room.holds.open) == 1


def test_a_keeper_that_stays_away_is_told_to_the_user() -> None:
    room = Room()
    room.die()
    with pytest.raises(Unavailable, match="keeper is not running"), room.holding.storing():
        pytest.fail("nothing may be stored without a hold")
    assert RESTART_S <= room.bench.clock.now <= RESTART_S + 2 * RETRY_S


def test_a_hold_that_is_opened_after_its_request_gave_up_is_released() -> None:
    room = Room()
    room.deaf = True
    with pytest.raises(DeadlineExceeded), room.holding.storing():
        pytest.fail("nothing may be stored without a hold")
    room.deaf = False
    room.work()
    assert room.holds.open == {}


def test_a_release_that_was_lost_with_the_keeper_is_repeated() -> None:
    room = Room()
    with room.holding.storing():
        room.deaf = True
    room.die()  # with the release in its mailbox
    assert len(room.holds.open) == 1
    room.start()
    room.deaf = False
    room.holding.settle()
    room.work()
    assert room.holds.open == {}
    room.holding.settle()
    assert room.holding.unconfirmed == 0


def test_there_are_no_more_holds_than_the_keeper_takes() -> None:
    room = Room()
    for number in range(HOLDS_MAX.value):
        room.holds.add(-number, (), 0.0)
    with pytest.raises(Unavailable, match="hold content already"), room.holding.storing():
        pytest.fail("nothing may be stored without a hold")
    with room.holding.reading(ROOT):
        room.work()  # reads go on all the same


def test_releases_that_nobody_takes_are_bounded_and_so_is_what_one_request_repeats() -> None:
    room = Room()
    room.die()
    heard = room.bench.router.dead_letters
    for _ in range(RELEASES_WAITING_MAX.value + 10):
        with room.holding.reading(ROOT):
            pass
    assert room.holding.unconfirmed == RELEASES_WAITING_MAX.value
    assert room.bench.router.dead_letters - heard <= (RELEASES_WAITING_MAX.value + 10) * (REPEATED_AT_ONCE + 2)
    assert len(room.edge._pending) <= RELEASES_WAITING_MAX.value


@given(st.lists(st.sampled_from(("read", "store", "die", "start", "deaf", "hear", "work")), max_size=40))
def test_nothing_stays_held_once_the_keeper_is_well(steps: list[str]) -> None:
    room = Room()
    alive = True
    for step in steps:
        if step == "read":
            with room.holding.reading(ROOT):
                room.work()
        elif step == "store" and alive and not room.deaf:
            with room.holding.storing():
                assert len(room.holds.open) >= 1
        elif step == "die" and alive:
            room.die()
            alive = False
        elif step == "start" and not alive:
            room.start()
            alive = True
        elif step in ("deaf", "hear"):
            room.deaf = step == "deaf"
        else:
            room.work()
    if not alive:
        room.start()
    room.deaf = False
    for _ in range(len(steps) + 2):
        room.holding.settle()
        room.work()
    assert room.holds.open == {}
    assert room.holding.unconfirmed == 0
    assert room.edge._pending == {}
