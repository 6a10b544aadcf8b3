"""The yamux inputs 41 to 48 of the limits list, and the other bounds of a session, one test each."""

import pytest

from shoal.messages.errors import RemoteError
from shoal.messages.limits import (
    STREAMS_IN_PER_CONNECTION,
    YAMUX_BACKLOG_MAX,
    YAMUX_CONTROL_BYTES,
    YAMUX_STREAMS_OUT_MAX,
    YAMUX_UNACKED_MAX,
    YAMUX_UNREAD_MAX,
)
from shoal.runtime.network.wire_stack.yamux.accounts import Node
from shoal.runtime.network.wire_stack.yamux.buffers import Rope
from shoal.runtime.network.wire_stack.yamux.frames import ACK, DATA, FIN, PING, RST, SYN, WINDOW, header
from shoal.runtime.network.wire_stack.yamux.session import Session
from shoal.runtime.network.wire_stack.yamux.windows import START
from shoal.tests.support.yamux_side import RTT_S, Side


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
