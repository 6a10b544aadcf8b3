"""The order of providers: total, stable, and such that nothing good about a peer makes it worse."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.routing.ranking import cost_s, ranked, score, tries
from shoal.actors.routing.rows import CLIENT, OTHER, SERVER, Facts, kind_of
from shoal.messages.routing import BITSWAP, DHT, GATEWAY, Provider
from shoal.tests.support.peers import peer

FACTS = st.builds(
    Facts,
    connected=st.booleans(),
    rtt_s=st.floats(0, 100),
    good=st.floats(0, 40),
    bad=st.floats(0, 40),
    kind=st.sampled_from(["", SERVER, CLIENT, OTHER]),
    direct=st.booleans(),
    relayed=st.booleans(),
    load=st.integers(0, 100),
)


@given(FACTS)
def test_a_cost_is_a_positive_number(facts: Facts) -> None:
    assert 0 < cost_s(facts) < 1e6
    assert -10 <= score(facts) < 1


@given(FACTS)
def test_nothing_good_makes_a_peer_worse(facts: Facts) -> None:
    base = cost_s(facts)
    assert cost_s(replace(facts, connected=True)) <= base
    assert cost_s(replace(facts, direct=True)) <= base
    assert cost_s(replace(facts, good=facts.good + 1)) <= base
    assert cost_s(replace(facts, bad=facts.bad + 1)) >= base
    assert cost_s(replace(facts, load=facts.load + 1)) >= base
    assert cost_s(replace(facts, kind=OTHER)) >= base
    assert cost_s(replace(facts, kind=SERVER)) <= base
    assert cost_s(replace(facts, rtt_s=0.01)) <= cost_s(replace(facts, rtt_s=5.0))
    assert tries(facts) >= 1


def test_a_direct_path_goes_before_a_relay_and_a_relay_before_none() -> None:
    direct, relayed, neither = Facts(direct=True), Facts(relayed=True), Facts()
    assert cost_s(direct) < cost_s(relayed) < cost_s(neither)
    assert cost_s(Facts(direct=True, relayed=True)) == cost_s(direct)


def test_a_stranger_is_tried_before_one_that_only_failed_and_after_one_that_delivered() -> None:
    stranger, bad, good = Facts(direct=True), Facts(direct=True, bad=2.0), Facts(direct=True, rtt_s=0.1, good=5.0)
    assert cost_s(good) < cost_s(stranger) < cost_s(bad)
    assert score(stranger) == 0 < score(good)
    assert score(bad) < 0


def test_a_busy_peer_gives_way() -> None:
    assert cost_s(Facts(direct=True, load=5)) > cost_s(Facts(direct=True))


@given(st.lists(st.tuples(FACTS, st.sampled_from([(), (BITSWAP,), (GATEWAY,), (GATEWAY, BITSWAP)])), max_size=12))
def test_all_are_told_each_once_and_in_order(rows: list[tuple[Facts, tuple[str, ...]]]) -> None:
    providers = [Provider(peer(number), (), DHT, protocols) for number, (_, protocols) in enumerate(rows)]
    facts = {provider.peer: row[0] for provider, row in zip(providers, rows, strict=True)}
    order = ranked(providers, lambda one: facts[one.peer])
    assert sorted(order, key=lambda one: one.peer) == sorted(providers, key=lambda one: one.peer)
    spoken = [one for one in order if not one.protocols or BITSWAP in one.protocols]
    assert order[: len(spoken)] == spoken, "who does not speak bitswap comes last"
    costs = [cost_s(facts[one.peer]) for one in spoken]
    assert costs == sorted(costs)
    equal = [providers.index(one) for one in spoken if cost_s(facts[one.peer]) == costs[0]] if costs else []
    assert equal == sorted(equal), "equals as they came"


def test_what_a_peer_is_good_for() -> None:
    assert kind_of(()) == ""
    assert kind_of(["/ipfs/id/1.0.0"]) == OTHER
    assert kind_of(["/ipfs/bitswap/1.2.0"]) == CLIENT
    assert kind_of(["/ipfs/bitswap", "/ipfs/lan/kad/1.0.0"]) == SERVER
