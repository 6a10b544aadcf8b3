"""Two sessions against each other, in any order: what is written arrives, in order, and all counts end at 0."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shoal.messages.errors import RemoteError
from shoal.runtime.network.wire_stack.yamux.frames import DATA, header
from shoal.tests.support.yamux_side import RTT_S, Side


def pattern(stream: int, client: bool, start: int, size: int) -> bytes:
    """Bytes ``start`` to ``start + size`` of what one side writes to a stream."""
    period = bytes((7 * stream + 31 * client + i) % 251 for i in range(251))
    at = start % 251
    return (period[at:] + period * (size // 251 + 1))[:size]


@dataclass
class Half:
    """What one side has written to a stream, and what of it the other has read."""

    written: int = 0
    read: int = 0
    finished: bool = False
    seen_end: bool = False


@dataclass
class Pair:
    """A stream as the model knows it: halves by the side that writes them."""

    halves: dict[bool, Half] = field(default_factory=lambda: {True: Half(), False: Half()})
    reset: bool = False


class Sessions(RuleBasedStateMachine):
    """Two honest ends and a wire that cuts and delays as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.sides = {True: Side(client=True), False: Side(client=False)}
        self.pairs: dict[int, Pair] = {}
        self.now = 0.0

    def pick(self, data: st.DataObject, client: bool) -> int | None:
        known = sorted(self.sides[client].ends)
        return data.draw(st.sampled_from(known)) if known else None

    @rule(client=st.booleans())
    def open(self, client: bool) -> None:
        side = self.sides[client]
        state = side.session.open(self.now)
        assert state.id % 2 == client
        assert state.id not in self.pairs
        side.ends[state.id] = state
        self.pairs[state.id] = Pair()

    @rule(client=st.booleans(), data=st.data(), size=st.one_of(st.integers(0, 300), st.integers(0, 400_000)))
    def write(self, client: bool, data: st.DataObject, size: int) -> None:
        stream = self.pick(data, client)
        if stream is None:
            return
        side, half = self.sides[client], self.pairs[stream].halves[client]
        state = side.ends[stream]
        if state.broken or state.finished:
            return
        half.written += side.write(state, pattern(stream, client, half.written, size))

    @rule(client=st.booleans(), data=st.data(), most=st.one_of(st.integers(1, 300), st.integers(1, 400_000)))
    def read(self, client: bool, data: st.DataObject, most: int) -> None:
        stream = self.pick(data, client)
        if stream is not None:
            self.read_from(client, stream, most)

    def read_from(self, client: bool, stream: int, most: int) -> None:
        side, pair = self.sides[client], self.pairs[stream]
        state, half = side.ends[stream], pair.halves[not client]
        got = b"".join(side.session.take(state, most, self.now))
        assert got == pattern(stream, not client, half.read, len(got))
        half.read += len(got)
        if state.peer_finished and not state.buffer.size and not state.broken:
            half.seen_end = True
            assert half.finished
            assert half.read == half.written

    @rule(client=st.booleans(), data=st.data())
    def finish(self, client: bool, data: st.DataObject) -> None:
        stream = self.pick(data, client)
        if stream is not None:
            state = self.sides[client].ends[stream]
            if not state.broken:
                self.pairs[stream].halves[client].finished = True
            self.sides[client].session.finish(state, self.now)

    @rule(client=st.booleans(), data=st.data())
    def reset(self, client: bool, data: st.DataObject) -> None:
        stream = self.pick(data, client)
        if stream is not None:
            state = self.sides[client].ends[stream]
            self.pairs[stream].reset = True
            self.sides[client].session.reset(state, "reset by us")
            assert state.broken
            assert not state.buffer.size

    @rule(client=st.booleans())
    def ping(self, client: bool) -> None:
        self.sides[client].session.ping(self.now)

    @rule(client=st.booleans(), most=st.one_of(st.integers(1, 40), st.integers(1, 1_000_000)))
    def deliver(self, client: bool, most: int) -> None:
        self.now += RTT_S / 2
        self.sides[client].hear(self.sides[not client], most, self.now)

    @precondition(lambda self: self.pairs)
    @rule()
    def deliver_all(self) -> None:
        for _ in range(3):
            for client, side in self.sides.items():
                side.hear(self.sides[not client], 1 << 30, self.now)

    @invariant()
    def counts_hold(self) -> None:
        for side in self.sides.values():
            session = side.session
            unread = sum(state.buffer.size for state in session.streams.values())
            assert side.node.unread == unread
            assert side.node.grown == sum(state.receive.grown for state in session.streams.values())
            assert session.inbound == sum(not state.outbound for state in session.streams.values())
            assert session.unacknowledged == sum(not state.acknowledged for state in session.streams.values())
            assert not session.stuck

    def teardown(self) -> None:
        """Deliver everything, read everything, end everything: nothing is lost and nothing is left."""
        self.deliver_all()
        for stream, pair in self.pairs.items():
            for client, side in self.sides.items():
                state = side.ends.get(stream)
                if state is None or pair.reset:
                    continue
                self.read_from(client, stream, 1 << 30)
                half = pair.halves[not client]
                assert half.read == half.written
                assert half.seen_end == half.finished
        for side in self.sides.values():
            for state in list(side.session.streams.values()):
                side.session.finish(state, self.now)
        self.deliver_all()
        for side in self.sides.values():
            for state in list(side.session.streams.values()):
                side.session.finish(state, self.now)
        self.deliver_all()
        self.counts_hold()
        for side in self.sides.values():
            assert not side.session.streams
            assert (side.node.unread, side.node.grown, side.session.inbound, side.session.unacknowledged) == (
                0,
                0,
                0,
                0,
            )


TestSessions = Sessions.TestCase
TestSessions.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# --- any bytes -------------------------------------------------------------------------------------

few = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 255])
frames = st.builds(
    lambda kind, flags, stream, length, body: header(kind, flags, stream, len(body) if kind == DATA else length) + body,
    st.integers(0, 3),
    st.integers(0, 15),
    few,
    st.one_of(few, st.integers(0, 0xFFFFFFFF)),
    st.binary(max_size=40),
)


@given(st.lists(st.one_of(frames, st.binary(max_size=30)), max_size=30), st.booleans())
def test_whatever_a_peer_sends_is_within_bounds_or_a_remote_error(pieces: list[bytes], client: bool) -> None:
    """And the same whole as byte by byte, down to what is answered."""
    data = b"".join(pieces)
    seen: list[Any] = []
    for cuts in ([data], [data[i : i + 1] for i in range(len(data))]):
        side = Side(client=client)
        side.session.open(0.0)
        fault = ""
        try:
            for piece in cuts:
                side.session.receive(piece, 0.0)
        except RemoteError as raised:
            fault = str(raised)
        else:
            assert side.node.unread == sum(state.buffer.size for state in side.session.streams.values())
        seen.append((fault, sorted(side.session.streams), side.session.take_control(), side.session.peer_gone))
    if not seen[0][0]:
        assert seen[0] == seen[1]
    else:
        assert seen[0][0] == seen[1][0]
