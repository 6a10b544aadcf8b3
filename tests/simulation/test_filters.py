"""Swarms with Bloom adverts: questions that need not be asked, filters that lie or are stale, actors that die.

Whole nodes on a virtual clock.  What is wrong about a filter is put into the real actor that tells it.
"""

import random
from pathlib import Path

import pytest

from shoal.actors.adverts.actor import AdvertsActor
from shoal.actors.adverts.gathering import LIST_EVERY_S
from shoal.actors.adverts.holding import Names
from shoal.actors.adverts.wire import HEAD
from shoal.actors.bitswap.filters import DOUBT_S, RESTED_S
from shoal.actors.tiers.disk.actor import DiskTierActor
from shoal.messages import adverts, blocks, exchange, lifecycle
from shoal.messages.cid import CID
from shoal.messages.replies import Done
from shoal.runtime.http.backend import AddOptions
from shoal.runtime.simulation.internet import InternetConfig
from shoal.runtime.simulation.links import LinkConfig
from shoal.runtime.simulation.swarm import SimNode, Swarm, found_by
from shoal.storage.disk.store import DiskStore

SMALL_CHUNKS = AddOptions(chunker="size-16384")
SETTLED_S = 3 * RESTED_S  # seconds for all filters to be told, and to have rested
ROUGH = InternetConfig(link=LinkConfig(latency_s=0.02, jitter_s=0.02, bandwidth=2_000_000, loss=0.01))


def counted(node: SimNode, actor: str, name: str) -> int:
    assert node.machine is not None
    return int(node.machine.metrics.registry.get_sample_value(f"shoal_{actor}_{name}_total") or 0)


def adverts_of(swarm: Swarm, node: SimNode) -> AdvertsActor:
    found = swarm.world.hosts[f"{node.name}/adverts"].cell.actor
    assert isinstance(found, AdvertsActor)
    return found


def mesh(swarm: Swarm, count: int) -> list[SimNode]:
    nodes = [swarm.add(f"n{number}") for number in range(count)]
    for number, node in enumerate(nodes):
        for other in nodes[number + 1 :]:
            swarm.connect(node, other)
    return nodes


def stat(node: SimNode) -> adverts.AdvertStats:
    reply = node.api.edge.ask(adverts.AdvertStat(), 5.0)
    assert isinstance(reply, adverts.AdvertStats)
    return reply


def bitswap_messages(node: SimNode) -> int:
    reply = node.api.edge.ask(exchange.BitswapStat(), 5.0)
    assert isinstance(reply, exchange.BitswapStats)
    return reply.messages_received


# --- what is spared ----------------------------------------------------------------------------------------------


