"""The muxer's streams on real sockets, against itself and against py-libp2p's: data, ends, cancelling, bounds."""

import hashlib
import os
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from libp2p.stream_muxer.exceptions import (
    MuxedConnUnavailable,
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamReset,
)

from shoal.messages.limits import YAMUX_STREAMS_OUT_MAX, YAMUX_UNACKED_MAX

MIB = 1024 * 1024
PAIRS = [("ours", "ours"), ("ours", "stock"), ("stock", "ours")]
both = pytest.mark.parametrize(("client", "server"), PAIRS)


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


# --- with py-libp2p's, both ways -------------------------------------------------------------------


@both
@pytest.mark.parametrize("security", ["noise", "tls"])
def test_streams_both_ways_at_once(wires: SimpleNamespace, client: str, server: str, security: str) -> None:
    size = 3 * MIB

    async def send(stream: Any, data: bytes) -> None:
        for start in range(0, size, 200_000):  # py-libp2p's gives a write up that waits 5 s for a window
            await stream.write(data[start : start + 200_000])
        await stream.close()

    async def receive(stream: Any, expected: bytes) -> None:
        assert hashlib.sha256(await read_to_end(stream)).digest() == hashlib.sha256(expected).digest()

    async def body() -> None:
        async with wires.joined(client, server, security=security) as (a, b), trio.open_nursery() as nursery:
            for opener, taker in ((a, b), (b, a), (a, b)):
                near = await opener.muxer.open_stream()
                await near.write(b"x")
                far = await taker.accepted()
                assert await far.read(1) == b"x"
                for source, sink in ((near, far), (far, near)):
                    data = os.urandom(size)
                    nursery.start_soon(send, source, data)
                    nursery.start_soon(receive, sink, data)

    run(body)


@both
def test_a_half_closed_stream_still_answers(wires: SimpleNamespace, client: str, server: str) -> None:
    async def body() -> None:
        async with wires.joined(client, server) as (a, b):
            near = await a.muxer.open_stream()
            await near.write(b"question")
            await near.close()
            far = await b.accepted()
            assert await read_to_end(far) == b"question"
            await far.write(b"answer")
            await far.close()
            assert await read_to_end(near) == b"answer"
            for end in (a, b):
                await wires.until(lambda end=end: not _open_streams(end))

    run(body)


def _open_streams(end: Any) -> Any:
    return end.muxer._session.streams if end.kind == "ours" else end.muxer.streams


@both
def test_a_reset_reaches_the_other_side(wires: SimpleNamespace, client: str, server: str) -> None:
    async def body() -> None:
        async with wires.joined(client, server) as (a, b):
            near = await a.muxer.open_stream()
            await near.write(b"hello")
            far = await b.accepted()
            assert await far.read(5) == b"hello"
            await near.reset()
            with pytest.raises((MuxedStreamReset, MuxedStreamEOF)):  # py-libp2p's may report either
                await far.read(5)
            other = await b.muxer.open_stream()
            await other.write(b"as ever")
            assert await (await a.accepted()).read(7) == b"as ever"

    run(body)


@both
def test_closing_ends_both_sides(wires: SimpleNamespace, client: str, server: str) -> None:
    async def body() -> None:
        async with wires.joined(client, server) as (a, b):
            near = await a.muxer.open_stream()
            await near.write(b"hello")
            far = await b.accepted()
            await far.read(5)
            await a.muxer.close()
            for end in (a, b):
                await wires.until(lambda end=end: end.muxer.is_closed)
                with pytest.raises(MuxedConnUnavailable):
                    await end.accepted()
            with pytest.raises((MuxedStreamReset, MuxedStreamEOF)):
                await far.read(1)

    run(body)


@both
def test_three_hundred_streams(wires: SimpleNamespace, client: str, server: str) -> None:
    async def echo(end: Any) -> None:
        async def one(stream: Any) -> None:
            await stream.write(await stream.read(100))
            await stream.close()

        async with trio.open_nursery() as nursery:
            while True:
                nursery.start_soon(one, await end.muxer.accept_stream())

    async def body() -> None:
        async with wires.joined(client, server) as (a, b), trio.open_nursery() as nursery:
            nursery.start_soon(echo, b)
            async with trio.open_nursery() as askers:

                async def ask(number: int) -> None:
                    stream = await a.muxer.open_stream()
                    await stream.write(b"%d" % number)
                    assert await stream.read(100) == b"%d" % number
                    assert await read_to_end(stream) == b""
                    await stream.close()

                for number in range(300):
                    askers.start_soon(ask, number)
            nursery.cancel_scope.cancel()

    run(body)


# --- ours -------------------------------------------------------------------------------------------


