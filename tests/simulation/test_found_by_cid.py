"""Whole nodes that know one entrance and a CID: what is added anywhere is fetched anywhere, whatever dies meanwhile."""

import random
from pathlib import Path

import pytest

from shoal.actors.routing.actor import RoutingActor
from shoal.messages import routing
from shoal.messages.cid import CID
from shoal.messages.errors import LocalError
from shoal.runtime.http.backend import AddOptions
from shoal.runtime.simulation.internet import InternetConfig
from shoal.runtime.simulation.links import LinkConfig
from shoal.runtime.simulation.swarm import SimNode, Swarm, found_by

NODES = 12
SETTLE_S = 30.0  # virtual seconds for the DHT's tables to fill
LINKS = InternetConfig(link=LinkConfig(latency_s=0.02, jitter_s=0.01))
TOLD_S = 20.0  # virtual seconds for what was added to be announced
ROUGH = InternetConfig(link=LinkConfig(latency_s=0.02, jitter_s=0.02, loss=0.01))
CHUNKS = AddOptions(chunker="size-16384")


def grown(swarm: Swarm, count: int = NODES) -> list[SimNode]:
    """``count`` nodes, all of which know the first."""
    gate = swarm.add("gate")
    nodes = [swarm.add(f"n{number}") for number in range(count - 1)]
    for node in nodes:
        swarm.connect(node, gate)
    swarm.world.run_for(SETTLE_S)
    return [gate, *nodes]


def part(node: SimNode, other: SimNode, gate: SimNode) -> None:
    """Let ``node`` leave all but the gate, ``other`` last: what that one has must be found, not just asked for."""
    for _ in range(10):
        here = sorted({info.peer for info in node.api.swarm_peers()} - {gate.host.peer_id, other.host.peer_id})
        for peer in [*here, other.host.peer_id]:
            try:
                node.api.swarm_disconnect(peer)
            except LocalError:  # it has gone by itself
                pass
        if other.host.peer_id not in {info.peer for info in node.api.swarm_peers()}:
            return
    raise AssertionError("they are connected again and again")


def stats(node: SimNode) -> routing.RoutingStats:
    return node.api.edge.ask_for(routing.RoutingStats, routing.RoutingStat(), 5.0)


def searching(swarm: Swarm, node: SimNode) -> bool:
    found = swarm.world.hosts[f"{node.name}/routing"].cell.actor
    return isinstance(found, RoutingActor) and bool(found.searches.open)


@pytest.mark.parametrize("sources", [("dht",), ("dht", "pubsub")], ids=" ".join)
def test_a_file_added_anywhere_is_fetched_by_its_cid_anywhere(sources: tuple[str, ...], tmp_path: Path) -> None:
    with Swarm(3, tmp_path, LINKS, found_by(*sources)) as swarm:
        gate, *nodes = grown(swarm)
        rng = random.Random(3)
        fetchers = []
        for _ in range(6):
            holder, fetcher = rng.sample(nodes, 2)
            data = rng.randbytes(60_000)
            cid = holder.add(data, CHUNKS)
            swarm.world.run_for(TOLD_S)
            part(fetcher, holder, gate)
            began = swarm.world.now()
            assert fetcher.cat(cid) == data
            print(f"{holder.name} -> {fetcher.name}: {swarm.world.now() - began:.2f} s")
            fetchers.append(fetcher)
        for node in fetchers:
            known = {row.source: row for row in stats(node).sources}
            assert stats(node).searches >= 1, "it was had without a search: this shows nothing"
            assert known["lan-dht"].answered >= 1
            print(node.name, {row.source: (row.answered, row.searches, row.p50_first_s) for row in known.values()})


