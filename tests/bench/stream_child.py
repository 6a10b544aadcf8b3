"""One of the two processes of ``bin/bench stream``: the end of one stream, through one stack.

``STACK listen`` prints where it is; ``STACK dial WHERE`` connects and opens the stream; both print ``ready``.  Then
each line on stdin, a number of bytes, is asked of the other end, and the seconds until the last of them came are
printed.

On the stream eight bytes ask, and zeros answer: in frames of 2 MiB through shoal's ``Network``, else as they are.
"""

import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, cast

import trio
from libp2p.abc import INetStream
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr

from shoal.actors.transport.network import Connection, NetworkEvents
from shoal.runtime.network.config import NetworkConfig, Wire
from shoal.runtime.network.identity import generate
from shoal.runtime.network.network import Libp2pNetwork
from shoal.runtime.network.state import SilentEvents
from shoal.tests.support.stock_host import LOOPBACK, PROTOCOL, stock_host

FRAME_BYTES: Final = 2 * 1024 * 1024  # as large as a bitswap message with one large block
FRAMES_QUEUED: Final = 3  # by the sender; the next is queued when one has been written
REQUEST_BYTES: Final = 8
READ_BYTES: Final = 256 * 1024
TIMEOUT_S: Final = 60.0
ZEROS: Final = memoryview(bytes(FRAME_BYTES))


class End(Protocol):
    """One end of the stream."""

    async def ask(self, size: int) -> None:
        """Have the other end send ``size`` bytes, and return when all have come."""


# --- shoal's network, on either wire -----------------------------------------------------------------


class FramedEnd(SilentEvents):
    """The events of a ``Network``: grants what it reads as the transport actor does, and answers requests."""

    def __init__(self, network: Libp2pNetwork) -> None:
        self.network = network
        self.stream: int | None = None
        self.opened = trio.Event()
        self.came = trio.Event()
        self.awaited = 0
        self.unsent = 0

    def admit(self, addr: str) -> bool:
        return True

    def dialed(self, attempt: int, connection: Connection) -> None:
        self.network.open_stream(1, connection.peer, [PROTOCOL], FRAME_BYTES, TIMEOUT_S)

    def stream_opened(self, ticket: int, stream: int, peer: str, protocol: str) -> None:
        self.stream = stream
        self.opened.set()

    def stream_accepted(self, stream: int, peer: str, protocol: str) -> None:
        self.stream = stream
        self.opened.set()

    def frame(self, stream: int, data: memoryview) -> None:
        self.network.grant(stream, len(data))
        if not self.awaited:
            self.unsent = int.from_bytes(data, "big")
            for _ in range(FRAMES_QUEUED):
                self.feed()
            return
        self.awaited -= len(data)
        if not self.awaited:
            self.came.set()

    def frame_sent(self, stream: int, size: int) -> None:
        self.feed()

    def stream_closed(self, stream: int, reason: str) -> None:
        raise SystemExit(f"the stream was closed: {reason}")

    def stream_failed(self, ticket: int, reason: str) -> None:
        raise SystemExit(f"no stream: {reason}")

    def dial_failed(self, attempt: int, reason: str) -> None:
        raise SystemExit(f"no connection: {reason}")

    def feed(self) -> None:
        if size := min(self.unsent, FRAME_BYTES):
            self.unsent -= size
            self.send(ZEROS[:size])

    def send(self, data: memoryview) -> None:
        if self.stream is not None:
            self.network.send_frame(self.stream, [data], TIMEOUT_S)

    async def ask(self, size: int) -> None:
        self.came = trio.Event()
        self.awaited = size
        self.send(memoryview(size.to_bytes(REQUEST_BYTES, "big")))
        await self.came.wait()


