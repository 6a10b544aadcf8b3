"""The transport actor on the simulated network, in simulated machines: dialling, pinging, restarts, one trace."""

import pytest

from shoal.actors.base import Context
from shoal.actors.transport.actor import TransportActor
from shoal.messages import transport
from shoal.messages.errors import LocalError
from shoal.messages.policy import policy_of
from shoal.runtime.machine import Machine
from shoal.runtime.simulation.internet import SimulatedHost, SimulatedInternet
from shoal.runtime.simulation.network import SimulatedNetwork
from shoal.runtime.simulation.scheduler import SimWorld
from shoal.runtime.supervisor.specs import ChildSpec

LISTEN = ("/ip4/0.0.0.0/tcp/4001",)


class Place:
    """A world with hosts, each running a machine that is nothing but a transport actor."""

    def __init__(self, seed: int) -> None:
        self.world = SimWorld(seed)
        self.internet = SimulatedInternet(self.world, self.world.random)
        self.machines: list[Machine] = []

    def machine(self) -> tuple[Machine, SimulatedHost]:
        host = self.internet.add_host()

        def make(ctx: Context) -> TransportActor:
            network = SimulatedNetwork(self.internet, host, around=lambda events: self.world.on_actor(ctx, events))
            return TransportActor(ctx, network, LISTEN, "simulated")

        machine = self.world.machine([ChildSpec("transport", factory=make)], policy_of("worker"), host.name)
        machine.start(5.0)
        self.machines.append(machine)
        return machine, host

    def peers(self, machine: Machine) -> list[str]:
        listed = machine.edge.ask(transport.ListPeers(), 5.0)
        assert isinstance(listed, transport.PeersListed)
        return [info.peer for info in listed.peers]


def dial(machine: Machine, host: SimulatedHost) -> None:
    machine.edge.ask(transport.Dial(host.peer_id, (f"/ip4/{host.ip}/tcp/4001",)), 20.0)


def story(seed: int) -> str:
    """Two nodes meet, ping, one's actor crashes and comes back, they meet again; the digest of all steps."""
    place = Place(seed)
    a, a_host = place.machine()
    b, b_host = place.machine()
    dial(a, b_host)
    place.world.run_for(1.0)
    assert (place.peers(a), place.peers(b)) == ([b_host.peer_id], [a_host.peer_id])
    pong = a.edge.ask(transport.Ping(b_host.peer_id), 5.0)
    assert isinstance(pong, transport.Pong)
    assert pong.rtt_s == pytest.approx(2 * place.internet.config.link.latency_s, rel=0.01)
    place.world.crash(b_host.name, "transport")
    place.world.run_for(2.0)
    assert place.peers(a) == [], "a crashed transport closes its connections"
    dial(a, b_host)
    place.world.run_for(1.0)
    assert place.peers(b) == [a_host.peer_id]
    for machine in place.machines:
        machine.stop(5.0)
    place.world.run_for(10.0)
    assert place.internet.count_wires() == 0
    return place.world.digest()


def test_transport_actors_meet_and_meet_again() -> None:
    assert story(1) == story(1) != story(2)


def test_a_raise_in_an_event_ends_the_actor_and_not_the_world(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(3)
    a, _ = place.machine()
    _, b_host = place.machine()

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(TransportActor, "dialed", broken)
        with pytest.raises(LocalError):
            dial(a, b_host)
    place.world.run_for(2.0)
    dial(a, b_host)
    assert place.peers(a) == [b_host.peer_id]


def test_many_nodes_meet() -> None:
    place = Place(5)
    everybody = [place.machine() for _ in range(40)]
    for number, (machine, _) in enumerate(everybody):
        for step in (1, 2, 3):
            dial(machine, everybody[(number + step) % len(everybody)][1])
    place.world.run_for(2.0)
    assert all(len(set(place.peers(machine))) == 6 for machine, _ in everybody)
