"""The mailbox: bounded, never blocking, control first, closed for good (invariants 25 and 26)."""

import threading
from collections import deque

import pykka
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from pykka._envelope import Envelope as PykkaEnvelope
from pykka.messages import _ActorStop

from shoal.messages import limits
from shoal.messages.envelope import Envelope
from shoal.runtime.clock import SystemClock, VirtualClock
from shoal.runtime.mailbox import Lane, Mailbox, Verdict


def envelope(number: int, size: int = 0) -> Envelope:
    return Envelope(number, "FrameTaken", "bitswap", "transport", b"", (memoryview(bytes(size)),))


def test_control_overtakes_and_the_rest_keeps_its_order() -> None:
    box = Mailbox(VirtualClock())
    for number, lane in enumerate([Lane.WORK, Lane.REPLY, Lane.NOTICE, Lane.CONTROL, Lane.WORK, Lane.CONTROL]):
        assert box.offer(envelope(number), lane) is Verdict.QUEUED
    order = []
    while isinstance(item := box.take(), Envelope):
        order.append(item.id)
    assert order == [3, 5, 0, 1, 2, 4]


def test_a_reply_is_taken_when_work_is_full() -> None:
    box = Mailbox(VirtualClock(), work_max=2)
    assert [box.offer(envelope(n), Lane.WORK) for n in range(3)] == [Verdict.QUEUED, Verdict.QUEUED, Verdict.FULL]
    assert box.offer(envelope(3), Lane.REPLY) is Verdict.QUEUED
    assert box.offer(envelope(4), Lane.NOTICE) is Verdict.QUEUED
    assert box.offer(envelope(5), Lane.CONTROL) is Verdict.QUEUED
    assert box.overflows == [1, 0, 0, 0]


def test_bytes_are_bounded_save_for_one_message_that_is_larger_than_the_bound() -> None:
    box = Mailbox(VirtualClock(), work_bytes=100)
    assert box.offer(envelope(1, 500), Lane.WORK) is Verdict.QUEUED
    assert box.offer(envelope(2, 1), Lane.WORK) is Verdict.FULL
    assert box.offer(envelope(3, 1), Lane.REPLY) is Verdict.QUEUED
    box.take()
    box.take()
    assert box.bytes == 0
    assert box.offer(envelope(4, 60), Lane.WORK) is Verdict.QUEUED
    assert box.offer(envelope(5, 41), Lane.WORK) is Verdict.FULL
    assert box.offer(envelope(6, 40), Lane.WORK) is Verdict.QUEUED


@pytest.mark.parametrize(
    ("lane", "limit"),
    [
        (Lane.WORK, limits.MAILBOX_WORK_MAX),
        (Lane.NOTICE, limits.MAILBOX_NOTICES_MAX),
        (Lane.REPLY, limits.MAILBOX_REPLIES_MAX),
        (Lane.CONTROL, limits.MAILBOX_CONTROL_MAX),
    ],
)
def test_every_lane_has_its_bound(lane: Lane, limit: limits.Limit) -> None:
    box = Mailbox(VirtualClock())
    for _ in range(limit.value):
        assert box.offer(envelope(1), lane) is Verdict.QUEUED
    assert box.offer(envelope(2), lane) is Verdict.FULL
    assert len(box) == limit.value
    assert box.overflows[lane] == 1


def test_timers_and_work_take_turns() -> None:
    clock = VirtualClock()
    box = Mailbox(clock)
    fired = []

    def again() -> None:
        fired.append(clock.now)
        box.schedule(0.0, again)

    box.schedule(0.0, again)
    for number in range(5):
        box.offer(envelope(number), Lane.WORK)
    seen = []
    for _ in range(10):
        item = box.take()
        if isinstance(item, Envelope):
            seen.append(item.id)
        else:
            assert callable(item)
            item()
    assert seen == [0, 1, 2, 3, 4]
    assert len(fired) == 5


def test_a_timer_is_taken_only_when_it_is_due() -> None:
    clock = VirtualClock()
    box = Mailbox(clock)
    box.schedule(1.0, lambda: None)
    assert box.take() is None
    assert not box.is_due()
    assert box.next_due_in() == 1.0
    clock.now = 1.0
    assert box.is_due()
    assert callable(box.take())


def test_closing_gives_the_dead_back_and_lets_nothing_more_in() -> None:
    box = Mailbox(VirtualClock())
    future: pykka.ThreadingFuture[None] = pykka.ThreadingFuture()
    box.offer(envelope(1), Lane.WORK)
    box.offer(envelope(2), Lane.CONTROL)
    box.call_soon(lambda: None)
    box.put(PykkaEnvelope("a tell"))
    box.put(PykkaEnvelope("an ask", reply_to=future))
    assert {dead.id for dead in box.close()} == {1, 2}
    with pytest.raises(pykka.ActorDeadError):
        future.get(timeout=0)
    assert box.close() == ()
    assert box.offer(envelope(3), Lane.CONTROL) is Verdict.CLOSED
    assert box.empty()
    assert box.bytes == 0
    late: pykka.ThreadingFuture[None] = pykka.ThreadingFuture()
    box.put(PykkaEnvelope(_ActorStop(), reply_to=late))
    assert late.get(timeout=0) is None


