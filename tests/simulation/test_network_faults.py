"""What goes wrong in the simulated internet, and that it goes wrong as it would outside."""

import random
from collections.abc import Generator, Sequence

import pytest

from shoal.messages.errors import BadConfig, LocalError
from shoal.runtime.simulation.internet import InternetConfig, SimulatedHost, SimulatedInternet
from shoal.runtime.simulation.links import LinkConfig, Path, Shaper
from shoal.runtime.simulation.network import SimulatedNetwork
from shoal.runtime.simulation.user import Task
from shoal.tests.support.network_conformance import PROTOCOL
from shoal.tests.support.network_recorder import FRAME_MAX, Node
from shoal.tests.support.virtual_time import VirtualTime

LISTEN = ["/ip4/0.0.0.0/tcp/4001"]


class World:
    """An internet with its clock, and what tests do with it."""

    def __init__(self, config: InternetConfig | None = None, seed: int = 7) -> None:
        self.time = VirtualTime(seed)
        self.internet = SimulatedInternet(self.time, random.Random(seed), config)

    def node(self, host: SimulatedHost | None = None, listen: Sequence[str] = LISTEN, *, up: int = 0) -> Node:
        node = Node(SimulatedNetwork(self.internet, host or self.internet.add_host(up=up)))
        node.call("start", node.events, listen)
        node.call("serve_framed", PROTOCOL, FRAME_MAX)
        return node

    def connect(self, a: Node, b: Node) -> None:
        attempt = a.dial(b)
        assert self.time.run_until(lambda: bool(a.outcome("dial", attempt)), 20)
        assert a.outcome("dial", attempt) == "dialed"

    def stream(self, a: Node, b: Node) -> tuple[int, int]:
        before = len(b.accepted())
        ticket = a.open(b.peer_id, [PROTOCOL])
        assert self.time.run_until(lambda: bool(a.outcome("open", ticket)) and len(b.accepted()) > before, 20)
        return a.opened(ticket), b.accepted()[-1]

    def joined(self, *, up: int = 0) -> tuple[Node, Node, int, int]:
        """Two nodes, connected, with a stream."""
        a, b = self.node(up=up), self.node()
        self.connect(a, b)
        return a, b, *self.stream(a, b)


def host(node: Node) -> SimulatedHost:
    network = node.network
    assert isinstance(network, SimulatedNetwork)
    return network.host


def test_peer_ids_and_addresses_follow_from_the_seed() -> None:
    first, again, other = (World(seed=seed).internet.add_host() for seed in (3, 3, 4))
    assert first.peer_id == again.peer_id != other.peer_id
    assert first.peer_id.startswith("12D3KooW")
    assert len(first.peer_id) == 52
    assert World().node().network.listen_addrs() == ("/ip4/10.0.0.1/tcp/4001",)


def test_a_frame_takes_latency_and_bandwidth() -> None:
    world = World(InternetConfig(LinkConfig(latency_s=0.5, bandwidth=1000)))
    a, b, near, far = world.joined()
    started = world.time.now()
    a.send(near, bytes(2000 - 32))
    world.time.run_until(lambda: bool(b.events.frames[far]), 60)
    assert world.time.now() - started == pytest.approx(2.5, abs=0.1)


def test_a_nodes_uplink_is_shared_by_its_connections() -> None:
    world = World(InternetConfig(LinkConfig(latency_s=0.01)))
    a, b, near, far = world.joined(up=100_000)
    c = world.node()
    world.connect(a, c)
    other, other_far = world.stream(a, c)
    started = world.time.now()
    for _ in range(10):
        a.send(near, bytes(10_000))
        a.send(other, bytes(10_000))
    world.time.run_until(lambda: len(b.events.frames[far]) == len(c.events.frames[other_far]) == 10, 60)
    assert world.time.now() - started == pytest.approx(2.0, abs=0.1)


