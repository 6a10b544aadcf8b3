"""py-libp2p hosts as they come, for tests that show what it does by itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.network.swarm import Swarm
from libp2p.peer.peerinfo import PeerInfo
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from multiaddr import Multiaddr

PROTOCOL = TProtocol("/test/1")
LOOPBACK = Multiaddr("/ip4/127.0.0.1/tcp/0")


def stock_host(**options: Any) -> BasicHost:
    """py-libp2p's host as it comes, on Noise."""
    pair = create_new_key_pair()
    security = {NOISE: NoiseTransport(pair, noise_privkey=create_noise_key_pair().private_key)}
    host = new_host(key_pair=pair, sec_opt=security, **options)
    assert isinstance(host, BasicHost)
    return host


@asynccontextmanager
async def stock(*hosts: BasicHost) -> AsyncIterator[list[PeerInfo]]:
    """Run stock hosts that listen on loopback; where each is."""
    async with trio.open_nursery() as nursery:
        stop, infos = trio.Event(), []
        for host in hosts:
            infos.append(await nursery.start(_serve, host, stop))
        try:
            yield infos
        finally:
            stop.set()
            nursery.cancel_scope.cancel()


async def _serve(host: BasicHost, stop: trio.Event, task_status: Any) -> None:
    try:
        async with host.run(listen_addrs=[LOOPBACK]):
            task_status.started(PeerInfo(host.get_id(), host.get_transport_addrs()))
            await stop.wait()
    except* Exception:  # a stock host that dies of a test is no news here; the test looks for it
        pass
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(2):
            await host.close()


def swarm_of(host: BasicHost) -> Swarm:
    swarm = host.get_network()
    assert isinstance(swarm, Swarm)
    return swarm


async def holds(condition: Any, within_s: float = 5) -> bool:
    with trio.move_on_after(within_s):
        while not condition():
            await trio.sleep(0.01)
    return bool(condition())


# --- 1: inbound slots ------------------------------------------------------------------------------
