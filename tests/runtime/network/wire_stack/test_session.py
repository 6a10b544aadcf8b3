"""Two sessions against each other, in any order: what is written arrives, in order, and all counts end at 0."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shoal.messages.errors import RemoteError
from shoal.messages.limits import (
    STREAMS_IN_PER_CONNECTION,
    YAMUX_BACKLOG_MAX,
    YAMUX_CONTROL_BYTES,
    YAMUX_STREAMS_OUT_MAX,
    YAMUX_UNACKED_MAX,
    YAMUX_UNREAD_MAX,
)
from shoal.runtime.network.wire_stack.records import PLAINTEXT_MAX
from shoal.runtime.network.wire_stack.yamux.accounts import Account, Node
from shoal.runtime.network.wire_stack.yamux.buffers import Rope
from shoal.runtime.network.wire_stack.yamux.frames import ACK, DATA, FIN, PING, RST, SYN, WINDOW, header
from shoal.runtime.network.wire_stack.yamux.halves import StreamState
from shoal.runtime.network.wire_stack.yamux.session import Session
from shoal.runtime.network.wire_stack.yamux.windows import START

MIB = 1024 * 1024
RTT_S = 0.05


class Side:
    """One session, what it has sent that the other has not yet been given, and the streams at this end."""

    def __init__(self, *, client: bool) -> None:
        self.node = Node()
        self.session = Session(client=client, window_max=MIB, account=Account(self.node, self.given_up), now=0.0)
        self.wire = bytearray()
        self.ends: dict[int, StreamState] = {}
        self.client = client

    def given_up(self, reason: str) -> None:
        raise AssertionError(reason)

    def write(self, state: StreamState, data: bytes) -> int:
        """Write what the window takes; how much that was."""
        rope = Rope([data])
        for record in self.session.records_of(state, rope, 4):
            assert len(record) <= PLAINTEXT_MAX
            self.wire += record
        return len(data) - rope.size

    def flush(self) -> None:
        self.wire += self.session.take_control()

    def hear(self, other: "Side", most: int, now: float) -> None:
        """Be given up to ``most`` bytes of what ``other`` has sent."""
        other.flush()
        piece = bytes(other.wire[:most])
        del other.wire[:most]
        self.session.receive(piece, now)
        while (state := self.session.accept()) is not None:
            self.ends[state.id] = state


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


# --- the bad inputs 41 to 48 ------------------------------------------------------------------------


def session(*, client: bool = False) -> tuple[Session, Node]:
    side = Side(client=client)
    return side.session, side.node


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(header(DATA, SYN, 1, START + 1), id="41 SYN with more than the first window"),
        pytest.param(header(DATA, SYN, 1, 0xFFFFFFFF), id="41 SYN with 4 GiB"),
        pytest.param(header(WINDOW, SYN, 1, 0) + header(DATA, 0, 1, START + 1), id="41 data beyond the window"),
        pytest.param(header(WINDOW, SYN, 1, 0) + 2 * header(WINDOW, 0, 1, 0xFFFFFFFF), id="42 windows that overflow"),
        pytest.param(header(WINDOW, SYN, 1, 0xFFFFFFFF), id="42 a first window that overflows"),
        pytest.param(header(WINDOW, SYN, 2, 0), id="44 an even id of a client"),
        pytest.param(header(WINDOW, SYN, 0, 0), id="44 stream 0"),
        pytest.param(header(DATA, 0, 0, 5) + b"hello", id="44 data of stream 0"),
        pytest.param(2 * header(WINDOW, SYN, 1, 0), id="44 a stream opened twice"),
        pytest.param(header(4, 0, 1, 0), id="48 an unknown type"),
        pytest.param(b"\x01" + header(DATA, 0, 1, 0)[1:], id="48 version 1"),
    ],
)
def test_what_costs_the_connection(data: bytes) -> None:
    mine, node = session()
    with pytest.raises(RemoteError) as caught:
        mine.receive(data, 0.0)
    assert caught.value.code in ("yamux", "flow-control")
    assert node.unread == 0
    assert len(mine.streams) <= 1


def test_41_what_does_not_fit_leaves_no_stream() -> None:
    mine, _ = session()
    with pytest.raises(RemoteError):
        mine.receive(header(DATA, SYN, 1, START + 1), 0.0)
    assert not mine.streams


def test_44_an_odd_id_of_a_server_costs_the_connection() -> None:
    mine, _ = session(client=True)
    mine.receive(header(WINDOW, SYN, 2, 0), 0.0)
    with pytest.raises(RemoteError, match="numbered as ours"):
        mine.receive(header(WINDOW, SYN, 1, 0), 0.0)


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(b"", id="a stream that never was"),
        pytest.param(header(WINDOW, SYN, 1, 0) + header(WINDOW, RST, 1, 0), id="one that was reset"),
        pytest.param(header(WINDOW, SYN, 1, 0) + header(WINDOW, FIN, 1, 0), id="one whose half has ended"),
    ],
)
def test_43_data_on_a_closed_or_unknown_stream_is_thrown_away(before: bytes) -> None:
    mine, node = session()
    mine.receive(before, 0.0)
    mine.take_control()
    for _ in range(100):
        mine.receive(header(DATA, 0, 1, 60_000) + bytes(60_000), 0.0)
    assert node.unread == 0
    assert mine.take_control() == b""
    mine.receive(header(WINDOW, SYN, 3, 0), 0.0)
    assert 3 in mine.streams


def test_43_a_reset_after_the_end_is_one() -> None:
    mine, _ = session()
    mine.receive(header(DATA, SYN | FIN, 1, 2) + b"hi", 0.0)
    state = mine.accept()
    assert state is not None
    mine.receive(header(DATA, RST, 1, 0), 0.0)
    assert state.broken
    assert not mine.streams


def test_an_end_that_comes_with_data_is_behind_it() -> None:
    mine, _ = session()
    frame = header(DATA, SYN | FIN, 1, 5) + b"hello"
    for index in range(len(frame)):
        assert not any(state.peer_finished for state in mine.streams.values())
        mine.receive(frame[index : index + 1], 0.0)
    state = mine.accept()
    assert state is not None
    assert state.peer_finished
    mine.take_control()
    assert b"".join(mine.take(state, 10, 0.0)) == b"hello"


def test_a_window_grows_is_counted_and_given_back_and_no_update_follows_the_end() -> None:
    mine, node = session()
    mine.ping(0.0)
    mine.take_control()
    mine.receive(header(PING, ACK, 0, 1) + header(WINDOW, SYN, 1, 0), RTT_S)
    state = mine.accept()
    assert state is not None
    mine.take_control()
    mine.receive(header(DATA, 0, 1, START) + bytes(START), RTT_S)
    mine.take(state, START, RTT_S)
    assert mine.take_control() == header(WINDOW, 0, 1, 2 * START)
    assert node.grown == START
    mine.receive(header(DATA, FIN, 1, 2 * START) + bytes(2 * START), RTT_S)
    assert sum(map(len, mine.take(state, 2 * START, RTT_S))) == 2 * START
    assert not mine.has_control
    mine.finish(state, RTT_S)
    assert (node.grown, node.unread, len(mine.streams)) == (0, 0, 0)


def test_45_streams_that_nobody_takes_are_refused_without_state() -> None:
    mine, node = session()
    refused = 0
    for stream in range(1, 20_001, 2):
        mine.receive(header(WINDOW, SYN, stream, 0), 0.0)
        refused += mine.take_control().count(header(WINDOW, RST, stream, 0))
    assert len(mine.streams) == len(mine.backlog) == YAMUX_BACKLOG_MAX.value
    assert refused == 10_000 - YAMUX_BACKLOG_MAX.value
    assert node.unread == 0


def test_45_streams_that_are_taken_are_bounded_too() -> None:
    mine, _ = session()
    taken = 0
    for stream in range(1, 20_001, 2):
        mine.receive(header(WINDOW, SYN, stream, 0), 0.0)
        taken += mine.accept() is not None
        mine.take_control()
    assert taken == len(mine.streams) == STREAMS_IN_PER_CONNECTION.value


def test_45_open_and_reset_in_turns_leaves_nothing() -> None:
    mine, node = session()
    for stream in range(1, 20_001, 2):
        mine.receive(header(DATA, SYN, stream, 5) + b"hello" + header(WINDOW, RST, stream, 0), 0.0)
    assert (len(mine.streams), len(mine.backlog), mine.inbound, node.unread) == (0, 0, 0, 0)
    assert mine.pause(0.0) > 0


def test_46_pings_that_are_not_taken_cost_the_connection() -> None:
    mine, _ = session()
    with pytest.raises(RemoteError) as caught:
        mine.receive(header(PING, SYN, 0, 1) * 10_000, 0.0)
    assert caught.value.code == "flood"
    assert len(mine.take_control()) <= YAMUX_CONTROL_BYTES.value + 12


def test_46_small_frames_are_read_at_a_rate() -> None:
    mine, _ = session()
    flood = header(PING, SYN, 0, 7) * 1000
    now, answers = 0.0, 0
    for _ in range(200):
        mine.receive(flood, now)
        answers += len(mine.take_control()) // 12
        now += mine.pause(now)
    assert answers == 200_000
    assert 200_000 / 8192 - 3 < now < 200_000 / 8192
    # Bulk data is not held up, however fast it comes.
    bulk, _ = session()
    bulk.receive(header(WINDOW, SYN, 1, 0), 0.0)
    state = bulk.accept()
    assert state is not None
    for _ in range(30_000):
        bulk.receive(header(DATA, 0, 1, 60_000) + bytes(60_000), 0.0)
        bulk.take(state, 60_000, 0.0)
        bulk.take_control()
    assert bulk.pause(0.0) == 0


def test_47_go_away_in_mid_stream_lets_the_stream_end() -> None:
    client, server = Side(client=True), Side(client=False)
    mine = client.session.open(0.0)
    client.write(mine, b"request")
    server.hear(client, 1 << 20, 0.0)
    theirs = server.ends[mine.id]
    server.session.go_away(0)
    server.write(theirs, b"answer")
    server.session.finish(theirs, 0.0)
    client.hear(server, 1 << 20, 0.0)
    assert client.session.peer_gone == 0
    assert b"".join(client.session.take(mine, 100, 0.0)) == b"answer"
    assert mine.peer_finished
    with pytest.raises(RemoteError, match="no more streams"):
        client.session.open(0.0)


# --- our own bounds --------------------------------------------------------------------------------


def test_streams_that_the_peer_does_not_acknowledge_are_bounded() -> None:
    mine, _ = session(client=True)
    opened = []
    while mine.may_open():
        opened.append(mine.open(0.0))
    assert len(opened) == YAMUX_UNACKED_MAX.value
    mine.receive(header(WINDOW, ACK, opened[0].id, 0), 0.0)
    mine.receive(header(WINDOW, ACK, opened[0].id, 0), 0.0)
    assert mine.unacknowledged == YAMUX_UNACKED_MAX.value - 1
    mine.reset(opened[1], "not wanted")
    assert mine.unacknowledged == YAMUX_UNACKED_MAX.value - 2
    for _ in range(YAMUX_STREAMS_OUT_MAX.value - len(mine.streams)):
        mine.open(0.0)
    with pytest.raises(RemoteError, match="are open on its connection"):
        mine.open(0.0)


def test_stream_numbers_end() -> None:
    mine, _ = session(client=True)
    mine._next = 0xFFFFFFFF
    mine.open(0.0)
    with pytest.raises(RemoteError, match="used up its stream numbers"):
        mine.open(0.0)


def test_what_is_unread_on_all_streams_is_bounded() -> None:
    mine, node = session()
    for stream in range(1, 2 * YAMUX_UNREAD_MAX.value // START, 2):
        mine.receive(header(DATA, SYN, stream, START) + bytes(START), 0.0)
        mine.accept()
        mine.take_control()
    assert node.unread == YAMUX_UNREAD_MAX.value
    with pytest.raises(RemoteError) as caught:
        mine.receive(header(DATA, SYN, 9999, 1) + b"x", 0.0)
    assert caught.value.code == "flow-control"


def test_a_stream_nobody_heard_of_is_dropped_in_silence() -> None:
    mine, _ = session(client=True)
    mine.reset(mine.open(0.0), "not wanted")
    assert not mine.has_control
    assert not mine.streams
    assert mine.unacknowledged == 0


def test_a_proposal_and_a_frame_leave_together() -> None:
    mine, _ = session(client=True)
    state = mine.open(0.0)
    (record,) = mine.records_of(state, Rope([b"proposal", b"frame"]), 4)
    assert record == header(WINDOW, SYN, 1, 0) + header(DATA, 0, 1, 13) + b"proposalframe"


def test_the_round_trip_is_the_shortest_of_the_last() -> None:
    client, server = Side(client=True), Side(client=False)
    now = 0.0
    for rtt_s in (0.3, 0.05, 0.5):
        client.session.ping(now)
        server.hear(client, 1 << 20, now)
        now += rtt_s
        client.hear(server, 1 << 20, now)
    assert client.session.rtt_s == pytest.approx(0.05)
    client.session.receive(header(PING, ACK, 0, 99), now)  # the answer to no ping
    assert client.session.rtt_s == pytest.approx(0.05)


def test_a_number_that_a_peer_uses_again_is_another_stream() -> None:
    mine, node = session()
    mine.receive(header(DATA, SYN, 1, 5) + b"first", 0.0)
    first = mine.accept()
    assert first is not None
    mine.receive(header(WINDOW, RST, 1, 0) + header(DATA, SYN, 1, 6) + b"second", 0.0)
    second = mine.accept()
    assert second is not None
    mine.take_control()
    assert mine.take(first, 100, 0.0) == []
    mine.finish(first, 0.0)
    mine.reset(first, "again")
    assert mine.take_control() == b""
    assert node.unread == 6
    assert b"".join(mine.take(second, 100, 0.0)) == b"second"


def test_streams_whose_peer_never_ends_are_found() -> None:
    mine, _ = session(client=True)
    early, late, open_still = mine.open(0.0), mine.open(0.0), mine.open(0.0)
    mine.finish(early, 10.0)
    mine.finish(late, 20.0)
    assert mine.overdue(15.0) == [early]
    assert open_still in mine.streams.values()


def test_an_abandoned_session_breaks_every_stream() -> None:
    side = Side(client=True)
    state = side.session.open(0.0)
    side.write(state, b"hello")
    side.session.receive(header(DATA, ACK, 1, 5) + b"world", 0.0)
    side.session.abandon("gone")
    assert (state.broken, state.buffer.size, side.node.unread, side.session.has_control) == ("gone", 0, 0, False)
