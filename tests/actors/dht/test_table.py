"""The routing table: a state machine against a plain model, and the rules one by one."""

from __future__ import annotations

import math

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shoal.actors.discovery.dht.keys import BITS, common_prefix, kad_id, peer_kad_id
from shoal.actors.discovery.dht.table import SILENT_S, K, Table
from shoal.messages.limits import DHT_PEERS_PER_GROUP, DHT_REPLACEMENTS_MAX
from shoal.tests.support.dht_keys import peer, private, public

ME = peer(0)


def filled(count: int, *, lan: bool = True) -> Table:
    table = Table(ME, diverse=not lan)
    for number in range(1, count + 1):
        table.answered(peer(number), (private(number) if lan else public(number),), float(number))
    return table


def bucket_of(number: int) -> int:
    return common_prefix(peer_kad_id(ME), peer_kad_id(peer(number)))


FAR = [number for number in range(1, 400) if bucket_of(number) == 0]


def test_we_are_never_in_it() -> None:
    table = filled(0)
    assert not table.answered(ME, (private(0),), 1.0)
    assert not len(table)


def test_who_has_no_address_of_this_dht_is_never_in_it() -> None:
    assert not filled(0).answered(peer(1), (), 1.0)


def test_the_nearest_are_the_nearest() -> None:
    table = filled(100)
    for number in range(20):
        target = kad_id(b"target %d" % number)
        rows = sorted(table.rows(), key=lambda row: row.at ^ target)
        assert table.nearest(target) == rows[:K]
        assert table.nearest(target, 3) == rows[:3]


def test_a_full_bucket_keeps_the_old_and_remembers_few_of_the_new() -> None:
    table = filled(0)
    for at, number in enumerate(FAR[:40]):
        table.answered(peer(number), (private(number),), float(at))
    bucket = table.buckets[0]
    assert list(bucket.rows) == [peer(number) for number in FAR[:K]]
    assert len(bucket.waiting) == DHT_REPLACEMENTS_MAX.value


def test_who_dies_is_replaced_by_who_was_heard_last() -> None:
    table = filled(0)
    for at, number in enumerate(FAR[:25]):
        table.answered(peer(number), (private(number),), float(at))
    assert table.failed(peer(FAR[3]))
    assert peer(FAR[3]) not in table
    assert peer(FAR[24]) in table
    assert len(table) == K
    assert not table.failed(peer(FAR[3]))


def test_62_a_network_has_few_places() -> None:
    table = Table(ME, diverse=True)
    for number in range(1, 200):
        table.answered(peer(number), (f"/ip4/8.8.8.{number}/tcp/4001",), 1.0)
    assert len(table) == DHT_PEERS_PER_GROUP.value
    for number in range(200, 400):
        table.answered(peer(number), (f"/ip6/2a00:1:2:{number:x}::1/tcp/4001", public(number)), 1.0)
    assert len(table) == 2 * DHT_PEERS_PER_GROUP.value


def test_a_place_of_a_network_is_free_again_when_its_peer_dies() -> None:
    table = Table(ME, diverse=True)
    for number in range(1, 5):
        table.answered(peer(number), (f"/ip4/8.8.8.{number}/tcp/4001",), 1.0)
    assert peer(4) not in table
    table.failed(peer(1))
    assert table.answered(peer(4), ("/ip4/8.8.8.4/tcp/4001",), 2.0)


def test_on_a_lan_all_are_of_one_network() -> None:
    table = Table(ME, diverse=False)
    for number in range(1, 21):
        table.answered(peer(number), (f"/ip4/10.0.0.{number}/tcp/4001",), 1.0)
    assert len(table) == 20


def test_who_was_silent_long_is_told_longest_first() -> None:
    table = filled(30)
    assert table.silent(SILENT_S, 5) == []
    late = table.silent(SILENT_S + 100, 2)
    assert late[0] is min(table.rows(), key=lambda row: row.heard)
    assert len(late) == 2
    table.answered(late[0].peer, late[0].addrs, SILENT_S + 100)
    assert late[0].peer not in [row.peer for row in table.silent(SILENT_S + 100, 5)]


def test_buckets_are_due_until_they_are_walked() -> None:
    table = filled(60)
    due = table.due(100.0, 50.0)
    assert due == list(range(len(due)))
    assert len(due) >= 4
    target = table.at ^ (1 << (BITS - 1))  # differs in the first bit
    table.walked(target, 90.0)
    assert table.due(100.0, 50.0) == due[1:]
    assert table.due(140.0, 50.0) == due
    table.walked(table.at, 100.0)
    assert table.refreshed_self == 100.0
    assert Table(ME, diverse=False).due(math.inf, 1.0) == []


class TableMachine(RuleBasedStateMachine):
    """What is in the table has answered and not failed since; bounds hold; the groups' counts are true."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Table(ME, diverse=True)
        self.now = 0.0
        self.living: dict[str, float] = {}

    numbers = st.integers(0, 150)

    @rule(number=numbers, group=st.integers(0, 12), wait=st.floats(0, 100))
    def answer(self, number: int, group: int, wait: float) -> None:
        self.now += wait
        taken = self.table.answered(peer(number), (f"/ip4/8.8.{group}.1/tcp/4001",), self.now)
        assert taken == (peer(number) in self.table)
        if number:
            self.living[peer(number)] = self.now

    @precondition(lambda self: self.living)
    @rule(number=numbers)
    def fail(self, number: int) -> None:
        was = peer(number) in self.table
        assert self.table.failed(peer(number)) == was
        assert peer(number) not in self.table
        self.living.pop(peer(number), None)

    @invariant()
    def only_the_living(self) -> None:
        rows = list(self.table.rows())
        assert len(rows) == len(self.table) == len({row.peer for row in rows})
        for row in rows:
            assert row.heard <= self.living[row.peer]
            assert row.peer in self.table.buckets[common_prefix(self.table.at, row.at)].rows

    @invariant()
    def bounds(self) -> None:
        counts: dict[str, int] = {}
        for bucket in self.table.buckets.values():
            assert len(bucket.rows) <= K
            assert len(bucket.waiting) <= DHT_REPLACEMENTS_MAX.value
            assert not bucket.rows.keys() & bucket.waiting.keys()
        for row in self.table.rows():
            for group in row.groups:
                counts[group] = counts.get(group, 0) + 1
        assert counts == dict(self.table._groups)
        assert all(count <= DHT_PEERS_PER_GROUP.value for count in counts.values())


TestTable = TableMachine.TestCase
TestTable.settings = hypothesis.settings(max_examples=60, stateful_step_count=40)


@pytest.mark.parametrize("most", [0, 1, K, 1000])
def test_no_more_are_told_than_there_are(most: int) -> None:
    assert len(filled(30).nearest(kad_id(b"x"), most)) == min(most, 30)
