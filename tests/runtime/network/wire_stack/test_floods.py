"""Floods on real sockets, round after round: what the victim holds in memory stays what it was after the first."""

import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from shoal.runtime.network.wire_stack.yamux.frames import DATA, PING, RST, SYN, WINDOW, header

ROUNDS = 4
KEPT_MAX = 256 * 1024  # bytes by which memory may differ between rounds


async def pings(bare: Any, turn: int) -> None:
    await bare.secured.write(header(PING, SYN, 0, 7) * 2000)


async def openings(bare: Any, turn: int) -> None:
    """Far more streams than may be open, and each ended again."""
    ids = range(2 * 1000 * turn + 1, 2 * 1000 * (turn + 1), 2)
    await bare.secured.write(b"".join(header(WINDOW, SYN, number, 0) for number in ids))
    await bare.secured.write(b"".join(header(WINDOW, RST, number, 0) for number in ids))


async def rapid_resets(bare: Any, turn: int) -> None:
    ids = range(2 * 1000 * turn + 1, 2 * 1000 * (turn + 1), 2)
    await bare.secured.write(
        b"".join(header(DATA, SYN, number, 9) + b"x" * 9 + header(WINDOW, RST, number, 0) for number in ids)
    )


async def lost_data(bare: Any, turn: int) -> None:
    for _ in range(50):
        await bare.secured.write(header(DATA, 0, 77, 60_000) + bytes(60_000))


async def single_bytes(bare: Any, turn: int) -> None:
    """On a stream that nobody reads, then reset."""
    number = 2 * turn + 1
    await bare.secured.write(header(WINDOW, SYN, number, 0) + (header(DATA, 0, number, 1) + b"x") * 5000)
    await bare.secured.write(header(WINDOW, RST, number, 0))


async def empty_records(bare: Any, turn: int) -> None:
    await bare.secured.write_records([b""] * 3000)


@pytest.mark.parametrize("flood", [pings, openings, rapid_resets, lost_data, single_bytes, empty_records])
def test_memory_is_flat(wires: SimpleNamespace, flood: Callable[[Any, int], Awaitable[None]]) -> None:
    held: list[int] = []

    async def listen(bare: Any) -> None:
        while await bare.secured.read_records():
            pass

    async def take(victim: Any) -> None:
        while True:
            await victim.muxer.accept_stream()

    async def body() -> None:
        async with wires.joined("bare", "ours") as (bare, victim), trio.open_nursery() as nursery:
            nursery.start_soon(listen, bare)
            nursery.start_soon(take, victim)
            for turn in range(ROUNDS):
                await flood(bare, turn)
                mark = header(PING, SYN, 0, 1_000_000 + turn)
                await bare.secured.write(mark)
                await _caught_up(victim)
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
            assert victim.muxer.fault is None
            assert not victim.aborted
            assert victim.node.unread == 0
            nursery.cancel_scope.cancel()

    async def _caught_up(victim: Any) -> None:
        """All that was sent has been read: nothing has come for a while, and no pause is being served."""
        seen = -1.0
        while victim.muxer._heard_at != seen:
            seen = victim.muxer._heard_at
            await trio.sleep(0.05)

    tracemalloc.start()
    try:
        trio.run(body)
    finally:
        tracemalloc.stop()
    assert max(held) - held[0] < KEPT_MAX
