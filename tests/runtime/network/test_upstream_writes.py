"""The trap of the cancelled write: as ``test_upstream.py``, py-libp2p as it comes and ours beside it."""

from types import SimpleNamespace
from typing import Any

import pytest
import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.io.trio import TrioTCPStream
from libp2p.peer.id import ID
from libp2p.security.noise.transport import Transport as NoiseTransport

from shoal.runtime.network.wire import GuardedConnection


async def _noise_pair() -> tuple[Any, Any, Any]:
    """Two ends of a Noise session over TCP, and the raw guard of the first."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    near = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
    far = await listener.accept()
    await listener.aclose()
    pairs = [create_new_key_pair(), create_new_key_pair()]
    a, b = (NoiseTransport(pair, noise_privkey=create_noise_key_pair().private_key) for pair in pairs)
    ends: list[Any] = [None, None]
    guard = GuardedConnection(TrioTCPStream(near), is_initiator=True, write_timeout_s=1.0)

    async def outbound() -> None:
        ends[0] = await a.secure_outbound(guard, ID.from_pubkey(pairs[1].public_key))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbound)
        ends[1] = await b.secure_inbound(GuardedConnection(TrioTCPStream(far), is_initiator=False, write_timeout_s=9))
    return ends[0], ends[1], guard


async def _write_until_stuck(session: Any) -> None:
    """Write until the peer, who does not read, makes a write wait; cancel that one."""
    with trio.move_on_after(0.3):
        while True:
            await session.write(bytes(60_000))
            await trio.lowlevel.checkpoint()


async def _read_all(session: Any) -> list[bytes]:
    got = []
    with trio.move_on_after(2):
        try:
            while not got or got[-1] not in (b"", b"last"):
                got.append(await session.read())
        except Exception:  # the connection ended inside a record, or one was damaged
            pass
    return got


def test_upstream_loses_a_session_to_a_cancelled_write(lab: SimpleNamespace) -> None:
    async def body() -> None:
        sender, receiver, guard = await _noise_pair()
        vars(guard)["write"] = guard._raw.write  # the connection as it comes
        await _write_until_stuck(sender)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.write, b"last")
            got = await _read_all(receiver)
        assert got
        assert b"last" not in got, "half a record stands before it"

    lab.run(body)


def test_ours_writes_whole_records_or_closes(lab: SimpleNamespace) -> None:
    async def body() -> None:
        sender, receiver, guard = await _noise_pair()
        start = trio.current_time()
        with pytest.raises(Exception, match="did not take a record within 1 s"):
            await _write_until_stuck(sender)
        assert trio.current_time() - start > 1, "the write was shielded from the cancellation"
        assert guard.fault
        # What had been written whole can be read; then the connection ends.
        got = await _read_all(receiver)
        assert got
        assert set(map(len, got)) <= {60_000, 0}

    lab.run(body)


def test_ours_is_not_hurt_by_cancelling_what_the_peer_then_takes(lab: SimpleNamespace) -> None:
    async def body() -> None:
        sender, receiver, guard = await _noise_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_write_until_stuck, sender)
            await trio.sleep(0.6)

            async def send_last() -> None:
                await sender.write(b"last")

            nursery.start_soon(send_last)
            got = await _read_all(receiver)
        assert got[-1] == b"last"
        assert not guard.fault

    lab.run(body)


# --- 4: dialling -----------------------------------------------------------------------------------
