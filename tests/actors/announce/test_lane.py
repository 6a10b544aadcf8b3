"""A lane: one batch at a time, no row lost from it, and pauses that grow, end, and are forgotten on success."""

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.announce.lane import PAUSE_JITTER, PAUSE_MAX_S, PAUSE_MIN_S, Lane
from shoal.messages.cid import CID
from shoal.storage.announcements.rows import Due, Origin

CIDS = [CID.of(bytes([number])) for number in range(8)]
ROWS = [Due(cid, 0.0, 0, Origin.ROOT, ()) for cid in CIDS]


@given(st.lists(st.lists(st.sampled_from(CIDS))), st.booleans())
def test_each_row_is_told_once_or_left(progress: list[list[CID]], answered: bool) -> None:
    lane = Lane(random.Random(1))
    lane.begin(ROWS)
    assert not lane.ready(1e9)
    told = [cid for words in progress for cid in lane.told(words)]
    assert len(set(told)) == len(told)
    left = [row.cid for row in lane.end(10.0, answered=answered)]
    assert sorted([*told, *left]) == sorted(CIDS)
    assert lane.ready(10.0) == (answered and bool(told))


@given(st.integers(1, 60))
def test_pauses_grow_and_are_capped(failures: int) -> None:
    lane, now, pauses = Lane(random.Random(2)), 0.0, []
    for _ in range(failures):
        lane.begin(ROWS)
        lane.end(now, answered=False)
        pauses.append(lane.not_before - now)
        assert not lane.ready(now)
        now = lane.not_before
        assert lane.ready(now)
    assert PAUSE_MIN_S <= pauses[0] <= PAUSE_MIN_S * (1 + PAUSE_JITTER)
    assert max(pauses) <= PAUSE_MAX_S * (1 + PAUSE_JITTER)
    assert all(later >= earlier for earlier, later in itertools.pairwise(pauses[:7]))
    lane.recovered()
    assert lane.ready(0.0)


def test_rows_that_were_taken_out_are_not_left() -> None:
    lane = Lane(random.Random(3))
    lane.begin(ROWS)
    assert [row.cid for row in lane.drop([CIDS[0], CIDS[0], CID.of(b"other")])] == [CIDS[0]]
    assert CIDS[0] not in lane
    assert CIDS[1] in lane
    assert len(lane.end(0.0, answered=False)) == len(CIDS) - 1
