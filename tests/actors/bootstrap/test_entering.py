"""Into the network: who is dialled, how many at a time, how often, and when no more."""

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shoal.actors.discovery.bootstrap.entering import AT_ONCE, FIRST_WAIT_S, LONGEST_WAIT_S, LOST_WAIT_S, Entering
from shoal.messages.limits import OLD_PEERS_MAX

ADDR = "/dnsaddr/boot.test"
WANTED = 8


def entering(*names: str) -> Entering:
    return Entering(random.Random(1), tuple((name, (ADDR,)) for name in names), 0.0)


def test_so_many_are_dialled_at_once_and_then_the_next() -> None:
    core = entering(*"abcdef")
    first = [peer for peer, _ in core.due(0.0, 0, WANTED, set())]
    assert len(first) == AT_ONCE
    assert core.due(1.0, 0, WANTED, set()) == [], "they are under way"
    core.dialled(first[0], False, 1.0)
    ((second, addrs),) = core.due(1.0, 0, WANTED, set())
    assert second not in first
    assert addrs == (ADDR,)


def test_no_more_than_are_missing_and_none_when_there_are_enough() -> None:
    core = entering(*"abc")
    assert core.due(0.0, WANTED, WANTED, set()) == []
    assert core.due(0.0, 100, WANTED, set()) == []
    assert len(core.due(0.0, WANTED - 1, WANTED, set())) == 1
    assert core.due(0.0, 0, 0, set()) == [], "nobody is wanted"


def test_who_is_connected_is_passed_over() -> None:
    core = entering(*"ab")
    assert [peer for peer, _ in core.due(0.0, 1, WANTED, {"a"})] == ["b"]


def test_each_has_its_turn_before_any_has_a_second() -> None:
    core, seen, now = entering(*"abcdef"), [], 0.0
    while len(seen) < 12:
        for peer, _ in core.due(now, WANTED - 1, WANTED, set()):
            seen.append(peer)
            core.dialled(peer, False, now)
        now += LONGEST_WAIT_S
    assert sorted(seen[:6]) == list("abcdef")
    assert seen[6:] == seen[:6]


def test_back_off_grows_is_capped_and_is_reset_by_a_success() -> None:
    core, now, waits = entering("a"), 0.0, []
    for _ in range(14):
        assert core.due(now, 0, WANTED, set())
        core.dialled("a", False, now)
        waits.append(core.peers["a"].due - now)
        now = core.peers["a"].due
    assert FIRST_WAIT_S * 0.75 <= waits[0] <= FIRST_WAIT_S
    assert LONGEST_WAIT_S * 0.75 <= waits[-1] <= LONGEST_WAIT_S
    core.due(now, 0, WANTED, set())
    core.dialled("a", True, now)
    assert core.due(now + LOST_WAIT_S - 1, 0, WANTED, set()) == [], "it was lost at once: it is full perhaps"
    assert core.due(now + LOST_WAIT_S, 0, WANTED, set())
    core.dialled("a", False, now)
    assert core.peers["a"].due - now <= FIRST_WAIT_S


def test_a_new_transport_begins_anew() -> None:
    core = entering(*"ab")
    for peer, _ in core.due(0.0, 0, WANTED, set()):
        core.dialled(peer, False, 0.0)
    assert core.due(0.1, 0, WANTED, set()) == []
    core.start_over(0.1)
    assert len(core.due(0.1, 0, WANTED, set())) == 2


def test_who_was_met_before_is_tried_first_and_once() -> None:
    core = entering(*"ab")
    core.met_before((("old", (ADDR,)), ("a", (ADDR,))), 0.0)
    assert core.old_peers == 1, "a is known anyhow"
    ((first, _),) = core.due(0.0, WANTED - 1, WANTED, set())
    assert first == "old"
    core.dialled("old", False, 0.0)
    core.met_before((("older", (ADDR,)),), 0.0)
    ((second, _),) = core.due(0.0, WANTED - 1, WANTED, set())
    assert second == "older"
    core.dialled("older", True, 0.0)
    assert sorted(core.peers) == ["a", "b"]


def test_so_many_old_peers_wait() -> None:
    core = entering()
    for start in range(0, 1000, 100):
        core.met_before(tuple((f"p{number}", (ADDR,)) for number in range(start, start + 100)), 0.0)
    assert core.old_peers == OLD_PEERS_MAX.value


class EnteringMachine(RuleBasedStateMachine):
    """A clock that may go back, dials that end in any way, connections that come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.core = entering(*"abcde")
        self.now = 1000.0
        self.dialling: set[str] = set()
        self.here: set[str] = set()

    @rule(wanted=st.integers(0, 6), others=st.integers(0, 3))
    def look(self, wanted: int, others: int) -> None:
        before = len(self.dialling)
        chosen = {peer for peer, _ in self.core.due(self.now, len(self.here) + others, wanted, self.here)}
        assert not chosen & (self.dialling | self.here)
        self.dialling |= chosen
        assert not chosen or len(self.dialling) <= min(AT_ONCE, wanted - len(self.here) - others)
        assert before + len(chosen) == len(self.dialling)

    @rule(peer=st.sampled_from("abcdxy"))
    def meet(self, peer: str) -> None:
        self.core.met_before(((peer, (ADDR,)),), self.now)

    @rule(peer=st.sampled_from("abcdexy"), reached=st.booleans())
    def end(self, peer: str, reached: bool) -> None:
        if peer in self.dialling:
            self.dialling.discard(peer)
            self.core.dialled(peer, reached, self.now)
            if reached:
                self.here.add(peer)

    @rule(peer=st.sampled_from("abcdexy"))
    def lose(self, peer: str) -> None:
        self.here.discard(peer)

    @rule(seconds=st.sampled_from([0.5, 30.0, 400.0, -1000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def nobody_is_put_off_for_ever(self) -> None:
        self.now += LONGEST_WAIT_S
        free = set("abcde") - self.dialling - self.here
        if free and len(self.dialling) < AT_ONCE:
            self.look(100, 0)

    @invariant()
    def who_is_dialled_is_known(self) -> None:
        assert self.dialling == {peer for peer, row in self.core.peers.items() if row.dialling}


TestEnteringMachine = EnteringMachine.TestCase
TestEnteringMachine.settings = settings(max_examples=150)
