"""QUIC between two of ours, and the stream faults of py-libp2p that ``quic.GuardedQUICStream`` mends."""

from types import SimpleNamespace
from typing import Any

import pytest
import trio
from libp2p.network.stream.exceptions import StreamClosed, StreamEOF, StreamReset

QUIC = "/ip4/127.0.0.1/udp/0/quic-v1"
PROTOCOL = "/test/frames/1"


def test_connect_identify_ping_and_frames(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(linger_s=0.3), lab.Config(linger_s=0.3), listen=QUIC) as (a, b):
            b.network.serve_framed(PROTOCOL, 1 << 20)
            connection = await a.connect(b)
            assert connection.security == "quic"
            assert connection.addr == b.network.listen_addrs()[0]
            _, facts = await a.events.wait("identified", b.peer)
            assert PROTOCOL in facts.protocols
            a.network.ping(1, b.peer, 5.0)
            await a.events.wait("pong", 1)
            stream = await a.open(b, PROTOCOL)
            (mirror, *_) = await b.events.wait("stream_accepted")
            a.network.send_frame(stream, [b"to", memoryview(bytes(500_000))], 20.0)
            b.network.send_frame(mirror, [b"fro"], 20.0)
            await b.events.until(lambda: b.events.received == 500_002, "the frame there")
            await a.events.until(lambda: a.events.received == 3, "the frame back")
            a.network.close_stream(stream, reset=False)
            assert (await b.events.wait("stream_closed", mirror))[1] == ""
            a.network.close_connection(connection.id)
            await a.events.wait("disconnected", connection)
            await b.events.wait("disconnected")

    lab.run(body)


def test_refused_before_the_handshake(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config(), listen=QUIC) as (a, b):
            b.events.admits = False
            a.network.dial(1, b.peer, b.network.listen_addrs()[0], 1.0)
            await a.events.wait("dial_failed", 1)
            assert b.events.refused[0].endswith("/quic-v1")
            assert not b.events.log

    lab.run(body)


def test_the_wrong_peer_and_nobody(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config(), lab.Config(), listen=QUIC) as (a, b, c):
            a.network.dial(1, c.peer, b.network.listen_addrs()[0], 5.0)
            await a.events.wait("dial_failed", 1)
            a.network.dial(2, b.peer, "/ip4/127.0.0.1/udp/9/quic-v1", 0.5)
            assert "no connection within 0.5 s" in (await a.events.wait("dial_failed", 2))[1]
            assert not a.events.all("connected")

    lab.run(body)


@pytest.fixture
def two_ends(lab: SimpleNamespace) -> Any:
    """Run a test with both ends of one raw QUIC stream."""

    def run(test: Any) -> None:
        async def body() -> None:
            async with lab.running(lab.Config(), lab.Config(), listen=QUIC) as (a, b):
                ends: list[Any] = []
                done = trio.Event()

                async def keep(stream: Any) -> None:
                    ends.append(stream._stream)
                    await done.wait()

                b.network.serve_user(PROTOCOL, keep)
                await a.connect(b)
                try:
                    await a.network.run_user(b.peer, PROTOCOL, lambda stream: meet(stream, ends), 5.0)
                finally:
                    done.set()

        async def meet(stream: Any, ends: list[Any]) -> None:
            while not ends:
                await trio.sleep(0.01)
            await test(stream._stream, ends[0])

        lab.run(body)

    return run


def test_stop_sending_leaves_our_reading_side_open(two_ends: Any) -> None:
    async def test(near: Any, far: Any) -> None:
        quic, number = far.muxed_conn._quic, far.muxed_stream._stream_id
        quic.stop_stream(number, 0)
        await far.muxed_conn._transmit()
        quic.send_stream_data(number, b"still for you", end_stream=True)
        await trio.sleep(0.1)
        await far.muxed_conn._transmit()
        assert await near.read(100) == b"still for you"
        with pytest.raises(StreamEOF):
            await near.read(100)
        with pytest.raises(StreamClosed):
            await near.write(b"nobody reads this")

    two_ends(test)


def test_bytes_and_end_together_are_not_overtaken(two_ends: Any) -> None:
    async def test(near: Any, far: Any) -> None:
        muxed = near.muxed_stream
        async with muxed._state_lock:  # where the reader stands between its two looks
            async with trio.open_nursery() as nursery:
                got: list[bytes] = []

                async def read() -> None:
                    got.append(await muxed.read(100))

                nursery.start_soon(read)
                await trio.sleep(0.05)
                muxed._receive_buffer += b"data"
                muxed._read_closed = True
                nursery.start_soon(trio.sleep, 0.05)
                muxed._state_lock.release()
            assert got == [b"data"]
            await muxed._state_lock.acquire()

    two_ends(test)


def test_a_buffer_that_overflows_resets_the_stream(two_ends: Any) -> None:
    async def test(near: Any, far: Any) -> None:
        near.muxed_stream.MAX_RECEIVE_BUFFER_SIZE = 1000
        await far.write(bytes(3000))
        await trio.sleep(0.3)
        assert len(near.muxed_stream._receive_buffer) <= 1000
        with pytest.raises(StreamReset):  # its first packet has no room already
            await near.read(1000)

    two_ends(test)
