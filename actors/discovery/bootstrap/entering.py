"""When to dial whom to get into the network: the bootstrappers, in turn, while there are too few connections.  Pure.

They belong to somebody else and serve everybody: so only as many are dialled as connections are missing, each with
back-off of its own, and none of them is protected once others are there.  Before them come peers that this node has
met in an earlier life, each tried once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from shoal.messages.limits import BOOTSTRAPPERS_MAX, OLD_PEERS_MAX

AT_ONCE: Final = 3  # dials under way at one time
FIRST_WAIT_S: Final = 2.0  # seconds after a first failure; doubles
LONGEST_WAIT_S: Final = 300.0  # seconds
LOST_WAIT_S: Final = 30.0  # seconds before one whose connection ended, or that was reached, is dialled again


@dataclass(slots=True)
class Bootstrapper:
    """One of them.  ``due`` in seconds on the node's clock."""

    addrs: tuple[str, ...]
    due: float
    failures: int = 0
    dialling: bool = False
    once: bool = False  # met before; forgotten after one dial, however that ends


class Entering:
    """The bootstrappers of one node, in the order of the next turn."""

    def __init__(self, rng: random.Random, peers: tuple[tuple[str, tuple[str, ...]], ...], now: float) -> None:
        self.rng = rng
        shuffled = list(peers[: BOOTSTRAPPERS_MAX.value])
        rng.shuffle(shuffled)  # else every node of the world begins with the same one
        self.peers = {peer: Bootstrapper(addrs, now) for peer, addrs in shuffled}

    @property
    def old_peers(self) -> int:
        """Peers that were met before and have not been tried."""
        return sum(row.once for row in self.peers.values())

    def met_before(self, peers: tuple[tuple[str, tuple[str, ...]], ...], now: float) -> None:
        """Try these once each, before all others."""
        fresh = [(peer, addrs) for peer, addrs in peers if peer not in self.peers]
        room = max(0, OLD_PEERS_MAX.value - self.old_peers)
        tried_first = {peer: Bootstrapper(addrs, now, once=True) for peer, addrs in fresh[:room]}
        self.peers = {**tried_first, **self.peers}

    def due(self, now: float, connected: int, wanted: int, here: set[str]) -> list[tuple[str, tuple[str, ...]]]:
        """Whom to dial now, of those that are not ``here``; each counts as being dialled until ``dialled``."""
        under_way = sum(row.dialling for row in self.peers.values())
        missing = min(AT_ONCE, wanted - connected) - under_way
        chosen: list[tuple[str, tuple[str, ...]]] = []
        for peer, row in self.peers.items():
            if len(chosen) >= missing:
                break
            # A clock set back must not put a dial off for longer than the longest wait.
            waiting = now < row.due <= now + LONGEST_WAIT_S
            if peer not in here and not row.dialling and not waiting:
                row.dialling = True
                chosen.append((peer, row.addrs))
        for peer, _ in chosen:  # whoever had a turn goes to the end
            self.peers[peer] = self.peers.pop(peer)
        return chosen

    def dialled(self, peer: str, reached: bool, now: float) -> None:
        """How a dial ended."""
        row = self.peers.get(peer)
        if row is None:
            return
        if row.once:
            del self.peers[peer]
            return
        row.dialling = False
        if reached:
            row.failures, row.due = 0, now + LOST_WAIT_S
        else:
            doubled = FIRST_WAIT_S * 2.0 ** min(row.failures, 16)
            row.due = now + min(LONGEST_WAIT_S, doubled) * self.rng.uniform(0.75, 1.0)
            row.failures += 1

    def start_over(self, now: float) -> None:
        """The transport is new: nobody is connected, and it was nobody's fault."""
        for row in self.peers.values():
            row.dialling, row.failures, row.due = False, 0, now