async def over_network(wire: Wire, where: list[str], nursery: trio.Nursery) -> End:
    """Through ``Libp2pNetwork``, the transport actor's own interface."""
    network = Libp2pNetwork(generate().key, NetworkConfig(security=("noise",), wire=wire, quic=False))
    end = FramedEnd(network)
    network.bind(nursery)
    network.serve_framed(PROTOCOL, FRAME_BYTES)
    checked: NetworkEvents = end
    network.start(checked, [str(LOOPBACK)])
    await network.ready()
    if where:
        network.dial(1, where[0], where[1], TIMEOUT_S)
    else:
        say(f"{network.peer_id} {network.listen_addrs()[0]}")
    await end.opened.wait()
    # The protocol is agreed on with the first frame; until then the other end knows of no stream.
    if where:
        end.send(memoryview(bytes(REQUEST_BYTES)))
    return end


# --- bytes as they are -------------------------------------------------------------------------------


class BareEnd:
    """A stream of bytes: ``receive`` up to so many, ``send`` all."""

    def __init__(self, receive: Callable[[int], Awaitable[bytes]], send: Callable[[Any], Awaitable[object]]) -> None:
        self.receive, self.send = receive, send
        self.awaited = 0
        self.came = trio.Event()

    async def run(self) -> None:
        """Read for ever: what was asked for, and requests."""
        while data := await self.receive(READ_BYTES):
            if self.awaited:
                self.awaited -= len(data)
                if not self.awaited:
                    self.came.set()
                continue
            while len(data) < REQUEST_BYTES:
                data += await self.receive(REQUEST_BYTES - len(data))
            left = int.from_bytes(data, "big")
            while size := min(left, FRAME_BYTES):
                await self.send(bytes(ZEROS[:size]))
                left -= size

    async def ask(self, size: int) -> None:
        self.came = trio.Event()
        self.awaited = size
        await self.send(size.to_bytes(REQUEST_BYTES, "big"))
        await self.came.wait()


async def over_tcp(where: list[str], nursery: trio.Nursery) -> End:
    """Plain TCP on trio."""
    if where:
        stream = await trio.open_tcp_stream("127.0.0.1", int(where[0]))
    else:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        say(str(listener.socket.getsockname()[1]))
        stream = await listener.accept()
    end = BareEnd(stream.receive_some, stream.send_all)
    nursery.start_soon(end.run)
    return end


async def over_py_libp2p(where: list[str], nursery: trio.Nursery) -> End:
    """py-libp2p's host as it comes: Noise and yamux, nothing tuned, nothing of shoal's between."""
    host = stock_host()
    ends, opened = [], trio.Event()

    def take(stream: INetStream) -> BareEnd:
        ends.append(BareEnd(stream.read, stream.write))
        opened.set()
        return ends[0]

    async def accept(stream: INetStream) -> None:
        await take(stream).run()

    async def live(task_status: Any) -> None:
        async with host.run(listen_addrs=[LOOPBACK]):
            task_status.started()
            await trio.sleep_forever()

    await nursery.start(live)
    host.set_stream_handler(PROTOCOL, accept)
    if where:
        info = info_from_p2p_addr(Multiaddr(where[0]))
        await host.connect(info)
        end = take(await host.new_stream(info.peer_id, [PROTOCOL]))
        nursery.start_soon(end.run)
    else:
        addr = str(host.get_addrs()[0])
        say(addr if "/p2p/" in addr else f"{addr}/p2p/{host.get_id()}")
    await opened.wait()
    return ends[0]


# --- the process -------------------------------------------------------------------------------------


def say(line: str) -> None:
    print(line, flush=True)


async def main(stack: str, where: list[str]) -> None:
    """Until stdin ends."""
    async with trio.open_nursery() as nursery:
        if stack == "tcp":
            end = await over_tcp(where, nursery)
        elif stack == "py-libp2p":
            end = await over_py_libp2p(where, nursery)
        else:
            end = await over_network(cast(Wire, stack), where, nursery)
        say("ready")
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            begun = trio.current_time()
            await end.ask(int(line))
            say(str(trio.current_time() - begun))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[3:])
