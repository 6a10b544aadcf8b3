"""Connects to ADDR (a multiaddr ending in /p2p/ID) COUNT times, WIDTH at a time, each time as another peer.

Run as a script by test_connections.py.  Each connection is identified and pinged before it is closed.  Prints one JSON
line: how many were pinged, and the first failures.
"""

import json
import sys
from typing import Any

import trio

from shoal.actors.transport.network import Connection, PeerFacts
from shoal.runtime.network.identity import generate
from shoal.runtime.network.network import Libp2pNetwork

WITHIN_S = 20.0


class Events:
    """The transport actor's place: ends one wait when what it waits for has come."""

    def __init__(self) -> None:
        self.dialled, self.identity, self.ponged = trio.Event(), trio.Event(), trio.Event()
        self.failure = ""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None

    def admit(self, addr: str) -> bool:
        return False

    def dialed(self, attempt: int, connection: Connection) -> None:
        self.dialled.set()

    def dial_failed(self, attempt: int, reason: str) -> None:
        self._fail(reason)

    def identified(self, peer: str, facts: PeerFacts) -> None:
        self.identity.set()

    def pong(self, ticket: int, rtt_s: float) -> None:
        self.ponged.set()

    def ping_failed(self, ticket: int, reason: str) -> None:
        self._fail(reason)

    def _fail(self, reason: str) -> None:
        self.failure = reason
        for event in (self.dialled, self.identity, self.ponged):
            event.set()


async def connect_once(addr: str) -> str:
    """One connection's life; "" when all went well."""
    bare, _, peer = addr.rpartition("/p2p/")
    network, events = Libp2pNetwork(generate().key), Events()
    async with trio.open_nursery() as nursery:
        network.bind(nursery)
        network.start(events, ())
        await network.ready()
        with trio.move_on_after(WITHIN_S) as late:
            network.dial(1, peer, bare, WITHIN_S)
            await events.dialled.wait()
            await events.identity.wait()
            network.ping(2, peer, WITHIN_S)
            await events.ponged.wait()
        network.stop()
        await network.stopped()
        nursery.cancel_scope.cancel()
    return f"nothing within {WITHIN_S} s" if late.cancelled_caught else events.failure


async def main(addr: str, count: int, width: int) -> None:
    failures: list[str] = []
    done = 0

    async def work() -> None:
        nonlocal done, count
        while count > 0:
            count -= 1
            failure = await connect_once(addr)
            if failure:
                failures.append(failure)
            else:
                done += 1

    async with trio.open_nursery() as nursery:
        for _ in range(width):
            nursery.start_soon(work)
    print(json.dumps({"done": done, "failures": failures[:5]}), flush=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
