"""Framed streams whose protocol the peer is not asked about first, since identify told it; and what if it was wrong."""

from types import SimpleNamespace
from typing import Any

import trio
from libp2p.custom_types import TProtocol

PROTOCOL = "/test/frames/1"


async def known(a: Any, b: Any) -> None:
    """Connected, and each told of the other's protocols."""
    b.network.serve_framed(PROTOCOL, 1000)
    await a.connect(b)
    await a.events.wait("identified")


def test_a_known_protocol_is_spoken_at_once(lab: SimpleNamespace) -> None:
    """The peer does not answer at all, so only who does not wait for it can open a stream."""

    async def body() -> None:
        async with lab.running(lab.Config(negotiate_timeout_s=0.5), lab.Config()) as (a, b), lab.proxied(b) as proxy:
            b.network.serve_framed(PROTOCOL, 1000)
            await a.connect(b, proxy.addr)
            await a.events.wait("identified")
            proxy.stall()
            a.network.open_stream(1, b.peer, [PROTOCOL], 1000, 5.0)
            if lab.wire == "stock":
                assert "no protocol was agreed" in (await a.events.wait("stream_failed", 1))[1]
                return
            _, stream, _, protocol = await a.events.wait("stream_opened", 1)
            assert protocol == PROTOCOL
            a.network.send_frame(stream, [b"hello"], 5.0)
            await a.events.wait("frame_sent", stream)
            assert "no protocol was agreed within 0.5 s" in (await a.events.wait("stream_closed", stream))[1]

    lab.run(body)


def test_the_first_frame_arrives_and_is_answered(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            await known(a, b)
            stream = await a.open(b, PROTOCOL)
            a.network.send_frame(stream, [b"question"], 5.0)
            (mirror, peer, protocol) = await b.events.wait("stream_accepted")
            assert (peer, protocol) == (a.peer, PROTOCOL)
            await b.events.until(lambda: b.events.frames.get(mirror) == [b"question"], "the question")
            b.network.send_frame(mirror, [b"answer"], 5.0)
            await a.events.until(lambda: a.events.frames.get(stream) == [b"answer"], "the answer")
            a.network.close_stream(stream, reset=False)
            assert (await b.events.wait("stream_closed", mirror))[1] == ""

    lab.run(body)


def test_a_stream_with_nothing_to_say_is_announced(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            await known(a, b)
            stream = await a.open(b, PROTOCOL)
            (mirror, *_) = await b.events.wait("stream_accepted")
            a.network.close_stream(stream, reset=False)
            assert (await b.events.wait("stream_closed", mirror))[1] == ""

    lab.run(body)


def test_a_peer_that_no_longer_speaks_it(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            await known(a, b)
            b.network.host.remove_stream_handler(TProtocol(PROTOCOL))
            a.network.open_stream(1, b.peer, [PROTOCOL], 1000, 5.0)
            if lab.wire == "shoal":
                (_, stream, *_) = await a.events.wait("stream_opened", 1)
                a.network.send_frame(stream, [b"hello"], 5.0)
                assert "does not speak /test/frames/1 after all" in (await a.events.wait("stream_closed", stream))[1]
            else:
                assert "speaks none of" in (await a.events.wait("stream_failed", 1))[1]
            # From now on it is asked.
            a.network.open_stream(2, b.peer, [PROTOCOL], 1000, 5.0)
            assert "speaks none of" in (await a.events.wait("stream_failed", 2))[1]
            assert not a.events.all("remote_fault")

    lab.run(body)


def test_many_streams_opened_and_closed_at_once(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config(linger_s=0.3)) as (a, b):
            await known(a, b)
            for ticket in range(100, 300):
                a.network.open_stream(ticket, b.peer, [PROTOCOL], 1000, 10.0)
            await a.events.until(lambda: len(a.events.all("stream_opened")) == 200, "200 streams")
            for _, stream, *_ in a.events.all("stream_opened"):
                a.network.send_frame(stream, [b"%d" % stream], 10.0)
                a.network.close_stream(stream, reset=False)
            await b.events.until(lambda: len(b.events.all("frame")) == 200, "200 frames")
            await a.events.until(lambda: len(a.events.all("stream_closed")) == 200, "their ends")
            assert {reason for _, reason in a.events.all("stream_closed")} == {""}
            assert not b.events.all("remote_fault")
            with trio.fail_after(10):
                while any(link.inbound for link in b.network._connections):
                    await trio.sleep(0.01)

    lab.run(body)
