"""Whatever actors do and whatever happens to the links: order, credit, one event each, and the same again by seed."""

import hashlib
import os
import random
import subprocess
import sys
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.messages.limits import READ_CREDIT
from shoal.runtime.simulation.internet import InternetConfig, SimulatedInternet
from shoal.runtime.simulation.links import LinkConfig
from shoal.runtime.simulation.network import SimulatedNetwork
from shoal.tests.support.network_conformance import PROTOCOL
from shoal.tests.support.network_recorder import Node
from shoal.tests.support.virtual_time import VirtualTime

FRAME_MAX = 512 * 1024
NODES = 3

WORK = ["dial", "cancel", "open", "send", "send", "grant", "close", "reset", "hangup", "ping", "wait", "wait"]

# Each step is (verb, which node, which other node or stream, size); the driver below gives them meaning.
steps = st.lists(
    st.tuples(
        st.sampled_from([*WORK, *WORK, "cut", "heal", "crash", "stop", "disconnect"]),
        st.integers(0, NODES - 1),
        st.integers(0, 11),
        st.sampled_from([1, 100, 70_000, FRAME_MAX, FRAME_MAX + 1]),
    ),
    min_size=20,
    max_size=80,
)
links = st.builds(
    LinkConfig,
    latency_s=st.sampled_from([0.0, 0.01, 0.3]),
    jitter_s=st.sampled_from([0.0, 0.1]),
    bandwidth=st.sampled_from([0, 50_000, 10_000_000]),
    loss=st.sampled_from([0.0, 0.1, 0.4]),
)


class Driver:
    """Plays steps against three nodes, and remembers what was sent on which stream."""

    def __init__(self, seed: int, link: LinkConfig) -> None:
        self.time = VirtualTime(seed)
        self.random = random.Random(seed)
        self.internet = SimulatedInternet(
            self.time, random.Random(seed), InternetConfig(link, disconnects_per_hour=20.0)
        )
        self.hosts = [self.internet.add_host() for _ in range(NODES)]
        self.addrs = [f"/ip4/{host.ip}/tcp/4001" for host in self.hosts]
        self.everybody: list[Node] = []
        self.nodes = [self.start(number) for number in range(NODES)]
        self.sent: dict[tuple[int, int], list[bytes]] = {}  # (place in everybody, stream) -> frames

    def start(self, number: int) -> Node:
        node = Node(SimulatedNetwork(self.internet, self.hosts[number]))
        node.call("start", node.events, [self.addrs[number]])
        node.call("serve_framed", PROTOCOL, FRAME_MAX)
        self.everybody.append(node)
        return node

    def play(self, verb: str, number: int, other: int, size: int) -> None:
        node = self.nodes[number]
        open_streams = [stream for stream, state in node.events.streams.items() if state == "open"]
        target = (number + 1 + other % (NODES - 1)) % NODES
        peer = self.hosts[target].peer_id
        stream = open_streams[other % len(open_streams)] if open_streams else -1
        if verb == "dial":
            node.dial(node, 5.0, peer=peer, addr=self.addrs[target])
        elif verb == "cancel":
            node.call("cancel_dial", other)
        elif verb == "open":
            node.open(peer, [PROTOCOL, "/x"], 5.0, FRAME_MAX)
        elif verb == "send":
            for _ in range(1 + other):
                self.send(node, stream, size)
        elif verb == "grant":
            node.grant(stream, size)
        elif verb in ("close", "reset"):
            node.call("close_stream", stream, reset=verb == "reset")
        elif verb == "hangup":
            node.call("close_connection", other)
        elif verb == "ping":
            node.ping(peer, 5.0)
        elif verb == "wait":
            self.time.run_for(self.random.choice([0.0, 0.05, 1.0, 2.0, 10.0]))
        else:
            self.trouble(verb, number, target)

    def trouble(self, verb: str, number: int, target: int) -> None:
        if verb == "cut":
            self.internet.cut(self.hosts[number], self.hosts[target])
        elif verb == "heal":
            self.internet.heal()
        elif verb == "disconnect":
            self.internet.disconnect(self.hosts[number], self.hosts[target])
        else:
            if verb == "stop":
                self.nodes[number].stop()
            else:
                self.internet.crash(self.hosts[number])
                self.nodes[number].events.stopped = True
            self.nodes[number] = self.start(number)

    def send(self, node: Node, stream: int, size: int) -> None:
        place = self.everybody.index(node)
        frames = self.sent.setdefault((place, stream), [])
        frame = hashlib.sha256(f"{place} {stream} {len(frames)}".encode()).digest()[:size].ljust(size, b".")
        if node.events.streams.get(stream) == "open":
            frames.append(frame)
        node.send(stream, frame, timeout_s=20.0)

    def finish(self) -> None:
        self.internet.heal()
        self.time.run_for(7200.0)

    def logs(self) -> list[list[Any]]:
        return [node.events.log for node in self.everybody]


