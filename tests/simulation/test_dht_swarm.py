"""Real nodes of transport and DHT in one world: what one provides, any other finds; through crashes too."""

from __future__ import annotations

import msgspec

from shoal.actors.discovery.dht.calls import CALL_TIMEOUT_S
from shoal.actors.discovery.dht.keys import kad_id, peer_kad_id
from shoal.actors.discovery.dht.table import K
from shoal.messages import dht, lifecycle, routing
from shoal.messages.cid import CID
from shoal.messages.policy import LEECHER
from shoal.messages.replies import Failed
from shoal.tests.actors.dht.test_server import VALIDATORS
from shoal.tests.support.dht_swarm import DhtSwarm

CONTENT = CID.of(b"content")


def test_of_fifty_nodes_any_finds_what_one_provides() -> None:
    with DhtSwarm(1) as swarm:
        nodes = swarm.grow(50)
        provided = nodes[7].provide(CONTENT)
        assert (provided.failed, provided.records) == ((), 20)
        messages = []
        for node in nodes:
            asked = node.find(CONTENT)
            if node is not nodes[7]:
                assert [one.peer for one in asked.providers] == [nodes[7].peer], node.name
                assert asked.providers[0].addrs == (nodes[7].addr,)
                assert asked.providers[0].source == routing.LAN_DHT
            assert isinstance(asked.last, routing.SourceEnded)
            messages.append(asked.last.messages)
        print(f"messages a lookup among 50: median {sorted(messages)[25]}, most {max(messages)}")
        assert max(messages) <= 50


def test_a_client_finds_and_is_in_nobodys_table() -> None:
    with DhtSwarm(2) as swarm:
        nodes = swarm.grow(12)
        leecher = swarm.add("leecher", LEECHER)
        leecher.connect(nodes[0])
        swarm.world.run_for(40.0)
        assert leecher.stats().peers == 12
        nodes[3].provide(CONTENT)
        assert [one.peer for one in leecher.find(CONTENT).providers] == [nodes[3].peer]
        for node in nodes:
            assert leecher.peer not in [one for bucket in node.stats().buckets for one in bucket.peers]
        found = nodes[9].ask(routing.SearchPeer(leecher.peer))
        assert swarm.world.run_until(lambda: found.over, 30.0)
        assert isinstance(found.last, Failed), "it listens nowhere"
        found = nodes[9].ask(routing.SearchPeer(nodes[2].peer))
        assert swarm.world.run_until(lambda: found.over, 30.0)
        assert found.last == routing.PeerFound(nodes[2].peer, (nodes[2].addr,), routing.LAN_DHT)


def test_values_are_put_and_found_and_the_best_wins() -> None:
    with DhtSwarm(3, validators=VALIDATORS) as swarm:
        nodes = swarm.grow(15)
        for node, value in ((nodes[1], b"1"), (nodes[2], b"2")):
            assert node.machine is not None
            put = node.machine.edge.ask_for(dht.ValuePut, dht.PutValue(b"/n/key", value), 30.0)
            assert put.stored >= 14
        assert nodes[9].machine is not None
        got = nodes[9].machine.edge.ask_for(dht.ValueFound, dht.GetValue(b"/n/key"), 30.0)
        assert got.value == b"2"


def test_dhts_and_transports_that_crash_only_cost_time() -> None:
    with DhtSwarm(4) as swarm:
        nodes = swarm.grow(20)
        nodes[7].provide(CONTENT)
        for node in nodes[:5]:
            swarm.world.crash(node.name, "dht")
        for node in nodes[10:15]:
            swarm.world.crash(node.name, "transport")
        swarm.world.run_for(90.0)
        for node in nodes:
            if node is not nodes[7]:
                assert [one.peer for one in node.find(CONTENT).providers] == [nodes[7].peer], node.name
        for node in nodes[:5]:
            assert node.stats().peers >= 10


def test_a_node_that_changes_its_role_leaves_the_tables_and_comes_back() -> None:
    with DhtSwarm(5) as swarm:
        one, two = swarm.grow(2)
        assert one.stats().peers == two.stats().peers == 1
        assert two.machine is not None
        two.machine.edge.ask_for(lifecycle.PolicyNow, lifecycle.ChangeRole("leecher"), 10.0)
        swarm.world.run_for(5.0)
        assert (one.stats().peers, two.stats().peers, two.stats().mode) == (0, 1, "client")
        two.machine.edge.ask_for(lifecycle.PolicyNow, lifecycle.ChangeRole("worker"), 10.0)
        swarm.world.run_for(5.0)
        assert (one.stats().peers, two.stats().mode) == (1, "server")


def test_a_client_with_few_connections_walks_among_many_servers() -> None:
    """It may hold eight connections, and must talk to twenty, some of them at one time."""
    few = msgspec.structs.replace(LEECHER, connections_low=4, connections_high=6, connections_max=8)
    with DhtSwarm(6) as swarm:
        nodes = swarm.grow(25, settle_s=35.0)
        client = swarm.add("client", few)
        client.connect(nodes[0])
        swarm.world.run_for(5.0)
        assert client.machine is not None
        closest = client.machine.edge.ask_for(dht.ClosestFound, dht.ClosestPeers(b"key", lan=True), 60.0)
        print(f"{len(closest.peers)} answered, of {closest.messages} asked, in {closest.seconds:.1f} s")
        near = sorted(nodes, key=lambda node: peer_kad_id(node.peer) ^ kad_id(b"key"))
        assert [one.peer for one in closest.peers] == [node.peer for node in near[:K]]
        assert closest.seconds < CALL_TIMEOUT_S