def test_pykkas_own_messages_are_bounded_and_a_stop_overtakes_all() -> None:
    box = Mailbox(VirtualClock(), work_max=2)
    future: pykka.ThreadingFuture[None] = pykka.ThreadingFuture()
    for _ in range(2):
        box.put(PykkaEnvelope("work"))
    box.put(PykkaEnvelope("too much", reply_to=future))
    with pytest.raises(pykka.ActorDeadError, match="full mailbox"):
        future.get(timeout=0)
    box.offer(envelope(1), Lane.CONTROL)
    box.put(PykkaEnvelope(_ActorStop()))
    assert isinstance(box.get().message, _ActorStop)


def test_a_waiting_thread_is_woken_by_an_arrival_and_by_a_timer() -> None:
    box = Mailbox(SystemClock())
    got: list[object] = []
    box.schedule(0.02, lambda: None)

    def owner() -> None:
        got.append(box.get().message)
        got.append(box.get().message)

    thread = threading.Thread(target=owner)
    thread.start()
    while not got:
        thread.join(0.01)
    box.offer(envelope(7), Lane.WORK)
    thread.join(10)
    assert not thread.is_alive()
    assert callable(got[0])
    assert isinstance(got[1], Envelope)


def test_a_waker_rings_once_for_each_arming() -> None:
    box = Mailbox(VirtualClock())
    rings: list[int] = []
    box.attach(lambda: rings.append(1), lambda due: rings.append(int(due)))
    assert box.arm()
    for number in range(5):
        box.offer(envelope(number), Lane.WORK)
    assert rings == [1]
    assert not box.arm()
    while box.take():
        pass
    assert box.arm()
    box.call_soon(lambda: None)
    assert rings == [1, 1]
    box.schedule(9.0, lambda: None)
    assert rings == [1, 1, 9]


def test_many_senders_lose_nothing_and_never_block() -> None:
    box = Mailbox(SystemClock(), work_max=10**6)
    total, senders = 3000, 4
    seen: list[int] = []

    def send(base: int) -> None:
        for number in range(total):
            box.offer(envelope(base + number), Lane.WORK)

    def take() -> None:
        while len(seen) < total * senders:
            item = box.get().message
            assert isinstance(item, Envelope)
            seen.append(item.id)

    threads = [threading.Thread(target=send, args=(10**6 * n,)) for n in range(senders)]
    threads.append(threading.Thread(target=take))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(set(seen)) == total * senders
    for n in range(senders):
        mine = [number for number in seen if number // 10**6 == n]
        assert mine == sorted(mine)


class AgainstAModel(RuleBasedStateMachine):
    """A mailbox beside two plain queues."""

    def __init__(self) -> None:
        super().__init__()
        self.box = Mailbox(VirtualClock(), work_max=3, work_bytes=100)
        self.control: deque[int] = deque()
        self.data: deque[tuple[Lane, int, int]] = deque()
        self.number = 0

    @rule(lane=st.sampled_from(list(Lane)), size=st.integers(0, 120))
    def offer(self, lane: Lane, size: int) -> None:
        self.number += 1
        verdict = self.box.offer(envelope(self.number, size), lane)
        queued = sum(one[1] for one in self.data)
        if self.box.closed:
            assert verdict is Verdict.CLOSED
        elif lane is Lane.CONTROL:
            self.control.append(self.number)
        elif lane is Lane.WORK and (
            sum(one[0] is Lane.WORK for one in self.data) >= 3 or (queued and queued + size > 100)
        ):
            assert verdict is Verdict.FULL
        else:
            assert verdict is Verdict.QUEUED
            self.data.append((lane, size, self.number))

    @rule()
    def take(self) -> None:
        item = self.box.take()
        if self.control:
            assert isinstance(item, Envelope)
            assert item.id == self.control.popleft()
        elif self.data:
            assert isinstance(item, Envelope)
            assert item.id == self.data.popleft()[2]
        else:
            assert item is None

    @rule(really=st.sampled_from([False, False, False, True]))
    def close(self, really: bool) -> None:
        if really:
            dead = [one.id for one in self.box.close()]
            assert dead == [*self.control, *(one[2] for one in self.data)]
            self.control.clear()
            self.data.clear()

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.box) == len(self.control) + len(self.data)
        assert self.box.bytes == sum(one[1] for one in self.data)
        assert sum(one[0] is Lane.WORK for one in self.data) <= 3


TestAgainstAModel = AgainstAModel.TestCase
TestAgainstAModel.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
