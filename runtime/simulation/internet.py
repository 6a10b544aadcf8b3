"""The simulated internet: hosts, their addresses, the links between them, and what goes wrong.

Begin with ``SimulatedInternet``: ``add_host`` makes a machine with one IP address and one peer id,
``network.SimulatedNetwork(internet, host)`` is what a transport actor on it stands on.  Faults are calls:
``partition``, ``heal``, ``crash``, ``disconnect``, ``set_link``, and the hook ``SimulatedHost.tamper``, by which a peer
lies.  Everything is driven by the scheduler and by one source of randomness, so the same seed gives the same events.

Not here: what a connection does once it is up (``connections``), and how long bytes take (``links``).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from shoal.messages.errors import BadConfig, LocalError
from shoal.runtime.network.identity import Identity, from_seed
from shoal.runtime.simulation.links import LinkConfig, Path, Shaper
from shoal.runtime.simulation.streams import Tamper
from shoal.runtime.simulation.wires import Scheduler, Wire

if TYPE_CHECKING:
    from shoal.runtime.simulation.network import SimulatedNetwork

HOSTS_MAX: Final = 1 << 16  # addresses 10.0.0.1 and on
FIRST_PORT: Final = 4001  # what port 0 gives first
EPHEMERAL_PORTS: Final = range(49152, 65536)  # of connections that a host makes, RFC 6335 section 6


@dataclass(frozen=True, slots=True)
class InternetConfig:
    """The whole internet.  A host's own bandwidth is given to ``add_host``."""

    link: LinkConfig = field(default_factory=LinkConfig)  # between any two hosts, unless set_link says otherwise
    dead_peer_s: float = 4.0  # seconds until a silent peer is noticed; what the real network's health check takes
    disconnects_per_hour: float = 0.0  # of each connection, on average
    agent: str = "shoal/simulated"


class SimulatedHost:
    """One machine.  ``tamper`` makes its framed streams carry something else than it was told to send."""

    def __init__(self, name: str, index: int, identity: Identity, up: int, down: int) -> None:
        self.name = name
        self.identity = identity
        self.peer_id = identity.peer_id
        self.ip = f"10.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}"
        self.uplink = Shaper(up)
        self.downlink = Shaper(down)
        self.crashed = False
        self.tamper: Tamper | None = None
        self.network: SimulatedNetwork | None = None  # the one that is running
        self._ports = 0

    def ephemeral_addr(self) -> str:
        """The address of the next connection that this host makes."""
        self._ports += 1
        return f"/ip4/{self.ip}/tcp/{EPHEMERAL_PORTS[self._ports % len(EPHEMERAL_PORTS)]}"


