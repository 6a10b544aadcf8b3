"""A peer that speaks Noise well and yamux badly: it loses its connection or its stream, and nobody else anything."""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from libp2p.peer.id import ID

from shoal.runtime.network.negotiation import line, propose
from shoal.runtime.network.wire import GuardedConnection

DATA, WINDOW, PING, GOAWAY = 0, 1, 2, 3
SYN, ACK, FIN, RST = 1, 2, 4, 8
PROTOCOL = "/test/frames/1"


def frame(kind: int, flags: int, stream: int, length: int, body: bytes = b"", version: int = 0) -> bytes:
    return struct.pack("!BBHII", version, kind, flags, stream, length) + body


def data(stream: int, body: bytes, flags: int = 0) -> bytes:
    return frame(DATA, flags, stream, len(body), body)


@asynccontextmanager
async def attacker(lab: SimpleNamespace, victim: Any) -> AsyncIterator[Any]:
    """A secured connection to ``victim`` on which yamux has been agreed, and nothing more."""
    node = lab.Node(lab.Config(quic=False))
    host, port = "127.0.0.1", int(victim.network.listen_addrs()[0].split("/")[4])
    raw = await node.network.host.get_network().transport_manager.get_transports()[0].dial(_addr(host, port))
    guard = GuardedConnection(raw, is_initiator=True, write_timeout_s=5)
    upgrader = node.network.host.get_network().upgrader
    secured = await upgrader.upgrade_security(guard, True, ID.from_base58(victim.peer))
    await propose(secured, ["/yamux/1.0.0"])
    try:
        yield secured
    finally:
        guard.abort()


def _addr(host: str, port: int) -> Any:
    from multiaddr import Multiaddr

    return Multiaddr(f"/ip4/{host}/tcp/{port}")


OPENING = line("/multistream/1.0.0") + line(PROTOCOL)
ATTACKS = {
    "a SYN with more than the window": [data(1, bytes(300_000), SYN)],
    "a frame of 4 GiB announced": [frame(DATA, SYN, 1, 0xFFFFFFFF)],
    "window updates that overflow": [frame(WINDOW, SYN, 1, 0xFFFFFFFF), frame(WINDOW, 0, 1, 0xFFFFFFFF)],
    "data on a stream that is not": [data(77, b"hello")],
    "an even stream id": [data(2, OPENING, SYN)],
    "stream 0": [data(0, OPENING, SYN)],
    "the same stream twice": [data(1, OPENING, SYN), data(1, OPENING, SYN)],
    "data after the end": [data(1, OPENING, SYN | FIN), data(1, b"more")],
    "data after a reset": [data(1, OPENING, SYN), frame(WINDOW, RST, 1, 0), data(1, b"more")],
    "a stream born dead": [frame(WINDOW, SYN | RST, 1, 0), frame(WINDOW, SYN | FIN | RST | ACK, 3, 0)],
    "a flood of pings": [frame(PING, SYN, 0, number) for number in range(3000)],
    "answers to no ping": [frame(PING, ACK, 0, number) for number in range(100)],
    "a flood of streams": [frame(WINDOW, SYN, 2 * number + 1, 0) for number in range(3000)],
    "an unknown type": [frame(9, 0, 1, 0)],
    "another version": [frame(DATA, SYN, 1, 0, version=7)],
    "GOAWAY inside a stream": [data(1, OPENING, SYN), frame(GOAWAY, 0, 0, 0)],
    "half a header": [b"\x00\x00\x00"],
    "noise": [bytes(range(256)) * 40],
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_victim_goes_on(lab: SimpleNamespace, attack: str) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(linger_s=0.1), lab.Config()) as (victim, friend):
            victim.network.serve_framed(PROTOCOL, 1000)
            await friend.connect(victim)
            async with attacker(lab, victim) as secured:
                await victim.events.until(lambda: len(victim.events.all("connected")) == 2, "the attacker's connection")
                try:
                    for piece in ATTACKS[attack]:
                        await secured.write(piece)
                except Exception:  # it may have lost the connection by now
                    pass
                await trio.sleep(0.1)
                friend.network.ping(1, victim.peer, 5.0)
                await friend.events.wait("pong", 1)
                stream = await friend.open(victim, PROTOCOL)
                friend.network.send_frame(stream, [b"as ever"], 5.0)
                await victim.events.until(lambda: [b"as ever"] in victim.events.frames.values(), "a frame")
            await victim.events.until(lambda: len(victim.events.all("disconnected")) == 1, "the attacker's end")
            accepted = {event[0] for event in victim.events.all("stream_accepted")}
            await victim.events.until(
                lambda: len(victim.events.all("stream_closed")) == len(accepted) - 1, "the ends of its streams"
            )

    lab.run(body)


def test_a_peer_that_overruns_all_windows_is_dropped(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (victim, friend):
            victim.network.serve_framed(PROTOCOL, 1000)
            victim.events.grant_all = False
            await friend.connect(victim)
            async with attacker(lab, victim) as secured:
                with trio.move_on_after(20):
                    try:
                        for number in range(1, 400, 2):
                            # An announced frame that never ends is read on; a stream without a reader is not.
                            await secured.write(data(number, b"\x13/multistream/1.0.0\n", SYN))
                            for _ in range(8):
                                await secured.write(data(number, b"\x01x" * 32_000))
                    except Exception:  # dropped, as it should be
                        pass
                (gone, reason) = await victim.events.wait("disconnected")
                assert gone.peer != friend.peer
                assert reason
            friend.network.ping(1, victim.peer, 5.0)
            await friend.events.wait("pong", 1)

    lab.run(body)


def test_stopping_while_a_write_is_stuck(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b), lab.proxied(b) as proxy:
            b.network.serve_framed(PROTOCOL, 4 << 20)
            await a.connect(b, proxy.addr)
            stream = await a.open(b, PROTOCOL)
            proxy.stall()
            for _ in range(3):
                a.network.send_frame(stream, [bytes(2 << 20)], 60.0)
            await trio.sleep(0.3)
            with trio.fail_after(5):
                a.network.stop()
                await a.network.stopped()

    lab.run(body)


def test_closing_while_a_write_is_stuck(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(close_grace_s=0.2), lab.Config()) as (a, b), lab.proxied(b) as proxy:
            b.network.serve_framed(PROTOCOL, 4 << 20)
            connection = await a.connect(b, proxy.addr)
            stream = await a.open(b, PROTOCOL)
            proxy.stall()
            for _ in range(3):
                a.network.send_frame(stream, [bytes(2 << 20)], 60.0)
            await trio.sleep(0.3)
            (link,) = a.network._connections
            a.network.close_connection(connection.id)
            assert (await a.events.wait("stream_closed", stream, within_s=5))[1]
            assert (await a.events.wait("disconnected", connection, within_s=5))[1] == "closed by us"
            with trio.fail_after(5):
                while link.guard._socket.fileno() != -1:
                    await trio.sleep(0.05)

    lab.run(body)
