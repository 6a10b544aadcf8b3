"""How fast one framed stream is: 64 frames of 2 MiB from one process to another, over loopback.

Not a test: run ``python -m shoal.tests.runtime.network.speed [noise|tls|quic] [stock|shoal]``.  "stock" leaves
py-libp2p's yamux as it is, "shoal" takes the wire stack of our own.  Read ratios, not absolutes.
"""

import os
import subprocess
import sys

import trio

from shoal.actors.transport.network import Connection, NetworkEvents
from shoal.runtime.network import host, wire
from shoal.runtime.network.config import NetworkConfig, Wire
from shoal.runtime.network.identity import generate
from shoal.runtime.network.network import Libp2pNetwork
from shoal.runtime.network.state import SilentEvents

PROTOCOL = "/speed/1"
FRAMES, FRAME_BYTES = 64, 2 * 1024 * 1024


class Events(SilentEvents):
    """Grants what it reads, and counts."""

    def __init__(self) -> None:
        self.network: Libp2pNetwork | None = None
        self.got = 0
        self.sent = 0
        self.stream: int | None = None
        self.begun = 0.0
        self.ended = trio.Event()

    def admit(self, addr: str) -> bool:
        return True

    def frame(self, stream: int, data: memoryview) -> None:
        self.begun = self.begun or trio.current_time()
        self.got += len(data)
        assert self.network is not None
        self.network.grant(stream, len(data))
        if self.got == FRAMES * FRAME_BYTES:
            self.ended.set()

    def stream_opened(self, ticket: int, stream: int, peer: str, protocol: str) -> None:
        self.stream = stream
        self.feed()

    def frame_sent(self, stream: int, size: int) -> None:
        self.feed()

    def feed(self) -> None:
        """Keep three frames queued."""
        assert self.network is not None
        assert self.stream is not None
        for _ in range(3 if not self.sent else 1):
            if self.sent < FRAMES:
                self.sent += 1
                self.network.send_frame(self.stream, [memoryview(bytes(FRAME_BYTES))], 60.0)

    def dialed(self, attempt: int, connection: Connection) -> None:
        assert self.network is not None
        self.network.open_stream(1, connection.peer, [PROTOCOL], FRAME_BYTES, 10.0)


async def side(security: str, target: list[str]) -> None:
    """The receiver prints its address and then its speed; the sender is given both parts of the address."""
    wire_stack: Wire = "shoal" if "shoal" in sys.argv else "stock"
    config = NetworkConfig(security=("tls",) if security == "tls" else ("noise",), wire=wire_stack)
    listen = "/ip4/127.0.0.1/udp/0/quic-v1" if security == "quic" else "/ip4/127.0.0.1/tcp/0"
    async with trio.open_nursery() as nursery:
        events = Events()
        network = events.network = Libp2pNetwork(generate().key, config)
        network.bind(nursery)
        network.serve_framed(PROTOCOL, FRAME_BYTES)
        checked: NetworkEvents = events
        network.start(checked, [listen])
        await network.ready()
        if target:
            network.dial(1, target[0], target[1], 10.0)
            await trio.to_thread.run_sync(sys.stdin.read)
        else:
            print(network.peer_id, network.listen_addrs()[0], flush=True)
            await events.ended.wait()
            print(events.got / (trio.current_time() - events.begun) / 1e6, flush=True)
        network.stop()


def main() -> None:
    security = next((word for word in sys.argv[1:] if word in ("tls", "quic")), "noise")
    if "stock" in sys.argv:
        vars(host)["tune"] = lambda: None
        os.environ["PY_YAMUX_RELEASE_ON_READ"] = "1"
        assert wire.tune
    if "--side" in sys.argv:
        trio.run(side, security, sys.argv[sys.argv.index("--side") + 1 :])
        return
    stack = [word for word in ("stock", "shoal") if word in sys.argv]
    command = [sys.executable, "-m", "shoal.tests.runtime.network.speed", security, *stack]
    with subprocess.Popen([*command, "--side"], stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        where = receiver.stdout.readline().split()
        with subprocess.Popen([*command, "--side", *where], stdin=subprocess.PIPE) as sender:
            print(f"{' '.join([security, *stack])}: {float(receiver.stdout.readline()):.0f} MB/s")
            sender.communicate()


if __name__ == "__main__":
    main()
