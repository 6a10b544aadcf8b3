"""Users' own protocols: the stream in their hands, and the fence around their code."""

from types import SimpleNamespace
from typing import Any

import pytest
import trio

from shoal.messages.errors import RemoteError, Unavailable

PROTOCOL = "/user/1"


def test_reads_are_exact_short_and_patient(lab: SimpleNamespace) -> None:
    async def serve(stream: Any) -> None:
        await stream.write(b"first")
        assert await stream.read() == b"go on"
        await stream.write(bytes(300_000))
        await stream.write(b"end")

    async def ask(stream: Any) -> list[Any]:
        seen: list[Any] = [await stream.read(2), await stream.read_exactly(3)]
        with pytest.raises(RemoteError, match=r"nothing came within 0\.1 s"):
            await stream.read(timeout=0.1)
        with pytest.raises(RemoteError, match="10 bytes did not come"):
            await stream.read_exactly(10, timeout=0.1)
        await stream.write(b"go on", timeout=5)
        big = await stream.read_exactly(300_000, timeout=10)
        assert big == bytes(300_000)
        with pytest.raises(RemoteError, match="the stream ended 1 bytes before the 4 asked for"):
            await stream.read_exactly(4, timeout=5)
        seen += [await stream.read(timeout=5), await stream.read(timeout=5), (stream.protocol, stream.peer)]
        return seen

    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            b.network.serve_user(PROTOCOL, serve)
            await a.connect(b)
            seen = await a.network.run_user(b.peer, PROTOCOL, ask, 5.0)
            assert seen == [b"fi", b"rst", b"end", b"", (PROTOCOL, b.peer)]

    lab.run(body)


def test_half_close(lab: SimpleNamespace) -> None:
    async def serve(stream: Any) -> None:
        got = b""
        while data := await stream.read():
            got += data
        await stream.write(got[::-1])

    async def ask(stream: Any) -> bytes:
        await stream.write(b"abc")
        await stream.close_write()
        answer: bytes = await stream.read_exactly(3, timeout=5)
        return answer

    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            b.network.serve_user(PROTOCOL, serve)
            await a.connect(b)
            assert await a.network.run_user(b.peer, PROTOCOL, ask, 5.0) == b"cba"

    lab.run(body)


def test_a_write_that_times_out_resets_its_stream_only(lab: SimpleNamespace) -> None:
    ended: list[Any] = []

    async def serve(stream: Any) -> None:
        await trio.sleep(1)
        try:
            while await stream.read(timeout=5):
                pass
        except RemoteError as fault:
            ended.append(str(fault))
            raise

    async def ask(stream: Any) -> None:
        with pytest.raises(RemoteError, match=r"were not taken within 0\.3 s"):
            await stream.write(bytes(32 * 1024 * 1024), timeout=0.3)
        with pytest.raises(RemoteError):
            await stream.write(b"more", timeout=1)

    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            b.network.serve_user(PROTOCOL, serve)
            connection = await a.connect(b)
            await a.network.run_user(b.peer, PROTOCOL, ask, 5.0)
            with trio.move_on_after(10):
                while not ended:
                    await trio.sleep(0.01)
            assert ended == ["reset by the peer"]
            a.network.ping(1, b.peer, 5.0)
            await a.events.wait("pong", 1)
            assert not a.events.all("disconnected", connection)

    lab.run(body)


def test_what_a_handler_raises_is_the_callers(lab: SimpleNamespace) -> None:
    async def fail(stream: Any) -> None:
        raise ZeroDivisionError

    async def serve(stream: Any) -> None:
        await stream.read()

    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            with pytest.raises(Unavailable, match="not connected"):
                await a.network.run_user(b.peer, PROTOCOL, fail, 5.0)
            await a.connect(b)
            with pytest.raises(RemoteError, match="speaks none of /user/1"):
                await a.network.run_user(b.peer, PROTOCOL, fail, 5.0)
            b.network.serve_user(PROTOCOL, serve)
            with pytest.raises(ZeroDivisionError):
                await a.network.run_user(b.peer, PROTOCOL, fail, 5.0)

    lab.run(body)


def test_a_lost_connection_ends_users_on_both_sides(lab: SimpleNamespace) -> None:
    told: list[str] = []

    async def serve(stream: Any) -> None:
        try:
            await trio.sleep(60)
        finally:
            told.append("cancelled")

    async def ask(stream: Any) -> None:
        await stream.read()

    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            b.network.serve_user(PROTOCOL, serve)
            connection = await a.connect(b)

            async def close_soon() -> None:
                await trio.sleep(0.3)
                a.network.close_connection(connection.id)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(close_soon)
                with pytest.raises(RemoteError):
                    await a.network.run_user(b.peer, PROTOCOL, ask, 5.0)
            await b.events.wait("disconnected")
            with trio.move_on_after(5):
                while not told:
                    await trio.sleep(0.01)
            assert told == ["cancelled"]

    lab.run(body)


def test_closing_and_resetting_twice_is_harmless(lab: SimpleNamespace) -> None:
    async def serve(stream: Any) -> None:
        await stream.write(b"x")
        await stream.close()
        await stream.close()
        await stream.reset()

    async def ask(stream: Any) -> bytes:
        data: bytes = await stream.read(timeout=5)
        await stream.reset()
        await stream.reset()
        await stream.close()
        with pytest.raises(RemoteError):
            await stream.read(timeout=5)
        return data

    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            b.network.serve_user(PROTOCOL, serve)
            await a.connect(b)
            for _ in range(3):
                assert await a.network.run_user(b.peer, PROTOCOL, ask, 5.0) == b"x"

    lab.run(body)
