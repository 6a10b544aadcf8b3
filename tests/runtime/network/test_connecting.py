"""Connecting, identifying, pinging, probing and parting, over real sockets on loopback."""

import os
import socket
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from shoal.messages.errors import BadInput, LocalError, Unavailable
from shoal.runtime.network.identity import generate

PROTOCOL = "/test/frames/1"


@pytest.mark.parametrize("security", ["noise", "tls"])
def test_two_networks_connect_identify_and_ping(lab: SimpleNamespace, security: str) -> None:
    async def body() -> None:
        config = lab.Config(security=(security,))
        async with lab.running(config, config) as (a, b):
            b.network.serve_framed(PROTOCOL, 1000)
            connection = await a.connect(b)
            assert connection.security == security
            assert not connection.inbound
            assert connection.addr == b.network.listen_addrs()[0]
            _, facts = await a.events.wait("identified", b.peer)
            assert facts.agent == "shoal/0.1.0"
            assert {"/ipfs/ping/1.0.0", "/ipfs/id/1.0.0", PROTOCOL} <= set(facts.protocols)
            assert facts.listen_addrs == b.network.listen_addrs()
            (incoming,) = b.events.all("connected")[0]
            assert incoming.inbound
            assert incoming.peer == a.peer
            assert facts.observed_addr == incoming.addr
            a.network.ping(7, b.peer, 5.0)
            _, rtt_s = await a.events.wait("pong", 7)
            assert 0 < rtt_s < 5
            a.network.close_connection(connection.id)
            assert (await a.events.wait("disconnected", connection))[1] == "closed by us"
            assert (await b.events.wait("disconnected", incoming))[1] == "closed by the peer"

    lab.run(body)