def test_a_local_reset_wakes_readers_and_writers(wires: SimpleNamespace) -> None:
    async def body() -> None:
        async with wires.joined() as (a, b), trio.open_nursery() as nursery:
            stream = await a.muxer.open_stream()
            woken = []

            async def read() -> None:
                with pytest.raises(MuxedStreamReset):
                    await stream.read(1)
                woken.append("reader")

            async def write() -> None:
                with pytest.raises(MuxedStreamReset):
                    await stream.write(bytes(MIB))
                woken.append("writer")

            nursery.start_soon(read)
            nursery.start_soon(write)
            await wires.until(lambda: stream.state.send.room == 0)
            await stream.reset()
            await wires.until(lambda: len(woken) == 2)
            # Reset before anybody took it: nobody needs to.
            await wires.until(lambda: not b.muxer._session.streams)
            assert not b.muxer._session.backlog

    run(body)


def test_a_cancelled_write_costs_its_stream_and_nothing_else(wires: SimpleNamespace) -> None:
    async def body() -> None:
        async with wires.joined() as (a, b):
            stuck = await a.muxer.open_stream()
            with trio.move_on_after(0.2) as scope:
                await stuck.write(bytes(MIB))
            assert scope.cancelled_caught
            far = await b.accepted()
            await stuck.reset()
            await wires.until(lambda: far.state.broken)
            assert b.node.unread == 0
            free = await a.muxer.open_stream()
            await free.write(b"as ever")
            assert await (await b.accepted()).read(100) == b"as ever"
            assert not a.guard.fault
            assert not a.aborted

    run(body)


def test_a_cancelled_read_loses_nothing(wires: SimpleNamespace) -> None:
    async def body() -> None:
        async with wires.joined() as (a, b):
            near = await a.muxer.open_stream()
            await near.write(b"1")
            far = await b.accepted()
            got = b""
            for number in range(200):
                await near.write(b"%03d" % number)
                with trio.CancelScope() as scope:
                    scope.deadline = trio.current_time() + (number % 5) * 0.0005
                    got += await far.read(100)
            await near.close()
            got += await read_to_end(far)
            assert got == b"1" + b"".join(b"%03d" % number for number in range(200))

    run(body)


def test_writing_after_the_end_is_refused(wires: SimpleNamespace) -> None:
    async def body() -> None:
        async with wires.joined() as (a, _):
            stream = await a.muxer.open_stream()
            await stream.close_write()
            await stream.close_write()
            with pytest.raises(MuxedStreamClosed):
                await stream.write(b"late")

    run(body)


def test_a_reader_that_speaks_first_is_heard_of(wires: SimpleNamespace) -> None:
    async def body() -> None:
        async with wires.joined() as (a, b), trio.open_nursery() as nursery:
            near = await a.muxer.open_stream()

            async def listen() -> None:
                assert await near.read(5) == b"hello"

            nursery.start_soon(listen)
            await (await b.accepted()).write(b"hello")

    run(body)


def test_pieces_are_views_of_what_was_read(wires: SimpleNamespace) -> None:
    async def body() -> None:
        async with wires.joined() as (a, b):
            near = await a.muxer.open_stream()
            data = os.urandom(200_000)
            await near.write_pieces([data[:10], memoryview(data)[10:150_000], bytearray(data[150_000:])])
            far = await b.accepted()
            pieces: list[memoryview] = []
            while sum(map(len, pieces)) < len(data):
                pieces += await far.read_pieces(MIB)
            assert b"".join(pieces) == data
            assert all(piece.readonly for piece in pieces)
            assert len(pieces) <= 8
            assert any(len(piece.obj) > len(piece) for piece in pieces), "not copied out of the record"

    run(body)


def test_the_257th_stream_waits_for_the_peer_to_acknowledge(wires: SimpleNamespace) -> None:
    async def body() -> None:
        async with wires.joined("ours", "ours") as (a, b):
            streams = [await a.muxer.open_stream() for _ in range(YAMUX_UNACKED_MAX.value)]
            with trio.move_on_after(0.2) as scope:
                await a.muxer.open_stream()
            assert scope.cancelled_caught
            await streams[0].write(b"x")
            await b.accepted()
            with trio.fail_after(5):
                await a.muxer.open_stream()

    run(body)


def test_our_streams_are_bounded_and_say_so(wires: SimpleNamespace) -> None:
    async def accept(end: Any) -> None:
        while True:
            await end.muxer.accept_stream()

    async def body() -> None:
        async with wires.joined("ours", "stock") as (a, b), trio.open_nursery() as nursery:
            nursery.start_soon(accept, b)
            for _ in range(YAMUX_STREAMS_OUT_MAX.value):
                await (await a.muxer.open_stream()).write(b"x")
            with pytest.raises(MuxedConnUnavailable, match="are open"):
                await a.muxer.open_stream()
            nursery.cancel_scope.cancel()

    run(body)


def test_a_stream_whose_peer_never_ends_it_is_reset(wires: SimpleNamespace) -> None:
    async def body() -> None:
        quick = {"idle_probe_s": 0.2, "idle_probe_timeout_s": 0.1, "half_closed_s": 0.3}
        async with wires.joined(**quick) as (a, b):
            near = await a.muxer.open_stream()
            await near.write(b"x")
            far = await b.accepted()
            await near.close()
            await wires.until(lambda: near.state.broken)
            await wires.until(lambda: far.state.broken == "reset by the peer")

    run(body)
