"""Whole nodes on one simulated segment: all find each other by mDNS, come and go, and a seed gives one story."""

from collections.abc import Callable
from pathlib import Path

from shoal.messages.lifecycle import CrashActor
from shoal.runtime.finding import Finding
from shoal.runtime.network.keys import Libp2pKeys
from shoal.runtime.simulation.segment import Member, Segment
from shoal.runtime.simulation.swarm import SimNode, Swarm

NAMES = "abcdef"
FOUND_S = 5.0  # virtual seconds: one look to announce, one to hear, half a second until the dial


def neighbours_on(segment: Segment) -> Callable[[SimNode], Finding]:
    """For ``Swarm``: nodes that find each other on this segment, and by nothing else."""

    def finding(node: SimNode) -> Finding:
        def member() -> Member:
            return segment.member(lambda: node.machine is not None)

        return Finding(node.folder, Libp2pKeys(node.host.identity.key), frozenset({"mdns"}), lan=member)

    return finding


def connected(node: SimNode) -> set[str]:
    return {info.peer for info in node.api.swarm_peers()}


def others(swarm: Swarm, node: SimNode) -> set[str]:
    return {other.host.peer_id for other in swarm.nodes.values() if other is not node}


def test_all_find_each_other_and_their_files(tmp_path: Path) -> None:
    segment = Segment()
    with Swarm(1, tmp_path, finding=neighbours_on(segment)) as swarm:
        nodes = [swarm.add(name) for name in NAMES]
        swarm.world.run_for(FOUND_S)
        for node in nodes:
            assert connected(node) == others(swarm, node)
        assert nodes[-1].cat(nodes[0].add(b"found" * 100_000)) == b"found" * 100_000


def test_after_the_death_of_any_actor_of_it_newcomers_are_found(tmp_path: Path) -> None:
    segment = Segment()
    with Swarm(2, tmp_path, finding=neighbours_on(segment)) as swarm:
        first = swarm.add("a")
        for number, name in enumerate(("mdns", "transport", "bootstrap", "routing")):
            first.api.edge.ask(CrashActor(name), 10.0)
            swarm.world.run_for(FOUND_S)
            swarm.add(f"b{number}")
            swarm.world.run_for(FOUND_S)
            assert connected(first) == others(swarm, first), name


def test_who_loses_power_and_comes_back_is_found_under_its_new_name(tmp_path: Path) -> None:
    segment = Segment()
    with Swarm(3, tmp_path, finding=neighbours_on(segment)) as swarm:
        first, second = swarm.add("a"), swarm.add("b")
        swarm.world.run_for(FOUND_S)
        second.power_off()
        swarm.world.run_for(120.0)
        assert connected(first) == set()
        second.start()
        swarm.world.run_for(60.0)
        assert connected(first) == {second.host.peer_id}


def test_a_day_of_it_is_quiet(tmp_path: Path) -> None:
    """Somebody asks every five minutes, sometimes two at once, and all answer: a packet or two a minute of them all.

    If each asked by itself, it would be 66 questions an hour.
    """
    segment = Segment()
    with Swarm(4, tmp_path, finding=neighbours_on(segment)) as swarm:
        for name in NAMES:
            swarm.add(name)
        swarm.world.run_for(1200.0)
        asked, said = segment.asked, segment.said
        swarm.world.run_for(3600.0)
        assert 8 <= segment.asked - asked <= 20
        assert segment.said - said == (segment.asked - asked) * len(NAMES)