def test_a_short_partition_only_delays() -> None:
    world = World()
    a, b, near, far = world.joined()
    world.internet.partition([host(a)], [host(b)])
    a.send(near, b"held")
    world.time.run_for(2.0)
    assert not b.events.frames[far]
    world.internet.heal()
    a.send(near, b"next")
    world.time.run_for(1.0)
    assert b.events.frames[far] == [b"held", b"next"]
    world.time.run_for(60.0)
    assert a.connection_to(b.peer_id) is not None


def test_a_long_partition_is_noticed_on_both_sides_and_healed_by_dialling_again() -> None:
    world = World()
    a, b, near, far = world.joined()
    world.internet.partition([host(a)], [host(b)])
    attempt = a.dial(b, 1.0)
    world.time.run_for(world.internet.config.dead_peer_s + 1)
    assert a.outcome("dial", attempt) == "dial_failed"
    assert a.connection_to(b.peer_id) is None
    assert b.connection_to(a.peer_id) is None
    assert a.closed_reason(near) == b.closed_reason(far) == "the peer does not answer"
    world.internet.heal()
    world.connect(a, b)
    assert world.internet.count_wires() == 1
    a.check()
    b.check()


def test_each_hold_has_its_own_patience() -> None:
    world = World()
    a, b, _, _ = world.joined()
    patience = world.internet.config.dead_peer_s
    for _ in range(5):
        world.internet.cut(host(a), host(b))
        world.time.run_for(patience * 0.75)
        world.internet.heal()
        world.time.run_for(0.1)
    world.time.run_for(60)
    assert a.connection_to(b.peer_id) is not None


def test_a_crash_is_silent_then_noticed_and_the_host_comes_back() -> None:
    world = World()
    a, b, near, _ = world.joined()
    b.ping(a.peer_id)
    world.internet.crash(host(b))
    heard = len(b.events.log)
    world.time.run_for(1.0)
    assert a.connection_to(b.peer_id) is not None
    silent = a.dial(a, 2.0, peer=b.peer_id, addr="/ip4/10.0.0.2/tcp/4001")
    world.time.run_for(10.0)
    assert a.outcome("dial", silent) == "dial_failed"
    assert a.closed_reason(near) == "the peer does not answer"
    assert len(b.events.log) == heard
    back = world.node(host(b))
    assert back.peer_id == b.peer_id
    world.connect(a, back)
    assert world.internet.count_wires() == 1


def test_a_stopped_node_refuses_and_an_unlistening_one_cannot_be_dialled() -> None:
    world = World()
    a, b = world.node(), world.node(listen=[])
    assert b.network.listen_addrs() == ()
    refused = a.dial(b, addr="/ip4/10.0.0.2/tcp/4001")
    world.time.run_for(1.0)
    assert a.events.named("dial_failed") == [("dial_failed", refused, "connection refused")]
    world.connect(b, a)


def test_connections_drop_at_the_rate_that_was_asked_for() -> None:
    world = World(InternetConfig(disconnects_per_hour=60))
    a, b = world.node(), world.node()
    for _ in range(40):
        world.connect(a, b)
    world.time.run_for(60)
    assert 10 <= len(a.events.gone) <= 34, "about 63 % of them within their mean life"
    world.time.run_for(3600)
    assert len(a.events.gone) == len(b.events.gone) == 40
    assert world.internet.count_wires() == 0
    a.check()
    b.check()


def test_a_hopeless_link_breaks_the_connection() -> None:
    world = World()
    a, b = world.node(), world.node()
    attempt = a.dial(b)
    world.time.run_until(lambda: a.outcome("dial", attempt) == "dialed", 10)
    world.internet.disconnect(host(a), host(b))
    world.internet.set_link(host(a), host(b), LinkConfig(loss=1.0))
    late = a.dial(b, 5.0)
    world.time.run_for(60)
    assert a.outcome("dial", late) == "dial_failed"
    assert len(b.events.gone) == 1
    assert world.internet.count_wires() == 0


