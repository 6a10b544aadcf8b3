"""Two ends of a multiplexed connection on loopback, each of ours or of py-libp2p's, and nothing above them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import trio
from libp2p.abc import IMuxedConn, ISecureConn
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.io.trio import TrioTCPStream
from libp2p.peer.id import ID
from libp2p.security.noise.transport import Transport as StockNoise
from libp2p.security.tls.transport import TLSTransport

from shoal.runtime.network.config import NetworkConfig
from shoal.runtime.network.wire import GuardedConnection, GuardedYamux
from shoal.runtime.network.wire_stack.noise import Noise
from shoal.runtime.network.wire_stack.yamux.accounts import Node
from shoal.runtime.network.wire_stack.yamux.muxer import YamuxConnection

Kind = Literal["ours", "stock", "bare"]
WRITE_TIMEOUT_S = 5.0


class End:
    """One end.  ``muxer`` is None for a "bare" one, which has only ``secured`` to speak yamux on by hand."""

    def __init__(self, kind: Kind, guard: GuardedConnection, config: NetworkConfig, security: str) -> None:
        pair = create_new_key_pair()
        self.kind = kind
        self.guard = guard
        self.peer = ID.from_pubkey(pair.public_key)
        self.config = config
        self.node = Node()
        self.aborted: list[str] = []
        noise = StockNoise if kind == "stock" else Noise
        self.security = (
            noise(pair, noise_privkey=create_noise_key_pair().private_key)
            if security == "noise"
            else TLSTransport(pair)
        )
        self.secured: ISecureConn
        self.muxer: Any = None

    async def shake_hands(self, other: "End") -> None:
        if self.guard.is_initiator:
            self.secured = await self.security.secure_outbound(self.guard, other.peer)
        else:
            self.secured = await self.security.secure_inbound(self.guard)
        if self.kind == "ours":
            self.muxer = YamuxConnection(self.secured, other.peer, self.config, self.node, self.abort)
        elif self.kind == "stock":
            vars(self.secured)["shoal_guard"] = self.guard
            self.muxer = GuardedYamux(self.secured, other.peer)

    def abort(self, muxed: IMuxedConn, reason: str) -> None:
        self.aborted.append(reason)
        self.guard.abort(reason)

    async def accepted(self, within_s: float = 5) -> Any:
        with trio.fail_after(within_s):
            return await self.muxer.accept_stream()


async def _tcp_pair(delay_s: float, nursery: trio.Nursery) -> tuple[trio.SocketStream, trio.SocketStream]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    near = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
    far = await listener.accept()
    if not delay_s:
        await listener.aclose()
        return near, far
    behind = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
    ahead = await listener.accept()
    await listener.aclose()
    for source, sink in ((far, behind), (behind, far)):
        nursery.start_soon(_delay, source, sink, delay_s)
    return near, ahead


async def _delay(source: trio.SocketStream, sink: trio.SocketStream, delay_s: float) -> None:
    """A long line: every byte comes ``delay_s`` later, however many are on their way."""
    sender, receiver = trio.open_memory_channel[tuple[float, bytes]](10_000)

    async def deliver() -> None:
        async for due, data in receiver:
            await trio.sleep_until(due)
            try:
                await sink.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver)
        try:
            while data := await source.receive_some(65536):
                await sender.send((trio.current_time() + delay_s, data))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def joined(
    client: Kind = "ours", server: Kind = "ours", *, security: str = "noise", delay_s: float = 0.0, **settings: Any
) -> AsyncIterator[tuple[End, End]]:
    """Both ends, running.  ``delay_s`` is what each direction takes."""
    config = NetworkConfig(wire="shoal", **settings)
    async with trio.open_nursery() as nursery:
        sockets = await _tcp_pair(delay_s, nursery)
        guards = [
            GuardedConnection(TrioTCPStream(socket), is_initiator=first, write_timeout_s=WRITE_TIMEOUT_S)
            for socket, first in zip(sockets, (True, False), strict=True)
        ]
        a, b = End(client, guards[0], config, security), End(server, guards[1], config, security)
        async with trio.open_nursery() as handshake:
            handshake.start_soon(a.shake_hands, b)
            handshake.start_soon(b.shake_hands, a)
        for end in (a, b):
            if end.muxer is not None:
                nursery.start_soon(end.muxer.start)
                await end.muxer.event_started.wait()
        try:
            yield a, b
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(2):
                for end in (a, b):
                    if end.muxer is not None:
                        await end.muxer.close()
            for end in (a, b):
                end.guard.abort("the test is over")
            nursery.cancel_scope.cancel()


async def until(holds: Callable[[], Any], within_s: float = 10) -> None:
    """Wait for a condition; fails the test when it does not come."""
    with trio.move_on_after(within_s):
        while not holds():
            await trio.sleep(0.005)
    assert holds()


@pytest.fixture
def wires() -> SimpleNamespace:
    """The tools above: pytest imports each test file by itself, so that it cannot import this one."""
    return SimpleNamespace(joined=joined, until=until)
