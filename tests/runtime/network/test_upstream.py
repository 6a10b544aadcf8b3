"""The traps of py-libp2p 0.8.1 that ``runtime/network/host`` lists.

Each has two tests.  ``test_upstream_...`` shows the trap in py-libp2p as it comes: when one fails, upstream has mended
it, and the way round (named in ``host``) can go.  ``test_ours_...`` shows that we do not fall into it.
"""

import gc
import socket
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from libp2p import new_host
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.io.trio import TrioTCPStream
from libp2p.network.config import ConnectionConfig
from libp2p.network.exceptions import SwarmException
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from shoal.runtime.network.connections import Link
from shoal.runtime.network.wire import GuardedConnection, GuardedYamux
from shoal.runtime.network.wire_stack.yamux.muxer import YamuxConnection
from shoal.tests.support.stock_host import PROTOCOL, holds, stock, stock_host, swarm_of


def test_upstream_never_gives_an_inbound_slot_back(lab: SimpleNamespace) -> None:
    async def body() -> None:
        server = stock_host()
        async with stock(server) as (where,):
            for count in (1, 2):
                client = stock_host()
                async with background_trio_service(swarm_of(client)):
                    await client.connect(where)
                    await trio.sleep(0.5)  # until identify is through: it would dial again for that
                    await swarm_of(client).close_peer(where.peer_id)
                assert await holds(lambda: not swarm_of(server).connections)
                await trio.sleep(0.2)
                assert swarm_of(server)._inbound_limiter.borrowed_tokens == count

    lab.run(body)


def test_ours_takes_600_connections_in_its_life(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(close_grace_s=0.05)) as (server,):
            limiter = server.network.host.get_network()._inbound_limiter
            assert limiter.total_tokens == 4096
            limiter.total_tokens = 250  # py-libp2p's own default
            target = ID.from_base58(server.peer)
            addr = server.network.listen_addrs()[0].split("/")

            async def connect_and_leave() -> None:
                """The cheapest client that there is: a handshake, a muxer, and the end."""
                stream = await trio.open_tcp_stream("127.0.0.1", int(addr[4]))
                guard = GuardedConnection(TrioTCPStream(stream), is_initiator=True, write_timeout_s=5)
                upgrader = client.network.host.get_network().upgrader
                secured = await upgrader.upgrade_security(guard, True, target)
                await upgrader.upgrade_connection(secured, target)
                await stream.aclose()

            client = lab.Node(lab.Config(quic=False))
            for _ in range(600):
                await connect_and_leave()
            await server.events.until(lambda: len(server.events.all("connected")) == 600, "600 connections")
            await server.events.until(lambda: len(server.events.all("disconnected")) == 600, "their ends")
            assert await holds(lambda: limiter.borrowed_tokens == 0)
            assert not list(server.network._connections)
            swarm = server.network.host.get_network()
            assert not swarm.auto_connector._recent_disconnects
            assert len(swarm.peerstore.peer_ids()) == 1
            await trio.sleep(0.3)  # py-libp2p sleeps 0.2 s while it lets go of one
            gc.collect()
            assert sum(isinstance(thing, Link) for thing in gc.get_objects()) <= 1

    lab.run(body)


# --- 2: exceptions in handlers ---------------------------------------------------------------------


async def _raise(stream: INetStream) -> None:
    raise ZeroDivisionError


def test_upstream_dies_of_an_exception_in_a_handler(lab: SimpleNamespace) -> None:
    async def body() -> None:
        server, client = stock_host(), stock_host()
        server.set_stream_handler(PROTOCOL, _raise)
        async with stock(server, client) as (where, _):
            await client.connect(where)
            await client.new_stream(where.peer_id, [PROTOCOL])
            assert await holds(lambda: swarm_of(server).manager.is_finished)

    lab.run(body)