def test_a_liar_sends_something_else_and_learns_nothing_of_it() -> None:
    world = World()
    a, b, near, far = world.joined()

    def lie(peer: str, protocol: str, frame: bytes) -> list[bytes]:
        assert (peer, protocol) == (b.peer_id, PROTOCOL)
        return [] if frame == b"hide" else [frame[::-1], frame]

    host(a).tamper = lie
    a.send(near, b"hide")
    a.send(near, b"abc")
    world.time.run_for(1.0)
    assert b.events.frames[far] == [b"cba", b"abc"]
    assert not a.events.unsent[near]
    a.check()


def test_the_sending_queue_is_bounded() -> None:
    world = World()
    a, b, near, _ = world.joined()
    world.internet.cut(host(a), host(b))
    for _ in range(64):
        a.send(near, bytes(1024 * 1024), timeout_s=1000.0)
    world.time.run_for(0.0)
    assert a.closed_reason(near) == "the sending queue is full"
    a.check()


def test_streams_beyond_the_bound_wait_and_then_fail() -> None:
    world = World()
    a, b = world.node(), world.node()
    world.connect(a, b)
    tickets = [a.open(b.peer_id, [PROTOCOL], 2.0) for _ in range(260)]
    world.time.run_for(1.0)
    outcomes = [a.outcome("open", ticket) for ticket in tickets]
    assert outcomes == ["stream_opened"] * 250 + [""] * 10
    for ticket in tickets[:4]:
        a.call("close_stream", a.opened(ticket), reset=False)
    world.time.run_for(3.0)
    outcomes = [a.outcome("open", ticket) for ticket in tickets]
    assert outcomes == ["stream_opened"] * 254 + ["stream_failed"] * 6
    a.check()
    b.check()


def test_listening_on_what_cannot_be_listened_on() -> None:
    world = World()
    for listen in (["/ip4/10.9.9.9/tcp/4001"], ["/ip4/10.0.0.1/tcp/5", "/ip4/0.0.0.0/tcp/5"], ["/dns4/x/tcp/1"], ["x"]):
        with pytest.raises(LocalError):
            world.node(world.internet.add_host(), listen)
    node = world.node()
    with pytest.raises(LocalError, match="running"):
        world.node(host(node))
    several = world.node(listen=["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"])
    assert len(set(several.network.listen_addrs())) == 3


def test_a_raise_in_the_actor_loses_no_later_event() -> None:
    world = World()
    a, b = world.node(), world.node()

    class Broken(Exception):
        pass

    original = a.events.connected

    def connected(connection: object) -> None:
        a.events.connected = original  # type: ignore[method-assign]  # once only
        raise Broken

    a.events.connected = connected  # type: ignore[method-assign]  # in place of the recorder's
    a.dial(b)
    with pytest.raises(Broken):
        world.time.run_for(5.0)
    world.time.run_for(5.0)
    assert a.outcome("dial", 1) == "dialed"


def test_a_handler_that_awaits_something_else_is_told_so() -> None:
    world = World()

    class Foreign:
        def __await__(self) -> Generator[str, None, None]:
            yield "not ours"

    async def handler() -> None:
        await Foreign()

    task = Task(world.time, handler())
    world.time.run_for(1.0)
    with pytest.raises(LocalError, match="simulation does not drive"):
        task.result()


def test_losses_delay_and_then_break() -> None:
    config = LinkConfig(latency_s=0.1, loss=0.5, retransmissions=3)
    transits = [Path(config, (), random.Random(seed)).transit(0.0, 10).arrives_at for seed in range(2000)]
    waits = [0.1, 0.3, 0.7, 1.5]  # 0.2 s, then twice as long each time
    assert {round(at, 6) for at in transits if at is not None} == set(waits)
    assert 0.03 < transits.count(None) / len(transits) < 0.1, "one in sixteen"


def test_shapers_queue() -> None:
    shaper = Shaper(100)
    assert [shaper.reserve(0.0, 100), shaper.reserve(0.0, 100), shaper.reserve(5.0, 100)] == [1.0, 2.0, 6.0]


@pytest.mark.parametrize("wrong", [{"latency_s": -1.0}, {"loss": 1.5}, {"bandwidth": -1}])
def test_impossible_links_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadConfig):
        LinkConfig(**wrong)  # type: ignore[arg-type]  # that is the point