def test_nodes_that_keep_nothing_for_others_find_too(tmp_path: Path) -> None:
    """A leecher has no provider records of its own: it walks.  How soon each source knew somebody is printed."""
    firsts: dict[str, list[float]] = {}
    with Swarm(30, tmp_path, LINKS, found_by("dht", "pubsub")) as swarm:
        gate, *nodes = grown(swarm, 16)
        leechers = [swarm.add(f"l{number}", "leecher") for number in range(6)]
        for node in leechers:
            swarm.connect(node, gate)
        swarm.world.run_for(SETTLE_S)
        rng = random.Random(30)
        for fetcher in leechers:
            holder = rng.choice(nodes)
            data = rng.randbytes(40_000)
            cid = holder.add(data, CHUNKS)
            swarm.world.run_for(TOLD_S)
            part(fetcher, holder, gate)
            began = swarm.world.now()
            assert fetcher.cat(cid) == data
            firsts.setdefault("the whole file", []).append(swarm.world.now() - began)
        for fetcher in leechers:
            for row in stats(fetcher).sources:
                firsts.setdefault(row.source, []).extend([row.p50_first_s] * row.answered)
    for source, times in sorted(firsts.items()):
        ordered = sorted(times) or [0.0]
        p50, p95 = ordered[len(ordered) // 2], ordered[int(0.95 * len(ordered))]
        print(f"{source}: {len(times)} times, p50 {p50:.3f} s, p95 {p95:.3f} s")
    assert len(firsts["pubsub"]) + len(firsts["lan-dht"]) >= len(leechers)


def fetched_while(swarm: Swarm, gate: SimNode, holder: SimNode, fetcher: SimNode, actor: str) -> None:
    """Fetch by CID; ``actor`` of the fetcher dies as soon as a search is under way."""
    data = random.Random(actor).randbytes(100_000)
    cid = holder.add(data, CHUNKS)
    swarm.world.run_for(TOLD_S)
    part(fetcher, holder, gate)
    reading, killed = fetcher.reading(cid, 120.0), False

    def watch() -> None:
        nonlocal killed
        if not killed and searching(swarm, fetcher):
            swarm.world.crash(fetcher.name, actor)
            killed = True
        if not killed:
            swarm.world.after(0.0005, watch)

    watch()
    assert b"".join(reading) == data
    assert killed, f"{actor} was not killed: nothing was searched for"


@pytest.mark.parametrize("actor", ["routing", "dht", "pubsub", "bitswap", "transport"])
def test_whoever_dies_in_the_middle_of_a_search_costs_only_time(actor: str, tmp_path: Path) -> None:
    with Swarm(5, tmp_path, LINKS, found_by("dht", "pubsub")) as swarm:
        gate, *nodes = grown(swarm, 8)
        for number in range(3):
            fetched_while(swarm, gate, nodes[number], nodes[number + 3], actor)


def test_actors_that_crash_at_random_do_not_keep_content_from_being_found(tmp_path: Path) -> None:
    with Swarm(7, tmp_path, ROUGH, found_by("dht", "pubsub")) as swarm:
        gate, *nodes = grown(swarm, 8)
        rng = random.Random(7)
        files = {}
        for node in nodes[:3]:
            data = rng.randbytes(80_000)
            files[node.add(data, CHUNKS)] = (node, data)
        swarm.world.run_for(TOLD_S)
        swarm.world.crash_often(0.3, [node.name for node in nodes])
        for cid, (holder, data) in files.items():
            fetcher = rng.choice([node for node in nodes if node is not holder])
            part(fetcher, holder, gate)
            assert fetcher.cat(cid, 600.0) == data


def test_what_nobody_has_ends_at_its_deadline_with_what_was_tried(tmp_path: Path) -> None:
    with Swarm(9, tmp_path, LINKS, found_by("dht", "pubsub")) as swarm:
        _, *nodes = grown(swarm, 5)
        began = swarm.world.now()
        with pytest.raises(LocalError) as failed:
            nodes[0].cat(CID.of(b"nobody has this"), 10.0)
        assert swarm.world.now() - began < 11.0
        text = str(failed.value)
        print(text)
        assert "dht found none in" in text
        assert "pubsub found none in" in text
        swarm.world.run_for(5.0)
        assert not searching(swarm, nodes[0])


def test_peers_and_their_places_outlive_a_restart(tmp_path: Path) -> None:
    """The entrance is gone when the node starts again: it still knows where somebody is."""
    with Swarm(11, tmp_path, LINKS, found_by("dht")) as swarm:
        gate, holder, fetcher = grown(swarm, 3)
        data = random.Random(11).randbytes(50_000)
        cid = holder.add(data, CHUNKS)
        assert fetcher.cat(cid) == data
        swarm.world.run_for(60.0)
        fetcher.stop()
        gate.power_off()
        fetcher.start()
        book = fetcher.api.edge.ask_for(routing.BookListed, routing.ListBook(), 5.0)
        row = next(row for row in book.rows if row.peer == holder.host.peer_id)
        assert row.successes >= 1
        assert row.score > 0
        found = fetcher.api.find_peer(holder.host.peer_id, 5.0)
        assert found.source == routing.BOOK
        assert f"/ip4/{holder.host.ip}/tcp/4001" in found.addrs
