"""The pipe between the async body and the reading thread: order, bound, and an end in every case."""

import threading
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from shoal.messages.errors import Unavailable
from shoal.runtime.http.handover import BodyPipe
from shoal.runtime.http.pull import Puller

WINDOW = 1000


def test_bytes_come_out_as_they_went_in_and_the_window_holds() -> None:
    pieces = [bytes([at % 256]) * 300 for at in range(100)]
    held: list[int] = []

    async def main() -> bytes:
        pipe = BodyPipe(WINDOW)
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                for piece in pieces:
                    await pipe.put(piece)
                    held.append(pipe.held)
                pipe.end()

            nursery.start_soon(send)
            return await trio.to_thread.run_sync(lambda: b"".join(pipe.chunks()))

    assert trio.run(main) == b"".join(pieces)
    assert max(held) <= WINDOW + 300


def test_a_full_pipe_holds_its_sender_until_somebody_reads() -> None:
    async def main() -> None:
        pipe = BodyPipe(WINDOW)
        await pipe.put(b"x" * WINDOW)
        with trio.move_on_after(0.05) as blocked:
            await pipe.put(b"y")
        assert blocked.cancelled_caught
        assert pipe.held == WINDOW + 1

    trio.run(main)


@pytest.mark.parametrize("how", ["discard", "read"])
def test_a_held_sender_goes_on_when_there_is_room(how: str) -> None:
    async def main() -> None:
        pipe = BodyPipe(WINDOW)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pipe.put, b"x" * 2 * WINDOW)
            await trio.testing.wait_all_tasks_blocked()
            if how == "discard":
                pipe.discard()
            else:
                pipe.end()
                assert list(pipe.chunks()) == [b"x" * 2 * WINDOW]
        await pipe.put(b"more")  # nobody will read it: dropped, and the sender is not held
        assert pipe.held == 0

    trio.run(main)


def test_a_waiting_reader_is_told_that_the_rest_will_not_come() -> None:
    async def main() -> None:
        pipe = BodyPipe(WINDOW)
        reading = threading.Event()

        def read() -> list[bytes]:
            found = []
            for piece in pipe.chunks():
                found.append(piece)
                reading.set()
            return found

        async with trio.open_nursery() as nursery:

            async def fail() -> None:
                await pipe.put(b"some")
                await trio.to_thread.run_sync(reading.wait)
                pipe.fail(Unavailable("gone"))

            nursery.start_soon(fail)
            with pytest.raises(Unavailable):
                await trio.to_thread.run_sync(read)

    trio.run(main)


def test_a_pull_in_progress_is_closed_once_when_it_is_abandoned() -> None:
    closed: list[str] = []
    entered, release = threading.Event(), threading.Event()

    def generator() -> Iterator[bytes]:
        try:
            yield b"a"
            entered.set()
            release.wait(10)
            yield b"b"
        finally:
            closed.append("closed")

    async def main() -> None:
        puller = Puller(generator, trio.CapacityLimiter(2), 1, len)
        assert await puller.pull() == [b"a"]
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(puller.pull)
                await trio.to_thread.run_sync(entered.wait)
                scope.cancel()
        await puller.close()
        assert closed == []  # its thread still runs
        release.set()
        while not closed:
            await trio.sleep(0.001)
        assert await puller.pull() is None

    trio.run(main)
    assert closed == ["closed"]


def test_an_idle_source_is_closed_at_once_and_gathered_in_batches() -> None:
    closed: list[str] = []

    def generator() -> Iterator[bytes]:
        try:
            for _ in range(10):
                yield b"xx"
        finally:
            closed.append("closed")

    async def main() -> None:
        puller = Puller(generator, trio.CapacityLimiter(2), 6, len)
        first = await puller.pull()
        assert first is not None
        assert 1 <= len(first) <= 3  # fewer only if this machine was slow
        await puller.close()
        assert closed == ["closed"]

    trio.run(main)
