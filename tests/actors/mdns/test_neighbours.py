"""Who is remembered, told and dialled, whatever strangers say and whenever."""

import random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shoal.actors.discovery.mdns.announcement import Announcement
from shoal.actors.discovery.mdns.neighbours import (
    BACK_OFF_MAX_S,
    BACK_OFF_S,
    DIALS_BURST,
    DIALS_PER_S,
    FIRST_WAIT_S,
    REDIAL_S,
    TOLD_S,
    Neighbours,
)
from shoal.messages.limits import MDNS_DIALLED_MAX, MDNS_NEIGHBOURS_MAX, MDNS_TTL_MAX_S
from shoal.tests.actors.mdns.peers import OTHER, OWN, peer

A, B = "/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.2/tcp/1"
NAME = "n" * 32


def table(now: float = 0.0) -> Neighbours:
    return Neighbours(random.Random(1), OWN, now)


def said(*addrs: str, of: str = OTHER) -> Announcement:
    return Announcement(of, addrs or (A,), 0)


def test_who_is_new_is_told_and_dialled_soon_and_once() -> None:
    known = table()
    assert known.hear(NAME, said(), 120, 0.0)
    assert not known.hear(NAME, said(), 120, 0.1), "it is no news"
    assert known.due(FIRST_WAIT_S) == [(OTHER, (A,))]
    assert known.due(FIRST_WAIT_S) == [], "it is being dialled"
    known.dialled(OTHER, True, 1.0)
    assert known.due(1000.0) == []


def test_one_that_was_reached_is_dialled_again_only_when_it_is_heard_again() -> None:
    known = table()
    known.hear(NAME, said(), 4500, 0.0)
    known.due(1.0)
    known.dialled(OTHER, True, 1.0)
    known.hear(NAME, said(), 4500, 2.0)
    assert known.due(1.0 + REDIAL_S) == [], "so soon after, nothing has changed"
    known.hear(NAME, said(), 4500, 1.0 + REDIAL_S)
    assert known.due(1.0 + REDIAL_S) == [(OTHER, (A,))]


def test_who_cannot_be_reached_is_dialled_ever_less_often() -> None:
    known = table()
    known.hear(NAME, said(), 4500, 0.0)
    now, waits = FIRST_WAIT_S, []
    for _ in range(10):
        assert known.due(now) == [(OTHER, (A,))]
        known.dialled(OTHER, False, now)
        known.hear(NAME, said(), 4500, now)
        began = now
        while not known.due(now + 1):
            now += 1
        known.peers[OTHER].dialling = False
        now += 1
        waits.append(now - began)
    assert waits[0] == BACK_OFF_S
    assert waits == sorted(waits)
    assert waits[-1] == BACK_OFF_MAX_S


def test_new_addresses_are_news_and_old_ones_are_kept_behind_them() -> None:
    known = table()
    known.hear(NAME, said(A), 120, 0.0)
    assert known.hear(NAME, said(B), 120, 1.0)
    assert known.peers[OTHER].addrs == (B, A)


def test_what_is_heard_again_is_told_again_after_a_while() -> None:
    known = table()
    known.hear(NAME, said(), 120, 0.0)
    assert not known.hear(NAME, said(), 120, TOLD_S - 1)
    assert known.hear(NAME, said(), 120, TOLD_S)


def test_our_own_announcement_is_nobody() -> None:
    """Input 73, under whatever name: we hear ourselves, and our last life."""
    known = table()
    assert not known.hear(NAME, said(of=OWN), 120, 0.0)
    assert not known.peers


def test_a_ttl_of_zero_takes_back_and_one_of_2_to_the_31_ends_as_the_longest_does() -> None:
    """Input 76."""
    known = table()
    known.hear(NAME, said(), 0, 0.0)
    assert not known.peers, "who was never heard of cannot go"
    known.hear(NAME, said(), 2**31, 0.0)
    assert known.known(0.0) == [(OTHER, (A,), float(MDNS_TTL_MAX_S.value))]
    known.hear("m" * 32, said(), 0, 1.0)
    assert known.peers, "that was another's to take back"
    known.hear(NAME, said(), 0, 1.0)
    assert not known.peers


def test_who_is_silent_is_forgotten() -> None:
    known = table()
    known.hear(NAME, said(), 120, 0.0)
    known.due(1.0)
    known.dialled(OTHER, True, 1.0)
    assert known.due(120.0) == []
    assert not known.peers


def test_ten_thousand_names_are_so_many_peers_and_so_many_dials() -> None:
    """Input 74: and who was there before is dialled again all the same once it is heard."""
    known = table()
    dials = 0
    for number in range(10_000):
        now = number / 1000  # ten seconds
        known.hear(f"{number:032}", said(of=peer(number + 2)), 120, now)
        assert len(known.peers) <= MDNS_NEIGHBOURS_MAX.value
        for chosen, _ in known.due(now):
            dials += 1
            known.dialled(chosen, False, now)
    assert 0 < dials <= DIALS_BURST + 10 * DIALS_PER_S
    known.hear(NAME, said(), 120, 11.0)
    assert OTHER in known.peers


def test_of_many_neighbours_so_many_are_dialled_and_all_are_told() -> None:
    known = table()
    assert all(known.hear(f"{n:032}", said(of=peer(n + 2)), 4500, 0.0) for n in range(MDNS_NEIGHBOURS_MAX.value))
    reached = 0
    for second in range(600):
        for chosen, _ in known.due(float(second)):
            known.dialled(chosen, True, float(second))
            reached += 1
    assert reached == MDNS_DIALLED_MAX.value


def test_a_new_transport_is_told_to_dial_everybody_again() -> None:
    known = table()
    known.hear(NAME, said(), 4500, 0.0)
    known.due(1.0)
    known.dialled(OTHER, True, 1.0)
    known.forget_connections(2.0)
    assert known.due(2.0) == [(OTHER, (A,))]


class NeighboursMachine(RuleBasedStateMachine):
    """Small worlds: few peers, few names, a clock that may go back.  Its model is how much may have been begun."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.known = table(self.now)
        self.dialling: set[str] = set()
        self.allowance = DIALS_BURST

    peers = st.integers(0, 5).map(peer)

    @rule(name=st.sampled_from("abc"), of=peers, addr=st.sampled_from([A, B]), ttl=st.sampled_from([0, 1, 120, 2**31]))
    def hear(self, name: str, of: str, addr: str, ttl: int) -> None:
        news = self.known.hear(name, said(addr, of=of), ttl, self.now)
        if news:
            assert of != OWN
            assert addr in self.known.peers[of].addrs

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 60.0, 5000.0, -30.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.allowance = min(DIALS_BURST, self.allowance + max(0.0, seconds) * DIALS_PER_S)

    @rule()
    def dial(self) -> None:
        for chosen, addrs in self.known.due(self.now):
            assert chosen not in self.dialling
            assert chosen != OWN
            assert addrs
            self.dialling.add(chosen)
            self.allowance -= 1
        assert self.allowance > -1e-6

    @rule(data=st.data(), reached=st.booleans())
    def end(self, data: Any, reached: bool) -> None:
        if self.dialling:
            ended = data.draw(st.sampled_from(sorted(self.dialling)))
            self.dialling.discard(ended)
            self.known.dialled(ended, reached, self.now)

    @invariant()
    def whoever_is_being_dialled_is_remembered(self) -> None:
        assert self.dialling == {of for of, row in self.known.peers.items() if row.dialling}


TestNeighboursMachine = NeighboursMachine.TestCase
TestNeighboursMachine.settings = settings(max_examples=200)
