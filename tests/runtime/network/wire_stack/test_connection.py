"""A yamux connection of ours as a whole: silence, faults, going away, giving up, and windows over a long line."""

import os
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamEOF, MuxedStreamReset

from shoal.runtime.network.wire_stack.yamux.frames import DATA, GO_AWAY, GONE_PROTOCOL, PING, SYN, WINDOW, header

MIB = 1024 * 1024


def run(body: Callable[[], Coroutine[Any, Any, None]], within_s: float = 30) -> None:
    async def bounded() -> None:
        with trio.fail_after(within_s):
            await body()

    trio.run(bounded)


async def read_to_end(stream: Any) -> bytes:
    parts = []
    try:
        while True:
            parts.append(await stream.read(65536))
    except MuxedStreamEOF:
        return b"".join(parts)


# --- the connection --------------------------------------------------------------------------------


def test_a_quiet_peer_is_kept_and_a_silent_one_is_not(wires: SimpleNamespace) -> None:
    quick = {"idle_probe_s": 0.2, "idle_probe_timeout_s": 0.2}

    async def body() -> None:
        async with wires.joined("ours", "stock", **quick) as (a, _):
            await trio.sleep(1)
            assert not a.muxer.is_closed
            assert a.muxer.rtt() > 0
        async with wires.joined("ours", "bare", **quick) as (a, _):
            await wires.until(lambda: a.muxer.is_closed)
            assert a.aborted == ["the peer went silent"]

    run(body)


def test_any_byte_is_a_sign_of_life(wires: SimpleNamespace) -> None:
    async def body() -> None:
        async with wires.joined("ours", "bare", idle_probe_s=0.2, idle_probe_timeout_s=0.2) as (a, b):
            for number in range(15):
                await b.secured.write(header(PING, SYN, 0, number))
                await trio.sleep(0.1)
            assert not a.muxer.is_closed

    run(body)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (header(DATA, SYN, 1, 300_000), "flow-control"),
        (header(WINDOW, SYN, 2, 0), "yamux"),
        (b"\x01" + bytes(11), "yamux"),
        (b"\x00\x09" + bytes(10), "yamux"),
    ],
)
def test_a_fault_of_the_peer_is_told_and_ends_the_connection(wires: SimpleNamespace, said: bytes, code: str) -> None:
    async def body() -> None:
        async with wires.joined("bare", "ours") as (bare, victim):
            await bare.secured.write(said)
            await wires.until(lambda: victim.muxer.is_closed)
            assert victim.muxer.fault.code == code
            assert victim.aborted[-1] == str(victim.muxer.fault)
            heard = b""
            while header(GO_AWAY, 0, 0, GONE_PROTOCOL) not in heard:
                heard += b"".join(await bare.secured.read_records())

    run(body)


def test_a_peer_that_takes_nothing_does_not_hold_up_the_end(wires: SimpleNamespace) -> None:
    async def body() -> None:
        async with wires.joined("ours", "bare", close_grace_s=0.2) as (a, bare):
            stream = await a.muxer.open_stream()
            async with trio.open_nursery() as nursery:

                async def write() -> None:
                    with pytest.raises(MuxedStreamReset):
                        await stream.write(bytes(64 * MIB))

                nursery.start_soon(write)
                await bare.secured.write(header(WINDOW, 0, 1, 0x7FFFFFFF))
                await trio.sleep(0.5)  # until the socket is full
                await bare.secured.write(header(9, 0, 0, 0))
                with trio.fail_after(3):
                    await a.muxer.event_closed.wait()

    run(body)


def test_go_away_lets_streams_end_and_then_ends_the_connection(wires: SimpleNamespace) -> None:
    async def body() -> None:
        async with wires.joined("bare", "ours", idle_probe_s=0.2, idle_probe_timeout_s=0.1) as (bare, victim):
            await bare.secured.write(header(DATA, SYN, 1, 5) + b"hello" + header(GO_AWAY, 0, 0, 0))
            stream = await victim.accepted()
            assert await stream.read(5) == b"hello"
            with pytest.raises(MuxedConnUnavailable, match="no more streams"):
                await victim.muxer.open_stream()
            await bare.secured.write(header(DATA, 4, 1, 6) + b" again")
            assert await read_to_end(stream) == b" again"
            await stream.write(b"answer")
            await stream.close()
            await wires.until(lambda: victim.muxer.is_closed)
            assert victim.muxer.fault is None

    run(body)


def test_a_forged_record_ends_the_connection(wires: SimpleNamespace) -> None:
    async def body() -> None:
        async with wires.joined("bare", "ours") as (bare, victim):
            await bare.guard.write(b"\x00\x20" + os.urandom(32))
            await wires.until(lambda: victim.muxer.is_closed)
            assert victim.muxer.fault.code == "noise"

    run(body)


def test_a_replayed_record_ends_the_connection(wires: SimpleNamespace) -> None:
    """54, after the handshake: the same bytes twice."""

    async def body() -> None:
        async with wires.joined("bare", "ours") as (bare, victim):
            record = bare.secured._sealer.seal([header(PING, SYN, 0, 1)])
            await bare.guard.write(record)
            assert await bare.secured.read_records()
            assert not victim.muxer.is_closed
            await bare.guard.write(record)
            await wires.until(lambda: victim.muxer.is_closed)
            assert "replayed" in str(victim.muxer.fault)

    run(body)


def test_a_heavy_connection_is_given_up_for_the_node(wires: SimpleNamespace) -> None:
    async def body() -> None:
        async with wires.joined() as (a, b):
            stream = await a.muxer.open_stream()
            await stream.write(bytes(100_000))
            await wires.until(lambda: b.node.unread == 100_000)
            b.node.shed()
            await wires.until(lambda: a.muxer.is_closed and b.muxer.is_closed)
            assert "most unread" in b.aborted[0]
            assert b.node.unread == 0

    run(body)


# --- windows over a long line ----------------------------------------------------------------------


def test_a_long_line_gets_a_large_window(wires: SimpleNamespace) -> None:
    """Bandwidth times delay: on a line of 40 ms the window of a stream that is read at once outgrows its first size."""

    async def body() -> None:
        async with wires.joined(delay_s=0.02) as (a, b), trio.open_nursery() as nursery:
            await wires.until(lambda: b.muxer.rtt() > 0)
            near = await a.muxer.open_stream()
            nursery.start_soon(near.write, bytes(16 * MIB))
            far = await b.accepted()
            got = 0
            while got < 16 * MIB:
                got += sum(map(len, await far.read_pieces(MIB)))
            assert b.muxer.rtt() >= 0.04
            assert far.state.receive.size >= 2 * MIB
            assert b.node.grown == far.state.receive.grown
            await far.reset()
            assert b.node.grown == 0

    run(body)


def test_a_slow_sender_keeps_its_small_window(wires: SimpleNamespace) -> None:
    async def body() -> None:
        async with wires.joined() as (a, b):
            await wires.until(lambda: b.muxer.rtt() > 0)
            near = await a.muxer.open_stream()
            await near.write(b"x")
            far = await b.accepted()
            b.muxer._session._rtts.extend([0.001] * 8)
            for _ in range(8):
                await near.write(bytes(64 * 1024))
                got = 0
                while got < 64 * 1024:
                    got += len(await far.read(MIB))
                await trio.sleep(0.01)
            assert far.state.receive.grown == 0

    run(body)
