"""Who is told what and when: a whole filter once, news seldom, within a budget, and nothing lost on the way."""

import random
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.actors.adverts import wire
from shoal.actors.adverts.hearing import Hearing
from shoal.actors.adverts.holding import Holding
from shoal.actors.adverts.telling import (
    ALIVE_EVERY_S,
    BACK_OFF_MAX_S,
    NEWS_EVERY_S,
    NEWS_PER_S,
    NEWS_SOON_S,
    WHOLE_EVERY_S,
    Row,
    Telling,
)
from shoal.messages.bloom import Bloom
from shoal.messages.limits import FILTER_SENT_PER_PEER, FILTER_TAKEN_PER_PEER

NAMES = [b"\x12\x20" + random.Random(n).randbytes(32) for n in range(3000)]


class Hand:
    """A table of one peer, driven by hand."""

    def __init__(self, names: int = 100) -> None:
        self.now = 1000.0
        self.holding = Holding(b"0123456789abcdef")
        self.relist(NAMES[:names], 1)
        self.telling = Telling(random.Random(1))
        self.telling.speaks("peer", self.now)

    def relist(self, names: list[bytes], generation: int) -> None:
        draft = self.holding.begin_listing()
        self.holding.page(names)
        draft.size()
        while not draft.work():
            pass
        self.holding.listed(generation, self.now)

    @property
    def row(self) -> Row:
        return self.telling.rows["peer"]

    def open(self) -> None:
        due = self.telling.due(self.row, self.holding, self.now)
        assert due.open
        assert self.telling.opened("peer", 5, self.now)

    def frame(self) -> bytes:
        """What is sent now, written at once; empty: nothing."""
        frame = self.telling.due(self.row, self.holding, self.now).frame
        self.telling.written(self.row.stream, len(frame))
        return frame

    def wait(self, seconds: float, step: float = 0.25) -> list[bytes]:
        sent = []
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + step)
            frame = self.frame()
            if frame:
                sent.append(frame)
        return sent


def test_a_stream_is_opened_and_the_whole_filter_sent_once() -> None:
    hand = Hand()
    hand.open()
    said = wire.decode(hand.frame())
    assert isinstance(said, wire.Whole)
    assert all(name in Bloom.parse(said.filter) for name in NAMES[:100])
    assert hand.wait(30) == []


def test_without_a_filter_no_stream_is_opened() -> None:
    hand = Hand()
    hand.holding.forget()
    due = hand.telling.due(hand.row, hand.holding, hand.now)
    assert not due.open
    assert not due.frame


def test_a_first_change_is_news_at_once_and_further_ones_wait() -> None:
    hand = Hand()
    hand.open()
    hand.frame()
    hand.now += 2 * NEWS_EVERY_S
    hand.holding.add(NAMES[200])
    assert isinstance(wire.decode(hand.frame()), wire.News)
    for name in NAMES[201:230]:
        hand.holding.add(name)
    assert not hand.frame()
    (frame,) = hand.wait(NEWS_SOON_S + 0.1, 0.05)
    said = wire.decode(frame)
    assert isinstance(said, wire.News)
    assert 27 <= len(said.marks) <= 29


def test_the_longer_changes_go_on_the_seldomer_they_are_told_until_there_is_a_rest() -> None:
    hand = Hand(1000)
    hand.open()
    hand.frame()
    hand.now += 2 * NEWS_EVERY_S
    at = []
    for name in NAMES[1000:2000]:
        hand.now += 0.02
        hand.holding.add(name)
        if hand.frame():
            at.append(hand.now)
    gaps = [later - earlier for earlier, later in pairwise(at)]
    assert gaps[0] < 2 * NEWS_SOON_S
    assert all(later > earlier - 0.05 for earlier, later in pairwise(gaps))
    assert NEWS_EVERY_S <= gaps[-1] < NEWS_EVERY_S + 0.1
    hand.wait(3 * NEWS_EVERY_S)
    hand.holding.add(NAMES[2500])
    assert hand.frame()


def test_that_nothing_has_changed_is_said_now_and_then() -> None:
    hand = Hand()
    hand.open()
    hand.frame()
    sent = hand.wait(5 * ALIVE_EVERY_S + 1)
    assert len(sent) == 5
    assert {len(frame) for frame in sent} == {wire.HEAD.size}


def test_another_filter_is_sent_whole_but_not_twice_in_a_minute() -> None:
    hand = Hand()
    hand.open()
    hand.frame()
    hand.relist(NAMES[500:700], 2)
    assert not hand.frame()
    sent = hand.wait(WHOLE_EVERY_S + 1)
    assert [type(wire.decode(frame)) for frame in sent] == [wire.Whole]


def test_a_peer_that_is_far_behind_gets_the_whole() -> None:
    hand = Hand()
    hand.open()
    hand.frame()
    hand.now += WHOLE_EVERY_S
    for name in NAMES[200:600]:
        hand.holding.add(name)
    assert isinstance(wire.decode(hand.frame()), wire.Whole)
    assert hand.wait(10) == []


