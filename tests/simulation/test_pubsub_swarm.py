"""Gossipsub among whole nodes on a rough simulated network: every message reaches everybody, once, and by seed."""

from __future__ import annotations

import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from shoal.actors.discovery.pubsub.actor import PubsubActor
from shoal.actors.discovery.pubsub.announcements import TOPIC as SWARM
from shoal.actors.discovery.pubsub.mesh import D_HIGH
from shoal.messages import pubsub
from shoal.messages.block import Buffer
from shoal.messages.cid import CID
from shoal.messages.envelope import USER, Envelope
from shoal.messages.errors import Unavailable
from shoal.messages.routing import PeerAddrs, SearchSource
from shoal.runtime.edge import ReplyStream
from shoal.runtime.simulation.internet import InternetConfig
from shoal.runtime.simulation.links import LinkConfig
from shoal.runtime.simulation.swarm import SimNode, Swarm, found_by

NODES = 30
LINKS = 4  # earlier nodes that each node stays connected to: nobody is near everybody
LOSSY = InternetConfig(link=LinkConfig(latency_s=0.03, jitter_s=0.03, bandwidth=2_000_000, loss=0.02))
TOPIC = "weather"
HOUR = 3600.0


def ask(node: SimNode, message: pubsub.Message) -> object:
    assert node.machine is not None
    return node.machine.edge.ask(message, 10.0)


def subscribe(node: SimNode, topic: str = TOPIC) -> ReplyStream:
    assert node.machine is not None
    return node.machine.edge.stream(pubsub.Subscribe(topic, 1), 24 * HOUR)


def heard(stream: ReplyStream) -> list[bytes]:
    """What has come on a subscription and was not looked at yet."""
    found = []
    while stream.waiting:
        message = stream.take()
        assert isinstance(message, pubsub.TopicMessage), message
        found.append(bytes(message.data.data))
    return found


def publish(node: SimNode, data: bytes, topic: str = TOPIC) -> int:
    answer = ask(node, pubsub.Publish(topic, Buffer(data)))
    assert isinstance(answer, pubsub.Published)
    return answer.peers


def core(node: SimNode) -> PubsubActor:
    actor = node.swarm.world.hosts[f"{node.name}/pubsub"].cell.actor
    assert isinstance(actor, PubsubActor)
    return actor


def connected(swarm: Swarm, count: int, links: int = LINKS) -> list[SimNode]:
    """Nodes that each keep a few connections to earlier ones."""
    rng = random.Random(f"{swarm.world.seed}/shape")
    nodes: list[SimNode] = []
    for number in range(count):
        node = swarm.add(f"n{number}")
        for other in rng.sample(nodes, min(links, len(nodes))):
            swarm.keep(node, other)
        nodes.append(node)
    swarm.world.run_for(5.0)
    return nodes


def story(seed: int, folder: Path, config: InternetConfig = LOSSY, count: int = NODES) -> str:
    rng = random.Random(seed)
    with Swarm(seed, folder, config, found_by("pubsub")) as swarm:
        nodes = connected(swarm, count)
        streams = [subscribe(node) for node in nodes]
        swarm.world.run_for(5.0)
        said = []
        for number in range(20):
            said.append(b"message %d" % number)
            publish(rng.choice(nodes), said[-1])
            swarm.world.run_for(rng.uniform(0.0, 1.0))
        swarm.world.run_for(10.0)
        for node, stream in zip(nodes, streams, strict=True):
            assert sorted(heard(stream)) == sorted(said), node.name
            mesh = core(node).router.mesh
            for topic, members in mesh.links.items():
                assert len(members) <= D_HIGH, (node.name, topic)
        return swarm.world.digest()


@pytest.mark.parametrize("seed", range(2))
def test_every_message_reaches_every_subscriber_once(seed: int, tmp_path: Path) -> None:
    story(seed, tmp_path)