class SimulatedInternet:
    """All hosts and all wires between them."""

    def __init__(self, scheduler: Scheduler, rng: random.Random, config: InternetConfig | None = None) -> None:
        self.scheduler = scheduler
        self.rng = rng
        self.config = config or InternetConfig()
        self.hosts: dict[str, SimulatedHost] = {}  # by IP
        self.listeners: dict[str, SimulatedNetwork] = {}  # by multiaddr
        self._salt = rng.randbytes(16)
        self._links: dict[tuple[str, str], LinkConfig] = {}
        self._shapers: dict[tuple[str, str], Shaper] = {}
        self._groups: dict[str, int] = {}  # IP -> side of the partition
        self._cuts: set[tuple[str, str]] = set()
        self._wires: dict[int, Wire] = {}
        self._next_wire = 0

    # --- the world ---------------------------------------------------------------------------------

    def add_host(self, name: str = "", *, up: int = 0, down: int = 0) -> SimulatedHost:
        """A new machine; ``up`` and ``down`` are bytes a second, 0 for no bound.  Its key follows from the seed."""
        index = len(self.hosts) + 1
        if index >= HOSTS_MAX:
            raise BadConfig(f"a simulated internet holds {HOSTS_MAX - 1} hosts", "simulate fewer")
        identity = from_seed(hashlib.sha256(self._salt + index.to_bytes(4, "big")).digest())
        host = SimulatedHost(name or f"host-{index}", index, identity, up, down)
        self.hosts[host.ip] = host
        return host

    def set_link(self, a: SimulatedHost, b: SimulatedHost, link: LinkConfig) -> None:
        """The link between two hosts, for connections made from now on."""
        for pair in ((a.ip, b.ip), (b.ip, a.ip)):
            self._links[pair] = link
            self._shapers.pop(pair, None)

    def reachable(self, a: str, b: str) -> bool:
        """Whether bytes pass between two IPs now."""
        if (a, b) in self._cuts:
            return False
        sides = self._groups.get(a), self._groups.get(b)
        return None in sides or sides[0] == sides[1]

    def make_wire(self, a: SimulatedHost, b: SimulatedHost) -> Wire:
        """A wire on which ``a`` dials ``b``."""
        wire = Wire(self.scheduler, (a.ip, b.ip), (self._path(a, b), self._path(b, a)))
        number = self._next_wire = self._next_wire + 1
        self._wires[number] = wire
        wire.on_close = lambda: self._forget(number)
        if not self.reachable(a.ip, b.ip):
            wire.hold()
        return wire

    def established(self, wire: Wire) -> None:
        """A wire's both ends are up: its life may end by chance."""
        if self.config.disconnects_per_hour > 0:
            life = self.rng.expovariate(self.config.disconnects_per_hour / 3600)
            wire.life = self.scheduler.after(life, lambda: wire.lose("connection reset"))

    # --- faults ------------------------------------------------------------------------------------

    def partition(self, *groups: Iterable[SimulatedHost]) -> None:
        """Hosts of different groups cannot reach each other; a host in no group reaches all.  Replaces the last one."""
        self._groups = {host.ip: number for number, group in enumerate(groups) for host in group}
        self._review()

    def cut(self, a: SimulatedHost, b: SimulatedHost) -> None:
        """These two cannot reach each other."""
        self._cuts |= {(a.ip, b.ip), (b.ip, a.ip)}
        self._review()

    def heal(self) -> None:
        """Everybody reaches everybody again."""
        self._groups.clear()
        self._cuts.clear()
        self._review()

    def disconnect(self, a: SimulatedHost, b: SimulatedHost) -> None:
        """Break every connection between two hosts; both notice at once."""
        for wire in list(self._wires.values()):
            if set(wire.hosts) == {a.ip, b.ip}:
                wire.lose("connection reset")

    def crash(self, host: SimulatedHost) -> None:
        """Pull the plug: no event reaches the host's network any more, and its peers notice after a while.

        The host is back when a new network is started on it.
        """
        host.crashed = True
        if host.network is not None:
            host.network.unplug()
        for wire in list(self._wires.values()):
            if host.ip in wire.hosts:
                side = wire.hosts.index(host.ip)
                wire.lanes[side].mute()
                wire.ends[side] = None
                self._watch(wire, lambda: True)

    def count_wires(self) -> int:
        """Connections up, being made or not yet known to be gone."""
        return len(self._wires)

    # --- within ------------------------------------------------------------------------------------

    def _review(self) -> None:
        for wire in list(self._wires.values()):
            if self.reachable(*wire.hosts):
                wire.release()
            elif not wire.held:
                wire.hold()
                self._watch(wire, partial(wire.still_held, wire.holds))

    def _watch(self, wire: Wire, still_silent: Callable[[], bool]) -> None:
        """Give the wire up if the other side is still silent when a health check would have noticed."""

        def look() -> None:
            if not wire.closed and still_silent():
                wire.lose("the peer does not answer")

        self.scheduler.after(self.config.dead_peer_s, look)

    def _path(self, a: SimulatedHost, b: SimulatedHost) -> Path:
        link = self._links.get((a.ip, b.ip), self.config.link)
        shaper = self._shapers.setdefault((a.ip, b.ip), Shaper(link.bandwidth))
        stages = tuple(stage for stage in (a.uplink, shaper, b.downlink) if stage.bandwidth)
        return Path(link, stages, self.rng)

    def _forget(self, number: int) -> None:
        self._wires.pop(number, None)


def parse_addr(addr: str) -> tuple[str, str, int]:
    """(IP, "tcp" or "udp", port) of ``/ip4/A/tcp/P`` or ``/ip4/A/udp/P/quic-v1``; LocalError for anything else."""
    parts = addr.split("/")
    kind = parts[3:4] + parts[5:]
    if len(parts) < 5 or parts[:2] != ["", "ip4"] or kind not in (["tcp"], ["udp", "quic-v1"]):
        raise LocalError(f"{addr} is not an address of the simulation", "use /ip4/10.x.y.z/tcp/PORT")
    if not (parts[4].isascii() and parts[4].isdecimal() and len(parts[4]) <= 5 and int(parts[4]) < 65536):
        raise LocalError(f"{addr} has no port", "use /ip4/10.x.y.z/tcp/PORT")
    return parts[2], parts[3], int(parts[4])
