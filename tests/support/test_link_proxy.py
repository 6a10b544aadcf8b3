"""The link proxy: what its schedule promises, and that its process carries bytes, ends and resets."""

import math
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.tests.support.link_proxy import Link, LinkProxy, port_of
from shoal.tests.support.link_proxy_schedule import PIECE_BYTES_MIN, PIECE_S, SEGMENT_BYTES, Lane

SLACK_S = 1e-9  # seconds: sums of floats
TIMEOUT_S = 20.0

links = st.builds(
    Link,
    rtt_s=st.floats(0.001, 0.5),
    rate=st.none() | st.floats(1e4, 1e9),
    loss=st.just(0.0) | st.floats(0.0001, 0.5),
)
pushes = st.lists(st.tuples(st.floats(0, 0.2), st.integers(1, 600_000)), min_size=1, max_size=12)


def carried(lane: Lane, steps: list[tuple[float, int]]) -> list[tuple[float, float, int]]:
    """(pushed at, comes out at, size) of every piece."""
    now, out = 100.0, []
    for wait, size in steps:
        now += wait
        out += [(now, due, piece) for due, piece in lane.push(now, size)]
    return out


@given(links, pushes, st.integers(0, 99))
def test_all_comes_out_in_order_and_not_before_its_delay(link: Link, steps: list[tuple[float, int]], seed: int) -> None:
    out = carried(Lane(link, Random(seed)), steps)
    assert sum(size for _, _, size in out) == sum(size for _, size in steps)
    assert all(size > 0 and due - pushed >= link.rtt_s / 2 - SLACK_S for pushed, due, size in out)
    assert all(before[1] <= after[1] for before, after in pairwise(out))


@given(links.filter(lambda link: link.rate is not None), pushes, st.integers(0, 99))
def test_the_rate_is_never_exceeded(link: Link, steps: list[tuple[float, int]], seed: int) -> None:
    assert link.rate is not None
    out = carried(Lane(link, Random(seed)), steps)
    largest = max(PIECE_BYTES_MIN, link.rate * PIECE_S)
    for first in range(len(out)):
        size = 0
        for pushed, due, piece in out[first:]:
            assert piece <= largest
            size += piece
            begun = out[first - 1][1] if first else out[0][0] + link.delay_s
            assert size <= link.rate * (due - begun) * (1 + 1e-6) + 1
            assert due >= pushed


@given(links.filter(lambda link: link.loss == 0), pushes)
def test_without_loss_nothing_is_later_than_delay_and_rate_make_it(link: Link, steps: list[tuple[float, int]]) -> None:
    lane = Lane(link, Random(0))
    for pushed, due, _ in carried(lane, steps):
        everything = sum(size for _, size in steps) / link.rate if link.rate else 0.0
        assert due <= pushed + link.delay_s + everything + SLACK_S
    assert lane.losses == 0


@given(st.floats(0.001, 0.5), st.integers(0, 99))
def test_a_lost_segment_holds_back_itself_and_what_is_behind_it(rtt_s: float, seed: int) -> None:
    link = Link(rtt_s=rtt_s, loss=0.1)
    lane = Lane(link, Random(seed))
    dues = [due for _ in range(40) for due, _ in lane.push(0.0, 10 * SEGMENT_BYTES)]
    jumps = [after - before for before, after in pairwise([link.delay_s, *dues]) if after > before]
    assert len(jumps) == lane.losses
    assert all(math.isclose(jump, rtt_s * 1.5, rel_tol=1e-6) for jump in jumps)


