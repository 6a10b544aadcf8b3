"""The real network against a real Kubo: connecting either way, identify, ping, and a block each way over bitswap."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from shoal.messages import varint
from shoal.messages.cid import CID, DAG_PB
from shoal.runtime.network.config import NetworkConfig, Wire
from shoal.runtime.network.identity import generate
from shoal.runtime.network.network import Libp2pNetwork
from shoal.tests.support.kubo import Kubo, KuboFactory
from shoal.tests.support.network_recorder import FRAME_MAX, Node

pytestmark = pytest.mark.interop

BITSWAP = "/ipfs/bitswap/1.2.0"
TCP, QUIC = "/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"
WAYS: dict[str, dict[str, Any]] = {
    "noise": {"security": "noise", "quic": False},
    "tls": {"security": "tls", "quic": False},
    "quic": {"tcp": False},
}
# The way to a peer, and whose Noise session and yamux we speak on it.
CASES: list[tuple[str, Wire]] = [
    ("noise", "stock"),
    ("noise", "shoal"),
    ("tls", "stock"),
    ("tls", "shoal"),
    ("quic", "stock"),
]
PATIENCE_S = 20.0


@asynccontextmanager
async def started(way: str, wire: Wire) -> AsyncIterator[Node]:
    """A network of ours that speaks bitswap, one way only."""
    async with trio.open_nursery() as nursery:
        network = Libp2pNetwork(generate().key, NetworkConfig(wire=wire))
        network.bind(nursery)
        network.serve_framed(BITSWAP, FRAME_MAX)
        node = Node(network)
        node.call("start", node.events, [QUIC if way == "quic" else TCP])
        await network.ready()
        try:
            yield node
        finally:
            node.stop()
            with trio.CancelScope(shield=True):
                await network.stopped()


async def until(node: Node, condition: Callable[[], bool]) -> None:
    with trio.move_on_after(PATIENCE_S):
        while not condition():
            await trio.sleep(0.01)
    assert condition(), [str(event)[:300] for event in node.events.log[-20:]]


async def dial(node: Node, kubo: Kubo) -> None:
    attempt = 1
    node.call("dial", attempt, kubo.peer_id, kubo.addrs[0].rsplit("/p2p/", 1)[0], 10.0)
    await until(node, lambda: node.outcome("dial", attempt) != "")
    assert node.outcome("dial", attempt) == "dialed", node.events.log


async def be_dialled(node: Node, kubo: Kubo) -> None:
    await trio.to_thread.run_sync(kubo.connect, f"{node.network.listen_addrs()[0]}/p2p/{node.peer_id}")
    await until(node, lambda: node.connection_to(kubo.peer_id) is not None)


async def greet(node: Node, kubo: Kubo, way: str, *, inbound: bool) -> None:
    """Who it is, over what, what it says of itself, and that it answers."""
    connection = node.connection_to(kubo.peer_id)
    assert connection is not None
    assert (connection.security, connection.inbound) == (way, inbound)
    await until(node, lambda: kubo.peer_id in node.events.facts)
    facts = node.events.facts[kubo.peer_id]
    assert facts.agent.startswith("kubo/")
    assert {BITSWAP, "/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"} <= set(facts.protocols)
    assert facts.listen_addrs
    assert facts.observed_addr.startswith("/ip4/127.0.0.1/")
    ping = node.ping(kubo.peer_id)
    await until(node, lambda: node.outcome("ping", ping) == "pong")
    assert node.peer_id in str(await trio.to_thread.run_sync(kubo.peers))


def field(number: int, value: int | bytes) -> bytes:
    """One protobuf field: a varint, or bytes with their length."""
    if isinstance(value, int):
        return varint.encode(number << 3) + varint.encode(value)
    return varint.encode(number << 3 | 2) + varint.encode(len(value)) + value


def want_block(cid: CID) -> bytes:
    """bitswap 1.2.0: Message{wantlist: {entries: [{block, priority, wantType: Block, sendDontHave}]}}."""
    return field(1, field(1, field(1, cid.raw) + field(2, 1) + field(4, 0) + field(5, 1)))


def block(cid: CID, data: bytes) -> bytes:
    """bitswap 1.2.0: Message{payload: [{prefix, data}]}."""
    return field(3, field(1, cid.prefix) + field(2, data))


@pytest.mark.parametrize(("way", "wire"), CASES)
def test_we_dial_kubo(kubo: KuboFactory, way: str, wire: Wire) -> None:
    other = kubo(**WAYS[way])

    async def body() -> None:
        async with started(way, wire) as node:
            await dial(node, other)
            await greet(node, other, way, inbound=False)
        node.check()

    trio.run(body)


@pytest.mark.parametrize(("way", "wire"), CASES)
def test_kubo_dials_us(kubo: KuboFactory, way: str, wire: Wire) -> None:
    other = kubo(**WAYS[way])

    async def body() -> None:
        async with started(way, wire) as node:
            await be_dialled(node, other)
            await greet(node, other, way, inbound=True)
        node.check()

    trio.run(body)


@pytest.mark.parametrize(("way", "wire"), CASES)
def test_a_block_from_kubo(kubo: KuboFactory, way: str, wire: Wire, tmp_path: Path) -> None:
    """Over QUIC, Kubo stops reading before our protocol answer is written; see ``runtime/network/quic.py``."""
    other = kubo(**WAYS[way])
    data = bytes(range(251)) * 800
    (tmp_path / "file").write_bytes(data)
    cid = CID.parse(other.add(tmp_path / "file"))

    async def body() -> None:
        async with started(way, wire) as node:
            await dial(node, other)
            ticket = node.open(other.peer_id, [BITSWAP])
            await until(node, lambda: node.outcome("open", ticket) == "stream_opened")
            node.send(node.opened(ticket), want_block(cid))
            await until(node, lambda: any(data in frame for frames in node.events.frames.values() for frame in frames))
        node.check()

    trio.run(body)


@pytest.mark.parametrize(("way", "wire"), CASES)
def test_a_block_to_kubo(kubo: KuboFactory, way: str, wire: Wire, tmp_path: Path) -> None:
    other = kubo(**WAYS[way])
    # A dag-pb node whose data is the UnixFS file "hello" (type 2, data, size 5).
    data = field(1, field(1, 2) + field(2, b"hello") + field(3, 5))
    cid = CID.of(data, DAG_PB)
    wanted = cid.raw

    async def answer(node: Node) -> None:
        """Once Kubo names the CID, send the block on a stream of ours, as bitswap does."""
        await until(node, lambda: any(wanted in frame for frames in node.events.frames.values() for frame in frames))
        ticket = node.open(other.peer_id, [BITSWAP])
        await until(node, lambda: node.outcome("open", ticket) == "stream_opened")
        node.send(node.opened(ticket), block(cid, data))

    async def body() -> None:
        async with started(way, wire) as node:
            await be_dialled(node, other)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer, node)
                await trio.to_thread.run_sync(other.get, str(cid), tmp_path / "out", PATIENCE_S)
        node.check()

    trio.run(body)
    assert (tmp_path / "out").read_bytes() == b"hello"
