"""Whole nodes in one world: every actor of ``runtime/children.py``, the real router, a simulated network.

    with Swarm(seed, folder) as swarm:
        a, b = swarm.add("a"), swarm.add("b")
        swarm.connect(a, b)
        cid = a.add(b"bytes")
        assert b.cat(cid) == b"bytes"

Calls on a node's ``api`` let the world run until they have their answer, as they would wait in a real node.  Only
three things differ from one: the clock, the order of steps, and what the transport actor stands on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from shoal.actors.base import Context
from shoal.actors.transport.actor import TransportActor
from shoal.messages import discovery
from shoal.messages.cid import CID
from shoal.messages.policy import Policy, policy_of
from shoal.runtime.api import NodeApi
from shoal.runtime.children import Shelves, child_specs
from shoal.runtime.finding import Finding
from shoal.runtime.http.backend import AddItem, AddOptions
from shoal.runtime.machine import Machine
from shoal.runtime.network.keys import Libp2pKeys
from shoal.runtime.simulation.internet import InternetConfig, SimulatedHost, SimulatedInternet
from shoal.runtime.simulation.network import SimulatedNetwork
from shoal.runtime.simulation.scheduler import SimWorld
from shoal.runtime.supervisor.specs import ChildSpec

LISTEN: Final = ("/ip4/0.0.0.0/tcp/4001",)
START_TIMEOUT_S: Final = 30.0  # virtual seconds
STOP_TIMEOUT_S: Final = 30.0  # virtual seconds
CALL_TIMEOUT_S: Final = 60.0  # virtual seconds for one block or one peer
AGENT: Final = "shoal/simulated"


class SimNode:
    """One node of a swarm."""

    def __init__(self, swarm: Swarm, name: str, host: SimulatedHost, folder: Path, policy: Policy) -> None:
        self.swarm = swarm
        self.name = name
        self.host = host
        self.folder = folder
        self.policy = policy
        self.machine: Machine | None = None

    @property
    def addr(self) -> str:
        """Where others dial it."""
        return f"/ip4/{self.host.ip}/tcp/4001/p2p/{self.host.peer_id}"

    @property
    def api(self) -> NodeApi:
        """What its user can do.  Raises AssertionError when the node is off."""
        assert self.machine is not None, f"{self.name} is not running"
        return NodeApi(self.machine)

    def start(self) -> None:
        """Run, on what an earlier life left in its folder."""

        def transport(ctx: Context) -> TransportActor:
            world, internet = self.swarm.world, self.swarm.internet
            network = SimulatedNetwork(internet, self.host, around=lambda events: world.on_actor(ctx, events))
            return TransportActor(ctx, network, LISTEN, AGENT)

        finding = self.swarm.finding(self) if self.swarm.finding is not None else None
        specs = child_specs(Shelves.within(self.folder), self.policy, ChildSpec("transport", transport), (), finding)
        self.machine = self.swarm.world.machine(specs, self.policy, self.name)
        self.machine.start(START_TIMEOUT_S)

    def stop(self) -> None:
        """An ordered stop."""
        if self.machine is not None:
            self.machine.stop(STOP_TIMEOUT_S)
            self.machine = None

    def power_off(self) -> None:
        """As kill -9: no actor ends in order, peers notice after a while.  ``start`` brings it back."""
        self.swarm.world.power_off(self.name)
        self.swarm.internet.crash(self.host)
        self.machine = None

    def add(self, data: bytes, options: AddOptions | None = None) -> CID:
        """Add one file."""
        item = AddItem("file", "file", iter([data]))
        *_, last = self.api.add([item], options or AddOptions())
        assert last.cid is not None, "the last result is the root"
        return last.cid

    def cat(self, cid: CID, timeout_s: float = CALL_TIMEOUT_S) -> bytes:
        """A file's bytes, from wherever they are."""
        return b"".join(self.reading(cid, timeout_s))

    def reading(self, cid: CID, timeout_s: float = CALL_TIMEOUT_S) -> Iterator[memoryview]:
        """The same piece by piece, so that several transfers can go on at a time."""
        return self.api.cat(str(cid), 0, None, timeout_s)


def found_by(*sources: str) -> Callable[[SimNode], Finding]:
    """For ``Swarm``'s ``finding``: nodes that find by these sources, each with its host's key."""
    return lambda node: Finding(node.folder, Libp2pKeys(node.host.identity.key), frozenset(sources))


class Swarm:
    """Nodes by name.  ``folder`` holds their stores; ``finding`` says how a node finds others, None: it does not."""

    def __init__(
        self,
        seed: int | str,
        folder: Path,
        config: InternetConfig | None = None,
        finding: Callable[[SimNode], Finding] | None = None,
    ) -> None:
        self.world = SimWorld(seed)
        self.internet = SimulatedInternet(self.world, self.world.random, config)
        self.folder = folder
        self.finding = finding
        self.nodes: dict[str, SimNode] = {}

    def add(self, name: str, role: str = "worker") -> SimNode:
        """A node more, running."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        node = SimNode(self, name, self.internet.add_host(name), folder, policy_of(role))
        self.nodes[name] = node
        node.start()
        return node

    def connect(self, a: SimNode, b: SimNode) -> None:
        """``a`` dials ``b``."""
        a.api.swarm_connect(b.addr, CALL_TIMEOUT_S)

    def keep(self, a: SimNode, b: SimNode) -> None:
        """``a`` dials ``b`` now and again after every loss."""
        bare = b.addr.removesuffix(f"/p2p/{b.host.peer_id}")
        a.api.edge.ask(discovery.KeepPeer(b.host.peer_id, (bare,)), CALL_TIMEOUT_S)

    def stop(self) -> None:
        """Stop every node."""
        for node in self.nodes.values():
            node.stop()

    def __enter__(self) -> Swarm:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
