"""Real networks on loopback, in one trio run, with everything they report written down."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from shoal.actors.transport.network import Connection, PeerFacts
from shoal.runtime.network.config import NetworkConfig, Wire
from shoal.runtime.network.identity import generate
from shoal.runtime.network.network import Libp2pNetwork


class Recorder:
    """The transport actor's place: keeps all events, and lets a test wait for one."""

    def __init__(self) -> None:
        self.log: list[tuple[Any, ...]] = []
        self._by_kind: dict[str, list[tuple[Any, ...]]] = {}
        self.refused: list[str] = []
        self.admits = True
        self.frames: dict[int, list[bytes]] = {}
        self.keep_frames = True
        self.received = 0
        self.network: Libp2pNetwork | None = None
        self.grant_all = True
        self.reply: Callable[[int, memoryview], None] | None = None
        self._changed = trio.Event()

    def _note(self, *event: Any) -> None:
        self.log.append(event)
        self._by_kind.setdefault(event[0], []).append(event)
        self._changed.set()
        self._changed = trio.Event()

    def admit(self, addr: str) -> bool:
        if not self.admits:
            self.refused.append(addr)
        return self.admits

    def connected(self, connection: Connection) -> None:
        self._note("connected", connection)

    def disconnected(self, connection: Connection, reason: str) -> None:
        self._note("disconnected", connection, reason)

    def identified(self, peer: str, facts: PeerFacts) -> None:
        self._note("identified", peer, facts)

    def dialed(self, attempt: int, connection: Connection) -> None:
        self._note("dialed", attempt, connection)

    def dial_failed(self, attempt: int, reason: str) -> None:
        self._note("dial_failed", attempt, reason)

    def stream_opened(self, ticket: int, stream: int, peer: str, protocol: str) -> None:
        self._note("stream_opened", ticket, stream, peer, protocol)

    def stream_failed(self, ticket: int, reason: str) -> None:
        self._note("stream_failed", ticket, reason)

    def stream_accepted(self, stream: int, peer: str, protocol: str) -> None:
        self._note("stream_accepted", stream, peer, protocol)

    def frame(self, stream: int, data: memoryview) -> None:
        assert data.readonly
        self.received += len(data)
        if self.keep_frames:
            self.frames.setdefault(stream, []).append(bytes(data))
        if self.grant_all and self.network is not None:
            self.network.grant(stream, len(data))
        if self.reply is not None:
            self.reply(stream, data)
        self._note("frame", stream, len(data))

    def frame_sent(self, stream: int, size: int) -> None:
        self._note("frame_sent", stream, size)

    def stream_closed(self, stream: int, reason: str) -> None:
        self._note("stream_closed", stream, reason)

    def pong(self, ticket: int, rtt_s: float) -> None:
        self._note("pong", ticket, rtt_s)

    def ping_failed(self, ticket: int, reason: str) -> None:
        self._note("ping_failed", ticket, reason)

    def remote_fault(self, peer: str, code: str, detail: str) -> None:
        self._note("remote_fault", peer, code, detail)

    def all(self, kind: str, *start: Any) -> list[tuple[Any, ...]]:
        """The events of ``kind`` whose first arguments are ``start``."""
        return [event[1:] for event in self._by_kind.get(kind, ()) if event[1 : 1 + len(start)] == start]

    def clear(self) -> None:
        """Forget all events so far."""
        self.log.clear()
        self._by_kind.clear()

    async def wait(self, kind: str, *start: Any, within_s: float = 15) -> tuple[Any, ...]:
        """The first such event, waiting for it; fails the test when it does not come."""
        await self.until(lambda: bool(self.all(kind, *start)), f"{kind}{start}", within_s)
        return self.all(kind, *start)[0]

    async def until(self, holds: Callable[[], bool], what: str, within_s: float = 15) -> None:
        """Wait until ``holds``, looking after every event."""
        with trio.move_on_after(within_s):
            while not holds():
                await self._changed.wait()
        assert holds(), f"{what} did not happen; the last events: {self.log[-20:]}"


