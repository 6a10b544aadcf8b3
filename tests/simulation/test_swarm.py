"""Whole nodes against each other, by seed: every reachable block arrives, and no invariant breaks on the way.

The nodes are real ones - all their actors, the real router, real stores - on a virtual clock and a simulated network
that loses one frame in a hundred and drops every connection several times a minute.
"""

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.actors.bitswap.actor import BitswapActor
from shoal.actors.placement.actor import PlacementActor
from shoal.actors.wantlist.actor import WantlistActor
from shoal.messages.cid import CID
from shoal.messages.errors import LocalError
from shoal.messages.limits import BLOCK_BYTES_MAX, OUTSTANDING_BYTES_PER_PEER, WANTS_PER_PEER_MAX
from shoal.runtime.http.backend import AddOptions
from shoal.runtime.simulation.internet import InternetConfig
from shoal.runtime.simulation.links import LinkConfig
from shoal.runtime.simulation.swarm import SimNode, Swarm

SEEDS = 200
NAMES = "abcde"
ROUGH = InternetConfig(
    link=LinkConfig(latency_s=0.02, jitter_s=0.02, bandwidth=2_000_000, loss=0.01),
    disconnects_per_hour=360.0,
)
SMALL_CHUNKS = AddOptions(chunker="size-16384")


def actor(swarm: Swarm, node: SimNode, name: str) -> object:
    found = swarm.world.hosts[f"{node.name}/{name}"].cell.actor
    assert found is not None
    return found


def check_invariants(swarm: Swarm) -> None:
    """Invariants 11, 12, 19 of wants and ledger, and that all indexes agree."""
    for node in swarm.nodes.values():
        bitswap = actor(swarm, node, "bitswap")
        wantlist = actor(swarm, node, "wantlist")
        placement = actor(swarm, node, "placement")
        assert isinstance(bitswap, BitswapActor)
        assert isinstance(wantlist, WantlistActor)
        assert isinstance(placement, PlacementActor)
        wantlist.ours.check()
        wantlist.demand.check()
        placement.gets.check()
        for peer, partner in bitswap.serving.ledger.partners.items():
            assert peer in bitswap.links.rows, "wants are kept of a peer that is not connected"
            assert len(partner.wants) <= WANTS_PER_PEER_MAX.value
            assert 0 <= partner.outstanding <= OUTSTANDING_BYTES_PER_PEER.value + BLOCK_BYTES_MAX.value


def mesh(swarm: Swarm) -> list[SimNode]:
    nodes = [swarm.add(name) for name in NAMES]
    for number, node in enumerate(nodes):
        for other in nodes[number + 1 :]:
            swarm.keep(node, other)
    return nodes


def story(seed: int, folder: Path) -> str:
    """Five nodes, a file each, everybody fetches everybody's at the same time; the digest of all steps."""
    rng = random.Random(seed)
    with Swarm(seed, folder, ROUGH) as swarm:
        nodes = mesh(swarm)
        files = {
            node.add(data, SMALL_CHUNKS): data for node in nodes if (data := rng.randbytes(rng.randint(1, 200_000)))
        }
        transfers: list[tuple[CID, list[bytes], Iterator[memoryview]]] = [
            (cid, [], node.reading(cid, 120.0)) for node in nodes for cid in files
        ]
        got: list[tuple[CID, bytes]] = []
        while transfers:
            cid, pieces, reading = transfer = transfers[rng.randrange(len(transfers))]
            piece = next(reading, None)
            if piece is None:
                transfers.remove(transfer)
                got.append((cid, b"".join(pieces)))
                check_invariants(swarm)
            else:
                pieces.append(bytes(piece))
        assert len(got) == len(nodes) * len(files)
        for cid, data in got:
            assert data == files[cid]
        swarm.world.run_for(1.0)
        for node in nodes:
            assert len(wantlist_of(swarm, node).ours) == 0, "a want has outlived its block"
        check_invariants(swarm)
        return swarm.world.digest()


def wantlist_of(swarm: Swarm, node: SimNode) -> WantlistActor:
    found = actor(swarm, node, "wantlist")
    assert isinstance(found, WantlistActor)
    return found


