"""The connection table: caps hold, counts agree with the rows, pruning spares the protected and the young."""

import hypothesis.stateful as sf
from hypothesis import strategies as st

from shoal.actors.transport.addresses import AddressBook
from shoal.actors.transport.connections import ConnectionTable, subnet_of
from shoal.actors.transport.network import Connection
from shoal.messages.limits import ADDRESSES_PER_PEER, CONNECTIONS_PER_IP, CONNECTIONS_PER_PEER, PEERS_KNOWN
from shoal.messages.policy import LEECHER, Policy

POLICY = Policy("test", connections_low=4, connections_high=8, connections_max=12, connection_grace_s=10.0)


def connection(number: int, peer: str = "", ip: str = "9.9.9.9", inbound: bool = True) -> Connection:
    return Connection(number, peer or f"p{number}", f"/ip4/{ip}/tcp/{1000 + number}", inbound, "noise")


def test_one_address_may_have_only_so_many() -> None:
    table = ConnectionTable()
    for number in range(CONNECTIONS_PER_IP.value):
        assert table.may_admit("/ip4/9.9.9.9/tcp/1", POLICY) == ""
        table.add(connection(number), 0.0)
    assert "this address" in table.may_admit("/ip4/9.9.9.9/tcp/1", POLICY)
    assert table.may_admit("/ip4/9.9.9.8/tcp/1", POLICY) == ""


def test_loopback_is_free_of_the_address_cap() -> None:
    table = ConnectionTable()
    for number in range(11):
        table.add(connection(number, ip="127.0.0.1"), 0.0)
    assert table.may_admit("/ip4/127.0.0.1/tcp/1", POLICY) == ""


def test_ipv6_counts_by_its_56() -> None:
    assert subnet_of("/ip6/2001:db8:0:1234::1/tcp/1") == subnet_of("/ip6/2001:db8:0:12ff::2/tcp/2")
    assert subnet_of("/ip6/2001:db8:0:1234::1/tcp/1") != subnet_of("/ip6/2001:db8:1::1/tcp/1")


def test_a_leecher_admits_nobody() -> None:
    assert "leecher" in ConnectionTable().may_admit("/ip4/127.0.0.1/tcp/1", LEECHER)


def test_one_peer_may_have_only_so_many() -> None:
    table = ConnectionTable()
    rows = [connection(number, peer="p", ip=f"9.9.{number}.1") for number in range(CONNECTIONS_PER_PEER.value + 1)]
    for row in rows:
        table.add(row, 0.0)
    assert table.too_many(rows[-1], POLICY)


def test_address_book_is_bounded_both_ways() -> None:
    book = AddressBook()
    book.add("p", [f"/ip4/1.2.3.4/tcp/{port}" for port in range(1, 601)])
    assert len(book.of("p")) == ADDRESSES_PER_PEER.value
    assert book.of("p")[0] == "/ip4/1.2.3.4/tcp/600"
    for number in range(PEERS_KNOWN.value + 10):
        book.add(f"q{number}", ["/ip4/1.2.3.4/tcp/1"])
    assert len(book) == PEERS_KNOWN.value


class TableMachine(sf.RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.rows, self.now, self.next = ConnectionTable(), {}, 0.0, 0

    @sf.rule(peer=st.integers(0, 6), ip=st.integers(0, 3), inbound=st.booleans())
    def add(self, peer: int, ip: int, inbound: bool) -> None:
        self.next += 1
        row = connection(self.next, f"p{peer}", f"9.9.9.{ip}", inbound)
        first = self.table.add(row, self.now)
        assert first == all(other.peer != row.peer for other in self.rows.values())
        self.rows[row.id] = row

    @sf.precondition(lambda self: self.rows)
    @sf.rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        row = self.rows.pop(data.draw(st.sampled_from(sorted(self.rows))))
        last = self.table.remove(row)
        assert last == all(other.peer != row.peer for other in self.rows.values())
        assert not self.table.remove(row)

    @sf.rule(peer=st.integers(0, 6), tag=st.sampled_from("ab"), on=st.booleans())
    def protect(self, peer: int, tag: str, on: bool) -> None:
        self.table.protect(f"p{peer}", tag, on)

    @sf.rule(seconds=st.floats(0, 30))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @sf.invariant()
    def counts_agree(self) -> None:
        assert len(self.table) == len(self.rows)
        assert sum(self.table._per_subnet.values()) == len(self.rows)
        assert set(self.table.peers) == {row.peer for row in self.rows.values()}

    @sf.invariant()
    def pruning_spares(self) -> None:
        surplus = self.table.surplus(self.now, POLICY)
        if len(self.rows) <= POLICY.connections_high:
            assert surplus == []
        for row in surplus:
            assert not self.table.peers[row.peer].protected
            assert self.now - self.table.peers[row.peer].since >= POLICY.connection_grace_s


TestTable = TableMachine.TestCase
