"""A large DHT in simulation that is never at rest: nodes come and go, frames are lost, some nodes lie; what it finds.

Begin with ``Trial.run``; ``Trial.report`` says in one line what a lookup cost and how many found.
"""

from __future__ import annotations

import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from statistics import median
from typing import Final

from shoal.messages.cid import CID
from shoal.messages.routing import SourceEnded
from shoal.runtime.simulation.internet import InternetConfig
from shoal.runtime.simulation.links import LinkConfig
from shoal.tests.support.dht_liars import LyingDht, lying
from shoal.tests.support.dht_swarm import Asked, DhtNode, DhtSwarm

SETTLE_S: Final = 60.0  # virtual seconds for tables to fill
SEEKERS: Final = 8  # one node in so many has somebody who asks; in the others nothing stands in routing's place
PATIENCE_S: Final = 30.0  # of one search, virtual


@dataclass
class Trial:
    """``size`` nodes, of which the share ``liars`` lie; every ``churn_s`` virtual seconds one dies and one joins."""

    size: int
    liars: float = 0.05
    loss: float = 0.01
    churn_s: float = 2.0
    contents: int = 20
    searches: int = 300
    asked: list[tuple[Asked, str]] = field(default_factory=list)  # with who provides
    died: int = 0
    lied: int = 0  # answers of liars

    def run_apart(self, seed: int) -> Trial:
        """The same in a process of its own, which takes a world of a gigabyte along when it ends."""
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(self.run, seed).result()

    def run(self, seed: int) -> Trial:
        """All of it."""
        link = LinkConfig(latency_s=0.02, jitter_s=0.05, loss=self.loss)
        with DhtSwarm(seed, InternetConfig(link=link)) as swarm:
            rng = swarm.world.random
            honest: list[DhtNode] = []
            for number in range(self.size):
                liar = number > 10 and rng.random() < self.liars
                asks = not liar and number % SEEKERS == 0
                node = swarm.add(f"n{number}", make_dht=lying if liar else None, asks=asks)
                if honest:
                    node.connect(rng.choice(honest))
                if not liar:
                    honest.append(node)
            swarm.world.run_for(SETTLE_S)
            providers = rng.sample(honest, self.contents)
            contents = [CID.of(b"content %d" % number) for number in range(self.contents)]
            for node, cid in zip(providers, contents, strict=True):
                assert not node.provide(cid).failed
            self._search(swarm, honest, providers, contents)
            self.lied = sum(node.dht.lies for node in swarm.nodes.values() if isinstance(node.dht, LyingDht))
        return self

    def _search(self, swarm: DhtSwarm, honest: list[DhtNode], providers: list[DhtNode], contents: list[CID]) -> None:
        rng, world = swarm.world.random, swarm.world
        next_churn = world.clock.now + self.churn_s
        while len(self.asked) < self.searches:
            while world.clock.now >= next_churn:
                next_churn += self.churn_s
                self._one_dies_one_joins(swarm, honest, providers)
            which = rng.randrange(len(contents))
            seeker = rng.choice([node for node in honest if node.asks and node is not providers[which]])
            asked = seeker.search(contents[which], timeout_s=PATIENCE_S)
            self.asked.append((asked, providers[which].peer))
            world.run_for(self.churn_s / 4)
        world.run_for(PATIENCE_S + 1.0)

    def _one_dies_one_joins(self, swarm: DhtSwarm, honest: list[DhtNode], providers: list[DhtNode]) -> None:
        rng = swarm.world.random
        victim = rng.choice([node for node in honest if node not in providers])
        honest.remove(victim)
        victim.power_off()
        self.died += 1
        new = swarm.add(f"later{self.died}", asks=self.died % SEEKERS == 0)
        new.connect(rng.choice(honest))
        honest.append(new)

    # --- what came of it -----------------------------------------------------------------------------------

    @property
    def counted(self) -> list[tuple[Asked, str]]:
        """Searches whose asker lived to hear their end."""
        return [(asked, peer) for asked, peer in self.asked if asked.over]

    @property
    def success(self) -> float:
        """Share of searches that found who provides."""
        found = [peer in [one.peer for one in asked.providers] for asked, peer in self.counted]
        return sum(found) / len(found)

    @property
    def longest_s(self) -> float:
        """The longest search, virtual seconds."""
        return max(asked.seconds for asked, _ in self.counted)

    def report(self) -> str:
        """One line."""
        messages = sorted(asked.last.messages for asked, _ in self.counted if isinstance(asked.last, SourceEnded))
        firsts = sorted(asked.first for asked, _ in self.counted if asked.first < math.inf)
        return (
            f"{self.size} nodes, {self.liars:.0%} liars, {self.loss:.0%} loss, {self.died} died: "
            f"{len(self.counted)} searches, {self.success:.1%} found; messages median {median(messages):g}, "
            f"95 % {messages[len(messages) * 95 // 100]}, most {messages[-1]}; first provider median "
            f"{median(firsts):.2f} s, 95 % {firsts[len(firsts) * 95 // 100]:.2f} s; longest {self.longest_s:.1f} s"
        )