def test_same_seed_same_trace(tmp_path: Path) -> None:
    """Also in another process, where sets of texts have another order."""
    here = story(7, tmp_path / "a", count=6)
    program = (
        "import sys; from pathlib import Path; from shoal.tests.simulation.test_pubsub_swarm import story; "
        "print(story(7, Path(sys.argv[1]), count=6))"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", program, str(tmp_path / "b")],
        env={"PYTHONPATH": ":".join(path for path in sys.path if path), "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert run.stdout.strip() == here


def test_actors_that_die_at_random_leave_a_swarm_that_works(tmp_path: Path) -> None:
    with Swarm(21, tmp_path, LOSSY, found_by("pubsub")) as swarm:
        nodes = connected(swarm, 8)
        calm = swarm.world.now() + 60.0
        names = [node.name for node in nodes]
        rng = random.Random(21)
        while swarm.world.now() < calm:
            actor = rng.choice(["pubsub", "pubsub", "transport", "bootstrap", "placement"])
            label = f"{rng.choice(names)}/{actor}"
            if not swarm.world.hosts[label].is_gone:
                swarm.world.hosts[label].crash()
            publish_if_it_can(rng.choice(nodes))
            swarm.world.run_for(rng.uniform(0.5, 4.0))
        swarm.world.run_for(90.0)  # kept peers are dialled again, and back-offs end
        streams = [subscribe(node, "after") for node in nodes]
        swarm.world.run_for(5.0)
        publish(nodes[0], b"all well?", "after")
        swarm.world.run_for(10.0)
        assert [heard(stream) for stream in streams] == [[b"all well?"]] * len(nodes)
        for node in nodes:
            others = {other.host.peer_id for other in nodes if other is not node}
            assert set(core(node).swarm.hints.authors) <= others


def publish_if_it_can(node: SimNode) -> None:
    try:
        publish(node, b"x")
    except Unavailable:
        pass


def test_connections_that_break_cost_little(tmp_path: Path) -> None:
    """Each connection lives two minutes on average; what is said while a node is cut off it may never hear."""
    rough = InternetConfig(link=LOSSY.link, disconnects_per_hour=30.0)
    with Swarm(11, tmp_path, rough, found_by("pubsub")) as swarm:
        nodes = connected(swarm, 12)
        streams = [subscribe(node) for node in nodes]
        swarm.world.run_for(5.0)
        count = 60
        for number in range(count):
            publish(nodes[number % len(nodes)], b"message %d" % number)
            swarm.world.run_for(2.0)
        swarm.world.run_for(10.0)
        got = [heard(stream) for stream in streams]
        assert all(len(set(one)) == len(one) for one in got), "a message came twice"
        share = sum(map(len, got)) / (count * len(nodes))
        print(f"\n{share:.4f} of {count * len(nodes)} deliveries, {swarm.internet.count_wires()} connections up")
        assert share > 0.99


def test_who_a_node_is_and_what_it_has_is_known_in_the_whole_swarm(tmp_path: Path) -> None:
    with Swarm(3, tmp_path, LOSSY, found_by("pubsub")) as swarm:
        nodes = connected(swarm, 12, links=2)
        swarm.world.run_for(30.0)
        for node in nodes:
            hints = core(node).swarm.hints
            others = {other.host.peer_id: other for other in nodes if other is not node}
            assert set(hints.authors) == set(others)
            for peer, other in others.items():
                assert hints.addrs(peer, swarm.world.now()) == (f"/ip4/{other.host.ip}/tcp/4001",)
        cid = CID.of(b"something rare")
        holder, far = nodes[0], nodes[-1]
        announced = core(holder).swarm.announce(pubsub.AnnounceByPubsub(pubsub.HAVE, (cid,), 120.0))
        assert announced
        swarm.world.run_for(5.0)
        where = PeerAddrs(holder.host.peer_id, (f"/ip4/{holder.host.ip}/tcp/4001",))
        assert core(far).swarm.hints.holders(cid, swarm.world.now()) == [where]
        swarm.world.run_for(130.0)
        assert core(far).swarm.hints.holders(cid, swarm.world.now()) == []


def test_what_was_never_announced_is_found_by_asking_the_swarm(tmp_path: Path) -> None:
    """Somebody many links away has it, and says so only now."""
    with Swarm(4, tmp_path, LOSSY, found_by("pubsub")) as swarm:
        nodes = connected(swarm, 12, links=2)
        swarm.world.run_for(20.0)
        holders, far = [nodes[0], nodes[3]], nodes[-1]
        cid, *_ = {node.add(b"something rare") for node in holders}
        began = swarm.world.now()
        question = Envelope(1 << 40, "SearchSource", "routing", "pubsub", b"", origin=USER)
        core(far).swarm.search(SearchSource(cid, 1), question)
        hints = core(far).swarm.hints
        assert swarm.world.run_until(lambda: bool(hints.holders(cid, swarm.world.now())), 10.0)
        print(f"\nfirst provider after {swarm.world.now() - began:.2f} s")
        swarm.world.run_for(10.0)
        found = {one.peer for one in hints.holders(cid, swarm.world.now())}
        assert found <= {node.host.peer_id for node in holders}
        assert not core(far).swarm.searches.open
        before = sum(core(node).router.totals.published for node in nodes)
        core(far).swarm.search(SearchSource(CID.of(b"nobody has it"), 2), question)
        swarm.world.run_for(20.0)
        assert sum(core(node).router.totals.published for node in nodes) == before + 1, "a WANT and no answer"


def test_an_idle_swarm_says_little(tmp_path: Path) -> None:
    """Twelve nodes with nothing to tell but who they are: bytes a second of all that pubsub sends, a node."""
    with Swarm(5, tmp_path, LOSSY, found_by("pubsub")) as swarm:
        nodes = connected(swarm, 12)
        swarm.world.run_for(60.0)
        before = [core(node).streaming.bytes_sent for node in nodes]
        swarm.world.run_for(HOUR)
        after = [core(node).streaming.bytes_sent for node in nodes]
        rate = (sum(after) - sum(before)) / len(nodes) / HOUR
        print(f"\n{rate:.1f} bytes a second a node")
        assert rate < 100


def test_a_killed_actor_tells_its_subscribers_and_joins_the_swarm_again(tmp_path: Path) -> None:
    with Swarm(9, tmp_path, LOSSY, found_by("pubsub")) as swarm:
        nodes = connected(swarm, 5)
        victim, other = nodes[2], nodes[4]
        streams = [subscribe(node) for node in nodes]
        swarm.world.run_for(5.0)
        swarm.world.crash(victim.name, "pubsub")
        with pytest.raises(Unavailable):
            streams[2].next(5.0)
        swarm.world.run_for(10.0)
        listed = ask(victim, pubsub.ListTopics())
        assert isinstance(listed, pubsub.TopicsListed)
        assert listed.topics == (SWARM,)
        assert core(victim).router.mesh.links[SWARM], "it is in the swarm's mesh again"
        peers = ask(other, pubsub.TopicPeers(TOPIC))
        assert isinstance(peers, pubsub.TopicPeersListed)
        assert victim.host.peer_id not in peers.peers, "others know that it forgot what its user listened to"
        streams[2] = subscribe(victim)
        swarm.world.run_for(15.0)
        publish(other, b"after")
        publish(victim, b"from the new one")
        swarm.world.run_for(5.0)
        for stream in streams:
            assert sorted(heard(stream)) == [b"after", b"from the new one"]


def test_a_transport_that_dies_takes_nobody_out_for_long(tmp_path: Path) -> None:
    with Swarm(10, tmp_path, LOSSY, found_by("pubsub")) as swarm:
        nodes = connected(swarm, 5)
        streams = [subscribe(node) for node in nodes]
        swarm.world.run_for(5.0)
        swarm.world.crash(nodes[0].name, "transport")
        swarm.world.run_for(30.0)
        publish(nodes[0], b"back")
        publish(nodes[3], b"hello")
        swarm.world.run_for(5.0)
        for stream in streams:
            assert sorted(heard(stream)) == [b"back", b"hello"]


def test_a_node_whose_policy_does_not_find_by_pubsub_rests(tmp_path: Path) -> None:
    with Swarm(12, tmp_path, LOSSY, found_by("pubsub")) as swarm:
        nodes = connected(swarm, 3)
        assert nodes[0].machine is not None
        nodes[0].policy = msgspec.structs.replace(nodes[0].policy, find_by_pubsub=False)
        nodes[0].stop()
        nodes[0].start()
        swarm.world.run_for(20.0)
        actor = core(nodes[0])
        assert actor.router.topics == {}
        assert actor.streaming.bytes_sent == 0
        assert nodes[0].host.peer_id not in core(nodes[1]).router.mesh.links[SWARM]
        stream = subscribe(nodes[0])
        swarm.world.run_for(5.0)
        subscribe(nodes[1])
        swarm.world.run_for(5.0)
        publish(nodes[1], b"x")
        swarm.world.run_for(2.0)
        assert heard(stream) == [b"x"], "a user's topics need no policy"


def test_a_file_is_fetched_by_its_cid_from_a_node_never_met_by_pubsub_alone(tmp_path: Path) -> None:
    """Routing asks, the swarm answers, bitswap dials whom it named: from a chain's one end to the other."""
    with Swarm(31, tmp_path, LOSSY, found_by("pubsub")) as swarm:
        nodes = [swarm.add(f"n{number}") for number in range(10)]
        for near, far in pairwise(nodes):
            swarm.keep(far, near)
        swarm.world.run_for(30.0)
        first, last = nodes[0], nodes[-1]
        assert first.host.peer_id not in {info.peer for info in last.api.swarm_peers()}
        data = random.Random(31).randbytes(100_000)
        cid = first.add(data)
        began = swarm.world.now()
        assert last.cat(cid) == data
        print(f"\nfetched after {swarm.world.now() - began:.2f} s")
        assert swarm.world.now() - began < 5.0
        swarm.world.crash(last.name, "pubsub")
        other = random.Random(32).randbytes(100_000)
        assert last.cat(nodes[2].add(other), 120.0) == other, "a source that dies costs time only"
