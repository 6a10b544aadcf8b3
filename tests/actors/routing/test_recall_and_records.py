"""What is remembered of searches, and how the record of each source sets its turn."""

from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.routing.recall import EACH_MAX, KEPT_S, NOBODY_S, Recall
from shoal.actors.routing.records import (
    FIRSTS_KEPT,
    HEAD_START_MAX_S,
    HEAD_START_MIN_S,
    HEAD_START_S,
    Records,
    SourceRecord,
)
from shoal.messages.limits import NOBODY_KEPT_MAX, PROVIDERS_KEPT_MAX
from shoal.messages.routing import DELEGATED, DHT, PUBSUB, SourceReport
from shoal.tests.support.bitswap import block

CID = block(1).cid


def note(record: SourceRecord, first_s: float | None, *, whole: bool = True) -> None:
    found = first_s is not None
    record.note(SourceReport("x", 0.0, 9.0, int(found), -1.0 if first_s is None else first_s), whole=whole)


# --- recall ----------------------------------------------------------------------------------------------


def test_who_had_it_is_remembered_for_a_while_the_latest_first() -> None:
    recall = Recall()
    recall.note(CID, ["a"], 100.0)
    recall.note(CID, ["b"], 200.0)
    assert recall.who_had(CID, 300.0) == [("b", 200.0), ("a", 100.0)]
    assert recall.who_had(CID, 100.0 + KEPT_S) == [("b", 200.0)]
    assert recall.who_had(CID, 200.0 + KEPT_S) == []
    assert recall.who_had(block(2).cid, 200.0) == []


def test_that_nobody_has_it_is_remembered_briefly_and_not_beyond_the_next_provider() -> None:
    recall = Recall()
    recall.note_nobody(CID, 100.0)
    assert recall.nobody_since(CID, 103.0) == 3.0
    assert recall.nobody_since(CID, 100.0 + NOBODY_S) is None
    recall.note_nobody(CID, 200.0)
    recall.note(CID, ["a"], 201.0)
    assert recall.nobody_since(CID, 202.0) is None


def test_a_clock_that_goes_back_makes_it_forget() -> None:
    recall = Recall()
    recall.note_nobody(CID, 100.0)
    recall.note(block(2).cid, ["a"], 100.0)
    assert recall.nobody_since(CID, 50.0) is None
    assert recall.who_had(block(2).cid, 50.0) == []


def test_nothing_grows_without_bound() -> None:
    recall = Recall()
    for number in range(max(PROVIDERS_KEPT_MAX.value, NOBODY_KEPT_MAX.value) + 50):
        recall.note_nobody(block(number).cid, 1.0)
        recall.note(block(number + 100_000).cid, [f"p{n}" for n in range(20)], 1.0)
    assert len(recall._had) == PROVIDERS_KEPT_MAX.value
    assert len(recall._nobody) == NOBODY_KEPT_MAX.value
    assert all(len(kept) == EACH_MAX for kept in recall._had.values())


# --- records ---------------------------------------------------------------------------------------------


def test_what_costs_nothing_is_asked_at_once_and_the_dht_a_little_later() -> None:
    assert Records().plan([DHT, DELEGATED, PUBSUB]) == [(PUBSUB, 0.0), (DELEGATED, 0.0), (DHT, HEAD_START_S)]


def test_the_dht_alone_waits_for_nobody() -> None:
    assert Records().plan([DHT]) == [(DHT, 0.0)]


def test_nobody_waits_for_a_source_that_never_knows_or_is_not_there() -> None:
    records = Records()
    for _ in range(15):
        note(records.of(PUBSUB), None)
    assert records.plan([DHT, PUBSUB])[-1] == (DHT, 0.0)
    note(records.of(PUBSUB), 0.001)
    assert records.plan([DHT, PUBSUB])[-1] == (DHT, HEAD_START_MIN_S)
    records.of(PUBSUB).running = False
    assert records.plan([DHT, PUBSUB])[-1] == (DHT, 0.0)


def test_a_source_that_is_stopped_early_has_not_failed_to_know() -> None:
    records = Records()
    for _ in range(100):
        note(records.of(DELEGATED), None, whole=False)
    assert records.plan([DHT, DELEGATED])[-1] == (DHT, HEAD_START_S)


@given(st.lists(st.floats(0, 60), min_size=1, max_size=40))
def test_the_head_start_is_what_the_cheaper_source_takes_within_bounds(firsts: list[float]) -> None:
    records = Records()
    for first in firsts:
        note(records.of(PUBSUB), first)
    wait = records.plan([DHT, PUBSUB])[-1][1]
    assert HEAD_START_MIN_S <= wait <= HEAD_START_MAX_S
    assert records.plan([PUBSUB, DHT])[0] == (PUBSUB, 0.0)


def test_percentiles_are_of_the_latest_searches() -> None:
    record = SourceRecord()
    assert record.percentile(0.5) == 0.0
    for _ in range(50):
        note(record, 100.0)
    for number in range(FIRSTS_KEPT):
        note(record, number / FIRSTS_KEPT)
    assert 0.49 <= record.percentile(0.5) <= 0.51
    assert 0.94 <= record.percentile(0.95) <= 0.96
    assert record.searches == record.answered == 50 + FIRSTS_KEPT