class Node:
    """One network and its recorder, with the requests that most tests make."""

    def __init__(self, config: NetworkConfig) -> None:
        self.network = Libp2pNetwork(generate().key, config)
        self.events = Recorder()
        self.events.network = self.network
        self.peer = self.network.peer_id
        self._tickets = 0

    def ticket(self) -> int:
        self._tickets += 1
        return self._tickets

    async def connect(self, other: "Node", addr: str = "") -> Connection:
        """Dial ``other``; the connection as both sides know it."""
        attempt = self.ticket()
        self.network.dial(attempt, other.peer, addr or other.network.listen_addrs()[0], 10.0)
        _, connection = await self.events.wait("dialed", attempt)
        await other.events.until(
            lambda: any(row.peer == self.peer for (row,) in other.events.all("connected")), "the other side's connected"
        )
        assert isinstance(connection, Connection)
        return connection

    async def open(self, other: "Node", protocol: str, frame_max: int = 4 << 20) -> int:
        """Open a framed stream to ``other``; its number."""
        ticket = self.ticket()
        self.network.open_stream(ticket, other.peer, [protocol], frame_max, 10.0)
        _, stream, peer, chosen = await self.events.wait("stream_opened", ticket)
        assert (peer, chosen) == (other.peer, protocol)
        assert isinstance(stream, int)
        return stream


@asynccontextmanager
async def running(*configs: NetworkConfig, listen: str = "/ip4/127.0.0.1/tcp/0") -> AsyncIterator[list[Node]]:
    """A started network per config."""
    nodes = [Node(config) for config in configs]
    async with trio.open_nursery() as nursery:
        for node in nodes:
            node.network.bind(nursery)
            node.network.start(node.events, [listen])
            await node.network.ready()
        try:
            yield nodes
        finally:
            with trio.CancelScope(shield=True):
                for node in nodes:
                    node.network.stop()
                for node in nodes:
                    await node.network.stopped()


class Proxy:
    """A TCP hop before a node, which can stop passing bytes on without closing anything."""

    def __init__(self, listener: trio.SocketListener, target: str) -> None:
        host, port = listener.socket.getsockname()[:2]
        self.addr = f"/ip4/{host}/tcp/{port}"
        self._target = int(target.split("/")[4])
        self._listener = listener
        self._flowing = trio.Event()
        self._flowing.set()

    def stall(self) -> None:
        """From now on nothing is read from either side."""
        self._flowing = trio.Event()

    async def run(self) -> None:
        await trio.serve_listeners(self._serve, [self._listener])

    async def _serve(self, near: trio.SocketStream) -> None:
        far = await trio.open_tcp_stream("127.0.0.1", self._target)
        async with near, far, trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, near, far, nursery)
            await self._pump(far, near, nursery)

    async def _pump(self, source: trio.SocketStream, sink: trio.SocketStream, nursery: trio.Nursery) -> None:
        try:
            while data := await source.receive_some(65536):
                await self._flowing.wait()
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def proxied(node: Node) -> AsyncIterator[Proxy]:
    """A proxy before ``node``, on a port of its own."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    proxy = Proxy(listener, node.network.listen_addrs()[0])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(proxy.run)
        try:
            yield proxy
        finally:
            nursery.cancel_scope.cancel()


def run(test: Callable[[], Coroutine[Any, Any, None]], within_s: float = 60) -> None:
    """Run one async test body, which must end in time."""

    async def bounded() -> None:
        with trio.fail_after(within_s):
            await test()

    trio.run(bounded)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test of two networks runs on both wire stacks; not those of py-libp2p alone, and of QUIC."""
    if "lab" in metafunc.fixturenames:
        one = metafunc.function.__name__.startswith("test_upstream") or metafunc.module.__name__.endswith("test_quic")
        metafunc.parametrize("wire", ["stock"] if one else ["stock", "shoal"])


@pytest.fixture
def lab(wire: Wire) -> SimpleNamespace:
    """The tools above: pytest imports each test file by itself, so that it cannot import this one."""
    config = partial(NetworkConfig, wire=wire)
    return SimpleNamespace(run=run, running=running, proxied=proxied, Node=Node, Config=config, wire=wire)
