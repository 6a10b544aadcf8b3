"""A protocol that is served no more: peers are told, open streams go on, new ones are refused."""

from types import SimpleNamespace
from typing import Any

PROTOCOL, OTHER = "/test/frames/1", "/test/frames/2"


def told_without(identified: list[tuple[Any, ...]]) -> bool:
    return any(PROTOCOL not in facts.protocols and OTHER in facts.protocols for _, facts in identified)


def test_a_protocol_is_taken_back(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            b.network.serve_framed(PROTOCOL, 1000)
            b.network.serve_framed(OTHER, 1000)
            await a.connect(b)
            stream = await a.open(b, PROTOCOL)
            await b.events.wait("stream_accepted")
            b.network.unserve_framed(PROTOCOL)
            await a.events.until(lambda: told_without(a.events.all("identified")), "identify without it")
            mirror = b.events.all("stream_accepted")[0][0]
            a.network.send_frame(stream, [b"goes on"], 10.0)
            await b.events.until(lambda: b.events.frames.get(mirror) == [b"goes on"], "the frame")
            a.network.open_stream(99, b.peer, (PROTOCOL,), 1000, 10.0)
            await a.events.wait("stream_failed", 99)
            await a.open(b, OTHER)

    lab.run(body)
