"""The dial plan: every address is tried once, a dead one costs a stagger, and the end is always reached."""

import random

from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.transport.dialing import (
    ADDRESSES_MAX,
    PARALLEL_MAX,
    STAGGER_S,
    BackOff,
    Dialing,
    is_dialable,
    ranked,
)

TCP = "/ip4/127.0.0.1/tcp/4001"
PUBLIC = "/ip4/8.8.8.8/tcp/4001"
QUIC = "/ip4/127.0.0.1/udp/4001/quic-v1"

addresses = st.lists(st.integers(1, 200).map(lambda n: f"/ip4/10.0.0.{n % 250}/tcp/{4000 + n}"), max_size=90)


def test_cheapest_first() -> None:
    assert ranked([QUIC, PUBLIC, TCP]) == [TCP, PUBLIC, QUIC]


def test_what_cannot_be_dialled_is_left_out() -> None:
    bad = [
        "",
        "/",
        "nonsense",
        "/ip4/1.2.3.4",
        "/ip4/1.2.3.4/tcp/0",
        "/ip4/1.2.3.4/tcp/1/ws",
        "/ip4/1.2.3.4/udp/1/quic",
        "/ip4/1.2.3.4/tcp/1/p2p/Qm/p2p-circuit",
        "/unix/a/b/c",
    ]
    assert ranked(bad) == []
    assert all(is_dialable(addr) for addr in (TCP, PUBLIC, QUIC, "/dns4/example.org/tcp/1", "/ip6/::1/tcp/1"))


def test_a_dead_address_costs_one_stagger() -> None:
    plan = Dialing([TCP, PUBLIC])
    assert [attempt.addr for attempt in plan.advance(0.0)] == [TCP]
    assert plan.advance(STAGGER_S / 2) == []
    assert [attempt.addr for attempt in plan.advance(STAGGER_S)] == [PUBLIC]
    assert not plan.over


def test_a_failure_starts_the_next_at_once_and_is_told() -> None:
    plan = Dialing([TCP, PUBLIC])
    plan.advance(0.0)
    plan.failed(TCP, "refused")
    assert [attempt.addr for attempt in plan.advance(0.0)] == [PUBLIC]
    plan.failed(PUBLIC, "timed out")
    assert plan.over
    assert plan.explain() == f"{TCP}: refused; {PUBLIC}: timed out"


@given(addresses, st.randoms(use_true_random=False))
def test_every_address_is_tried_once_and_the_dial_ends(addrs: list[str], rng: random.Random) -> None:
    plan, now, tried, running = Dialing(addrs), 0.0, [], []
    for _ in range(10_000):
        for attempt in plan.advance(now):
            tried.append(attempt.addr)
            running.append(attempt.addr)
        assert len(plan.running) <= PARALLEL_MAX
        if plan.over:
            break
        if running and rng.random() < 0.5:
            plan.failed(running.pop(rng.randrange(len(running))), "no")
        now += STAGGER_S
    assert plan.over
    assert sorted(tried) == sorted(list(dict.fromkeys(addrs))[:ADDRESSES_MAX])


@given(st.lists(st.sampled_from(["fail", "wait"]), max_size=40))
def test_back_off_grows_is_capped_and_resets(steps: list[str]) -> None:
    back_off, now, last = BackOff(), 0.0, 0.0
    for step in steps:
        if step == "fail":
            back_off.failed(TCP, now)
            wait = back_off._until[TCP][1]
            assert last <= wait <= BackOff.LONGEST_S
            assert not back_off.ready(TCP, now)
            last = wait
        else:
            now += 7.0
    back_off.succeeded(TCP)
    assert back_off.ready(TCP, now)


def test_back_off_survives_a_clock_that_goes_back() -> None:
    back_off = BackOff()
    back_off.failed(TCP, 1_000_000.0)
    assert back_off.ready(TCP, 5.0)


def test_back_off_is_bounded() -> None:
    back_off = BackOff()
    for number in range(BackOff.ENTRIES_MAX + 100):
        back_off.failed(f"/ip4/10.0.0.1/tcp/{number}", 0.0)
    assert len(back_off._until) == BackOff.ENTRIES_MAX