def exchange_files(folder: Path, sources: tuple[str, ...], nodes_count: int = 20) -> dict[str, float]:
    """Every node has part of the content, and fetches some of the rest, one after the other; figures of all nodes."""
    rng = random.Random(11)
    with Swarm(11, folder, None, found_by(*sources)) as swarm:
        nodes = mesh(swarm, nodes_count)
        files: list[tuple[CID, bytes, list[SimNode]]] = []
        for _ in range(nodes_count):
            data = rng.randbytes(100_000)
            holders = rng.sample(nodes, 3)
            for holder in holders:
                cid = holder.add(data, SMALL_CHUNKS)
            files.append((cid, data, holders))
        swarm.world.run_for(SETTLED_S)
        seconds = []
        for node in nodes:
            for cid, data, holders in rng.sample(files, 5):
                if node not in holders:
                    began = swarm.world.now()
                    assert node.cat(cid, 120.0) == data
                    seconds.append(swarm.world.now() - began)
        figures: dict[str, float] = {
            name: sum(counted(node, "bitswap", name) for node in nodes)
            for name in ("want_haves", "dont_haves", "want_blocks")
        }
        figures["bitswap messages"] = sum(map(bitswap_messages, nodes))
        if sources:
            figures["filter frames"] = sum(stat(node).sent for node in nodes)
            figures["filter bytes"] = sum(stat(node).sent_bytes for node in nodes)
        figures["p50 s"] = sorted(seconds)[len(seconds) // 2]
        figures["p95 s"] = sorted(seconds)[len(seconds) * 19 // 20]
        return figures


def test_most_questions_of_a_swarm_need_no_message(tmp_path: Path) -> None:
    without = exchange_files(tmp_path / "without", ())
    with_filters = exchange_files(tmp_path / "with", ("filters",))
    print(f"\n{'20 nodes, 5 fetches each':<26}{'without':>12}{'filters':>12}")
    for name in with_filters:
        print(f"{name:<26}{without.get(name, 0):>12.5g}{with_filters[name]:>12.5g}")
    assert without["want_haves"] > 500
    assert with_filters["want_haves"] <= 0.1 * without["want_haves"]
    assert with_filters["dont_haves"] <= 0.1 * without["dont_haves"]
    assert with_filters["want_blocks"] <= 1.05 * without["want_blocks"]
    saved = without["bitswap messages"] - with_filters["bitswap messages"]
    assert saved > 0.4 * without["bitswap messages"]
    assert saved > with_filters["filter frames"], "what is spared is more than what the filters cost"


def test_what_was_just_added_is_fetched_at_once(tmp_path: Path) -> None:
    """A filter that is some milliseconds behind costs milliseconds."""
    rng = random.Random(5)
    with Swarm(5, tmp_path, None, found_by("filters")) as swarm:
        nodes = mesh(swarm, 6)
        swarm.world.run_for(SETTLED_S)
        for adder in nodes:
            swarm.world.run_for(SETTLED_S)
            data = rng.randbytes(50_000)
            cid = adder.add(data, SMALL_CHUNKS)
            reader = nodes[nodes.index(adder) - 1]
            began = swarm.world.now()
            assert reader.cat(cid, 60.0) == data
            assert swarm.world.now() - began < 1.0


# --- filters that are wrong --------------------------------------------------------------------------------------


def lie_no(actor: AdvertsActor) -> None:
    """It says that it holds nothing."""
    actor.holding.names = Names(500, actor.holding.salt)
    actor.holding.generation += 2


def lie_yes(actor: AdvertsActor, cids: list[CID]) -> None:
    """It says that it holds these."""
    for cid in cids:
        actor.holding.add(cid.multihash)


def blocks_of(swarm: Swarm, node: SimNode) -> list[CID]:
    """All that a node holds."""
    disk = swarm.world.hosts[f"{node.name}/disk"].cell.actor
    assert isinstance(disk, DiskTierActor)
    assert isinstance(disk.store, DiskStore)
    return disk.store.list(None, 4096)


def delete(node: SimNode, cids: list[CID]) -> None:
    assert isinstance(node.api.edge.ask(blocks.DeleteBlocks(tuple(cids)), 10.0), Done)


def test_a_holder_whose_filter_says_no_is_found_all_the_same(tmp_path: Path) -> None:
    rng = random.Random(1)
    with Swarm(1, tmp_path, None, found_by("filters")) as swarm:
        nodes = mesh(swarm, 8)
        data = rng.randbytes(200_000)
        cid = nodes[0].add(data, SMALL_CHUNKS)
        swarm.world.run_for(1.0)
        lie_no(adverts_of(swarm, nodes[0]))
        swarm.world.run_for(2 * 60.0 + SETTLED_S)
        began = swarm.world.now()
        assert nodes[1].cat(cid, 60.0) == data
        assert DOUBT_S / 2 < swarm.world.now() - began < 3 * DOUBT_S + 2.0, "root, then leaves; each doubted once"


def test_liars_that_say_yes_cost_time_and_nothing_else(tmp_path: Path) -> None:
    rng = random.Random(2)
    with Swarm(2, tmp_path, ROUGH, found_by("filters")) as swarm:
        nodes = mesh(swarm, 8)
        files = [rng.randbytes(200_000) for _ in range(4)]
        cids = [nodes[0].add(data, SMALL_CHUNKS) for data in files]
        everything = blocks_of(swarm, nodes[0])
        for liar in nodes[2:]:
            lie_yes(adverts_of(swarm, liar), everything)
        swarm.world.run_for(60.0 + SETTLED_S)
        for cid, data in zip(cids, files, strict=True):
            assert nodes[1].cat(cid, 60.0) == data
        asked = counted(nodes[1], "bitswap", "dont_haves")
        assert 0 < asked < 6 * 40, "after a few lies each they were believed no more"


def test_a_filter_that_is_stale_costs_questions_until_the_next_listing(tmp_path: Path) -> None:
    rng = random.Random(3)
    with Swarm(3, tmp_path, None, found_by("filters")) as swarm:
        nodes = mesh(swarm, 6)
        data = rng.randbytes(200_000)
        for node in nodes[:4]:
            cid = node.add(data, SMALL_CHUNKS)
        swarm.world.run_for(SETTLED_S)
        for node in nodes[:3]:
            delete(node, blocks_of(swarm, node))
        assert nodes[5].cat(cid, 60.0) == data
        assert counted(nodes[5], "bitswap", "dont_haves") > 0
        swarm.world.run_for(1.3 * LIST_EVERY_S + 60.0)
        assert [stat(node).count > 0 for node in nodes] == [False, False, False, True, False, True]
        assert nodes[4].cat(cid, 60.0) == data
        assert counted(nodes[4], "bitswap", "dont_haves") == 0


# --- who may die, and who is silent ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_without_the_adverts_actor_all_is_fetched_as_before(seed: int, tmp_path: Path) -> None:
    """It dies in every node, again and again, in the middle of transfers, and tells what it knows when it is back."""
    rng = random.Random(seed)
    with Swarm(seed, tmp_path, ROUGH, found_by("filters")) as swarm:
        nodes = mesh(swarm, 5)
        files = [rng.randbytes(150_000) for _ in nodes]
        cids = [node.add(data, SMALL_CHUNKS) for node, data in zip(nodes, files, strict=True)]
        for node in nodes:
            for cid, data in zip(cids, files, strict=True):
                reading = node.reading(cid, 120.0)
                got = [bytes(next(reading))]
                swarm.world.crash(rng.choice(nodes).name, "adverts")
                assert b"".join([*got, *map(bytes, reading)]) == data
                swarm.world.run_for(rng.uniform(10.0, 20.0))  # fewer deaths than end a node
        swarm.world.run_for(3 * 60.0 + SETTLED_S)
        assert [stat(node).peers for node in nodes] == [4] * 5
        new = rng.randbytes(100_000)
        cid = nodes[0].add(new, SMALL_CHUNKS)
        swarm.world.run_for(SETTLED_S)
        before = counted(nodes[1], "bitswap", "want_haves")
        assert nodes[1].cat(cid, 60.0) == new
        assert counted(nodes[1], "bitswap", "want_haves") == before


def test_a_leecher_hears_and_tells_nothing(tmp_path: Path) -> None:
    rng = random.Random(4)
    with Swarm(4, tmp_path, None, found_by("filters")) as swarm:
        nodes = mesh(swarm, 4)
        leecher = swarm.add("leecher", "leecher")
        for node in nodes:
            swarm.connect(leecher, node)
        data = rng.randbytes(100_000)
        cid = nodes[2].add(data, SMALL_CHUNKS)
        swarm.world.run_for(SETTLED_S)
        assert stat(leecher).sent == 0
        assert stat(leecher).peers == 4
        assert [stat(node).peers for node in nodes] == [3] * 4
        assert leecher.cat(cid, 60.0) == data
        assert counted(leecher, "bitswap", "want_haves") == 0
        nodes[2].api.edge.ask(lifecycle.ChangeRole("leecher"), 10.0)
        swarm.world.run_for(SETTLED_S)
        assert stat(leecher).peers == 3


def test_an_idle_swarm_says_next_to_nothing(tmp_path: Path) -> None:
    with Swarm(6, tmp_path, None, found_by("filters")) as swarm:
        nodes = mesh(swarm, 5)
        for node in nodes:
            node.add(node.name.encode() * 10_000, SMALL_CHUNKS)
        swarm.world.run_for(120.0)
        before = [stat(node).sent_bytes for node in nodes]
        swarm.world.run_for(600.0)
        for node, earlier in zip(nodes, before, strict=True):
            assert stat(node).sent_bytes - earlier <= 4 * 11 * HEAD.size, "a word a minute to each of four"
