"""Round trips, rates and windows: bounded whatever is measured, and right where it matters."""

from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.bitswap import timing
from shoal.actors.bitswap.timing import Rate, RoundTrip
from shoal.messages.limits import KIB, MIB, WINDOW_BYTES_MAX, WINDOW_BYTES_MIN

seconds = st.floats(-10, 1e6, allow_nan=False)


@given(
    st.lists(st.tuples(seconds, seconds, st.booleans())),
    st.lists(st.tuples(st.integers(0, 2 * MIB), seconds, st.booleans(), seconds)),
)
def test_everything_is_bounded(answers, deliveries):
    rtt, rate = RoundTrip(), Rate()
    for took, now, missed in answers:
        rtt.sample(took, now)
        if missed:
            rtt.missed()
    for size, took, limited, now in deliveries:
        rate.sample(size, took, limited, now)
    for block in (1, 256 * KIB, 2 * MIB):
        assert WINDOW_BYTES_MIN.value <= timing.window(rtt, rate, block) <= WINDOW_BYTES_MAX.value
        assert timing.TIMEOUT_MIN_S <= timing.timeout_s(rtt, rate, block) <= timing.TIMEOUT_MAX_S
        assert 0 < timing.hedge_s(rtt, rate, block) <= timing.HEDGE_MAX_S
    assert rate.value >= 0


def test_the_window_is_twice_bandwidth_times_delay():
    rtt, rate = RoundTrip(), Rate()
    for _ in range(20):
        rtt.sample(0.1, 0.0)
    rate.sample(20 * MIB, 1.0, False, 0.0)
    assert abs(timing.window(rtt, rate, 256 * KIB) - 4 * MIB) < 0.1 * MIB


def test_a_window_grows_round_by_round_until_the_link_is_full():
    rtt, rate = RoundTrip(), Rate()
    link, delay, now = 50 * MIB, 0.1, 0.0
    for _ in range(12):
        size = timing.window(rtt, rate, 256 * KIB)
        took = delay + size / link
        rtt.sample(took, now)
        rate.sample(size, took, False, now)
        now += took
    assert size > link * delay


def test_timeouts_double_while_nothing_comes_and_recover():
    rtt, rate = RoundTrip(), Rate()
    rtt.sample(0.01, 0.0)
    first = timing.timeout_s(rtt, rate, 1)
    rtt.missed()
    assert timing.timeout_s(rtt, rate, 1) == 2 * first
    for _ in range(20):
        rtt.missed()
    assert timing.timeout_s(rtt, rate, 1) == timing.TIMEOUT_MAX_S
    rtt.sample(0.01, 0.0)
    assert timing.timeout_s(rtt, rate, 1) == first


def test_a_rate_that_sinks_is_believed_after_a_while():
    rate = Rate()
    rate.sample(10 * MIB, 1.0, False, 0.0)
    for second in range(1, 15):
        rate.sample(1 * MIB, 1.0, False, float(second))
    assert rate.value == 1 * MIB


def test_a_trickle_that_was_all_we_asked_for_says_nothing_about_the_rate():
    rate = Rate()
    rate.sample(10 * MIB, 1.0, False, 0.0)
    for second in range(1, 15):
        rate.sample(1 * KIB, 1.0, True, float(second))
    assert rate.value == 10 * MIB


def test_the_least_round_trip_is_of_the_last_seconds():
    rtt = RoundTrip()
    for took, now in ((0.5, 0.0), (0.1, 1.0), (0.7, 2.0)):
        rtt.sample(took, now)
    assert rtt.least == 0.1
    for second in range(3, 15):
        rtt.sample(0.7, float(second))
    assert rtt.least == 0.7


def test_what_was_measured_long_ago_counts_for_nothing_once_there_is_something_new():
    rtt = RoundTrip()
    for _ in range(20):
        rtt.sample(0.5, 0.0)
    assert not rtt.stale(4.9)
    assert rtt.stale(5.1)
    rtt.sample(0.02, 5.1)
    assert (rtt.smooth, rtt.least) == (0.02, 0.02)
    assert not rtt.stale(5.2)