def test_ours_survives_any_handler(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            b.network.serve_user("/raises", _raise)
            b.network.host.set_stream_handler(PROTOCOL, _raise)  # as a library of py-libp2p's would
            connection = await a.connect(b)

            async def listen(stream: Any) -> bytes:
                got: bytes = await stream.read(timeout=5)
                return got

            for protocol in ("/raises", PROTOCOL):
                with pytest.raises(Exception, match="reset"):
                    await a.network.run_user(b.peer, protocol, listen, 5.0)
            a.network.ping(1, b.peer, 5.0)
            await a.events.wait("pong", 1)
            assert not a.events.all("disconnected", connection)

    lab.run(body)


# --- 3: cancelled writes ---------------------------------------------------------------------------


def _dead() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"/ip4/127.0.0.1/tcp/{unused.getsockname()[1]}"


def test_upstream_gives_up_on_a_peer_with_one_dead_address(lab: SimpleNamespace) -> None:
    async def body() -> None:
        server, client = stock_host(), stock_host()
        async with stock(server, client) as (where, _):
            with pytest.raises(SwarmException):
                await client.connect(PeerInfo(where.peer_id, [Multiaddr(_dead()), *where.addrs]))
            with pytest.raises(SwarmException):  # and will not hear of it for a minute
                await client.connect(where)

    lab.run(body)


def test_ours_dials_the_address_it_is_given_and_again_at_once(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            for attempt in range(3):
                a.network.dial(100 + attempt, b.peer, _dead(), 5.0)
            a.network.dial(1, b.peer, b.network.listen_addrs()[0], 5.0)
            await a.events.wait("dialed", 1)
            for attempt in range(3):
                await a.events.wait("dial_failed", 100 + attempt)

    lab.run(body)


# --- 5: dialling of its own accord ----------------------------------------------------------------


def test_upstream_dials_whom_nobody_asked_for(lab: SimpleNamespace) -> None:
    async def body() -> None:
        server, client = stock_host(), stock_host(connection_config=ConnectionConfig(auto_connect_interval=0.2))
        async with stock(server) as (where,):
            client.get_peerstore().add_addrs(where.peer_id, where.addrs, 1000)
            async with stock(client):
                assert await holds(lambda: where.peer_id in swarm_of(client).connections)

    lab.run(body)


def test_ours_dials_nobody_unasked(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config(), lab.Config()) as (a, b, c):
            for addr in c.network.listen_addrs():
                a.network.host.get_peerstore().add_addrs(ID.from_base58(c.peer), [Multiaddr(addr)], 1000)
            connection = await a.connect(b)
            a.network.close_connection(connection.id)
            await a.events.wait("disconnected")
            await trio.sleep(1)
            assert [event[0].peer for event in a.events.all("connected")] == [b.peer]

    lab.run(body)


# --- 6: the muxer's class --------------------------------------------------------------------------


class _OtherYamux(Yamux):
    """Any class but the stock one."""


def test_upstream_ignores_the_muxers_class(lab: SimpleNamespace) -> None:
    async def body() -> None:
        server, client = stock_host(), stock_host(muxer_opt={TProtocol(YAMUX): _OtherYamux})
        async with stock(server, client) as (where, _):
            await client.connect(where)
            (connection,) = swarm_of(client).get_connections(where.peer_id)
            assert type(connection.muxed_conn) is Yamux

    lab.run(body)


def test_ours_uses_its_own_muxer(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            await a.connect(b)
            for node in (a, b):
                (link,) = node.network._connections
                assert type(link.conn.muxed_conn) is (GuardedYamux if lab.wire == "stock" else YamuxConnection)

    lab.run(body)


# --- 7: the 257th stream (ours: test_streams, three hundred streams) -------------------------------


def test_upstream_blocks_on_the_257th_stream(lab: SimpleNamespace) -> None:
    async def body() -> None:
        server, client = stock_host(), stock_host()
        async with stock(server, client) as (where, _):
            await client.connect(where)
            (connection,) = swarm_of(client).get_connections(where.peer_id)
            count = 0
            with trio.move_on_after(4):
                while count < 260:
                    await connection.new_stream()
                    count += 1
            assert 250 <= count <= 256

    lab.run(body)


# --- 8: plaintext ----------------------------------------------------------------------------------


def test_upstream_offers_plaintext() -> None:
    host = new_host()
    assert isinstance(host, BasicHost)
    offered = {str(name) for name in swarm_of(host).upgrader.security_multistream.transports}
    assert {"/secio/1.0.0", "/plaintext/2.0.0"} & offered


def test_ours_offers_noise_then_tls_and_nothing_else(lab: SimpleNamespace) -> None:
    swarm = lab.Node(lab.Config()).network.host.get_network()
    offered = [str(name) for name in swarm.upgrader.security_multistream.transports]
    assert offered == ["/noise", "/tls/1.0.0"]
    assert [str(name) for name in swarm.upgrader.muxer_multistream.transports] == ["/yamux/1.0.0"]


# --- 9: stopping (ours: test_connecting, stopping ends events and frees the port) ------------------


def test_upstream_takes_its_time_to_stop(lab: SimpleNamespace) -> None:
    async def body() -> None:
        clients = [stock_host() for _ in range(5)]
        server = stock_host()
        async with stock(server, *clients) as (where, *_):
            for client in clients:
                await client.connect(where)
            assert await holds(lambda: len(swarm_of(server).connections) == 5)
            start = trio.current_time()
            await server.close()
            assert trio.current_time() - start > 0.8, "0.2 s a connection, one after another"

    lab.run(body)


# --- 10: negotiation -------------------------------------------------------------------------------


def test_upstream_dies_of_a_negotiation_line_that_is_not_utf8(lab: SimpleNamespace) -> None:
    async def body() -> None:
        server, client = stock_host(), stock_host()
        async with stock(server, client) as (where, _):
            await client.connect(where)
            (connection,) = swarm_of(client).get_connections(where.peer_id)
            stream = await connection.new_stream()
            await stream.write(b"\x13/multistream/1.0.0\n\x03\xff\xfe\n")
            assert await holds(lambda: swarm_of(server).manager.is_finished)

    lab.run(body)


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"\x03\xff\xfe\n", id="not UTF-8"),
        pytest.param(b"\x04abcd", id="no newline"),
        pytest.param(b"\x00", id="empty line"),
        pytest.param(b"\x80\x80\x04" + bytes(65536), id="64 KiB line"),
        pytest.param(b"\xff" * 20, id="endless varint"),
        pytest.param(b"\x03ls\n" * 100, id="ls"),
        pytest.param(b"\x04/no\n" * 10_000, id="10,000 unknown protocols"),
    ],
)
def test_ours_refuses_bad_negotiation_and_goes_on(lab: SimpleNamespace, garbage: bytes) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            connection = await a.connect(b)
            (link,) = a.network._connections
            stream = await link.conn.new_stream()
            try:
                await stream.write(b"\x13/multistream/1.0.0\n" + garbage)
            except StreamError:
                pass  # reset while we were still writing
            assert (await b.events.wait("remote_fault", a.peer))[1] == "negotiation"
            a.network.ping(1, b.peer, 5.0)
            await a.events.wait("pong", 1)
            assert not a.events.all("disconnected", connection)

    lab.run(body)
