"""Lookups: against a whole network of honest, dead and lying peers, and rule by rule."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence

import hypothesis
from hypothesis import strategies as st

from shoal.actors.discovery.dht.keys import kad_id, peer_kad_id
from shoal.actors.discovery.dht.lookup import ALPHA, DECEIVED_MAX, LOST_MAX, RESILIENCY, SLOW_S, Lookup
from shoal.actors.discovery.dht.table import K
from shoal.messages.limits import DHT_CLOSER_MAX, DHT_LOOKUP_REQUESTS, DHT_LOOKUP_ROUNDS, DHT_LOOKUP_ROWS
from shoal.messages.routing import PeerAddrs
from shoal.tests.support.dht_keys import at, peer

TARGET = kad_id(b"what is sought")
ME = peer(0)


def nearest(peers: Iterable[PeerAddrs], target: int = TARGET) -> list[PeerAddrs]:
    return sorted(peers, key=lambda one: peer_kad_id(one.peer) ^ target)


MADE_UP = nearest(at(number) for number in range(100_000, 103_000))[:K]


def run(lookup: Lookup, answers: dict[str, list[PeerAddrs] | None], rng: random.Random) -> int:
    """Carry a lookup out: each peer answers with its list, or never (None, or not there); rounds until it is over."""
    now, rounds = 0.0, 0
    out: list[str] = []
    while not lookup.over:
        rounds += 1
        assert rounds < 2000, "the lookup does not end"
        out += [step.peer for step in lookup.ask(now)]
        assert out, "nothing is out and it is not over"
        assert set(out) == lookup.out
        one = out.pop(rng.randrange(len(out)))
        answer = answers.get(one)
        if answer is None:
            lookup.failed(one)
        else:
            lookup.answered(one, answer)
        now += rng.random()
    return rounds


def network(size: int, rng: random.Random, known: int = 40) -> dict[str, list[PeerAddrs] | None]:
    """Honest peers, each of whom names the K nearest that it knows: all of its neighbourhood and some of the others."""
    everybody = [at(number) for number in range(1, size + 1)]
    near = nearest(everybody)
    answers: dict[str, list[PeerAddrs] | None] = {}
    for index, one in enumerate(near):
        around = near[max(0, index - 2 * K) : index + 2 * K]
        answers[one.peer] = nearest({*around, *rng.sample(everybody, min(known, size))})[:K]
    return answers


@hypothesis.given(st.integers(1, 300), st.integers(0, 10_000), st.floats(0, 0.5))
@hypothesis.settings(max_examples=60)
def test_the_nearest_living_peers_are_found(size: int, seed: int, dead: float) -> None:
    rng = random.Random(seed)
    answers = network(size, rng)
    seeds = [at(number) for number in rng.sample(range(1, size + 1), min(size, K))]
    for one in list(answers):
        if rng.random() < dead and one not in [seed.peer for seed in seeds]:
            answers[one] = None
    lookup = Lookup(TARGET, ME, seeds)
    run(lookup, answers, rng)
    living = nearest(PeerAddrs(one) for one, answer in answers.items() if answer is not None)
    found = [step.peer for step in lookup.nearest()]
    if dead == 0:
        assert found == [one.peer for one in living[:K]]
    else:
        assert found == [one.peer for one in nearest(PeerAddrs(peer) for peer in found)]
        assert set(found) & {one.peer for one in living[: K // 2]}
    assert lookup.requests <= DHT_LOOKUP_REQUESTS.value


@hypothesis.given(st.integers(0, 10_000))
@hypothesis.settings(max_examples=30)
def test_65_a_liar_with_ever_nearer_peers_that_do_not_exist_cannot_hold_it(seed: int) -> None:
    """Every peer that it names is made up; none answers."""
    rng = random.Random(seed)
    answers = network(60, rng)
    liar = next(iter(answers))
    answers[liar] = MADE_UP
    lookup = Lookup(TARGET, ME, [at(1), PeerAddrs(liar)])
    run(lookup, answers, rng)
    assert lookup.requests <= 60 + DECEIVED_MAX + ALPHA
    honest = nearest(PeerAddrs(one) for one in answers)[:K]
    assert [step.peer for step in lookup.nearest()] == [one.peer for one in honest]


def test_65_a_chain_of_liars_that_answer_ends_after_so_many_hops() -> None:
    """Each exists, and names one that is nearer: as if it had no end."""
    chain = list(reversed(nearest(at(number) for number in range(1, 2000))))
    answers: dict[str, list[PeerAddrs] | None] = {one.peer: [after] for one, after in itertools.pairwise(chain)}
    lookup = Lookup(TARGET, ME, chain[:1])
    run(lookup, answers, random.Random(1))
    assert lookup.requests == DHT_LOOKUP_ROUNDS.value + 1


def test_65_liars_that_answer_end_at_the_bound_of_requests() -> None:
    """Whoever is asked names peers just a little nearer than itself, all of which answer in the same way."""
    rng = random.Random(1)
    crowd = nearest(at(number) for number in range(1, 8000))
    places = {one.peer: index for index, one in enumerate(crowd)}
    answers: dict[str, list[PeerAddrs] | None] = {
        one.peer: rng.sample(crowd[max(0, at - 400) : at], min(K, at))
        for one, at in zip(crowd, places.values(), strict=True)
    }
    lookup = Lookup(TARGET, ME, crowd[-40:])
    run(lookup, answers, rng)
    assert RESILIENCY < lookup.requests <= DHT_LOOKUP_REQUESTS.value
    assert lookup.heard <= DHT_LOOKUP_ROWS.value


def test_66_we_are_never_asked() -> None:
    lookup = Lookup(peer_kad_id(ME), ME, [PeerAddrs(ME), at(1)])
    (step,) = lookup.ask(0.0)
    lookup.answered(step.peer, [PeerAddrs(ME), at(1)])
    assert lookup.over
    assert [step.peer for step in lookup.nearest()] == [peer(1)]


def test_61_of_an_answer_only_so_many_are_taken() -> None:
    lookup = Lookup(TARGET, ME, [at(1)])
    lookup.ask(0.0)
    lookup.answered(peer(1), [at(number) for number in range(2, 10_000)])
    assert lookup.heard == 1 + DHT_CLOSER_MAX.value


def test_ten_are_asked_at_a_time_and_more_when_those_are_slow() -> None:
    lookup = Lookup(TARGET, ME, [at(number) for number in range(1, 30)])
    assert len(lookup.ask(0.0)) == ALPHA
    assert lookup.ask(SLOW_S / 2) == []
    wait = lookup.wake_in(SLOW_S / 2)
    assert wait is not None
    assert wait <= SLOW_S
    assert len(lookup.ask(SLOW_S)) == min(ALPHA, K - ALPHA)
    assert lookup.wake_in(3 * SLOW_S) is None


def test_the_nearest_is_asked_first() -> None:
    lookup = Lookup(TARGET, ME, [at(number) for number in range(1, 200)])
    assert [step.peer for step in lookup.ask(0.0)] == [
        one.peer for one in nearest(at(number) for number in range(1, 200))[:ALPHA]
    ]


def test_where_few_will_do_it_ends_with_few() -> None:
    lookup = Lookup(TARGET, ME, [at(number) for number in range(1, 100)], wanted=RESILIENCY)
    asked = lookup.ask(0.0)
    for step in asked[:RESILIENCY]:
        assert not lookup.over
        lookup.answered(step.peer, [])
    assert lookup.over


def test_who_was_lost_on_our_side_is_asked_again_a_few_times() -> None:
    lookup = Lookup(TARGET, ME, [at(1)])
    now = 0.0
    for _ in range(LOST_MAX + 1):
        (step,) = lookup.ask(now)
        lookup.lost(step.peer, now)
        assert lookup.ask(now) == [], "not at once"
        now += lookup.wake_in(now) or 0.0
    assert lookup.over
    assert lookup.ask(now + 60.0) == []


def test_nobody_known_is_the_end() -> None:
    assert Lookup(TARGET, ME, []).over


def test_what_comes_late_or_unasked_changes_nothing() -> None:
    lookup = Lookup(TARGET, ME, [at(1)])
    lookup.answered(peer(1), [at(2)])
    lookup.failed(peer(9))
    assert lookup.heard == 1
    lookup.ask(0.0)
    lookup.failed(peer(1))
    lookup.answered(peer(1), [at(2)])
    assert lookup.over
    assert lookup.heard == 1


def test_who_was_doubted_for_its_namer_is_believed_when_another_names_it() -> None:
    far = list(reversed(nearest(at(number) for number in range(1, 400))))
    liar, honest, *named = [*far[:2], *far[-(DECEIVED_MAX + 12) :]]
    lookup = Lookup(TARGET, ME, [liar, honest])
    lookup.ask(0.0)
    lookup.answered(liar.peer, named)
    first = [step.peer for step in lookup.ask(0.0)]
    for one in first[:DECEIVED_MAX]:
        lookup.failed(one)
    rest: Sequence[PeerAddrs] = [one for one in named if one.peer not in first]
    assert rest
    assert lookup.ask(10.0) == []
    lookup.answered(honest.peer, rest[:1])
    assert [step.peer for step in lookup.ask(10.0)] == [rest[0].peer]
