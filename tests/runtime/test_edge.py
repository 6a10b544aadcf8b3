"""The edge: answers, errors, streams, bounds, and that waiting always ends."""

import math
import threading
from collections.abc import Callable, Iterator

import pytest

from shoal.messages import errors, limits
from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.blocks import BlocksEnd, BlocksFound, CancelGet, GetBlocks, RepoStat, RepoStats
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.errors import BadInput, DeadlineExceeded, LocalError, RefusedByRole, StorageFull, Unavailable
from shoal.messages.policy import Policy
from shoal.messages.replies import Done, Failed, Overloaded, Refused
from shoal.runtime import asking
from shoal.runtime.clock import SystemClock
from shoal.runtime.context import ActorContext
from shoal.runtime.edge import Edge, ThreadSignal, error_of
from shoal.tests.support.room import Bench


class Served:
    """An edge, and a thread that plays placement."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.bench = Bench(policy) if policy else Bench()
        self.clock = SystemClock()
        self.edge = Edge(self.bench.router, self.clock, ThreadSignal)
        self.placement = self.bench.actor("placement", work_max=100)
        self.answer: Callable[[ActorContext, Message, Envelope], None] = lambda ctx, _m, envelope: ctx.reply(
            envelope, RepoStats(())
        )
        self.told: list[Message] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            item = self.placement.mailbox.get().message
            if not isinstance(item, Envelope):
                item()
                return
            self.placement.handle(item, self._receive)

    def _receive(self, message: Message, envelope: Envelope) -> None:
        self.told.append(message)
        self.answer(self.placement, message, envelope)

    def stop(self) -> None:
        self.placement.mailbox.call_soon(lambda: None)
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def served() -> Iterator[Served]:
    one = Served()
    yield one
    one.stop()


def replying(*messages: Message) -> Callable[[ActorContext, Message, Envelope], None]:
    def answer(ctx: ActorContext, _: Message, envelope: Envelope) -> None:
        for message in messages:
            ctx.reply(envelope, message)

    return answer


def test_an_answer(served: Served) -> None:
    assert served.edge.ask(RepoStat(), 5.0) == RepoStats(())
    assert served.edge.ask_for(RepoStats, RepoStat(), 5.0) == RepoStats(())
    assert not served.edge._pending


@pytest.mark.parametrize(
    ("reply", "kind", "text"),
    [
        (Failed("RepoStat", "StorageFull", "no room"), StorageFull, "no room"),
        (Failed("RepoStat", "BadInput", "what?"), BadInput, "what"),
        (Failed("RepoStat", "NoSuchError", "hm"), LocalError, "hm"),
        (Refused("RepoStat", "a leecher does not"), RefusedByRole, "a leecher does not"),
        (Overloaded("RepoStat", "placement"), Unavailable, "too much to do"),
    ],
)
def test_a_no_is_raised(served: Served, reply: Message, kind: type[LocalError], text: str) -> None:
    served.answer = replying(reply)
    with pytest.raises(LocalError, match=text) as caught:
        served.edge.ask(RepoStat(), 5.0)
    assert type(caught.value) is kind
    assert not served.edge._pending


@pytest.mark.parametrize(
    ("reply", "tries"),
    [(Refused("RepoStat", "a leecher does not"), 1), (Failed("RepoStat", "Unavailable", "ended"), 2)],
)
def test_what_may_be_mended_is_asked_again_and_what_a_role_refuses_is_not(
    served: Served, reply: Message, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Message] = []

    def answer(ctx: ActorContext, message: Message, envelope: Envelope) -> None:
        asked.append(message)
        ctx.reply(envelope, reply)

    served.answer = answer
    monkeypatch.setattr(asking, "RESTART_S", 0.01)
    with pytest.raises(Unavailable):
        asking.ask_patiently(served.edge, RepoStats, RepoStat())
    assert len(asked) == tries


def test_another_kind_of_answer_is_not_taken_for_it(served: Served) -> None:
    served.answer = replying(Done())
    with pytest.raises(Unavailable, match="was answered by Done"):
        served.edge.ask_for(RepoStats, RepoStat(), 5.0)


def test_every_local_error_has_its_class() -> None:
    kinds = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, LocalError)]
    for kind in kinds:
        assert type(error_of(Failed("X", kind.__name__, "text"))) is kind


def test_no_answer_ends_in_deadline_exceeded(served: Served) -> None:
    served.answer = lambda *_: None
    with pytest.raises(DeadlineExceeded, match="placement did not answer RepoStat"):
        served.edge.ask(RepoStat(), 0.05)
    assert not served.edge._pending


def test_an_actor_that_fails_at_the_deadline_is_heard_in_the_grace(served: Served) -> None:
    def late(ctx: ActorContext, _: Message, envelope: Envelope) -> None:
        wait_s = envelope.deadline - served.clock.monotonic()
        threading.Event().wait(wait_s + 0.01)
        ctx.reply(envelope, Failed("RepoStat", "DeadlineExceeded", "asked 3 peers"))

    served.answer = late
    with pytest.raises(DeadlineExceeded, match="asked 3 peers"):
        served.edge.ask(RepoStat(), 0.05)


def test_a_receiver_that_is_not_there_or_dies_is_unavailable(served: Served) -> None:
    with pytest.raises(Unavailable, match="placement is not running"):
        Edge(Bench().router, served.clock, ThreadSignal).ask(RepoStat(), 5.0)
    served.answer = lambda *_: None
    threading.Timer(0.05, lambda: served.bench.router.unbind("placement", served.placement)).start()
    with pytest.raises(Unavailable, match="placement ended before it answered"):
        served.edge.ask(RepoStat(), 10.0)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, math.nan])
def test_a_timeout_must_be_one(served: Served, timeout_s: float) -> None:
    with pytest.raises(BadInput):
        served.edge.ask(RepoStat(), timeout_s)


@pytest.mark.parametrize("priority", [0, 6, -1])
def test_a_priority_must_be_one(served: Served, priority: int) -> None:
    with pytest.raises(BadInput):
        served.edge.ask(RepoStat(), 1.0, priority=priority)


def test_an_endless_timeout_is_allowed(served: Served) -> None:
    assert served.edge.ask(RepoStat(), math.inf) == RepoStats(())


DATA = b"block"
FOUND = BlocksFound((Block(CID.of(DATA), DATA),))


def test_a_stream_gives_partial_replies_then_the_end_then_none(served: Served) -> None:
    served.answer = replying(FOUND, FOUND, BlocksEnd())
    with served.edge.stream(GetBlocks((CID.of(DATA),)), 5.0) as replies:
        assert [replies.next(), replies.next(), replies.next()] == [FOUND, FOUND, BlocksEnd()]
        assert replies.done
        assert replies.next() is None
    assert not served.edge._pending
    assert served.told == [GetBlocks((CID.of(DATA),))]


def test_leaving_a_stream_early_cancels_it(served: Served) -> None:
    served.answer = lambda ctx, message, envelope: (
        ctx.reply(envelope, FOUND) if isinstance(message, GetBlocks) else None
    )
    with served.edge.stream(GetBlocks((CID.of(DATA),)), 5.0) as replies:
        assert replies.next() == FOUND
        number = replies.id
    served.answer = replying(RepoStats(()))
    served.edge.ask(RepoStat(), 5.0)
    assert CancelGet(number) in served.told
    assert not served.edge._pending


def test_waiting_for_the_next_reply_has_a_timeout_of_its_own(served: Served) -> None:
    served.answer = lambda *_: None
    replies = served.edge.stream(GetBlocks(()), 60.0)
    with pytest.raises(DeadlineExceeded):
        replies.next(0.02)
    assert replies.done
    assert replies.next() is None


def test_one_signal_may_serve_several_streams(served: Served) -> None:
    signal = served.edge.make_signal()
    streams = [served.edge.stream(RepoStat(), 5.0, signal=signal) for _ in range(3)]
    taken = 0
    while taken < 3:
        assert signal.wait(lambda: any(one.waiting for one in streams), 5.0)
        for one in streams:
            if one.waiting:
                assert one.take() == RepoStats(())
                taken += 1
    assert all(one.done for one in streams)
    served.answer = replying(Failed("RepoStat", "StorageFull", "x"))
    one = served.edge.stream(RepoStat(), 5.0, signal=signal)
    assert signal.wait(lambda: one.waiting, 5.0)
    assert isinstance(one.take(), Failed)


def test_a_reader_that_is_too_slow_loses_the_stream_and_no_more(served: Served) -> None:
    bound = limits.EDGE_STREAM_MESSAGES.value
    served.answer = replying(*[BlocksFound(())] * (bound + 50), BlocksEnd())
    replies = served.edge.stream(GetBlocks(()), 5.0)
    pending = replies._pending
    assert pending.signal.wait(lambda: pending.ended, 5.0)
    assert len(pending.queue) == bound + 1
    for _ in range(bound):
        replies.next()
    with pytest.raises(Unavailable, match="not taken in time"):
        replies.next()
    served.answer = replying(RepoStats(()))
    assert served.edge.ask(RepoStat(), 5.0) == RepoStats(())
    assert any(isinstance(message, CancelGet) for message in served.told)


def test_bytes_of_a_stream_are_bounded(served: Served) -> None:
    data = bytes(1 << 20)
    big = BlocksFound((Block(CID.of(data), data),))
    served.answer = replying(*[big] * ((limits.EDGE_STREAM_BYTES.value >> 20) + 4), BlocksEnd())
    replies = served.edge.stream(GetBlocks(()), 5.0)
    pending = replies._pending
    assert pending.signal.wait(lambda: pending.ended, 5.0)
    assert pending.bytes <= limits.EDGE_STREAM_BYTES.value
    replies.close()


def test_open_requests_are_bounded(served: Served) -> None:
    served.answer = lambda *_: None
    served.bench.actor("placement", work_max=10**5)
    streams = [served.edge.stream(RepoStat(), 60.0) for _ in range(limits.EDGE_REQUESTS_MAX.value)]
    with pytest.raises(Unavailable, match="requests are open"):
        served.edge.stream(RepoStat(), 60.0)
    streams[0].close()
    served.edge.stream(RepoStat(), 60.0).close()
    for one in streams:
        one.close()


def test_an_overloaded_actor_is_unavailable() -> None:
    bench = Bench()
    edge = Edge(bench.router, SystemClock(), ThreadSignal)
    bench.actor("placement", work_max=0)
    with pytest.raises(Unavailable, match="too much to do"):
        edge.ask(RepoStat(), 5.0)


def test_closing_ends_what_is_open_and_takes_no_more(served: Served) -> None:
    served.answer = lambda *_: None
    replies = served.edge.stream(RepoStat(), 60.0)
    served.edge.close()
    with pytest.raises(Unavailable, match="has stopped"):
        replies.next()
    with pytest.raises(Unavailable, match="has stopped"):
        served.edge.ask(RepoStat(), 1.0)


def test_many_threads_ask_at_once(served: Served) -> None:
    answers: list[Message] = []

    def ask() -> None:
        for _ in range(50):
            answers.append(served.edge.ask(RepoStat(), 30.0))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 400
    assert not served.edge._pending