def test_a_new_protocol_is_pushed_to_who_is_connected(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            await a.connect(b)
            await a.events.wait("identified")
            await b.events.wait("identified")
            b.network.serve_framed(PROTOCOL, 1000)
            b.network.announce(["/ip4/192.0.2.7/tcp/4001"])
            await a.events.until(lambda: len(a.events.all("identified")) == 2, "a second identified")
            _, facts = a.events.all("identified")[1]
            assert PROTOCOL in facts.protocols
            assert facts.listen_addrs == ("/ip4/192.0.2.7/tcp/4001",)

    lab.run(body)


def test_dials_that_fail_say_why(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            good = b.network.listen_addrs()[0]
            with socket.socket() as closed:
                closed.bind(("127.0.0.1", 0))
                dead = f"/ip4/127.0.0.1/tcp/{closed.getsockname()[1]}"
                a.network.dial(1, b.peer, dead, 5.0)
                assert "Connection refused" in (await a.events.wait("dial_failed", 1))[1]
                closed.listen()
                a.network.dial(2, b.peer, dead, 0.3)
                assert "no connection within 0.3 s" in (await a.events.wait("dial_failed", 2))[1]
                a.network.dial(3, b.peer, dead, 30.0)
                await trio.sleep(0.1)
                a.network.cancel_dial(3)
                assert "given up" in (await a.events.wait("dial_failed", 3))[1]
            a.network.dial(4, generate().peer_id, good, 5.0)
            reason = (await a.events.wait("dial_failed", 4))[1]
            assert "handshake failed" in reason
            a.network.dial(5, b.peer, "/ip4/127.0.0.1/sctp/9", 5.0)
            assert "no transport of ours" in (await a.events.wait("dial_failed", 5))[1]
            for attempt, (peer, addr) in enumerate([("nonsense", good), (b.peer, "nonsense")], 6):
                a.network.dial(attempt, peer, addr, 5.0)
                assert "not an address of a peer" in (await a.events.wait("dial_failed", attempt))[1]
            a.network.dial(8, a.peer, a.network.listen_addrs()[0], 5.0)
            await a.events.until(lambda: bool(a.events.all("dial_failed", 8) or a.events.all("dialed", 8)), "an end")
            assert not a.events.all("connected") or a.events.all("dialed", 8)
            await a.connect(b)

    lab.run(body)


def test_nobody_is_admitted_against_the_actors_will(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            b.events.admits = False
            a.network.dial(1, b.peer, b.network.listen_addrs()[0], 5.0)
            assert "handshake failed" in (await a.events.wait("dial_failed", 1))[1]
            assert b.events.refused[0].startswith("/ip4/127.0.0.1/tcp/")
            assert not b.events.log

    lab.run(body)


def test_addresses_that_cannot_be_listened_on(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config()) as (a,), trio.open_nursery() as nursery:
            taken = a.network.listen_addrs()[0]
            node = lab.Node(lab.Config(quic=False))
            node.network.bind(nursery)
            for addr, kind, text in (
                (taken, Unavailable, f"port {taken.split('/')[-1]} is in use (stop the program"),
                ("/ip4/192.0.2.1/tcp/4001", BadInput, "this machine has no such address"),
                ("/ip4/127.0.0.1/udp/4001/quic-v1", BadInput, "QUIC is switched off"),
                ("/ip4/127.0.0.1", BadInput, "give /ip4/IP/tcp/PORT"),
                ("/ip4/127.0.0.999/tcp/1", BadInput, "correct the address"),
                ("/ip4/127.0.0.1/tcp/99999", BadInput, "correct the address"),
                ("", BadInput, "give /ip4/IP/tcp/PORT"),
            ):
                with pytest.raises(kind) as caught:
                    node.network.start(node.events, [addr])
                assert text in str(caught.value)

    lab.run(body)


def test_wildcards_are_told_as_concrete_addresses(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), listen="/ip4/0.0.0.0/tcp/0") as (a,):
            addrs = a.network.listen_addrs()
            assert any(addr.startswith("/ip4/127.0.0.1/tcp/") for addr in addrs)
            assert not any("0.0.0.0" in addr or addr.endswith("/tcp/0") for addr in addrs)

    lab.run(body)


@pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="this machine has no IPv6")
def test_ipv6(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config(), listen="/ip6/::1/tcp/0") as (a, b):
            connection = await a.connect(b)
            assert connection.addr.startswith("/ip6/::1/tcp/")
            assert b.events.all("connected")[0][0].addr.startswith("/ip6/::1/tcp/")

    lab.run(body)


def test_a_silent_peer_is_noticed_and_a_quiet_one_is_kept(lab: SimpleNamespace) -> None:
    async def body() -> None:
        alert = lab.Config(idle_probe_s=0.4, idle_probe_timeout_s=0.4)
        async with lab.running(alert, lab.Config(), lab.Config()) as (a, b, c), lab.proxied(b) as proxy:
            connection = await a.connect(b, proxy.addr)
            await a.connect(c)
            await trio.sleep(1.5)
            assert not a.events.all("disconnected")
            proxy.stall()
            assert await a.events.wait("disconnected", connection) == (connection, "the peer went silent")
            await trio.sleep(1.0)
            assert len(a.events.all("disconnected")) == 1

    lab.run(body)


def test_a_ping_that_is_not_answered_fails(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b), lab.proxied(b) as proxy:
            a.network.ping(1, b.peer, 1.0)
            assert "not connected" in (await a.events.wait("ping_failed", 1))[1]
            await a.connect(b, proxy.addr)
            await a.events.wait("identified")
            proxy.stall()
            a.network.ping(2, b.peer, 0.3)
            assert "no answer within 0.3 s" in (await a.events.wait("ping_failed", 2))[1]

    lab.run(body)


def test_stopping_ends_events_and_frees_the_port(lab: SimpleNamespace) -> None:
    async def body() -> None:
        before = len(os.listdir("/proc/self/fd"))
        async with lab.running(*[lab.Config()] * 6) as (hub, *others):
            for other in others:
                await other.connect(hub)
            port = hub.network.listen_addrs()[0]
            start = trio.current_time()
            hub.network.stop()
            known = len(hub.events.log)
            await hub.network.stopped()
            # py-libp2p alone takes 0.2 s for each of the five connections.
            assert trio.current_time() - start < 3
            assert len(hub.events.log) == known
            for other in others:
                await other.events.wait("disconnected")
            async with trio.open_nursery() as nursery:
                again = lab.Node(lab.Config())
                again.network.bind(nursery)
                again.network.start(again.events, [port])
                await again.network.ready()
                again.network.stop()
        await trio.sleep(0.2)
        assert len(os.listdir("/proc/self/fd")) <= before + 1

    lab.run(body)


def test_stop_before_start_and_twice(lab: SimpleNamespace) -> None:
    async def body() -> None:
        node = lab.Node(lab.Config())
        node.network.stop()
        await node.network.stopped()
        node.network.stop()
        with pytest.raises(LocalError):
            await node.network.ready()

    lab.run(body)


def test_a_cancelled_host_loop_leaves_nothing_open(lab: SimpleNamespace) -> None:
    async def body() -> None:
        node, other = lab.Node(lab.Config()), lab.Node(lab.Config())
        async with trio.open_nursery() as nursery:
            for each in (node, other):
                each.network.bind(nursery)
                each.network.start(each.events, ["/ip4/127.0.0.1/tcp/0"])
                await each.network.ready()
            await node.connect(other)
            addr = node.network.listen_addrs()[0]
            nursery.cancel_scope.cancel()
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", int(addr.split("/")[-1])))

    lab.run(body)


def test_a_seeded_user_handler_echoes(lab: SimpleNamespace) -> None:
    """The handler of the document that the product comes from, word for word."""

    async def handle_custom_protocol(stream: Any) -> None:
        data = await stream.read()
        # Process data...
        assert data == b"Request data"
        await stream.write(b"Response data")
        await stream.close()

    async def ask(stream: Any) -> bytes:
        await stream.write(b"Request data")
        answer: bytes = await stream.read()
        assert await stream.read() == b""
        return answer

    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            b.network.serve_user("/my/custom/protocol/1.0.0", handle_custom_protocol)
            await a.connect(b)
            answer = await a.network.run_user(b.peer, "/my/custom/protocol/1.0.0", ask, 5.0)
            assert answer == b"Response data"

    lab.run(body)
