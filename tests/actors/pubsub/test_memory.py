"""What the router remembers: ids seen and the floors under them, messages kept for a few heartbeats, token buckets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.discovery.pubsub.bucket import Bucket
from shoal.actors.discovery.pubsub.cache import GIVEN_MAX, GOSSIP_WINDOWS, WINDOWS, MessageCache
from shoal.actors.discovery.pubsub.seen import SEEN_S, Seen


@given(
    st.lists(
        st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.integers(0, 6), st.sampled_from([0.0, 1.0, 70.0])),
        max_size=60,
    ),
    st.integers(1, 4),
)
def test_nothing_is_taken_twice_however_little_is_remembered(steps: list[tuple[bytes, int, float]], most: int) -> None:
    seen = Seen(most=most, authors=3)
    now = 0.0
    taken: list[tuple[bytes, int]] = []
    for author, seqno, seconds in steps:
        now += seconds
        seen.expire(now)
        identifier = author + bytes([seqno])
        if identifier not in seen and not seen.is_replay(author, seqno):
            assert seen.add(identifier, author, seqno, now)
            taken.append((author, seqno))
        assert len(seen) <= most
    assert len(set(taken)) == len(taken)


def test_ids_are_remembered_for_two_minutes_and_authors_up_to_a_bound() -> None:
    seen = Seen(authors=2)
    for number, author in enumerate((b"a", b"b", b"c")):
        assert seen.add(author, author, 10 + number, float(number))
        assert not seen.add(author, author, 10 + number, float(number))
    seen.expire(SEEN_S - 0.1)
    assert len(seen) == 3
    assert not seen.is_replay(b"a", 10)
    seen.expire(SEEN_S + 2.0)
    assert len(seen) == 0
    assert seen.is_replay(b"c", 12)
    assert seen.is_replay(b"c", 3)
    assert not seen.is_replay(b"c", 13)
    assert not seen.is_replay(b"a", 10), "the longest silent author is forgotten"


def test_a_message_is_told_of_for_three_heartbeats_and_kept_for_five() -> None:
    cache = MessageCache()
    assert cache.put(b"id", "t", b"raw")
    assert not cache.put(b"id", "t", b"raw")
    for beat in range(WINDOWS + 1):
        assert (cache.ids() == {"t": [b"id"]}) == (beat < GOSSIP_WINDOWS)
        assert (cache.give(b"id", f"peer {beat}") == b"raw") == (beat < WINDOWS)
        cache.shift()
    assert len(cache) == cache.bytes == 0


def test_a_peer_is_given_a_message_three_times() -> None:
    cache = MessageCache()
    cache.put(b"id", "t", b"raw")
    assert [cache.give(b"id", "p") for _ in range(GIVEN_MAX + 2)] == [b"raw"] * GIVEN_MAX + [None] * 2
    assert cache.give(b"id", "q") == b"raw"
    assert cache.give(b"other", "q") is None


@given(st.lists(st.one_of(st.integers(0, 3000), st.none()), max_size=40))
def test_the_cache_is_bounded_in_messages_and_bytes(steps: list[int | None]) -> None:
    cache = MessageCache(messages=5, size=6000)
    for number, size in enumerate(steps):
        if size is None:
            cache.shift()
        else:
            cache.put(b"%d" % number, "t", bytes(size))
        assert len(cache) <= 5
        assert cache.bytes <= 6000
        assert sum(map(len, cache.ids().values())) <= len(cache)
    for _ in range(WINDOWS + 1):
        cache.shift()
    assert cache.bytes == 0


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 4)), max_size=60))
def test_a_bucket_gives_a_burst_and_then_its_rate(steps: list[tuple[float, int]]) -> None:
    bucket = Bucket(burst=10, rate=2, now=0.0)
    now = taken = 0.0
    for seconds, count in steps:
        now += seconds
        taken += count * bucket.take(count, now)
        assert taken <= 10 + 2 * now + 1e-6


def test_a_clock_that_goes_back_fills_no_bucket() -> None:
    bucket = Bucket(burst=1, rate=1, now=100.0)
    assert bucket.take(1, 100.0)
    assert not bucket.take(1, 0.0)
    assert not bucket.take(1, 0.5)
    assert bucket.take(1, 1.5)
