"""Frames that begin and do not end, on many streams at once: what is kept of them is bounded, and given back."""

from types import SimpleNamespace
from typing import Any

import pytest
import trio

from shoal.messages import varint
from shoal.messages.limits import MIB, Limit
from shoal.runtime.network import streams

PROTOCOL = "/test/frames/1"
FRAME = MIB


@pytest.mark.parametrize("bound", ["FRAME_BYTES_HELD_CONNECTION", "FRAME_BYTES_HELD_ALL"])
def test_a_peer_that_begins_frames_on_many_streams_loses_those_above_the_bound(
    lab: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(streams, bound, Limit(2 * FRAME, "bytes", "a test's", "here"))
    count = 6

    async def begin(stream: Any) -> None:
        await stream.write(varint.encode(FRAME) + bytes(FRAME - 1))
        await stream.read()

    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config(linger_s=0.1)) as (a, b):
            b.network.serve_framed(PROTOCOL, FRAME)
            await a.connect(b)
            (link,) = b.network._connections

            async def offend() -> None:
                try:
                    await a.network.run_user(b.peer, PROTOCOL, begin, 5.0)
                except Exception:  # reset, or cut off at the end of the test
                    pass

            async with trio.open_nursery() as nursery:
                for _ in range(count):
                    nursery.start_soon(offend)
                with trio.fail_after(10):
                    while link.held < FRAME - 1 or b.events.all("stream_closed") == []:
                        await trio.sleep(0.01)
                assert {event[1] for event in b.events.all("remote_fault", a.peer)} == {"frames-held"}
                assert not b.events.all("disconnected")
                with trio.fail_after(10):
                    while len(link.streams) > 2 or link.held != len(link.streams) * (FRAME - 1):
                        await trio.sleep(0.01)
                assert b.network._state.held == link.held
                nursery.cancel_scope.cancel()
            with trio.fail_after(10):
                while link.held:
                    await trio.sleep(0.01)
            assert b.network._state.held == 0
            stream = await a.open(b, PROTOCOL)
            a.network.send_frame(stream, [bytes(FRAME)], 5.0)
            await b.events.until(lambda: b.events.received == FRAME, "a whole frame")
            assert link.held == 0

    lab.run(body)
