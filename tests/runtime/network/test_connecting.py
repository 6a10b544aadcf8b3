"""Connecting, identifying, pinging and parting, over real sockets on loopback."""

from types import SimpleNamespace


def test_two_networks_connect_identify_and_ping(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            connection = await a.connect(b)
            assert connection.security == "noise"
            assert not connection.inbound
            assert connection.addr == b.network.listen_addrs()[0]
            _, facts = await a.events.wait("identified", b.peer)
            assert facts.agent == "shoal/0.1.0"
            assert "/ipfs/ping/1.0.0" in facts.protocols
            assert facts.listen_addrs == b.network.listen_addrs()
            a.network.ping(7, b.peer, 5.0)
            _, rtt_s = await a.events.wait("pong", 7)
            assert 0 < rtt_s < 5
            a.network.close_connection(connection.id)
            assert (await a.events.wait("disconnected", connection))[1] == "closed by us"
            assert (await b.events.wait("disconnected"))[1] == "closed by the peer"

    lab.run(body)