def run(seed: int, link: LinkConfig, plan: list[tuple[str, int, int, int]]) -> Driver:
    driver = Driver(seed, link)
    driver.play("dial", 0, 0, 1)
    driver.play("dial", 1, 0, 1)
    driver.time.run_for(3.0)
    driver.play("open", 0, 0, 1)
    driver.time.run_for(3.0)
    for step in plan:
        driver.play(*step)
    driver.finish()
    return driver


@settings(max_examples=1000, deadline=None)
@given(seed=st.integers(0, 1000), link=links, plan=steps)
def test_promises_hold_in_every_schedule(seed: int, link: LinkConfig, plan: list[tuple[str, int, int, int]]) -> None:
    driver = run(seed, link, plan)
    for node in driver.everybody:
        node.check()
    for node in driver.nodes:
        events = node.events
        ended = {ticket for _, ticket in events.ended}
        assert ended == set(range(1, node._tickets + 1)), "every ticket ends in exactly one event"
        for stream, frames in events.frames.items():
            assert events.read[stream] < READ_CREDIT.value + events.granted[stream] + FRAME_MAX
            assert any(frames == sent[: len(frames)] for sent in driver.sent.values()), "in order, nothing missing"


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 1000), link=links, sizes=st.lists(st.integers(1, 200_000), max_size=30))
def test_nothing_is_lost_on_a_stream_that_survives(seed: int, link: LinkConfig, sizes: list[int]) -> None:
    driver = Driver(seed, link)
    driver.play("dial", 0, 0, 1)
    driver.time.run_for(5.0)
    driver.play("open", 0, 0, 1)
    driver.time.run_for(5.0)
    a, b = driver.nodes[0], driver.nodes[1]
    streams = [stream for stream, state in a.events.streams.items() if state == "open"]
    if not streams or not b.accepted():
        return  # the link broke before there was a stream
    far = b.accepted()[0]
    for size in sizes:
        driver.send(a, streams[0], size)
    b.grant(far, sum(sizes))
    driver.time.run_for(300.0)
    sent = driver.sent.get((0, streams[0]), [])
    if b.closed_reason(far) is None and a.closed_reason(streams[0]) is None:
        assert b.events.frames[far] == sent
        assert not a.events.unsent[streams[0]]
    else:
        assert b.events.frames[far] == sent[: len(b.events.frames[far])]


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 1000), link=links, plan=steps)
def test_the_same_seed_gives_the_same_events(
    seed: int, link: LinkConfig, plan: list[tuple[str, int, int, int]]
) -> None:
    assert run(seed, link, plan).logs() == run(seed, link, plan).logs()


def digest(seed: int) -> str:
    """All events of one busy run, as one number."""
    rng = random.Random(seed)
    plan = [(rng.choice(WORK), rng.randrange(NODES), rng.randrange(12), 70_000) for _ in range(300)]
    return hashlib.sha256(repr(run(seed, LinkConfig(jitter_s=0.1, loss=0.1), plan).logs()).encode()).hexdigest()


def test_the_order_of_hashes_changes_nothing() -> None:
    program = f"import runpy; print(runpy.run_path({__file__!r})['digest'](5))"
    found = {
        subprocess.run(
            [sys.executable, "-P", "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout.strip()
        for hash_seed in ("1", "2")
    }
    assert found == {digest(5)}
