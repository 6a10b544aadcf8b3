"""A real shoal with a DHT in this process, for tests that must ask of the DHT what only routing may.

All actors of a node and the real network; in routing's place stands ``dht_swarm.Asker``.  Begin with ``DhtHost.start``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import trio

from shoal.actors.base import Context
from shoal.actors.transport.actor import TransportActor
from shoal.messages import dht, transport
from shoal.messages.base import Message
from shoal.messages.cid import CID
from shoal.messages.policy import WORKER, Policy
from shoal.messages.routing import SearchSource
from shoal.runtime.api import NodeApi
from shoal.runtime.children import Shelves, child_specs
from shoal.runtime.finding import Finding
from shoal.runtime.http.backend import AddItem, AddOptions
from shoal.runtime.machine import Machine
from shoal.runtime.network.config import AGENT, NetworkConfig
from shoal.runtime.network.identity import generate
from shoal.runtime.network.keys import Libp2pKeys
from shoal.runtime.network.network import Libp2pNetwork
from shoal.runtime.supervisor.specs import ChildSpec, TrioParts
from shoal.tests.support.dht_swarm import Asked, Asker

START_S: Final = 30.0
STOP_S: Final = 10.0
LOOK_S: Final = 0.05  # between looks at something that is to come true


class DhtHost:
    """One node.  ``peer`` is its id; ``addrs`` are without /p2p."""

    def __init__(self, machine: Machine, askers: list[Asker]) -> None:
        self.machine = machine
        self._askers = askers
        identity = self.identity()
        self.peer = identity.peer
        self.full_addrs = identity.addrs
        self.addrs = tuple(addr.removesuffix(f"/p2p/{self.peer}") for addr in identity.addrs)
        self.tickets = 0

    @classmethod
    def start(cls, folder: Path, listen: Sequence[str] = ("/ip4/127.0.0.1/tcp/0",), policy: Policy = WORKER) -> Self:
        """Run, with its stores in ``folder``.  In a namespace when the caller's thread is in one."""
        folder.mkdir(parents=True, exist_ok=True)
        identity = generate()
        askers: list[Asker] = []

        def make_transport(ctx: Context, nursery: trio.Nursery) -> TrioParts:
            network = Libp2pNetwork(identity.key, NetworkConfig(wire="shoal"))
            network.bind(nursery)
            return TrioParts(
                TransportActor(ctx, network, tuple(listen), AGENT), ready=network.ready, closing=network.stopped
            )

        def make_asker(ctx: Context) -> Asker:
            askers.append(Asker(ctx))
            return askers[-1]

        finding = Finding(folder, Libp2pKeys(identity.key), frozenset(["dht"]))
        spec = ChildSpec("transport", trio_factory=make_transport)
        specs = child_specs(Shelves.within(folder), policy, spec, (), finding)
        specs = [each for each in specs if each.name != "routing"] + [ChildSpec("routing", make_asker)]
        machine = Machine(specs, policy, name=identity.peer_id[-6:], strict=True)
        machine.start(START_S)
        return cls(machine, askers)

    @property
    def api(self) -> NodeApi:
        """What its user can do."""
        return NodeApi(self.machine)

    def identity(self) -> transport.Identity:
        """As others see it."""
        return self.machine.edge.ask_for(transport.Identity, transport.WhoAmI(), START_S)

    def connect(self, peer: str, addrs: Sequence[str]) -> None:
        """Dial."""
        self.machine.edge.ask_for(transport.Dialed, transport.Dial(peer, tuple(addrs)), START_S)

    def ask(self, message: Message, timeout_s: float = 30.0) -> Asked:
        """A question from routing's place, waited for."""
        asked: list[Asked] = []
        asker = self._askers[-1]
        asker.ctx.mailbox.call_soon(lambda: asked.append(asker.ask(message, timeout_s)))  # type: ignore[attr-defined]  # the real context
        assert until(lambda: bool(asked) and asked[0].over, timeout_s + 5), f"{message} was never answered"
        return asked[0]

    def find(self, cid: CID, *, count: int = 1, timeout_s: float = 30.0) -> Asked:
        """Who has ``cid``?"""
        self.tickets += 1
        return self.ask(SearchSource(cid, self.tickets, count), timeout_s)

    def provide(self, *cids: CID, timeout_s: float = 60.0) -> dht.Provided:
        """Tell the DHTs that this node has these."""
        with self.machine.edge.stream(dht.ProvideCids(cids), timeout_s) as replies:
            while True:
                reply = replies.next(timeout_s)
                if not isinstance(reply, dht.ProvideProgress):
                    assert isinstance(reply, dht.Provided), reply
                    return reply

    def stats(self, *, lan: bool) -> dht.TableRow:
        """One of its tables."""
        stats = self.machine.edge.ask_for(dht.DhtStats, dht.DhtStat(), START_S)
        return next(row for row in stats.tables if row.lan == lan)

    def add(self, data: bytes) -> CID:
        """Add one file."""
        *_, last = self.api.add([AddItem("file", "file", iter([data]))], AddOptions())
        assert last.cid is not None
        return last.cid

    def close(self) -> None:
        """Stop."""
        self.machine.stop(STOP_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def until(true: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for ``true()``; whether it came."""
    end = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(LOOK_S)
    return True
