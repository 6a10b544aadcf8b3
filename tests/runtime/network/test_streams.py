"""Framed streams between two real networks: frames, credit, bounds, deadlines, stalls."""

from types import SimpleNamespace
from typing import Any

import trio

from shoal.messages import varint
from shoal.messages.limits import READ_CREDIT

PROTOCOL = "/test/frames/1"
MIB = 1024 * 1024


def test_frames_go_both_ways_and_come_out_whole(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            b.network.serve_framed(PROTOCOL, 4 * MIB)
            await a.connect(b)
            stream = await a.open(b, PROTOCOL)
            _, peer, protocol = await b.events.wait("stream_accepted")
            assert (peer, protocol) == (a.peer, PROTOCOL)
            mirror = b.events.all("stream_accepted")[0][0]
            block = bytes(range(256)) * (8 * 1024)
            sent = [
                [b"x"],
                [b"head", memoryview(block), b"", b"tail"],
                [],
                [memoryview(block)[:MIB], memoryview(block)[:70000]],
                [bytes(4 * MIB)],
                [b"last"],
            ]
            whole = [b"".join(parts) for parts in sent]
            for parts in sent:
                a.network.send_frame(stream, parts, 10.0)
                b.network.send_frame(mirror, parts, 10.0)
            for node, number in ((b, mirror), (a, stream)):
                await node.events.until(lambda n=node, i=number: len(n.events.frames.get(i, ())) == 5, "five frames")
                assert node.events.frames[number] == [frame for frame in whole if frame]
            for node, number in ((a, stream), (b, mirror)):
                await node.events.until(lambda n=node: len(n.events.all("frame_sent")) == 6, "six frame_sent")
                assert [size for _, size in node.events.all("frame_sent", number)] == [len(frame) for frame in whole]
            a.network.close_stream(stream, reset=False)
            assert (await a.events.wait("stream_closed", stream))[1] == ""
            assert (await b.events.wait("stream_closed", mirror))[1] == ""

    lab.run(body)


def test_frames_written_a_byte_at_a_time(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config(linger_s=0.2)) as (a, b):
            b.network.serve_framed(PROTOCOL, 1000)
            await a.connect(b)
            frames = [b"a" * 200, b"b", b"c" * 129]

            async def drip(stream: Any) -> None:
                for byte in b"\0".join(varint.encode(len(frame)) + frame for frame in frames):
                    await stream.write(bytes((byte,)))

            await a.network.run_user(b.peer, PROTOCOL, drip, 5.0)
            number = (await b.events.wait("stream_closed"))[0]
            assert b.events.frames[number] == frames
            assert b.events.all("stream_closed", number)[0][1] == ""

    lab.run(body)


def test_a_stream_without_credit_is_not_read(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            b.network.serve_framed(PROTOCOL, 4 * MIB)
            b.events.grant_all = False
            await a.connect(b)
            stream = await a.open(b, PROTOCOL)
            for _ in range(8):
                a.network.send_frame(stream, [bytes(MIB)], 60.0)
            (number, *_) = await b.events.wait("stream_accepted")
            await b.events.until(lambda: b.events.received >= READ_CREDIT.value, "the credit's worth")
            await trio.sleep(0.5)
            assert b.events.received == READ_CREDIT.value
            # Another stream of the same connection is not held up.
            other = await a.open(b, PROTOCOL)
            a.network.send_frame(other, [b"through"], 5.0)
            await b.events.until(lambda: any(b"through" in frames for frames in b.events.frames.values()), "through")
            b.network.grant(number, 4 * MIB)
            await b.events.until(lambda: b.events.received == 8 * MIB + len(b"through"), "the rest")

    lab.run(body)


def test_a_frame_above_the_bound_costs_its_stream(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            b.network.serve_framed(PROTOCOL, 1000)
            connection = await a.connect(b)
            stream = await a.open(b, PROTOCOL)
            a.network.send_frame(stream, [bytes(1000)], 5.0)
            a.network.send_frame(stream, [bytes(1001)], 5.0)
            (number, reason) = await b.events.wait("stream_closed")
            assert "1001 bytes, at most 1000" in reason
            assert [len(frame) for frame in b.events.frames[number]] == [1000]
            assert (await b.events.wait("remote_fault", a.peer, "frame-size"))[1] == "frame-size"
            assert (await a.events.wait("stream_closed", stream))[1] != ""
            assert not a.events.all("disconnected", connection)

    lab.run(body)


def test_announced_bytes_must_come(lab: SimpleNamespace) -> None:
    """Silence inside a frame, a drip that never ends, and the end of the stream inside a frame."""

    async def silent(stream: Any) -> None:
        await stream.write(varint.encode(100) + b"x")
        await stream.read()

    async def drip(stream: Any) -> None:
        await stream.write(varint.encode(100))
        while True:
            await stream.write(b"x")
            await trio.sleep(0.05)

    async def cut(stream: Any) -> None:
        await stream.write(varint.encode(100) + b"x")
        await stream.close()

    async def body() -> None:
        strict = lab.Config(frame_silence_s=0.3, frame_base_s=0.8, frame_rate_min=1000)
        async with lab.running(lab.Config(), strict) as (a, b):
            b.network.serve_framed(PROTOCOL, 1000)
            await a.connect(b)
            for behave, code, text in (
                (silent, "silent", "silent for 0.3 s"),
                (drip, "slow", "within 0.9 s"),
                (cut, "frame-cut", "inside a frame"),
            ):
                b.events.clear()
                async with trio.open_nursery() as nursery:

                    async def offend(handler: Any = behave) -> None:
                        try:
                            await a.network.run_user(b.peer, PROTOCOL, handler, 5.0)
                        except Exception:  # the reset that it earns
                            pass

                    nursery.start_soon(offend)
                    assert text in (await b.events.wait("stream_closed"))[1]
                    await b.events.wait("remote_fault", a.peer, code)
            assert not b.events.all("disconnected")

    lab.run(body)


def test_an_idle_stream_is_left_alone(lab: SimpleNamespace) -> None:
    async def body() -> None:
        strict = lab.Config(frame_silence_s=0.1, frame_base_s=0.1, linger_s=0.1)
        async with lab.running(strict, strict) as (a, b):
            b.network.serve_framed(PROTOCOL, 1000)
            await a.connect(b)
            stream = await a.open(b, PROTOCOL)
            await trio.sleep(0.5)
            a.network.send_frame(stream, [b"still here"], 5.0)
            await b.events.wait("frame")
            assert not b.events.all("stream_closed")

    lab.run(body)


def test_a_reply_after_the_peer_ended_its_half(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            b.network.serve_framed(PROTOCOL, 1000)

            def answer(stream: int, data: memoryview) -> None:
                async def later() -> None:
                    await trio.sleep(0.2)
                    b.network.send_frame(stream, [b"re: ", bytes(data)], 5.0)

                trio.lowlevel.spawn_system_task(later)

            b.events.reply = answer
            await a.connect(b)

            async def ask(stream: Any) -> bytes:
                await stream.write(varint.encode(5) + b"hello")
                await stream.close_write()
                reply: bytes = await stream.read_exactly(10, timeout=5)
                assert await stream.read(timeout=5) == b""
                return reply

            assert await a.network.run_user(b.peer, PROTOCOL, ask, 5.0) == b"\x09re: hello"

    lab.run(body)


def test_unanswered_half_closed_streams_do_not_pile_up(lab: SimpleNamespace) -> None:
    """boxo opens a stream for each message and ends it at once."""

    async def send(stream: Any) -> None:
        await stream.write(b"\x01x")

    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config(linger_s=30.0)) as (a, b):
            b.network.serve_framed(PROTOCOL, 1000)
            await a.connect(b)
            for _ in range(100):
                await a.network.run_user(b.peer, PROTOCOL, send, 5.0)
            await b.events.until(lambda: len(b.events.all("frame")) == 100, "100 frames")
            await b.events.until(lambda: len(b.events.all("stream_closed")) >= 68, "all but 32 streams closed")
            assert all(reason == "" for _, reason in b.events.all("stream_closed"))

    lab.run(body)


def test_a_frame_the_peer_does_not_take_costs_the_stream_only(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            b.network.serve_framed(PROTOCOL, 4 * MIB)
            b.events.grant_all = False
            connection = await a.connect(b)
            stream = await a.open(b, PROTOCOL)
            # The reading credit, and the 16 MiB that yamux's window grows to, fit before it stops.
            for count in range(40):
                a.network.send_frame(stream, [bytes(2 * MIB)], 1.0)
                await trio.sleep(0.05)
                if len(a.events.all("frame_sent")) < count:
                    break
            (_, reason) = await a.events.wait("stream_closed", stream)
            assert "was not taken within 1 s" in reason
            (mirror, *_) = b.events.all("stream_accepted")[0]
            b.network.grant(mirror, 64 * MIB)
            assert (await b.events.wait("stream_closed"))[1] != ""
            other = await a.open(b, PROTOCOL)
            a.network.send_frame(other, [b"still fine"], 5.0)
            await a.events.wait("frame_sent", other)
            assert not a.events.all("disconnected", connection)

    lab.run(body)


def test_a_peer_that_reads_nothing_loses_its_connection_and_delays_nobody(lab: SimpleNamespace) -> None:
    async def body() -> None:
        quick = lab.Config(write_timeout_s=1.0)
        async with lab.running(quick, lab.Config(), lab.Config()) as (a, b, c), lab.proxied(b) as proxy:
            for node in (b, c):
                node.network.serve_framed(PROTOCOL, 4 * MIB)
                node.events.keep_frames = False
            stuck_connection = await a.connect(b, proxy.addr)
            await a.connect(c)
            stuck, free = await a.open(b, PROTOCOL), await a.open(c, PROTOCOL)
            proxy.stall()
            for _ in range(4):
                a.network.send_frame(stuck, [bytes(2 * MIB)], 0.5)
            delays = []
            while not a.events.all("disconnected"):
                start, count = trio.current_time(), len(c.events.all("frame"))
                a.network.send_frame(free, [bytes(1000)], 5.0)
                await c.events.until(lambda seen=count: len(c.events.all("frame")) > seen, "a frame at the other peer")
                delays.append(trio.current_time() - start)
                await trio.sleep(0.02)
            (gone, reason) = await a.events.wait("disconnected")
            assert gone == stuck_connection
            assert "did not take" in reason
            assert a.events.all("stream_closed", stuck)
            order = [event[0] for event in a.events.log if event[0] in ("stream_closed", "disconnected")]
            assert order == ["stream_closed", "disconnected"]
            # Not wall time: the peer that stalls holds its writer for a second; nobody else waits for it.
            assert sorted(delays)[len(delays) // 2] < 0.25
            assert not c.events.all("disconnected")

    lab.run(body)


def test_a_queue_that_nobody_empties_is_bounded(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            b.network.serve_framed(PROTOCOL, 4 * MIB)
            b.events.grant_all = False
            await a.connect(b)
            stream = await a.open(b, PROTOCOL)
            for _ in range(20):
                a.network.send_frame(stream, [bytes(MIB)], 60.0)
            assert "were queued already" in (await a.events.wait("stream_closed", stream))[1]

    lab.run(body)


def test_three_hundred_streams_to_one_peer(lab: SimpleNamespace) -> None:
    """Those above the limit wait for their turn; with no turn coming they fail, and say why."""

    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            b.network.serve_framed(PROTOCOL, 1000)
            await a.connect(b)
            for ticket in range(1000, 1300):
                a.network.open_stream(ticket, b.peer, [PROTOCOL], 1000, 3.0)
            await a.events.until(lambda: len(a.events.all("stream_opened")) == 250, "250 streams", within_s=30)
            await a.events.until(lambda: len(a.events.all("stream_failed")) == 50, "50 failures", within_s=30)
            assert all("too many streams are open" in reason for _, reason in a.events.all("stream_failed"))
            a.network.ping(1, b.peer, 5.0)
            await a.events.wait("pong", 1)
            a.network.open_stream(2000, b.peer, [PROTOCOL], 1000, 10.0)
            for _, number, _, _ in a.events.all("stream_opened"):
                a.network.send_frame(number, [b"%d" % number], 5.0)
                a.network.close_stream(number, reset=False)
            await a.events.wait("stream_opened", 2000)
            await b.events.until(lambda: len(b.events.all("frame")) == 250, "a frame on each")

    lab.run(body)


def test_opening_fails_with_a_reason(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            a.network.open_stream(1, b.peer, [PROTOCOL], 1000, 5.0)
            assert "not connected" in (await a.events.wait("stream_failed", 1))[1]
            await a.connect(b)
            a.network.open_stream(2, b.peer, ["/no/such", "/nor/this"], 1000, 5.0)
            assert "speaks none of /no/such, /nor/this" in (await a.events.wait("stream_failed", 2))[1]
            b.network.serve_framed(PROTOCOL, 1000)
            a.network.open_stream(3, b.peer, ["/no/such", PROTOCOL], 1000, 5.0)
            assert (await a.events.wait("stream_opened", 3))[3] == PROTOCOL

    lab.run(body)


def test_a_reset_ends_both_sides(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            b.network.serve_framed(PROTOCOL, 1000)
            await a.connect(b)
            stream = await a.open(b, PROTOCOL)
            (mirror, *_) = await b.events.wait("stream_accepted")
            a.network.close_stream(stream, reset=True)
            assert (await a.events.wait("stream_closed", stream))[1] == "reset by us"
            await b.events.wait("stream_closed", mirror)
            # Of no effect, and no error: its end has been reported.
            a.network.send_frame(stream, [b"late"], 5.0)
            a.network.grant(stream, 10)
            a.network.close_stream(stream, reset=False)
            await trio.sleep(0.1)
            assert len(a.events.all("stream_closed", stream)) == 1

    lab.run(body)