@given(st.sampled_from([0.0, 0.001, 0.01, 0.2]), st.integers(0, 999))
def test_as_many_segments_are_lost_as_the_probability_says(loss: float, seed: int) -> None:
    lane = Lane(Link(rtt_s=0.02, loss=loss), Random(seed))
    segments = 50_000
    for _ in range(50):
        lane.push(0.0, segments // 50 * SEGMENT_BYTES)
    expected = segments * loss
    assert abs(lane.losses - expected) <= 6 * math.sqrt(expected) + bool(loss)


@given(links, pushes, st.integers(0, 99))
def test_what_is_held_fits_the_window_when_nobody_pushes_more_than_there_is_room(
    link: Link, steps: list[tuple[float, int]], seed: int
) -> None:
    lane, now = Lane(link, Random(seed)), 0.0
    out: list[tuple[float, int]] = []
    for wait, size in steps:
        now += wait
        taken = [piece for piece in out if piece[0] <= now]
        out = [piece for piece in out if piece[0] > now]
        lane.took(sum(piece for _, piece in taken))
        if fits := min(size, lane.room):
            out += lane.push(now, fits)
        assert lane.held == sum(piece for _, piece in out) <= link.window_bytes
        assert lane.room == link.window_bytes - lane.held


def test_windows_hold_what_the_path_holds() -> None:
    assert Link(rtt_s=0.2).window_bytes == 16 * 1024**2
    assert Link(rtt_s=0.2, window=5).window_bytes == 5
    assert Link(rate=1e6).window_bytes == 64 * 1024
    assert Link(rtt_s=0.2, rate=20e6).window_bytes == pytest.approx(20e6 * 0.15, abs=1)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"rtt_s": -1}, "round trip"),
        ({"rate": 0}, "rate"),
        ({"loss": 1, "rtt_s": 1}, "probability"),
        ({"loss": 0.1}, "rtt_s"),
        ({"window": 0}, "window"),
        ({"resets": (2, 1)}, "resets"),
    ],
)
def test_a_link_that_cannot_be_is_refused(fields: dict[str, float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Link(**fields)  # type: ignore[arg-type]  # one dictionary for fields of several types


# --- its process -------------------------------------------------------------------------------------


@contextmanager
def linked(link: Link) -> Iterator[tuple[LinkProxy, socket.socket, socket.socket]]:
    """A proxy with one connection through it, and both of its ends."""
    with socket.create_server(("127.0.0.1", 0)) as server, LinkProxy.start(link, server.getsockname()[1]) as proxy:
        server.settimeout(TIMEOUT_S)
        near = socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT_S)
        far, _ = server.accept()
        far.settimeout(TIMEOUT_S)
        with near, far:
            yield proxy, near, far


def send_and_end(end: socket.socket, data: bytes) -> threading.Thread:
    def run() -> None:
        end.sendall(data)
        end.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def all_of(end: socket.socket) -> bytes:
    pieces = []
    while piece := end.recv(1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize(
    "link",
    [Link(), Link(rtt_s=0.02), Link(rate=50e6), Link(rtt_s=0.004, rate=50e6, loss=0.002), Link(window=100_000)],
    ids=["plain", "delay", "rate", "all", "narrow"],
)
def test_bytes_pass_both_ways_at_once_whole_and_each_end_in_order(link: Link) -> None:
    up, down = Random(1).randbytes(3_000_000), Random(2).randbytes(2_000_000)
    with linked(link) as (proxy, near, far):
        threads = [send_and_end(near, up)]
        assert all_of(far) == up
        near.settimeout(TIMEOUT_S)
        threads.append(send_and_end(far, down))  # after the other direction has ended: half a connection lives on
        assert all_of(near) == down
        for thread in threads:
            thread.join(TIMEOUT_S)
        stats = proxy.stats()
        assert (stats["up_bytes"], stats["down_bytes"]) == (len(up), len(down))
        assert stats["accepted"] == 1
        assert stats["cut"] == 0
        assert 0 < stats["held_max"] <= link.window_bytes


def test_a_receiver_that_does_not_read_stops_the_sender_at_the_window() -> None:
    with linked(Link(window=50_000)) as (proxy, near, far):
        near.setblocking(False)
        sent = 0
        while proxy.stats()["held_max"] < 50_000:
            try:
                sent += near.send(bytes(1 << 20))
            except BlockingIOError:
                pass
        assert proxy.stats()["held_max"] == 50_000
        near.settimeout(TIMEOUT_S)
        near.shutdown(socket.SHUT_WR)
        assert len(all_of(far)) == sent


def reset(end: socket.socket) -> bool:
    try:
        while end.recv(1 << 16):
            pass
    except ConnectionResetError:
        return True
    return False


def test_cut_resets_both_sides_and_a_new_connection_passes() -> None:
    with linked(Link()) as (proxy, near, far):
        near.sendall(b"x")
        assert far.recv(1) == b"x"
        stats = proxy.cut()
        assert (stats["cut"], stats["open"]) == (1, 0)
        assert reset(near)
        assert reset(far)
        with socket.create_server(("127.0.0.1", 0)) as other:
            other.settimeout(TIMEOUT_S)
            proxy.aim(other.getsockname()[1])
            with socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT_S) as again, other.accept()[0] as end:
                again.sendall(b"y")
                assert end.recv(1) == b"y"


def test_resets_come_by_themselves() -> None:
    with linked(Link(resets=(0.05, 0.2), seed=7)) as (proxy, near, far):
        assert reset(near)
        assert reset(far)
        assert proxy.stats()["cut"] == 1


def test_a_reset_of_one_side_reaches_the_other() -> None:
    with linked(Link(rtt_s=0.02)) as (proxy, near, far):
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        near.close()
        assert reset(far)
        assert proxy.stats()["open"] == 0


def test_nobody_behind_it_is_a_refusal() -> None:
    with LinkProxy.start(Link()) as proxy:
        try:
            with socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT_S) as near:
                assert reset(near)
        except ConnectionResetError:
            pass  # it was quicker than our system call
        assert proxy.stats()["refused"] == 1


def test_addresses_are_those_of_the_proxy() -> None:
    assert port_of("/ip4/127.0.0.1/tcp/4001/p2p/Qm") == 4001
    with LinkProxy.start(Link()) as proxy:
        assert proxy.addr("/ip4/127.0.0.1/tcp/4001/p2p/Qm") == f"/ip4/127.0.0.1/tcp/{proxy.port}/p2p/Qm"
        with pytest.raises(ValueError, match="no TCP port"):
            proxy.addr("/ip4/127.0.0.1/udp/4001/quic-v1")
