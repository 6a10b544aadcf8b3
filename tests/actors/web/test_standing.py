"""Who is asked first, who is left alone and for how long."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.web.standing import JITTER, LIE_S, REST_MAX_S, REST_MIN_S, Servers

NOW = 1000.0


def servers(*urls: str, open_max: int = 2) -> Servers:
    return Servers(urls or ("a", "b"), random.Random(1), open_max)


def urls_of(rows: Servers, now: float = NOW) -> list[str]:
    return [row.url for row in rows.ready(now)]


def test_the_quick_and_the_successful_come_first() -> None:
    rows = servers("slow", "empty", "good")
    slow, empty, good = rows.rows
    for row, seconds, found in ((slow, 3.0, True), (empty, 0.1, False), (good, 0.1, True)):
        for _ in range(10):
            rows.asked(row)
            rows.answered(row, seconds, found)
    assert urls_of(rows)[0] == "good"
    rows.asked(good)
    rows.asked(good)
    assert "good" not in urls_of(rows), "it has all the requests that it gets at a time"
    assert good in rows.awake(NOW)


def test_who_fails_rests_longer_each_time_and_is_forgiven_when_it_answers() -> None:
    rows = servers("a")
    (row,) = rows.rows
    now, rests = NOW, []
    for _ in range(12):
        rows.asked(row)
        rows.failed(row, now, "gone")
        rests.append(row.rest_until - now)
        assert urls_of(rows, now) == []
        assert "gone" in rows.explain(now)
        assert rows.wake_in(now) == row.rest_until - now
        now = row.rest_until
        assert urls_of(rows, now) == ["a"]
    assert REST_MIN_S <= rests[0] <= REST_MIN_S * (1 + JITTER)
    assert all(REST_MAX_S <= rest <= REST_MAX_S * (1 + JITTER) for rest in rests[-2:])
    rows.asked(row)
    rows.answered(row, 0.1, True)
    rows.asked(row)
    rows.failed(row, now, "gone")
    assert row.rest_until - now <= REST_MIN_S * (1 + JITTER)


def test_requests_that_fail_together_are_one_failure() -> None:
    rows = servers("a", open_max=8)
    (row,) = rows.rows
    for _ in range(8):
        rows.asked(row)
    for _ in range(8):
        rows.failed(row, NOW, "gone")
    assert row.rest_until - NOW <= REST_MIN_S * (1 + JITTER)
    assert row.open == 0


def test_a_server_says_itself_how_long_and_a_lie_costs_more() -> None:
    rows = servers("a", "b")
    asked, liar = rows.rows
    rows.asked(asked)
    rows.failed(asked, NOW, "429", 90.0)
    assert 90.0 <= asked.rest_until - NOW <= 90.0 * (1 + JITTER)
    rows.asked(liar)
    rows.lied(liar, NOW, "lied")
    assert liar.rest_until - NOW >= LIE_S


def test_a_clock_that_goes_back_makes_no_rest_longer() -> None:
    rows = servers("a")
    rows.asked(rows.rows[0])
    rows.failed(rows.rows[0], NOW, "gone")
    assert urls_of(rows, NOW - 500.0) == ["a"]


events = st.sampled_from(["answer", "miss", "fail", "lie", "drop", "pass"])


@given(st.lists(st.tuples(events, st.floats(0, 1000))), st.integers(1, 3))
def test_whatever_happens_counts_stay_right(steps: list[tuple[str, float]], open_max: int) -> None:
    rows = servers("a", "b", open_max=open_max)
    now = NOW
    for event, number in steps:
        ready = rows.ready(now)
        assert all(row.open < open_max and not row.resting(now) for row in ready)
        if event == "pass" or not ready:
            now += number
            continue
        row = ready[0]
        rows.asked(row)
        if event == "fail":
            rows.failed(row, now, "x", number)
        elif event == "lie":
            rows.lied(row, now, "x")
        elif event == "drop":
            rows.dropped(row)
        else:
            rows.answered(row, number, event == "answer")
        assert row.open == 0
        assert 0.0 <= row.success <= 1.0
        assert row.seconds >= 0.0
        wake = rows.wake_in(now)
        assert wake is None or wake > 0
