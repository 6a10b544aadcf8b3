"""Streams to peers: opened once, backed off, and their frames accounted for."""

import random

from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.bitswap.links import BACK_OFF_MAX_S, FAILURES_MAX, Links


def opened(links: Links, peer: str = "p", stream: int = 1):
    links.connected(peer)
    assert links.may_open(peer, 1e9)
    link = links.opened(peer, stream, "x")
    assert link is not None
    return link


def test_a_stream_is_opened_once():
    links = Links(random.Random(1))
    links.connected("p")
    assert links.may_open("p", 0.0)
    assert not links.may_open("p", 0.0)
    assert links.opened("p", 5, "x") is links.open["p"]
    assert not links.may_open("p", 0.0)
    assert not links.may_open("unknown", 0.0)


def test_news_of_a_stream_that_is_not_ours_is_ignored():
    links = Links(random.Random(1))
    assert links.closed(99, 0.0) is None
    assert links.sent(99, 10) == ("", 0)
    assert links.opened("ghost", 1, "x") is None
    assert not links.not_opened("ghost", 0.0)


def test_after_failures_the_wait_grows_to_its_bound_and_a_written_frame_ends_it():
    links = Links(random.Random(1))
    link = links.connected("p")
    now, waits = 0.0, []
    for attempt in range(12):
        assert links.may_open("p", now)
        assert links.not_opened("p", now) == (attempt + 1 >= FAILURES_MAX)
        waits.append(link.retry_at - now)
        now = link.retry_at
    assert waits[0] < 0.5
    assert waits[-1] > 20
    assert max(waits) <= BACK_OFF_MAX_S * 1.25
    assert links.forgiven(now) == ["p"]
    assert links.may_open("p", now)
    links.opened("p", 1, "x")
    links.queued(link, 10, False)
    links.sent(1, 10)
    assert link.failures == 0


def test_a_disconnect_forgets_the_stream():
    links = Links(random.Random(1))
    opened(links)
    links.disconnected("p")
    assert not links.open
    assert links.closed(1, 0.0) is None


@given(
    st.lists(st.tuples(st.integers(1, 1000), st.booleans()), max_size=30), st.lists(st.integers(1, 5000), max_size=30)
)
def test_credit_is_given_for_whole_frames_in_order_however_it_comes(frames, credits):
    links = Links(random.Random(1))
    link = opened(links)
    for size, ledgers in frames:
        links.queued(link, size, ledgers)
    total = sum(size for size, _ in frames)
    given_back = written = 0
    for credit in credits:
        credit = min(credit, total - written)
        if not credit:
            break
        written += credit
        given_back += links.sent(1, credit)[1]
        passed, whole = 0, 0
        for size, ledgers in frames:
            passed += size
            whole += size if ledgers and passed <= written else 0
        assert given_back == whole
    if written < total:
        given_back += links.sent(1, total - written)[1]
    assert given_back == sum(size for size, ledgers in frames if ledgers)
    assert link.want_frames == 0
    assert not link.frames
