"""Killing any actor that finds changes only how fast content is found.

Whole nodes that know one entrance and a CID.  While one fetches what another has added, one kind of actor dies in all
of them at once, again and again; or it was never there.
"""

import random
from pathlib import Path

import pytest

from shoal.messages.cid import CID
from shoal.runtime.simulation.swarm import SimNode, Swarm, found_by
from shoal.tests.simulation.test_found_by_cid import CHUNKS, LINKS, ROUGH, grown, part

SOURCES = ("dht", "pubsub", "filters")
KILLED = ("dht", "walk", "pubsub", "adverts", "announce", "routing", "bootstrap")
NODES = 7
FETCH_S = 120.0  # virtual seconds that a fetch may take
DEATH_EVERY_S = 0.3  # virtual seconds between deaths of one actor
DEATHS = 3  # in one fetch: fewer than end a node
REST_S = 90.0  # virtual seconds after which the deaths before do not count any more


def added(swarm: Swarm, holder: SimNode, fetcher: SimNode, gate: SimNode, rng: random.Random) -> tuple[CID, bytes]:
    """A file that has been announced, which the fetcher's peers do not have."""
    data = rng.randbytes(60_000)
    cid = holder.add(data, CHUNKS)
    swarm.world.run_for(20.0)
    part(fetcher, holder, gate)
    return cid, data


def fetch(swarm: Swarm, fetcher: SimNode, cid: CID) -> tuple[bytes, float]:
    """The bytes, and the virtual seconds that they took."""
    began = swarm.world.now()
    return fetcher.cat(cid, FETCH_S), swarm.world.now() - began


def kill_for_a_while(swarm: Swarm, actor: str) -> None:
    """Let an actor die in all nodes, now and twice more."""

    def kill(left: int) -> None:
        for node in swarm.nodes:
            swarm.world.crash(node, actor)
        if left:
            swarm.world.after(DEATH_EVERY_S, lambda: kill(left - 1))

    kill(DEATHS - 1)


@pytest.mark.parametrize("actor", KILLED)
def test_an_actor_that_dies_everywhere_delays_what_is_found_and_no_more(actor: str, tmp_path: Path) -> None:
    """It dies while content is looked for, and while it is added and announced: what it owed is done later."""
    rng = random.Random(actor)
    with Swarm(f"killed {actor}", tmp_path, ROUGH, found_by(*SOURCES)) as swarm:
        gate, *nodes = grown(swarm, NODES)
        times = []
        for dies in ("never", "in the search", "in the adding"):
            holder, fetcher = rng.sample(nodes, 2)
            if dies == "in the adding":
                kill_for_a_while(swarm, actor)
            cid, data = added(swarm, holder, fetcher, gate, rng)
            if dies == "in the search":
                kill_for_a_while(swarm, actor)
            got, seconds = fetch(swarm, fetcher, cid)
            assert got == data
            times.append(f"{dies} {seconds:.2f} s")
            swarm.world.run_for(REST_S)
        print(f"{actor} dies:", ", ".join(times))


@pytest.mark.parametrize("missing", SOURCES)
def test_a_source_that_is_not_there_is_not_missed(missing: str, tmp_path: Path) -> None:
    sources = [source for source in SOURCES if source != missing]
    rng = random.Random(missing)
    with Swarm(f"without {missing}", tmp_path, LINKS, found_by(*sources)) as swarm:
        gate, *nodes = grown(swarm, NODES)
        for _ in range(2):
            holder, fetcher = rng.sample(nodes, 2)
            cid, data = added(swarm, holder, fetcher, gate, rng)
            got, seconds = fetch(swarm, fetcher, cid)
            assert got == data
            print(f"without {missing}: {seconds:.2f} s")
