"""A node's actors against peers that want what it has not and vanish, as a process of its own to be measured.

Run as a script by test_vanishing_peers.py: a real machine in FOLDER, peers of a script.  Prints a JSON line after each
COUNT of the command line with the memory and the sizes of every table, and last whether an honest peer was served.
"""

import json
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from shoal.actors.base import Context
from shoal.actors.bitswap import wire
from shoal.actors.bitswap.wire import WireWant
from shoal.actors.transport.actor import TransportActor
from shoal.messages import blocks, lifecycle
from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.policy import WORKER
from shoal.runtime.children import Shelves, child_specs
from shoal.runtime.machine import Machine
from shoal.runtime.supervisor.specs import ChildSpec
from shoal.tests.support.processes import memory_bytes
from shoal.tests.support.scripted_peers import ScriptedPeers

WIDTH: Final = 24  # peers at one time
WANTS: Final = 24  # of each peer, for blocks that nobody has
PATIENCE_S: Final = 0.15  # after which a peer vanishes whatever it has heard
HONEST: Final = "12D3KooWHonestHonestHonestHonestHonestHonestHonestHo"


class Vanishers:
    """Peers that connect, want, and vanish: at once, when their frame has been dealt with, or once answered."""

    def __init__(self, counts: list[int], kept: Block) -> None:
        self.counts = counts
        self.kept = kept
        self.random = random.Random(1)
        self.begun = self.gone = 0
        self.reached: dict[int, threading.Event] = {count: threading.Event() for count in counts}
        self.go_on = {count: threading.Event() for count in counts}
        self.waiting_for: dict[str, str] = {}  # peer -> what it vanishes upon
        self.endings: dict[str, int] = {}
        self.served = threading.Event()
        self.network: ScriptedPeers | None = None

    def serving(self, network: ScriptedPeers, protocol: str) -> None:
        if protocol == wire.BITSWAP_1_2:
            self.network = network
            self._fill()

    def granted(self, peer: str, size: int) -> None:
        self._happened(peer, "taken")

    def heard(self, peer: str, frame: bytes) -> None:
        if peer == HONEST and any(bytes(data) == bytes(self.kept.data) for _, data in wire.decode(frame).blocks):
            self.served.set()
        self._happened(peer, "answered")

    def _happened(self, peer: str, what: str) -> None:
        if self.waiting_for.get(peer) == what:
            self._end(peer, what)

    def _fill(self) -> None:
        """Let peers come up to WIDTH at a time, and wait where a count is reached to be measured."""
        assert self.network is not None
        stop = next((count for count in self.counts if not self.go_on[count].is_set()), 0)
        while len(self.waiting_for) < WIDTH and self.begun < stop:
            self._visit()
        if self.gone == stop and stop:
            self.reached[stop].set()
        if stop:
            self.network.after(0.005, self._fill)
        else:
            self._honest()

    def _visit(self) -> None:
        network = self.network
        assert network is not None
        self.begun += 1
        peer = f"12D3KooW{self.random.getrandbits(200):044x}"[:52]
        upon = self.random.choice(["nothing", "taken", "answered"])
        self.waiting_for[peer] = upon
        network.connect(peer, wire.PROTOCOLS, [f"/ip4/10.0.{self.begun % 250}.{self.begun // 250}/tcp/4001"])
        if network.connected(peer):
            self._say(peer)
        if upon == "nothing" or not network.connected(peer):
            self._end(peer, "nothing")
        else:
            network.after(PATIENCE_S, lambda: self._end(peer, "patience"))

    def _say(self, peer: str) -> None:
        assert self.network is not None
        # One want in three is a want-have.  All ask for DONT_HAVE, save in one message of four.
        dont_have = self.random.random() < 0.75
        wants = [
            WireWant(CID.of(self.random.randbytes(32)), block=number % 3 != 0, dont_have=dont_have)
            for number in range(WANTS)
        ]
        (parts,) = wire.encode(wire.BITSWAP_1_2, wants=wants)
        self.network.say(self.network.open(peer, wire.BITSWAP_1_2), b"".join(parts))

    def _end(self, peer: str, why: str) -> None:
        if self.waiting_for.pop(peer, None) is None:
            return
        assert self.network is not None
        self.network.vanish(peer)
        self.gone += 1
        self.endings[why] = self.endings.get(why, 0) + 1

    def _honest(self) -> None:
        assert self.network is not None
        self.network.connect(HONEST, wire.PROTOCOLS, [])
        (parts,) = wire.encode(wire.BITSWAP_1_2, wants=[WireWant(self.kept.cid)])
        self.network.say(self.network.open(HONEST, wire.BITSWAP_1_2), b"".join(parts))


def tables(machine: Machine) -> dict[str, int]:
    """The sizes of everything that peers could fill, once the actors have caught up."""
    for _ in range(200):
        queued = [
            stats.queued for name in ("placement", "disk", "bitswap", "wantlist") if (stats := machine.stats(name))
        ]
        if not any(queued):
            break
        time.sleep(0.05)
    # The measuring looks where no message reaches.
    actors: dict[str, Any] = {name: cell.actor for name, cell in machine._hosts.cells.items()}
    bitswap, wantlist, transport, placement = (actors[n] for n in ("bitswap", "wantlist", "transport", "placement"))
    found: dict[str, Any] = {
        "partners": bitswap.serving.ledger.partners,
        "waiting": bitswap.serving.ledger.waiting,
        "links": bitswap.links.rows,
        "sources": bitswap.fetching.seeker.sources,
        "demand": wantlist.demand,
        "connections": transport.table,
        "streams": transport.framed.rows,
        "opening": transport.framed.opening,
        "gets": placement.gets.open,
    }
    return {name: len(table) for name, table in found.items()}


def main(folder: str, counts: list[int]) -> None:
    data = b"here all along" * 1000
    kept = Block(CID.of(data), data)
    script = Vanishers(counts, kept)

    def transport(ctx: Context) -> TransportActor:
        return TransportActor(ctx, ScriptedPeers(ctx, script), (), "scripted")

    specs = child_specs(Shelves.within(Path(folder)), WORKER, ChildSpec("transport", transport), ())
    machine = Machine(specs, WORKER, rng_seed=1)
    machine.start(30)
    try:
        machine.edge.ask(blocks.PutBlocks((kept,)), 10)
        for count in counts:
            assert script.reached[count].wait(120), f"only {script.gone} of {count} peers have come and gone"
            line = {"peers": script.gone, "rss": memory_bytes(threading.get_native_id(), "VmRSS")}
            print(json.dumps({**line, "tables": tables(machine), "endings": script.endings}), flush=True)
            script.go_on[count].set()
        served = script.served.wait(20)
        listed = machine.edge.ask_for(lifecycle.ActorsListed, lifecycle.ListActors(), 10)
        states = {actor.name: actor.generation for actor in listed.actors}
        print(json.dumps({"served": served, "generations": states, "lost": machine.router.dead_letters}), flush=True)
    finally:
        assert machine.stop(10)


if __name__ == "__main__":
    main(sys.argv[1], [int(count) for count in sys.argv[2:]])
