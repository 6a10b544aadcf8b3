"""When a CID is told: never so late that others have forgotten it, in the order of keys, and not twice in a row."""

import hashlib
import itertools

from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.announce import schedule
from shoal.messages.announcing import OVER_DHT, OVER_PUBSUB, WAYS
from shoal.messages.cid import CID, DAG_PB

cids = st.binary(max_size=8).map(CID.of)
ways = st.sampled_from(WAYS)
times = st.floats(0, 4e9)
phases = st.floats(0, 1, exclude_max=True)
MEMORY_S = {OVER_DHT: schedule.DHT_EXPIRES_S, OVER_PUBSUB: schedule.PUBSUB_TTL_S}


def test_the_position_is_the_dhts_order_of_keys() -> None:
    made = [CID.of(bytes([number])) for number in range(200)]
    keys = {cid: hashlib.sha256(cid.multihash).digest() for cid in made}
    assert sorted(made, key=schedule.position) == sorted(made, key=keys.__getitem__)
    assert all(0 <= schedule.position(cid) < 1 for cid in made)
    assert schedule.position(CID.of(b"", DAG_PB, 0)) == schedule.position(CID.of(b""))


@given(cids, ways, times, phases)
def test_it_is_told_again_before_others_forget_it_and_not_at_once(cid: CID, way: str, now: float, phase: float) -> None:
    due = schedule.again(cid, way, now, phase)
    every = schedule.EVERY_S[way]
    assert now + schedule.TOO_SOON * every <= due <= now + (1 + schedule.TOO_SOON) * every
    assert due + schedule.TOGETHER_S[way] < now + MEMORY_S[way]
    assert due <= now + schedule.HORIZON_S


@given(cids, ways, times, phases)
def test_once_in_its_place_it_stays_there(cid: CID, way: str, now: float, phase: float) -> None:
    every = schedule.EVERY_S[way]
    first = schedule.again(cid, way, now, phase)
    second = schedule.again(cid, way, first + 1, phase)
    assert abs(second - first - every) < 0.01


@given(times, phases)
def test_neighbours_stay_neighbours(now: float, phase: float) -> None:
    made = sorted((CID.of(bytes([number])) for number in range(50)), key=schedule.position)
    due = [schedule.again(cid, OVER_DHT, now, phase) for cid in made]
    turns = sum(later < earlier for earlier, later in itertools.pairwise(due))
    assert turns <= 1, "from one end to the other, and at most once over it"


@given(cids, ways, times, st.integers(0, 10_000))
def test_pauses_grow_and_end(cid: CID, way: str, now: float, failures: int) -> None:
    pause = schedule.retry(cid, way, now, failures) - now
    assert schedule.RETRY_MIN_S[way] * 0.999 <= pause <= schedule.RETRY_MAX_S * (1 + schedule.RETRY_SPREAD)
    assert schedule.retry(cid, way, now, failures + 1) - now >= pause - 0.01


@given(cids, times)
def test_a_listings_new_rows_are_spread_in_the_order_of_keys(cid: CID, now: float) -> None:
    assert schedule.first(cid, now) == now
    assert now <= schedule.first(cid, now, 60.0) <= now + 60.0
    assert schedule.later(cid, now) >= now + schedule.ABSENT_S * 0.999