def test_that_there_is_none_any_more_is_said_once() -> None:
    hand = Hand()
    hand.open()
    hand.frame()
    hand.holding.forget()
    assert wire.decode(hand.frame()) == wire.Nothing()
    assert hand.wait(200) == []
    hand.relist(NAMES[:50], 3)
    assert [type(wire.decode(frame)) for frame in hand.wait(1)] == [wire.Whole], "it was long ago that one was sent"


def test_a_stream_that_cannot_be_opened_is_tried_ever_less_often() -> None:
    hand = Hand()
    tries = []
    while len(tries) < 12:
        due = hand.telling.due(hand.row, hand.holding, hand.now)
        if due.open:
            tries.append(hand.now)
            hand.telling.not_opened("peer", hand.now)
        else:
            assert due.wait_s <= 1.25 * BACK_OFF_MAX_S
            hand.now += due.wait_s
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    assert gaps[0] < 10
    assert 0.75 * BACK_OFF_MAX_S <= gaps[-1] <= 1.25 * BACK_OFF_MAX_S


def test_after_a_stream_breaks_the_peer_gets_all_again_in_time() -> None:
    hand = Hand()
    hand.open()
    hand.frame()
    hand.telling.closed(5, hand.now)
    assert not hand.telling.due(hand.row, hand.holding, hand.now).open
    hand.now += 2 * WHOLE_EVERY_S
    hand.open()
    assert isinstance(wire.decode(hand.frame()), wire.Whole)


def test_nothing_is_said_while_the_last_frame_is_not_written() -> None:
    hand = Hand()
    hand.open()
    assert hand.telling.due(hand.row, hand.holding, hand.now).frame
    hand.now += 1000
    hand.holding.add(NAMES[300])
    assert hand.telling.due(hand.row, hand.holding, hand.now).frame == b""
    hand.telling.written(5, 10**6)
    assert hand.telling.due(hand.row, hand.holding, hand.now).frame


def test_many_peers_are_told_less_often_each() -> None:
    hand = Hand()
    for number in range(400):
        peer = f"p{number}"
        hand.telling.speaks(peer, hand.now)
        hand.telling.rows[peer].opening = True
        hand.telling.opened(peer, 100 + number, hand.now)
    assert hand.telling.period == 400 / NEWS_PER_S


def test_a_peer_that_leaves_while_its_stream_is_opened_gets_none() -> None:
    hand = Hand()
    assert hand.telling.due(hand.row, hand.holding, hand.now).open
    hand.telling.gone("peer")
    assert not hand.telling.opened("peer", 5, hand.now)
    hand.telling.closed(5, hand.now)
    hand.telling.written(5, 10)


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_who_hears_everything_knows_everything(data: st.DataObject) -> None:
    """Our table against a peer's, over streams that break: in the end the peer's copy is our filter.

    On the way nobody is sent more than the budget, and an honest sender is never taken for a flood.
    """
    hand, heard = Hand(10), Hearing()
    stream, sent, began = 0, 0, hand.now
    held, generation = 10, 1
    for _ in range(data.draw(st.integers(1, 60))):
        step = data.draw(st.sampled_from(["add", "many", "wait", "break", "relist", "forget"]))
        if step in ("add", "many"):
            count = 1 if step == "add" else 200
            for name in NAMES[held : held + count]:
                hand.holding.add(name)
            held = min(held + count, len(NAMES))
        elif step == "break":
            hand.telling.closed(stream, hand.now)
        elif step == "relist":
            hand.relist(NAMES[:held], generation := generation + 1)
        elif step == "forget":
            hand.holding.forget()
        stream, sent = exchange(hand, heard, stream, sent, 3.0)
        assert sent <= FILTER_SENT_PER_PEER.value * (1 + (hand.now - began) / 60.0)
    hand.relist(NAMES[:held], generation + 1)
    exchange(hand, heard, stream, sent, 700.0)
    told = heard.tell("peer", hand.now)
    names = hand.holding.names
    assert names is not None
    copy = Bloom.parse(told.bits.data)
    assert names.filter.lost(copy) == copy.lost(names.filter) == 0
    assert told.complete == names.complete
    assert told.count == len(names.marks)


def exchange(hand: Hand, heard: Hearing, stream: int, sent: int, seconds: float) -> tuple[int, int]:
    end = hand.now + seconds
    while hand.now < end:
        hand.now += 0.5
        due = hand.telling.due(hand.row, hand.holding, hand.now)
        if due.open:
            stream += 1
            hand.telling.opened("peer", stream, hand.now)
        elif due.frame:
            sent += len(due.frame)
            hand.telling.written(stream, len(due.frame))
            heard.take("peer", due.frame, hand.now)
    return stream, sent


def test_what_may_be_sent_is_less_than_what_is_taken() -> None:
    assert 2 * FILTER_SENT_PER_PEER.value <= FILTER_TAKEN_PER_PEER.value