@pytest.mark.parametrize("decade", range(0, SEEDS, 10))
def test_every_reachable_block_arrives(decade: int, tmp_path: Path) -> None:
    for seed in range(decade, decade + 10):
        story(seed, tmp_path / str(seed))


def test_one_seed_gives_one_trace_whatever_the_hash_seed(tmp_path: Path) -> None:
    here = story(7, tmp_path / "here")
    program = (
        "import sys; from pathlib import Path; from shoal.tests.simulation.test_swarm import story;"
        "print(story(7, Path(sys.argv[1])))"
    )
    for hash_seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-P", "-c", program, str(tmp_path / hash_seed)],
            env={"PYTHONPATH": ":".join(path for path in sys.path if path), "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        assert run.stdout.strip() == here
    assert story(8, tmp_path / "other") != here


def test_actors_that_crash_at_random_do_not_lose_the_transfer(tmp_path: Path) -> None:
    """Every kind of actor dies now and then, in every node, and what was asked for arrives all the same."""
    for seed in range(10):
        with Swarm(seed, tmp_path / str(seed), ROUGH) as swarm:
            nodes = mesh(swarm)
            data = random.Random(seed).randbytes(300_000)
            cid = nodes[0].add(data, SMALL_CHUNKS)
            swarm.world.crash_often(0.5, [node.name for node in nodes])
            for node in nodes[1:]:
                assert node.cat(cid, 300.0) == data


def test_power_cuts_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    for seed in range(10):
        with Swarm(seed, tmp_path / str(seed), ROUGH) as swarm:
            a, b = swarm.add("a"), swarm.add("b")
            swarm.keep(b, a)
            data = random.Random(seed).randbytes(400_000)
            cid = a.add(data, SMALL_CHUNKS)
            reading = b.reading(cid, 120.0)
            for _ in range(5):
                next(reading)
            had = b.api.repo_stat().tiers[1].blocks
            b.power_off()
            swarm.world.run_for(1.0)
            b.start()
            assert b.api.repo_stat().tiers[1].blocks >= had
            swarm.keep(b, a)
            assert b.cat(cid, 120.0) == data
            total = a.api.repo_stat().tiers[1].blocks
            assert b.api.bitswap_stat().blocks_received <= total - had, "a stored block was fetched again"


def test_a_block_that_nobody_has_ends_by_its_deadline_and_says_what_was_tried(tmp_path: Path) -> None:
    with Swarm(1, tmp_path, ROUGH) as swarm:
        nodes = mesh(swarm)
        began = swarm.world.now()
        with pytest.raises(LocalError, match="peer"):
            nodes[0].cat(CID.of(b"nobody has this"), 10.0)
        assert swarm.world.now() - began < 15.0


def test_a_partition_holds_a_transfer_up_and_healing_lets_it_end(tmp_path: Path) -> None:
    with Swarm(3, tmp_path, ROUGH) as swarm:
        nodes = mesh(swarm)
        data = random.Random(3).randbytes(200_000)
        cid = nodes[0].add(data, SMALL_CHUNKS)
        swarm.internet.partition([nodes[0].host], [node.host for node in nodes[1:]])
        with pytest.raises(LocalError):
            nodes[1].cat(cid, 5.0)
        swarm.internet.heal()
        assert nodes[1].cat(cid, 120.0) == data


def test_a_lying_peer_costs_time_and_nothing_else(tmp_path: Path) -> None:
    """One holder sends rubbish in every frame; the other one's blocks are what arrives."""
    with Swarm(4, tmp_path, ROUGH) as swarm:
        liar, honest, asker = swarm.add("liar"), swarm.add("honest"), swarm.add("asker")
        data = random.Random(4).randbytes(200_000)
        for holder in (liar, honest):
            cid = holder.add(data, SMALL_CHUNKS)
            swarm.keep(asker, holder)
        rng = random.Random(5)
        liar.host.tamper = lambda _peer, _protocol, frame: [rng.randbytes(len(frame))]
        assert asker.cat(cid, 300.0) == data
