"""At the node's own cap: whom we dial takes the place of the idlest, whoever else comes is turned away."""

from shoal.actors.transport.connections import IDLE_S, ConnectionTable
from shoal.actors.transport.network import Connection
from shoal.messages.limits import CONNECTIONS_PER_PEER
from shoal.messages.policy import Policy

POLICY = Policy("test", connections_low=2, connections_high=3, connections_max=4, connection_grace_s=1000.0)
LATER = IDLE_S + 1.0


def connection(number: int, peer: str = "", *, inbound: bool = False) -> Connection:
    return Connection(number, peer or f"p{number}", f"/ip4/9.9.{number}.9/tcp/1", inbound, "noise")


def full() -> ConnectionTable:
    table = ConnectionTable()
    for number in range(POLICY.connections_max):
        table.add(connection(number), 0.0)
    return table


def newcomer(table: ConnectionTable, *, inbound: bool = False, peer: str = "new") -> Connection:
    one = connection(9, peer, inbound=inbound)
    table.add(one, LATER)
    return one


def test_below_the_cap_nothing_is_closed() -> None:
    table = ConnectionTable()
    assert table.to_close(newcomer(table), LATER, POLICY) == []


def test_the_idlest_makes_room_for_whom_we_dial() -> None:
    table = full()
    for number, used in enumerate((0.5, 0.4, 0.3, 0.6)):
        table.peers[f"p{number}"].used_at = used
    table.peers["p2"].streams.add(1)
    assert table.to_close(newcomer(table), LATER, POLICY) == [connection(1)], "the idlest without a stream"


def test_the_protected_and_those_in_use_stay() -> None:
    table = full()
    for number in range(3):
        table.protect(f"p{number}", "download", True)
    table.peers["p3"].used_at = LATER - IDLE_S / 2
    new = newcomer(table)
    assert table.to_close(new, LATER, POLICY) == [new]


def test_who_dials_us_takes_nobodys_place() -> None:
    table = full()
    new = newcomer(table, inbound=True)
    assert table.to_close(new, LATER, POLICY) == [new]


def test_a_peer_with_too_many_connections_loses_the_new_one() -> None:
    table = ConnectionTable()
    roomy = Policy("test", connections_max=100)
    for number in range(CONNECTIONS_PER_PEER.value):
        table.add(connection(number, "p"), 0.0)
    new = newcomer(table, peer="p")
    assert table.to_close(new, LATER, roomy) == [new]
