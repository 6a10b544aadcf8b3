"""Many connections in a node's life, many streams at once, and users' handlers that fail."""

import logging
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trio

from shoal.actors.transport.network import UserStream
from shoal.messages.errors import LocalError, RemoteError
from shoal.runtime.config import Config
from shoal.runtime.node import Node
from shoal.tests.support.faults import noise, wait_until
from shoal.tests.support.processes import Child
from shoal.tests.support.shoal import ShoalFactory

pytestmark = pytest.mark.faults

MIB = 1024 * 1024
CONNECTIONS = 600
"""More than twice the 250 inbound slots that py-libp2p never gives back."""
WIDTH = 8
GROWTH_MAX = 32 * MIB
"""Of a node's memory over 500 connections that are gone: address book and peer facts are bounded, and small."""
STREAMS = 300
FAST = "/fault/echo/1.0.0"


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def dial(addr: str, count: int) -> None:
    """``count`` connections by a helper process; each must be identified and pinged."""
    script = Path(__file__).parent / "dial_often.py"
    with Child.start([sys.executable, script, addr, str(count), str(WIDTH)]) as helper:
        told = helper.json_line(120)
        assert told == {"done": count, "failures": []}, told


def test_hundreds_of_connections_in_a_life(shoal: ShoalFactory) -> None:
    node, late = shoal(), shoal()
    dial(node.addrs[0], 100)
    wait_until(lambda: not node.peers(), "all have gone")
    rss, files = node.rss(), descriptors(node.process.pid)
    dial(node.addrs[0], CONNECTIONS - 100)
    wait_until(lambda: not node.peers(), "all have gone")
    grown = node.rss() - rss
    print(f"{grown / MIB:.1f} MiB more over {CONNECTIONS - 100} connections")
    assert grown < GROWTH_MAX
    assert descriptors(node.process.pid) <= files + 4
    late.connect(node.addrs[0])
    content = noise(2 * MIB, "late")
    assert late.cat(node.add(content)) == content


# --- users' own protocols --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    """Three nodes in this process; the other two are connected to the first."""
    folder = tmp_path_factory.mktemp("nodes")
    made = [
        Node(Config(repo=str(folder / name), listen=("/ip4/127.0.0.1/tcp/0",), api="127.0.0.1:0"))
        for name in ("first", "second", "third")
    ]
    try:
        for node in made:
            node.start()
        for node in made[1:]:
            node.api.swarm_connect(made[0].identity().addrs[0], 10)
        yield made
    finally:
        for node in made:
            assert node.stop(8)


async def echo(stream: UserStream) -> None:
    await stream.write(await stream.read())
    await stream.close()


async def ask(stream: UserStream) -> bytes:
    await stream.write(b"hello")
    await stream.close_write()
    return await stream.read_exactly(5, timeout=20)


@pytest.mark.parametrize(
    "fault",
    [
        ValueError("a bug"),
        RemoteError("a peer's"),
        SystemExit(3),
        KeyboardInterrupt(),
        ExceptionGroup("two", [OSError()]),
    ],
)
def test_a_handler_that_raises_ends_its_own_stream_only(
    nodes: list[Node], fault: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    server, client, _ = nodes

    async def broken(stream: UserStream) -> None:
        await stream.read()
        raise fault

    server.register_protocol_handler("/fault/broken/1.0.0", broken)
    server.register_protocol_handler(FAST, echo)
    peer = server.identity().peer
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            with pytest.raises(RemoteError):
                client.run_protocol(peer, "/fault/broken/1.0.0", ask)
    assert client.run_protocol(peer, FAST, ask) == b"hello"
    assert {row.generation for row in server.api.actors().actors} == {1}
    assert "the handler of /fault/broken/1.0.0 failed" in caplog.text


def test_hundreds_of_streams_at_once(nodes: list[Node]) -> None:
    """Two peers hold 150 streams each open towards one node at the same time; nobody is refused."""
    server, *clients = nodes
    everybody = threading.Barrier(STREAMS)
    open_now = 0
    crowd = trio.Event()  # more than half of all are open: nobody is answered before

    async def hold(stream: UserStream) -> None:
        nonlocal open_now
        open_now += 1
        if open_now > STREAMS // 2:
            crowd.set()
        await crowd.wait()
        await echo(stream)

    server.register_protocol_handler("/fault/hold/1.0.0", hold)
    peer = server.identity().peer

    def one(number: int) -> bytes:
        everybody.wait(30)
        return bytes(clients[number % 2].run_protocol(peer, "/fault/hold/1.0.0", ask, 30))

    with ThreadPoolExecutor(STREAMS) as pool:
        assert list(pool.map(one, range(STREAMS))) == [b"hello"] * STREAMS
    assert open_now == STREAMS


def test_more_streams_than_a_connection_has(nodes: list[Node]) -> None:
    """One peer asks for 300 at once: those beyond the bound wait for a place, and get it."""
    server, client, _ = nodes
    server.register_protocol_handler(FAST, echo)
    peer = server.identity().peer

    def one(_: int) -> bytes | LocalError | RemoteError:
        try:
            return bytes(client.run_protocol(peer, FAST, ask, 30))
        except (LocalError, RemoteError) as fault:
            return fault

    with ThreadPoolExecutor(STREAMS) as pool:
        assert list(pool.map(one, range(STREAMS))) == [b"hello"] * STREAMS
