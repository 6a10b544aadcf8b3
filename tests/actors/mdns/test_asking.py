"""When to ask: the intervals grow, others' questions count, and no forger keeps a node from asking at all."""

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.discovery.mdns.asking import FIRST_S, LONGEST_S, OWN_EVERY_S, SPREAD, Asking


def asked_at(asking: Asking, until: float, step: float = 0.5, heard_every: float = 0.0) -> list[float]:
    """When it asks, looked at every ``step`` seconds; with answers heard every so often."""
    times, now, heard = [], 0.0, 0.0
    while now < until:
        if heard_every and now >= heard:
            asking.answers_heard(now)
            heard = now + heard_every
        if asking.due(now):
            times.append(now)
        now += step
    return times


def test_the_intervals_double_up_to_the_longest() -> None:
    times = asked_at(Asking(random.Random(1), 0.0), 10_000.0)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert times[0] == 0.0
    for number, gap in enumerate(gaps):
        assert min(LONGEST_S, FIRST_S * 2**number) <= gap + 0.5
        assert gap <= min(LONGEST_S, FIRST_S * 2**number) * (1 + SPREAD) + 0.5


def test_answers_to_others_put_it_off_and_not_for_ever() -> None:
    times = asked_at(Asking(random.Random(1), 0.0), 60_000.0, heard_every=10.0)
    late = [time for time in times if time > 2 * LONGEST_S]
    gaps = [after - before for before, after in itertools.pairwise(late)]
    assert len(gaps) > 3
    assert all(OWN_EVERY_S - LONGEST_S <= gap <= OWN_EVERY_S + LONGEST_S * SPREAD for gap in gaps)


def test_a_newcomer_asks_whatever_it_hears() -> None:
    assert len(asked_at(Asking(random.Random(1), 0.0), 60.0, heard_every=0.5)) >= 5


@given(st.lists(st.tuples(st.sampled_from([-10_000.0, 0.0, 1.0, 100.0, 1000.0]), st.booleans()), max_size=60))
def test_however_the_clock_goes_it_is_due_again_in_time(steps: list[tuple[float, bool]]) -> None:
    asking, now = Asking(random.Random(1), 0.0), 0.0
    for step, heard in steps:
        now += step
        if heard:
            asking.answers_heard(now)
        asking.due(now)
    assert asking.due(now + OWN_EVERY_S + LONGEST_S * SPREAD)
