"""The DHT actor among peers that come, go, lie and fall silent, with actors that die: every question ends, once.

A state machine over ``Bench``.  Whatever happens, nothing raises; when all is quiet, nothing is left open.
"""

from __future__ import annotations

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shoal.actors.discovery.dht import wire
from shoal.messages import dht, limits, routing, transport
from shoal.messages.base import Message
from shoal.messages.block import Buffer
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.registry import PARTIAL_REPLIES
from shoal.tests.actors.dht.test_server import VALIDATORS
from shoal.tests.support import dht_keys
from shoal.tests.support.dht_bench import Answer, Bench, names, silent
from shoal.tests.support.dht_keys import at, peer, private

numbers = st.integers(1, 30)
cids = st.integers(0, 5).map(lambda number: CID.of(b"content %d" % number))
QUIET_S = 90.0  # longer than any search and any call behind it


class DhtMachine(RuleBasedStateMachine):
    """One actor and thirty peers."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(validators=VALIDATORS)
        self.asked: list[Envelope] = []
        self.stopped: set[int] = set()
        self.ticket = 0

    # --- peers

    @rule(number=numbers, near=st.lists(numbers, max_size=25))
    def serve(self, number: int, near: list[int]) -> None:
        self.bench.serve(peer(number), names(*map(at, near)))

    @rule(number=numbers, holder=numbers)
    def hold(self, number: int, holder: int) -> None:
        def answer(asked: wire.Message) -> wire.Message:
            return wire.Message(asked.kind, asked.key, wire.Record(asked.key, b"7"), (at(holder),), (at(holder),))

        self.bench.serve(peer(number), answer)

    @rule(number=numbers, how=st.sampled_from([silent, lambda _: b"\xff", lambda _: b""]))
    def misbehave(self, number: int, how: Answer) -> None:
        if peer(number) in self.bench.peers:
            self.bench.peers[peer(number)] = how

    @rule(number=numbers)
    def connect(self, number: int) -> None:
        if peer(number) in self.bench.peers:
            self.bench.connect(peer(number), (private(number),))
            self.bench.run()

    @rule(number=numbers)
    def disconnect(self, number: int) -> None:
        if peer(number) in self.bench.connected:
            self.bench.disconnect(peer(number))
            self.bench.run()

    @rule(number=numbers, message=dht_keys.messages, stream=st.integers(20_000, 20_005))
    def request(self, number: int, message: wire.Message, stream: int) -> None:
        self.bench.receive(peer(number), message, stream)

    @rule(number=numbers, data=st.binary(max_size=60), stream=st.integers(0, 40))
    def garbage(self, number: int, data: bytes, stream: int) -> None:
        frame = transport.FrameReceived(peer(number), stream, wire.LAN_PROTOCOL, Buffer(data))
        self.bench.tell(frame, sender="transport")

    @rule(stream=st.integers(0, 40))
    def stream_ends(self, stream: int) -> None:
        owner, _ = self.bench.streams.pop(stream, ("", ""))
        self.bench.tell(transport.StreamClosed(owner, stream, "reset"), sender="transport")

    # --- questions

    def ask(self, message: Message, sender: str) -> None:
        self.asked.append(self.bench.tell(message, sender=sender))

    @rule(cid=cids, count=st.integers(0, 3))
    def search(self, cid: CID, count: int) -> None:
        self.ticket += 1
        self.ask(routing.SearchSource(cid, self.ticket, count), "routing")

    @rule(back=st.integers(1, 3))
    def stop(self, back: int) -> None:
        wanted = [one for one in self.asked if one.kind == "SearchSource"]
        if self.ticket >= back and len(wanted) >= back:
            self.bench.tell(routing.StopSource(self.ticket - back + 1))
            self.stopped.add(wanted[-back].id)

    @rule(number=numbers)
    def find(self, number: int) -> None:
        self.ask(routing.SearchPeer(peer(number)), "routing")

    @rule(key=st.binary(max_size=40))
    def walk(self, key: bytes) -> None:
        self.ask(dht.ClosestPeers(key, lan=True), "walk")

    @rule(values=st.sampled_from([dht.GetValue(b"/n/x"), dht.PutValue(b"/n/x", b"8"), dht.PutValue(b"/n/x", b"x")]))
    def value(self, values: Message) -> None:
        self.ask(values, "edge")

    @rule(wanted=st.lists(cids, max_size=6, unique=True))
    def provide(self, wanted: list[CID]) -> None:
        self.ask(dht.ProvideCids(tuple(wanted)), "announce")

    # --- time and deaths

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.bench.run(seconds)

    @rule(name=st.sampled_from(["transport", "bitswap", "routing", "announce"]))
    def restarted(self, name: str) -> None:
        self.bench.restarted(name)
        if name in ("routing", "announce"):  # who asked is gone: nobody hears the answers to what was open
            self.stopped.update(one.id for one in self.asked if one.sender == name)

    # --- what holds

    @invariant()
    def bounds(self) -> None:
        actor = self.bench.actor
        assert 0 <= actor.calls.open <= limits.DHT_CALLS_MAX.value
        assert len(actor.searches.running) <= limits.DHT_LOOKUPS_MAX.value
        assert actor.serving.unsent == 0
        assert set(actor.calls.streams) == set(self.bench.streams)

    def teardown(self) -> None:
        self.bench.run(QUIET_S)
        self.bench.run(QUIET_S)
        actor = self.bench.actor
        assert actor.calls.open == 0
        assert not actor.searches.running
        assert not actor.searches.waiting
        assert not actor.providing.jobs
        assert not actor.questions._by_ticket
        for envelope in self.asked:
            last = [one for one in self.bench.replies(envelope) if type(one).__name__ not in PARTIAL_REPLIES]
            assert len(last) == 1 or (envelope.id in self.stopped and len(last) <= 1), envelope


TestDht = DhtMachine.TestCase
TestDht.settings = hypothesis.settings(max_examples=30, stateful_step_count=30)
