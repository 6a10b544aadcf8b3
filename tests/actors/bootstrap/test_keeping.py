"""Kept peers: each is dialled when due, never twice at once, with growing waits, and released when asked."""

import dataclasses
import random

import hypothesis.stateful as sf
from hypothesis import strategies as st

from shoal.actors.discovery.bootstrap.keeping import FIRST_WAIT_S, LONGEST_WAIT_S, RECOVER_TRIES, STEADY_S, Keeping
from shoal.messages.limits import KEPT_PEERS_MAX


def keeping() -> Keeping:
    return Keeping(random.Random(0))


def test_a_kept_peer_is_dialled_at_once_and_once() -> None:
    table = keeping()
    assert table.keep("p", ("/a",), 0.0)
    assert table.due(0.0) == [("p", ("/a",))]
    assert table.due(1000.0) == []


def test_waits_grow_and_are_capped() -> None:
    table, now, waits = keeping(), 0.0, []
    table.keep("p", ("/a",), now)
    for _ in range(20):
        assert table.due(now)
        table.failed("p", now)
        waits.append(table.peers["p"].due - now)
        now = table.peers["p"].due
    assert waits[0] < waits[5] <= LONGEST_WAIT_S
    assert max(waits) <= LONGEST_WAIT_S


def test_a_peer_that_nobody_asked_to_keep_is_given_up() -> None:
    table, now = keeping(), 0.0
    table.keep("p", ("/a",), now, tries=RECOVER_TRIES)
    for _ in range(RECOVER_TRIES):
        assert table.due(now)
        table.failed("p", now)
        now += LONGEST_WAIT_S
    assert table.peers == {}
    table.keep("q", ("/a",), now, tries=RECOVER_TRIES)
    table.connected("q", now)
    assert table.peers == {}


def test_a_peer_that_drops_every_connection_at_once_is_dialled_ever_less_often() -> None:
    table, now, waits = keeping(), 0.0, []
    table.keep("p", ("/a",), now)
    for _ in range(12):
        assert table.due(now)
        table.connected("p", now)
        table.lost("p", now + STEADY_S / 2)
        waits.append(table.peers["p"].due - now)
        now = table.peers["p"].due
    assert waits[0] < 3
    assert waits[-1] > LONGEST_WAIT_S / 2
    assert table.due(now)
    table.connected("p", now)
    table.lost("p", now + STEADY_S)
    assert table.peers["p"].due - now - STEADY_S <= FIRST_WAIT_S, "one that lasted begins anew"


def test_the_table_is_bounded() -> None:
    table = keeping()
    for number in range(KEPT_PEERS_MAX.value):
        assert table.keep(f"p{number}", (), 0.0)
    assert not table.keep("one more", (), 0.0)
    assert table.release("p0")
    assert not table.release("p0")
    assert table.keep("one more", (), 0.0)


class KeepingMachine(sf.RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.now = keeping(), 0.0

    @sf.rule(peer=st.sampled_from("pqr"), tries=st.sampled_from([-1, 3]))
    def keep(self, peer: str, tries: int) -> None:
        self.table.keep(peer, (f"/{peer}",), self.now, tries)

    @sf.rule(peer=st.sampled_from("pqr"), event=st.sampled_from(["connected", "lost", "failed", "release"]))
    def happen(self, peer: str, event: str) -> None:
        if event == "release":
            self.table.release(peer)
        else:
            getattr(self.table, event)(peer, self.now)

    @sf.rule(seconds=st.floats(-1000, 1000))
    def clock_moves(self, seconds: float) -> None:
        """Also backwards: a dial is never put off for longer than the longest wait."""
        self.now += seconds

    @sf.rule()
    def transport_dies(self) -> None:
        self.table.forget_connections(self.now)
        for peer, _ in self.table.due(self.now):
            assert self.table.peers[peer].dialling

    @sf.invariant()
    def nobody_waits_for_ever(self) -> None:
        trial = Keeping(random.Random(1))
        trial.peers = {name: dataclasses.replace(kept) for name, kept in self.table.peers.items()}
        idle = {name for name, kept in trial.peers.items() if not kept.connected and not kept.dialling}
        dialled = [*trial.due(self.now), *trial.due(self.now + LONGEST_WAIT_S)]
        assert sorted(name for name, _ in dialled) == sorted(idle)


TestKeeping = KeepingMachine.TestCase
